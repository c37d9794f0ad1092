"""The rules of the outcomes, on planted cases and by simulation."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats as sps
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from mnistkit.claims import rules
from mnistkit.claims.curves import curve, negative_control
from mnistkit.claims.rules import (
    IMPRECISE,
    Evidence,
    Finding,
    NotRun,
    alike,
    check,
    decide,
    exact,
    fairest,
    false_discovery_rates,
    holds,
    numbers,
    ranking,
    together,
    trained_on_all,
)

SEEDS = 5
BEST_FIRST = ["adagrad", "sgdm", "sgd"]


def outcome(finding):
    """The outcome of a finding that is the only one of its report."""
    decide([finding])
    return finding.outcome


def scattered(mean, spread, n=SEEDS):
    """Values of n runs with exactly this mean and standard deviation."""
    values = np.arange(n) - (n - 1) / 2
    return mean + spread * values / values.std(ddof=1)


def runs(means, noise=0.001, seed=0, seeds=SEEDS):
    """A frame of scores: a mean per group, noise that the groups share and do not."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, noise, seeds)
    rows = [
        dict(optimizer=name, seed=i, score=mean + common[i] + rng.normal(0, noise))
        for name, mean in means.items()
        for i in range(seeds)
    ]
    return pd.DataFrame(rows)


def rank(frame, order=BEST_FIRST, margin=0.001, **options):
    return ranking(frame, "optimizer", "score", order, margin, **options)


def pair_outcomes(finding):
    return [pair["outcome"] for pair in finding.pairs]


def record(train_size, lr=0.1):
    """As much of a record as `Evidence` looks at."""
    return SimpleNamespace(
        data=dict(train_size=train_size, val_size=0, test_size=10),
        summary=dict(epochs_done=1),
        run=SimpleNamespace(seed=0, lr=lr, settings=lambda: {"lr": lr, "seed": 0}),
    )


# Evidence


def test_runs_gives_an_experiment_at_any_scale():
    small = record(train_size=1000)
    assert Evidence(None, {"r1": [small]}).runs("r1") == [small]


@pytest.mark.parametrize("records", [{}, {"r1": []}])
def test_runs_refuses_an_experiment_without_records(records):
    with pytest.raises(NotRun, match="to be trained: r1"):
        Evidence(None, records).runs("r1")


@pytest.mark.parametrize(("lr", "expected"), [(0.1, [0]), ([0.1, 0.2], [0, 1])])
def test_runs_may_be_chosen_by_a_setting(lr, expected):
    records = [record(1000, 0.1), record(1000, 0.2), record(1000, 0.3)]
    found = Evidence(None, {"r1": records}).runs("r1", lr=lr)
    assert [records.index(one) for one in found] == expected


def test_runs_names_the_setting_that_was_not_run():
    evidence = Evidence(None, {"r1": [record(1000, 0.1)]})
    with pytest.raises(NotRun, match=r"to be trained: r1 \(lr 0.2, 0.3\)"):
        evidence.runs("r1", lr=[0.1, 0.2, 0.3])


def test_full_gives_an_experiment_on_all_images():
    whole = record(train_size=50_000)
    assert Evidence(None, {"r1": [whole]}).full("r1") == [whole]


def test_full_refuses_an_experiment_if_one_run_had_few_images():
    evidence = Evidence(None, {"r1": [record(50_000), record(1000)]})
    with pytest.raises(NotRun, match="1,000 to 50,000 training"):
        evidence.full("r1")
    assert evidence.read == []  # a finding does not rest on what was refused


def test_evidence_remembers_what_was_read():
    records = {"r1": [record(50_000, 0.1), record(50_000, 0.2)], "r2": [record(1000)]}
    evidence = Evidence(None, records)
    evidence.runs("r1", lr=0.2)
    evidence.runs("r2")
    assert evidence.read == [records["r1"][1], records["r2"][0]]
    assert len(records["r1"]) == 2


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


@pytest.mark.parametrize(("found", "expected"), [(41_706, "agrees"), (1, "differs")])
def test_a_count_agrees_or_differs(found, expected):
    assert outcome(exact(41_706, found)) == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [(True, "agrees"), (np.bool_(True), "agrees"), (False, "differs")],
)
def test_a_statement_holds_or_not(statement, expected):
    assert outcome(holds(statement, "what was found")) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
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
def test_what_was_found_is_text(found, expected):
    assert exact(0, found).regenerated == expected


