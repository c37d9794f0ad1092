"""The rules of the verdicts, with planted cases, and the ledger they are applied to."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from mnistkit.claims import rules
from mnistkit.claims.ledger import CHECKS, judge, read_ledger
from mnistkit.claims.rules import Evidence, Missing, exact, holds, numbers, ranking
from mnistkit.report.scales import chapters

SEEDS = 5


def verdict(finding):
    rules.decide([finding])
    return finding.verdict


def runs(means, noise=0.001, seed=0):
    """A frame of accuracies: a mean per optimizer, noise shared and not shared."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, noise, SEEDS)
    rows = [
        dict(optimizer=name, seed=i, accuracy=mean + common[i] + rng.normal(0, noise))
        for name, mean in means.items()
        for i in range(SEEDS)
    ]
    return pd.DataFrame(rows)


def test_exact_and_holds():
    assert exact(41_706, 41_706).verdict == "reproduced"
    assert exact(28_514_378, 29_583_562).verdict == "wrong as stated"
    assert exact(5, 6).regenerated == "6" and exact(0, 41_706).regenerated == "41,706"
    assert holds(np.bool_(True), "x").verdict == "reproduced"
    assert holds(False, 0.5).verdict == "wrong as stated"


def test_a_true_a_false_and_an_undecidable_number():
    ours = np.random.default_rng(0).normal(0.99, 0.001, SEEDS)
    assert verdict(numbers(0.9905, ours, 0.0001)) == "reproduced"
    assert verdict(numbers(0.97, ours, 0.01)) == "not reproduced"
    assert verdict(numbers(0.9905, ours[:2], 0.0001)) == "cannot be checked"


def test_numbers_grant_half_a_unit_for_rounding():
    ours = [0.9749, 0.9750, 0.9751]
    assert verdict(numbers(0.98, ours, 0.01)) == "reproduced"  # 0.975 rounds to it
    assert verdict(numbers(0.98, ours, 0.001)) == "not reproduced"


