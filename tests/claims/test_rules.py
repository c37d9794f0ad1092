"""The rules of the verdicts, on planted cases whose right verdict is known."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mnistkit.claims import rules
from mnistkit.claims.rules import (
    Evidence,
    Finding,
    NotRun,
    check,
    decide,
    exact,
    holds,
    numbers,
    ranking,
    trained_on_all,
    unchecked,
)

SEEDS = 5
BEST_FIRST = ["adagrad", "sgdm", "sgd"]


def verdict(finding):
    """The verdict on a finding that is the only one of its report."""
    decide([finding])
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


def accuracies():
    """The accuracies of five runs of ours, 0.99 on average."""
    return np.random.default_rng(0).normal(0.99, 0.001, SEEDS)


def record(train_size):
    """As much of a record as `Evidence` looks at."""
    return SimpleNamespace(
        data=dict(train_size=train_size, val_size=0, test_size=10),
        summary=dict(epochs_done=1),
        run=SimpleNamespace(seed=0),
    )


# Evidence


def test_runs_gives_an_experiment_at_any_scale():
    small = record(train_size=1000)
    assert Evidence(None, {"r1": [small]}).runs("r1") == [small]


@pytest.mark.parametrize("records", [{}, {"r1": []}])
def test_runs_refuses_an_experiment_without_records(records):
    with pytest.raises(NotRun, match="r1 was not run"):
        Evidence(None, records).runs("r1")


def test_full_gives_an_experiment_on_all_images():
    whole = record(train_size=50_000)
    assert Evidence(None, {"r1": [whole]}).full("r1") == [whole]


def test_full_refuses_an_experiment_if_one_run_had_few_images():
    evidence = Evidence(None, {"r1": [record(50_000), record(1000)]})
    with pytest.raises(NotRun, match="1,000 to 50,000 training"):
        evidence.full("r1")


@pytest.mark.parametrize(
    ("train_size", "expected"), [(60_000, True), (49_980, True), (10_000, False)]
)
def test_all_images_may_lack_a_validation_part(train_size, expected):
    assert trained_on_all(record(train_size)) == expected


# The table of checks


@pytest.fixture
def checks(monkeypatch):
    """An empty table of checks, for this test only."""
    monkeypatch.setattr(rules, "CHECKS", {})
    return rules.CHECKS


def test_a_check_may_belong_to_several_claims(checks):
    @check("R1-01", "R1-02")
    def computation(evidence):
        return exact(1, 1)

    assert checks == {"R1-01": computation, "R1-02": computation}


def test_a_claim_has_one_check(checks):
    check("R1-01")(lambda evidence: exact(1, 1))
    with pytest.raises(ValueError, match="R1-01 has two checks"):
        check("R1-01")(lambda evidence: exact(1, 2))


# Counts, formulas and definitions


@pytest.mark.parametrize(
    ("regenerated", "expected"), [(41_706, "reproduced"), (29_583, "wrong as stated")]
)
def test_a_count_is_right_or_wrong(regenerated, expected):
    assert exact(41_706, regenerated).verdict == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [(True, "reproduced"), (np.bool_(True), "reproduced"), (False, "wrong as stated")],
)
def test_a_statement_holds_or_not(statement, expected):
    assert holds(statement, "what was found").verdict == expected


@pytest.mark.parametrize(
    ("regenerated", "expected"),
    [
        (6, "6"),
        (41_706, "41,706"),
        (1 / 3, "0.333333"),
        (True, "True"),
        ("three", "three"),
        ([28, 28, 41_706], "28, 28, 41,706"),
        ((1, "two"), "1, two"),
    ],
)
def test_what_was_regenerated_is_text(regenerated, expected):
    assert exact(0, regenerated).regenerated == expected


def test_a_finding_keeps_its_reason():
    assert exact(1, 2, "2 is right").reason == "2 is right"


def test_a_claim_that_is_unchecked_says_why():
    finding = unchecked("the figure is missing")
    assert (finding.verdict, finding.reason) == (
        "cannot be checked",
        "the figure is missing",
    )


# Measured numbers


def test_a_true_number_is_reproduced():
    assert verdict(numbers(0.9905, accuracies(), 0.0001)) == "reproduced"


def test_a_false_number_is_not_reproduced():
    assert verdict(numbers(0.97, accuracies(), 0.01)) == "not reproduced"


def test_two_runs_do_not_decide_about_a_number():
    finding = numbers(0.9905, accuracies()[:2], 0.0001)
    assert verdict(finding) == "cannot be checked"


def test_the_text_on_one_number_has_its_interval():
    text = numbers(0.98, [0.97, 0.98, 0.99], 0.01).regenerated
    # Student's t for 2 degrees of freedom, 4.303, times 0.01 times sqrt(1 + 1/3).
    assert text == "0.98 [0.9303, 1.03], n = 3"


def test_the_text_on_several_numbers_counts_those_inside():
    text = numbers([1, 2, 30], [[1, 2, 3], [1.1, 2.1, 3.1], [0.9, 1.9, 2.9]], 0)
    assert text.regenerated == "2 of 3 within the intervals, n = 3"


def test_a_number_may_be_off_by_half_a_unit():
    """0.975 rounds to 0.98."""
    assert verdict(numbers(0.98, [0.9749, 0.9750, 0.9751], 0.01)) == "reproduced"


def test_a_number_with_one_more_digit_may_not_be_off_as_much():
    assert verdict(numbers(0.98, [0.9749, 0.975, 0.9751], 0.001)) == "not reproduced"


def test_each_number_may_have_its_own_unit():
    ours = [[0.9749, 0.9749], [0.9750, 0.9750], [0.9751, 0.9751]]
    points = numbers([0.98, 0.98], ours, [0.01, 0.001]).points
    assert [point["inside"] for point in points] == [True, False]


def test_the_interval_of_numbers_is_that_of_one_more_run():
    """95 of 100 further runs lie in it, not 95 of 100 means."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        point = numbers(0, rng.normal(0, 1, SEEDS), 0).points[0]
        inside += point["low"] < rng.normal(0, 1) < point["high"]
    assert abs(inside / 2000 - 0.95) < 0.015