def test_a_finding_keeps_its_reason():
    assert exact(1, 2, "2 is right").reason == "2 is right"


# Measured numbers: planted cases


def test_a_number_close_to_precise_runs_agrees():
    finding = numbers(0.9903, scattered(0.99, 0.0002), 0.0001, margin=0.001)
    assert outcome(finding) == "agrees"


def test_a_number_far_off_differs():
    finding = numbers(0.97, scattered(0.99, 0.001), 0.01, margin=0.001)
    assert outcome(finding) == "differs"


def test_a_number_inside_a_wide_interval_is_not_decided():
    finding = numbers(0.9901, scattered(0.99, 0.002), 0.0001, margin=0.001)
    assert finding.points[0]["inside"]
    assert outcome(finding) == IMPRECISE
    # 2.776 = Student's t for 4 degrees of freedom; sqrt(1 + 1/5) = 1.095; 0.00824
    # standard errors of 0.00219 are 3.761, which finds with a chance of 80 %.
    assert finding.reason == (
        "runs like ours would detect a difference of 0.00824 with a chance of 80 %; "
        "0.00100 would matter"
    )


def test_a_difference_beyond_chance_but_surely_below_the_margin_is_none():
    finding = numbers(0.9904, scattered(0.99, 0.00001), 0, margin=0.001)
    assert finding.points[0]["p"] < 1e-5
    assert outcome(finding) == "agrees"


def test_two_runs_do_not_decide_about_a_number():
    finding = numbers(0.99, [0.9901, 0.9899], 0.0001, 0.001)
    assert outcome(finding) == IMPRECISE
    assert finding.reason == "2 runs are too few, 3 are needed"


def test_a_run_that_diverged_does_not_count():
    finding = numbers(0.3, [0.3, math.nan, 0.31, math.inf], 0.1, 0.1, log=True)
    assert finding.limit == "2 runs are too few, 3 are needed"


@pytest.mark.parametrize("reported", [1.0, 2.0])
def test_runs_that_agree_to_the_last_digit_decide_nothing(reported):
    finding = numbers(reported, [1.0] * 3, 0, 0.1)
    assert outcome(finding) == IMPRECISE


def test_the_text_on_one_number_has_its_interval():
    text = numbers(0.98, [0.97, 0.98, 0.99], 0.01, 0.01).regenerated
    # 4.303 * 0.01 * sqrt(1 + 1/3), and half a unit, 0.005
    assert text == "0.980 (one more run, with rounding, 0.925 to 1.03, 3 runs)"


def test_no_share_is_above_one():
    finding = numbers(0.98, [0.97, 0.98, 0.99], 0.01, 0.01, share=True)
    interval = "one more run, with rounding, 92.53 to 100.00"
    assert finding.regenerated == f"98.00 % ({interval}, 3 runs)"
    assert finding.points[0]["high"] == 1
    assert finding.limit.endswith(
        "points with a chance of 80 %; 1.00 points would matter"
    )


def test_the_text_on_several_numbers_counts_those_inside():
    ours = np.array([[1, 2, 3, 4], [1.1, 2.1, 3.1, 4.1], [0.9, 1.9, 2.9, 3.9]])
    text = numbers([1, 2, 30, 4], ours, 0, 1).regenerated
    assert text == (
        "3 of 4 numbers lie where one more run of ours could (3 runs); 3 are surely "
        "closer to our mean than 1.00, 1 surely different"
    )
    few = numbers([1, 2], ours[:, :2], 0, 1, labels=["train", "test"]).regenerated
    assert few.startswith("train 1.00 (one more run") and "; test 2.00 (" in few


@pytest.mark.parametrize(("unit", "expected"), [(0.01, "agrees"), (0.001, "differs")])
def test_a_number_may_be_off_by_half_a_unit(unit, expected):
    """0.975 rounds to 0.98, not to 0.980."""
    finding = numbers(0.98, scattered(0.975, 0.0001), unit, margin=0.001)
    assert outcome(finding) == expected


def test_each_number_may_have_its_own_unit():
    ours = np.column_stack([scattered(0.975, 0.0001)] * 2)
    points = numbers([0.98, 0.98], ours, [0.01, 0.001], 0.001).points
    assert [point["inside"] for point in points] == [True, False]


def test_a_point_that_is_inside_lies_between_low_and_high():
    points = numbers([0.975, 0.9849], [[0.97] * 2, [0.98] * 2, [0.978] * 2], 0.01, 1)
    for point in points.points:
        inside = point["low"] <= point["reported"] <= point["high"]
        assert inside == point["inside"]