def test_the_interval_of_numbers_is_that_of_one_more_run():
    """95 of 100 further runs lie in it, not 95 of 100 means."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        point = numbers(0, rng.normal(0, 1, SEEDS), 0).points[0]
        inside += point["low"] < rng.normal(0, 1) < point["high"]
    assert abs(inside / 2000 - 0.95) < 0.015


def test_numbers_that_are_all_alike():
    assert verdict(numbers(1.0, [1.0] * 3, 0)) == "reproduced"
    assert verdict(numbers(2.0, [1.0] * 3, 0)) == "not reproduced"


def test_many_numbers_of_a_claim_are_corrected_for_their_number():
    """Reports that are true: hardly more than 5 % may be called not reproduced."""
    rng = np.random.default_rng(2)
    wrongly = 0
    for _ in range(400):
        finding = numbers(rng.normal(0, 1, 45), rng.normal(0, 1, (SEEDS, 45)), 0)
        wrongly += verdict(finding) == "not reproduced"
    assert wrongly / 400 < 0.08
    planted = rng.normal(0, 1, 45)
    planted[7] = 60.0
    told = numbers(planted, rng.normal(0, 1, (SEEDS, 45)), 0)
    assert verdict(told) == "not reproduced"
    assert re.match(r"\d+ of 45 within the intervals, n = 5", told.regenerated)


def test_a_true_a_false_and_an_undecidable_ranking():
    order = ["adagrad", "sgdm", "sgd"]
    apart = runs({"sgd": 0.95, "sgdm": 0.97, "adagrad": 0.99})
    assert verdict(ranking(apart, "optimizer", "accuracy", order)) == "reproduced"
    assert verdict(ranking(apart, "optimizer", "accuracy", order[::-1])) == (
        "not reproduced"
    )
    close = runs({"sgd": 0.97, "sgdm": 0.97, "adagrad": 0.99})
    undecided = ranking(close, "optimizer", "accuracy", order)
    assert verdict(undecided) == "cannot be checked"
    assert undecided.reason.startswith("undecided")


def test_one_pair_the_other_way_is_enough_against_a_ranking():
    frame = runs({"sgd": 0.97, "sgdm": 0.95, "adagrad": 0.99})
    finding = ranking(frame, "optimizer", "accuracy", ["adagrad", "sgdm", "sgd"])
    assert verdict(finding) == "not reproduced"


def test_a_ranking_of_losses():
    frame = runs({"sgd": 0.3, "sgdm": 0.2})
    best_first = ranking(frame, "optimizer", "accuracy", ["sgdm", "sgd"], False)
    assert verdict(best_first) == "reproduced"
    expected = r"best first: sgdm 0\.\d+, sgd 0\.\d+, n = 5"
    assert re.match(expected, best_first.regenerated)


def test_a_ranking_without_runs_or_with_one_seed():
    frame = runs({"sgd": 0.97, "sgdm": 0.95})
    lacking = ranking(frame, "optimizer", "accuracy", ["adam", "sgd"])
    assert lacking.verdict == "cannot be checked" and "adam" in lacking.reason
    single = ranking(frame[frame.seed == 0], "optimizer", "accuracy", ["sgd", "sgdm"])
    assert single.verdict == "cannot be checked"


def test_tests_of_one_report_are_corrected_together():
    weak = [rules.Finding("", against=math.nan, support=0.02) for _ in range(4)]
    rules.decide(weak)
    assert {finding.verdict for finding in weak} == {"cannot be checked"}
    alone = rules.Finding("", against=math.nan, support=0.02)
    assert verdict(alone) == "reproduced"


def test_numbers_that_are_mostly_outside_are_not_reproduced_for_want_of_power():
    ours = np.random.default_rng(3).normal(0, 1, (3, 7))
    finding = numbers(ours.mean(0) + 1.2 * ours.std(0, ddof=1) * 5, ours, 0)
    assert finding.regenerated.startswith("0 of 7")
    assert verdict(finding) == "cannot be checked"


def test_a_surprise_that_the_correction_takes_back_is_undecided():
    """Neither a match nor a difference: outside the interval, one of many tests."""
    surprise = [rules.Finding("", against=0.02) for _ in range(4)]
    rules.decide(surprise)
    assert {finding.verdict for finding in surprise} == {"cannot be checked"}
    assert surprise[0].reason.startswith("undecided")


LEDGER = pd.DataFrame(
    {
        "id": ["R1-01", "R1-02", "R2-01", "R2-02"],
        "report": ["R1", "R1", "R2", "R2"],
        "kind": "num",
        "claim": "",
        "reported": "",
        "chapter": "07",
        "no_check": ["", "", "", "the figure is missing"],
    }
)


def test_judge_collects_verdicts_reasons_and_numbers():
    def not_run(evidence):
        evidence.runs("r1")

    checks = {
        "R1-01": not_run,
        "R1-02": lambda e: exact(1, 2, "2 is right"),
        "R2-01": lambda e: numbers([1, 2], [[1, 2], [1.1, 2.1], [0.9, 1.9]], 0),
    }
    table, points = judge(LEDGER, checks, Evidence(None, {}))
    table = table.set_index("id")
    assert table["verdict"].tolist() == [
        "cannot be checked",
        "wrong as stated",
        "reproduced",
        "cannot be checked",
    ]
    assert table.reason["R1-01"] == "r1 was not run"
    assert table.reason["R2-02"] == "the figure is missing"
    assert points["id"].tolist() == ["R2-01"] * 2 and points["n"].tolist() == [3, 3]
    with pytest.raises(KeyError, match="R9-99"):
        judge(LEDGER, {"R9-99": not_run}, Evidence(None, {}))


def test_full_evidence_refuses_small_runs():
    class Small:
        data = dict(train_size=1000, val_size=0, test_size=10)
        summary = dict(epochs_done=1)
        run = type("Run", (), dict(seed=0))

    evidence = Evidence(None, {"r1": [Small]})
    assert evidence.runs("r1") == [Small]
    with pytest.raises(Missing, match="1,000 training"):
        evidence.full("r1")


def test_the_ledger_holds_every_claim_once():
    ledger = read_ledger()
    assert len(ledger) == 205 and ledger["id"].is_unique
    counts = ledger["report"].value_counts()
    assert counts.to_dict() == {"R1": 39, "R2": 52, "R3": 45, "R4": 43, "R5": 26}
    assert (ledger["id"].str[:2] == ledger["report"]).all()
    kinds = {"arch", "proto", "num", "rank", "def", "fig", "feat", "code"}
    assert set(ledger["kind"]) <= kinds
    assert set(ledger["chapter"]) <= {name[:2] for name in chapters()}
    assert ledger["claim"].str.len().min() > 10


def test_a_claim_has_a_check_or_a_reason_why_it_has_none():
    ledger = read_ledger().set_index("id")
    assert set(CHECKS) <= set(ledger.index)
    without = ledger[ledger["no_check"] != ""]
    assert set(without.index) == set(ledger.index) - set(CHECKS)