@pytest.mark.parametrize(
    ("reported", "expected"), [(1.0, "reproduced"), (2.0, "not reproduced")]
)
def test_runs_that_all_agree_decide_about_a_number(reported, expected):
    assert verdict(numbers(reported, [1.0] * 3, 0)) == expected


def test_many_numbers_of_a_claim_are_corrected_for_their_number():
    """Reports that are true: hardly more than 5 % may be called not reproduced."""
    rng = np.random.default_rng(2)
    wrongly = 0
    for _ in range(400):
        finding = numbers(rng.normal(0, 1, 45), rng.normal(0, 1, (SEEDS, 45)), 0)
        wrongly += verdict(finding) == "not reproduced"
    assert wrongly / 400 < 0.08


def test_one_false_number_among_many_is_found():
    rng = np.random.default_rng(2)
    reported = rng.normal(0, 1, 45)
    reported[7] = 60.0
    finding = numbers(reported, rng.normal(0, 1, (SEEDS, 45)), 0)
    assert verdict(finding) == "not reproduced"


def test_numbers_that_are_mostly_outside_are_not_reproduced_for_want_of_power():
    """None of seven is inside, yet none is so far off that three runs refute it."""
    ours = np.random.default_rng(3).normal(0, 1, (3, 7))
    finding = numbers(ours.mean(0) + 1.2 * ours.std(0, ddof=1) * 5, ours, 0)
    assert not any(point["inside"] for point in finding.points)
    assert verdict(finding) == "cannot be checked"


# Rankings


def test_a_true_ranking_is_reproduced():
    frame = runs({"sgd": 0.95, "sgdm": 0.97, "adagrad": 0.99})
    finding = ranking(frame, "optimizer", "accuracy", BEST_FIRST)
    assert verdict(finding) == "reproduced"