def test_one_false_number_among_many_is_found():
    rng = np.random.default_rng(2)
    reported = rng.normal(0, 1, 45)
    reported[7] = 60.0
    finding = numbers(reported, rng.normal(0, 1, (SEEDS, 45)), 0, 1)
    assert outcome(finding) == "differs"
    assert finding.regenerated.endswith(", 1 surely different")


def test_all_numbers_must_agree():
    ours = np.column_stack([scattered(1, 0.01), scattered(1, 0.3)])
    finding = numbers([1, 1], ours, 0, margin=0.1)
    assert [point["within"] for point in finding.points] == [True, False]
    assert outcome(finding) == IMPRECISE


# Measured numbers: losses, on the logarithmic scale


@pytest.mark.parametrize("size", [0.001, 1, 1000])
def test_a_margin_for_losses_is_a_share(size):
    ours = size * np.exp(scattered(0, 0.01))
    outcomes = [
        outcome(numbers(size * factor, ours, 0, margin=0.1, log=True))
        for factor in (1.05, 1.3)
    ]
    assert outcomes == ["agrees", "differs"]


def test_what_is_said_of_a_loss_is_in_percent():
    finding = numbers(1.0, np.exp(scattered(0, 0.1)), 0, margin=0.1, log=True)
    [point] = finding.points
    half_width = sps.t.isf(0.025, 4) * 0.1 * math.sqrt(1.2)
    assert point["mean"] == pytest.approx(1)  # the geometric mean
    assert point["high"] == pytest.approx(math.exp(half_width))
    assert point["precision"] == pytest.approx(math.expm1(half_width))
    found = point["detectable"]
    assert finding.limit == (
        f"runs like ours would detect a difference of {100 * found:.0f} % with a "
        "chance of 80 %; 10 % would matter"
    )


def test_a_loss_that_is_rounded_to_nothing_may_be_tiny():
    assert numbers(0.000, [1e-4, 2e-4, 3e-4], 0.001, 0.1, log=True).points[0]["inside"]


def test_a_negative_number_has_no_logarithm():
    with pytest.raises(ValueError, match="no logarithm"):
        numbers(1.0, [1.0, 2.0, -1.0], 0, 0.1, log=True)


# Measured numbers: error rates by simulation


def test_the_interval_is_that_of_one_more_run():
    """95 of 100 further runs lie in it, not 95 of 100 means."""
    rng = np.random.default_rng(1)
    ours, further = rng.normal(size=(SEEDS, 4000)), rng.normal(size=4000)
    inside = [point["inside"] for point in numbers(further, ours, 0, 1).points]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_true_claims_seldom_differ(correlation):
    """Claims of 45 numbers, which may rise and fall together: 5 % differ at most."""
    rng = np.random.default_rng(2)

    def draw(n):
        common = rng.normal(size=(n, 1)) * math.sqrt(correlation)
        return common + rng.normal(size=(n, 45)) * math.sqrt(1 - correlation)

    differ = [outcome(numbers(draw(1)[0], draw(SEEDS), 0, 1)) for _ in range(200)]
    assert differ.count("differs") / 200 < 0.08


@pytest.mark.parametrize("others", [0, 29])
def test_a_true_claim_seldom_differs_whatever_stands_beside_it(others):
    """True claims, alone or beside false ones of the same report: 5 % differ."""
    rng = np.random.default_rng(3)
    false = [Finding(IMPRECISE, p=1e-6) for _ in range(others)]
    wrongly = 0
    for _ in range(1000):
        finding = numbers(rng.normal(), rng.normal(size=SEEDS), 0, 0.1)
        decide([finding, *false])
        wrongly += finding.outcome == rules.DIFFERS
    assert wrongly / 1000 == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_a_true_claim_of_several_parts_seldom_differs(correlation):
    """Three parts, of which one has two numbers, one a curve and one a pair."""
    rng = np.random.default_rng(7)

    def draw(n, k):
        common = rng.normal(size=(n, 1)) * math.sqrt(correlation)
        return common + rng.normal(size=(n, k)) * math.sqrt(1 - correlation)

    differ = 0
    for _ in range(300):
        theirs, ours = draw(1, 8)[0], draw(SEEDS, 10)
        pair = pd.DataFrame({"a": ours[:, 8], "b": ours[:, 9], "seed": range(SEEDS)})
        pair = pair.melt("seed", ["a", "b"], "group", "score")
        parts = [
            numbers(theirs[:2], ours[:, :2], 0, 0.1, parts=3),
            curve(theirs[2:], ours[:, 2:8], 0, 0.1, parts=3),
            alike(pair, "group", "score", ["a", "b"], margin=0.1, parts=3),
        ]
        differ += outcome(together(parts)) == rules.DIFFERS
    assert differ / 300 < 0.08


# What is shown decides


@pytest.mark.parametrize("parts", [1, 2])
def test_numbers_differ_if_an_interval_shown_excludes_one(parts):
    rng = np.random.default_rng(8)
    outcomes = set()
    for _ in range(200):
        theirs, ours = rng.normal(0, 4, 2), rng.normal(size=(SEEDS, 2))
        finding = numbers(theirs, ours, 0.2, 1e-9, parts=parts)
        excluded = any(
            not point["joint_low"] <= point["reported"] <= point["joint_high"]
            for point in finding.points
        )
        shown = finding.joint
        outcomes.add(outcome(finding))
        assert (finding.outcome == rules.DIFFERS) == excluded
        assert finding.regenerated == shown
        assert f"{100 * (1 - 0.05 / 2 / parts):.3g} %:" in shown
    assert outcomes == {"differs", IMPRECISE}


@pytest.mark.parametrize("parts", [1, 3])
def test_groups_differ_if_the_interval_shown_excludes_zero(parts):
    outcomes = set()
    for seed in range(100):
        frame = runs({"sgd": 0.0, "sgdm": 1.0}, noise=1.0, seed=seed)
        groups, score = ["sgd", "sgdm"], "score"
        finding = alike(frame, "optimizer", score, groups, 1e-9, parts=parts)
        outcomes.add(outcome(finding))
        level = f"({100 * (1 - 0.05 / parts):.3g} % interval "
        low, _, high = finding.regenerated.partition(level)[2].split(", ")[0].split()
        low, high = (float(end.replace("−", "-")) for end in (low, high))
        excluded = low * high > 0
        assert (finding.outcome == rules.DIFFERS) == excluded
    assert outcomes == {"differs", IMPRECISE}


def test_a_pair_that_is_equivalent_is_shown_with_its_90_percent_interval():
    frame = runs({"sgd": 0.97, "sgdm": 0.97}, noise=0.001)
    finding = alike(frame, "optimizer", "score", ["sgd", "sgdm"], margin=0.005)
    assert outcome(finding) == "agrees"
    assert " (90 % interval " in finding.regenerated
    assert finding.regenerated.endswith("surely below the 0.00500 that would matter")


def test_numbers_that_agree_tell_what_a_difference_is_surely_below():
    finding = numbers(0.9903, scattered(0.99, 0.0002), 0, margin=0.001)
    # 2.132 = Student's t for 4 degrees of freedom, one-sided at 5 %
    apart = 0.0003 + 2.132 * 0.0002 * math.sqrt(1.2)
    assert finding.points[0]["apart"] == pytest.approx(apart, abs=1e-6)
    assert outcome(finding) == "agrees"
    assert finding.reason == (
        "beyond rounding surely less than 0.000767 apart; 0.00100 would matter"
    )


def test_a_number_agrees_if_the_difference_is_surely_below_the_margin():
    rng = np.random.default_rng(9)
    reported, ours = rng.normal(0, 0.4, 500), rng.normal(0, 0.2, (SEEDS, 500))
    points = numbers(reported, ours, 0.1, margin=0.5).points
    assert {point["within"] for point in points} == {True, False}
    for point in points:
        assert point["within"] == (point["apart"] < point["margin"])