def test_a_reversed_ranking_is_not_reproduced():
    frame = runs({"sgd": 0.95, "sgdm": 0.97, "adagrad": 0.99})
    finding = ranking(frame, "optimizer", "accuracy", BEST_FIRST[::-1])
    assert verdict(finding) == "not reproduced"


def test_a_ranking_with_two_groups_alike_is_undecided():
    frame = runs({"sgd": 0.97, "sgdm": 0.97, "adagrad": 0.99})
    finding = ranking(frame, "optimizer", "accuracy", BEST_FIRST)
    assert verdict(finding) == "cannot be checked"
    assert finding.reason == "undecided"


def test_one_pair_the_other_way_is_enough_against_a_ranking():
    frame = runs({"sgd": 0.97, "sgdm": 0.95, "adagrad": 0.99})
    finding = ranking(frame, "optimizer", "accuracy", BEST_FIRST)
    assert verdict(finding) == "not reproduced"


def test_a_ranking_of_losses_has_the_lowest_first():
    frame = runs({"sgd": 0.3, "sgdm": 0.2})
    finding = ranking(frame, "optimizer", "accuracy", ["sgdm", "sgd"], False)
    assert verdict(finding) == "reproduced"


@pytest.mark.parametrize(
    ("higher_is_better", "expected"),
    [
        (True, r"best first: sgd 0\.3\d*, sgdm 0\.2\d*, n = 5"),
        (False, r"best first: sgdm 0\.2\d*, sgd 0\.3\d*, n = 5"),
    ],
)
def test_the_text_on_a_ranking_has_our_means_best_first(higher_is_better, expected):
    frame = runs({"sgd": 0.31, "sgdm": 0.21})
    order = ["sgdm", "sgd"]
    finding = ranking(frame, "optimizer", "accuracy", order, higher_is_better)
    assert re.fullmatch(expected, finding.regenerated)


def test_a_ranking_names_the_group_that_was_not_run():
    frame = runs({"sgd": 0.97, "sgdm": 0.95})
    finding = ranking(frame, "optimizer", "accuracy", ["adam", "sgd"])
    assert (finding.verdict, finding.reason) == ("cannot be checked", "not run: adam")


def test_one_seed_does_not_decide_a_ranking():
    frame = runs({"sgd": 0.97, "sgdm": 0.95}).query("seed == 0")
    finding = ranking(frame, "optimizer", "accuracy", ["sgd", "sgdm"])
    assert finding.verdict == "cannot be checked"


# The correction for many tests


def test_weak_support_is_enough_for_a_test_alone():
    assert verdict(Finding("", against=math.nan, support=0.02)) == "reproduced"


def test_weak_support_is_not_enough_for_one_of_four_tests():
    weak = [Finding("", against=math.nan, support=0.02) for _ in range(4)]
    decide(weak)
    assert {finding.verdict for finding in weak} == {"cannot be checked"}


def test_a_surprise_that_the_correction_takes_back_is_undecided():
    """Neither a match nor a difference: outside the interval, one of many tests."""
    surprises = [Finding("", against=0.02) for _ in range(4)]
    decide(surprises)
    assert {finding.verdict for finding in surprises} == {"cannot be checked"}


def test_an_undecided_finding_keeps_its_reason():
    finding = Finding("", reason="one seed each", against=0.5, support=0.5)
    decide([finding])
    assert finding.reason == "undecided; one seed each"


def test_a_verdict_without_a_test_stays_and_does_not_count():
    """Four findings without a test leave the level of the fifth as it is."""
    certain = [exact(1, 2) for _ in range(4)]
    tested = Finding("", against=math.nan, support=0.02)
    decide([*certain, tested])
    assert [finding.verdict for finding in certain] == ["wrong as stated"] * 4
    assert tested.verdict == "reproduced"