@pytest.mark.parametrize("spread", [0.03, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("unit", [0, 0.5])
def test_numbers_that_are_off_by_the_margin_seldom_agree(spread, unit):
    """The margin is 1, whatever the spread; rounding may hide up to a unit more."""
    rng = np.random.default_rng(4)
    true = 1 + unit + rng.normal(0, spread, 3000)
    reported = np.round(true / unit) * unit if unit else true
    points = numbers(reported, rng.normal(0, spread, (SEEDS, 3000)), unit, 1).points
    assert np.mean([point["within"] for point in points]) < 0.06


def test_precise_runs_seldom_miss_that_a_number_agrees():
    rng = np.random.default_rng(5)
    points = numbers(rng.normal(0, 0.2, 2000), rng.normal(0, 0.2, (10, 2000)), 0, 1)
    assert np.mean([point["within"] for point in points.points]) > 0.95


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_detectable_difference_is_found_with_a_chance_of_80_percent(n):
    [point] = numbers(0, scattered(0, 1, n), 0, 1).points
    power = TTestIndPower().power(point["detectable"], n, 0.05, ratio=1 / n)
    assert power == pytest.approx(0.8, abs=1e-5)


# Curves


EPOCH = np.linspace(0.1, 3, 18)
LOSSES = np.exp(-EPOCH)  # as good as any


def trainings(rng, n=6, scatter=0.06, shift=0.0):
    """Losses [n, 18]: each number of a log scatters, and the logs as a whole less."""
    whole = rng.normal(0, scatter / 6, (n, 1))
    return LOSSES * np.exp(shift + whole + rng.normal(0, scatter, (n, 18)))


def judge_curve(rng, shift=0.0, **options):
    [reported] = np.round(trainings(rng, 1, shift=shift), 3)
    return curve(reported, trainings(rng), 0.001, 0.1, log=True, **options)


def test_a_curve_agrees_in_the_mean_though_its_numbers_are_imprecise():
    finding = judge_curve(np.random.default_rng(0))
    assert not all(point["within"] for point in finding.points)
    assert outcome(finding) == "agrees"


def test_a_curve_that_is_30_percent_off_differs():
    assert outcome(judge_curve(np.random.default_rng(0), shift=0.3)) == "differs"


def test_a_curve_with_one_false_number_differs():
    rng = np.random.default_rng(0)
    [reported] = trainings(rng, 1)
    reported[4] *= 3
    finding = curve(reported, trainings(rng, 10), 0, 0.2, log=True)
    assert outcome(finding) == "differs"
    assert finding.regenerated.endswith(" of 18 inside, 1 surely different")


def test_two_runs_do_not_decide_about_a_curve():
    finding = curve(LOSSES, trainings(np.random.default_rng(0), 2), 0, 0.1, log=True)
    assert outcome(finding) == IMPRECISE
    assert finding.reason == "2 runs are too few, 3 are needed"


def test_a_curve_of_accuracies_is_judged_on_their_own_scale():
    rng = np.random.default_rng(0)
    reported = np.array([98, 99, 99]) + 0.5  # cut off, not rounded
    ours = np.array([98.4, 99.1, 99.2]) + rng.normal(0, 0.02, (5, 3))
    assert outcome(curve(reported, ours, 1, 0.1)) == "agrees"
    assert outcome(curve(reported - 2, ours, 1, 0.1)) == "differs"


def test_a_curve_tells_its_mean_and_keeps_its_controls():
    rng = np.random.default_rng(0)
    wrong = {"lr 0.1": trainings(rng, shift=1), "epoch 2": trainings(rng, shift=-1)}
    finding = judge_curve(rng, wrong=wrong)
    assert finding.regenerated.startswith("mean 0.2")
    assert finding.regenerated.endswith("6 runs), 16 of 18 inside")
    assert [row["setting"] for row in finding.controls] == list(wrong)


def test_a_negative_control_that_is_not_wrong_agrees():
    rng = np.random.default_rng(0)
    wrong = {"far": trainings(rng, shift=1), "the same": trainings(rng)}
    table = negative_control(LOSSES, wrong, 0.001, 0.1, log=True)
    assert table["outcome"].to_list() == ["differs", "agrees"]
    assert table["of"].to_list() == [18, 18]


def test_error_rates_of_curves():
    """True curves seldom differ; those off by the margin seldom agree."""
    rng = np.random.default_rng(6)
    outcomes = {0.0: [], math.log(1.1): []}
    for shift, found in outcomes.items():
        for _ in range(100):
            [reported] = np.round(trainings(rng, 1, shift=shift), 3)
            ours = {"ours": trainings(rng)}
            table = negative_control(reported, ours, 0.001, 0.1, log=True)
            found += table["outcome"].to_list()
    true, wrong = outcomes.values()
    assert true.count("differs") < 10 and true.count("agrees") > 80
    assert wrong.count("agrees") < 10


# Rankings: planted cases


def test_a_true_ranking_agrees():
    finding = rank(runs({"sgd": 0.95, "sgdm": 0.97, "adagrad": 0.99}))
    assert outcome(finding) == "agrees"
    assert finding.regenerated.startswith("0.990 (Adagrad), 0.969 (SGDM), 0.9")
    assert finding.regenerated.endswith("5 runs each; of 3 pairs 3 as claimed")


def test_a_reversed_ranking_differs():
    frame = runs({"sgd": 0.95, "sgdm": 0.97, "adagrad": 0.99})
    finding = rank(frame, BEST_FIRST[::-1])
    assert outcome(finding) == "differs"
    assert set(pair_outcomes(finding)) == {"reversed"}


def test_one_reversed_pair_is_enough_against_a_ranking():
    finding = rank(runs({"sgd": 0.97, "sgdm": 0.95, "adagrad": 0.99}))
    assert outcome(finding) == "differs"
    assert pair_outcomes(finding) == ["as claimed", "as claimed", "reversed"]


def test_one_equivalent_pair_is_enough_against_a_ranking():
    frame = runs({"sgd": 0.97, "sgdm": 0.97, "adagrad": 0.99}, seeds=10)
    finding = rank(frame, margin=0.005)
    assert outcome(finding) == "differs"
    assert finding.regenerated.endswith("of 3 pairs 2 as claimed, 1 equivalent")


def test_an_open_pair_leaves_a_ranking_open():
    finding = rank(runs({"sgd": 0.97, "sgdm": 0.97, "adagrad": 0.99}), margin=0.0001)
    assert outcome(finding) == IMPRECISE
    assert pair_outcomes(finding)[-1] == "open"
    assert finding.reason.startswith("runs like ours would detect a difference of 0.0")


def test_a_sure_difference_below_the_margin_still_ranks():
    """An order is claimed, not that the groups are far apart."""
    frame = runs({"sgd": 0.97, "sgdm": 0.98}, noise=1e-5)
    assert outcome(rank(frame, ["sgdm", "sgd"], margin=0.1)) == "agrees"


def test_a_ranking_of_losses_has_the_lowest_first():
    frame = runs({"sgd": 0.3, "sgdm": 0.2})
    finding = rank(frame, ["sgdm", "sgd"], 0.1, higher_is_better=False, log=True)
    assert outcome(finding) == "agrees"
    [pair] = finding.pairs
    assert pair["difference"] == pytest.approx(-1 / 3, abs=0.01)  # a third lower
    assert finding.regenerated.startswith("0.199 (SGDM), 0.300 (SGD); difference −34 %")


def test_losses_that_more_than_double_are_told_as_a_ratio():
    frame = runs({"sgd": 3.0, "sgdm": 0.15}, noise=0.001)
    finding = rank(frame, ["sgd", "sgdm"], 0.1, higher_is_better=False, log=True)
    assert "; ratio 20 (95 % interval 20 to 20, 5 runs)" in finding.regenerated
    wide = numbers(1.0, np.exp(scattered(0, 0.5)), 0, margin=0.1, log=True)
    ratio = 1 + wide.points[0]["detectable"]
    assert wide.limit == (
        f"runs like ours would detect a ratio of {ratio:.1f} with a chance of 80 %; a "
        "ratio of 1.1 would matter"
    )


def test_a_ranking_names_the_group_that_was_not_run():
    with pytest.raises(NotRun, match="to be trained: Adam"):
        rank(runs({"sgd": 0.97, "sgdm": 0.95}), ["adam", "sgd"])


def test_two_seeds_do_not_decide_a_ranking():
    finding = rank(runs({"sgd": 0.1, "sgdm": 0.9}, seeds=2), ["sgdm", "sgd"])
    assert outcome(finding) == IMPRECISE
    assert finding.reason == "2 runs are too few, 3 are needed"


def test_differences_that_are_all_the_same_do_not_decide_a_ranking():
    frame = runs({"sgd": 0.1, "sgdm": 0.9}, noise=0)
    assert outcome(rank(frame, ["sgdm", "sgd"])) == IMPRECISE


def test_a_run_that_diverged_is_left_out_of_a_ranking():
    frame = runs({"sgd": 0.95, "sgdm": 0.97})
    frame.loc[0, "score"] = math.nan
    assert rank(frame, ["sgdm", "sgd"]).pairs[0]["n"] == SEEDS - 1


def test_a_pairing_needs_each_seed_once():
    frame = runs({"sgd": 0.95, "sgdm": 0.97}).assign(seed=0)
    with pytest.raises(ValueError, match="a seed more than once"):
        rank(frame, ["sgdm", "sgd"])


def test_pairing_finds_what_the_noise_of_the_seeds_hides():
    frame = runs({"sgd": 0.97, "sgdm": 0.98})
    frame["score"] += 0.1 * frame["seed"]
    outcomes = [
        outcome(rank(frame, ["sgdm", "sgd"], paired=paired)) for paired in (True, False)
    ]
    assert outcomes == ["agrees", IMPRECISE]


def test_the_tests_of_a_pair_are_those_of_scipy_and_statsmodels():
    frame = runs({"sgd": 0.97, "sgdm": 0.9705})
    a, b = (frame.loc[frame["optimizer"] == g, "score"] for g in ("sgdm", "sgd"))
    a, b, margin = a.to_numpy(), b.to_numpy(), 0.001
    expected = {
        True: (sps.ttest_rel(a, b), ttost_paired(a, b, -margin, margin)[0]),
        False: (
            sps.ttest_ind(a, b, equal_var=False),
            ttost_ind(a, b, -margin, margin, usevar="unequal")[0],
        ),
    }
    for paired, (result, p_equivalent) in expected.items():
        [pair] = rank(frame, ["sgdm", "sgd"], margin, paired=paired).pairs
        interval = result.confidence_interval(0.95)
        assert pair["difference"] == pytest.approx(a.mean() - b.mean())
        assert (pair["low"], pair["high"]) == pytest.approx(tuple(interval))
        assert pair["p"] == pytest.approx(result.pvalue)
        assert pair["p_equivalent"] == pytest.approx(p_equivalent)


def test_the_90_percent_interval_of_an_equivalent_pair_is_within_the_margin():
    for seed in range(20):
        frame = runs({"sgd": 0.97, "sgdm": 0.9705}, seed=seed, seeds=10)
        [pair] = rank(frame, ["sgdm", "sgd"], 0.001).pairs
        within = -0.001 < pair["low90"] and pair["high90"] < 0.001
        assert within == (pair["p_equivalent"] < 0.05)


def test_the_detectable_difference_of_a_pair_is_found_with_a_chance_of_80_percent():
    frame = pd.DataFrame(
        {"g": ["a"] * 6 + ["b"] * 6, "seed": [*range(6)] * 2, "x": 0.0}
    )
    frame.loc[:5, "x"] = scattered(0, 1, 6)
    [pair] = ranking(frame, "g", "x", ["a", "b"], margin=1).pairs
    power = TTestPower().power(pair["detectable"], nobs=6, alpha=0.05)
    assert power == pytest.approx(0.8, abs=1e-5)


# Rankings: error rates by simulation


def rates(truth, claim=rank, repeats=80, **options):
    """The share of each outcome over simulated trainings with these true means."""
    outcomes = [
        outcome(claim(runs(truth, noise=1.0, seed=seed), margin=3.0, **options))
        for seed in range(repeats)
    ]
    return (
        pd.Series(outcomes)
        .value_counts(normalize=True)
        .reindex(rules.OUTCOMES, fill_value=0)
    )


@pytest.mark.parametrize("paired", [True, False])
def test_a_true_ranking_seldom_differs(paired):
    """Neighbours are apart by just the margin."""
    truth = {"adagrad": 6.0, "sgdm": 3.0, "sgd": 0.0}
    assert rates(truth, paired=paired)["differs"] < 0.09


@pytest.mark.parametrize("paired", [True, False])
def test_a_false_ranking_seldom_agrees(paired):
    """The last two are equal, or the other way round by the margin."""
    for last in (3.0, 6.0):
        truth = {"adagrad": 20.0, "sgdm": 3.0, "sgd": last}
        assert rates(truth, paired=paired)["agrees"] < 0.09


def test_a_false_ranking_is_often_found_out():
    truth = {"adagrad": 20.0, "sgdm": 0.0, "sgd": 9.0}
    assert rates(truth)["differs"] > 0.9


def claim_alike(frame, margin):
    return alike(frame, "optimizer", "score", ["sgd", "sgdm"], margin)


def test_groups_that_are_apart_by_the_margin_are_seldom_alike():
    assert rates({"sgd": 0.0, "sgdm": 3.0}, claim_alike)["agrees"] < 0.09


def test_groups_that_are_alike_seldom_differ():
    assert rates({"sgd": 0.0, "sgdm": 0.0}, claim_alike)["differs"] < 0.09


# Groups that are alike: planted cases


@pytest.mark.parametrize(
    ("gap", "noise", "expected", "pair"),
    [
        (0.0, 0.001, "agrees", "equivalent"),
        (0.02, 0.001, "differs", "different"),
        (0.0, 0.1, IMPRECISE, "open"),
        (0.003, 0.0001, "agrees", "equivalent"),
    ],
)
def test_groups_are_alike_or_not(gap, noise, expected, pair):
    frame = runs({"sgd": 0.97, "sgdm": 0.97 + gap}, noise)
    finding = alike(frame, "optimizer", "score", ["sgd", "sgdm"], margin=0.005)
    assert outcome(finding) == expected
    assert pair_outcomes(finding) == [pair]


# Parts, readings and decisions


def planted(outcome, p=math.nan, parts=2):
    points = [{"label": outcome}]
    return Finding(outcome, regenerated=outcome, p=p, parts=parts, points=points)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([planted("agrees"), planted("agrees", 1.0)], "agrees"),
        ([planted("agrees"), planted("differs")], "differs"),
        ([planted("agrees", 1.0), planted(IMPRECISE, 0.04)], "differs"),
        ([planted("agrees", 1.0), planted(IMPRECISE, 0.06)], IMPRECISE),
    ],
)
def test_a_claim_of_parts_agrees_if_all_do_and_differs_if_one_does(parts, expected):
    first, second = parts
    assert outcome(together({"loss": first, "accuracy": second})) == expected


def test_a_claim_of_parts_keeps_what_each_part_found():
    finding = together({"a": planted("agrees"), "b": planted("agrees")}, "a reason")
    assert finding.regenerated == "a: agrees. b: agrees"
    assert together([planted("agrees"), planted("differs")]).regenerated == (
        "agrees. differs"
    )
    assert finding.reason == "a reason"
    assert len(finding.points) == 2


@pytest.mark.parametrize(
    ("as_written", "other", "expected", "reading"),
    [
        (planted("agrees"), planted("agrees"), "agrees", ""),
        (planted("differs"), planted("agrees"), "agrees only if", "scaled"),
        (planted(IMPRECISE, 0.001), planted("differs"), "differs", ""),
        (planted("differs"), planted(IMPRECISE), IMPRECISE, ""),
        (
            planted(IMPRECISE, 1e-9),
            planted(IMPRECISE, 0.2),
            IMPRECISE,
            "",
        ),
    ],
)
def test_a_claim_is_read_in_the_authors_favour(as_written, other, expected, reading):
    finding = fairest(as_written, {"scaled": other})
    assert outcome(finding) == expected
    assert finding.reading == reading


def test_a_finding_without_a_test_stays_and_does_not_count():
    """Four findings without a test leave the level of the fifth as it is."""
    certain = [exact(1, 1) for _ in range(4)]
    tested = Finding(IMPRECISE, p=0.04)
    decide([*certain, tested])
    assert [finding.outcome for finding in certain] == ["agrees"] * 4
    assert tested.outcome == "differs"


def test_parts_have_to_be_corrected_for_their_number():
    parts = [planted(IMPRECISE, 0.04, parts=1), planted("agrees", 1.0, parts=2)]
    with pytest.raises(ValueError, match="corrected for 2 parts"):
        together(parts)


def test_the_false_discovery_rates_are_those_of_statsmodels():
    p_values = [0.04, 0.001, 0.018, 0.2, 0.012]
    _, expected, *_ = multipletests(p_values, method="fdr_bh")
    found = false_discovery_rates([*p_values, math.nan])
    assert found[:-1] == pytest.approx(expected)
    assert math.isnan(found[-1])


def test_that_a_difference_may_be_chance_among_many_is_told():
    findings = [Finding(IMPRECISE, p=p, reason="as is") for p in (0.04, 0.5, 0.001)]
    decide(findings)
    assert [f.outcome for f in findings] == ["differs", IMPRECISE, "differs"]
    assert findings[0].reason == (
        "p = 0.04 (false discovery rate 6 % among 3 tested claims); as is"
    )
    assert findings[2].reason == "as is"


def test_the_imprecision_is_no_reason_where_a_claim_differs():
    finding = Finding(IMPRECISE, p=0.01, limit="known to ±1", reason="as is")
    assert outcome(finding) == "differs"
    assert finding.reason == "as is"


def test_a_decision_may_be_repeated():
    finding = numbers(0.9901, scattered(0.99, 0.002), 0.0001, 0.001)
    decide([finding])
    reason = finding.reason
    decide([finding])
    assert finding.reason == reason
