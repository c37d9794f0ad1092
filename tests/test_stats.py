"""Intervals, tests and tables against scipy, sklearn and numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as sps
from sklearn import metrics

from mnistkit import stats


@pytest.fixture(scope="module")
def answers():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 2000)
    wrong = rng.random(2000) < 0.1
    return labels, np.where(wrong, rng.integers(0, 10, 2000), labels)


def seeds(**groups):
    """A tidy frame: one row per group and seed."""
    rows = [(g, s, v) for g, vs in groups.items() for s, v in enumerate(vs)]
    return pd.DataFrame(rows, columns=["optimizer", "seed", "accuracy"])


def test_mean_interval_is_students_t():
    # t(0.975, 2) = 4.302653; values 1, 2, 3 have standard error 1 / sqrt(3)
    half = 4.302653 / 3**0.5
    expected = pytest.approx((2, 2 - half, 2 + half), rel=1e-6)
    assert stats.mean_interval([1, 2, 3]) == expected


def test_mean_interval_agrees_with_scipy_at_another_level():
    values = np.random.default_rng(1).normal(size=7)
    expected = sps.ttest_1samp(values, 0).confidence_interval(0.9)
    assert stats.mean_interval(values, 0.9)[1:] == pytest.approx(tuple(expected))


def test_one_value_has_a_mean_and_no_interval():
    mean, *interval = stats.mean_interval([0.5])
    assert mean == 0.5
    assert np.isnan(interval).all()


def test_no_value_has_no_mean():
    assert np.isnan(stats.mean_interval([])).all()


def test_wilson_interval_known_values():
    # closed form for 0 of n: high = z^2 / (n + z^2); for 8 of 10 the textbook value
    z2 = sps.norm.ppf(0.975) ** 2
    assert stats.proportion_interval(0, 10) == pytest.approx((0, z2 / (10 + z2)))
    assert stats.proportion_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_more_successes_than_attempts_are_refused():
    with pytest.raises(ValueError, match="11 successes of 10"):
        stats.proportion_interval(11, 10)


DIVERGED = {"sgd": [0.9, 0.8], "adam": [0.7, np.nan], "bad": [np.nan, np.inf]}


def test_summarize_keeps_the_order_of_the_groups():
    table = stats.summarize(seeds(**DIVERGED), "optimizer", "accuracy")
    assert list(table.columns) == ["optimizer", "mean", "low", "high", "n"]
    assert list(table["optimizer"]) == ["sgd", "adam", "bad"]


def test_summarize_counts_finite_values_only():
    table = stats.summarize(seeds(**DIVERGED), "optimizer", "accuracy")
    assert list(table["n"]) == [2, 1, 0]
    assert list(table["mean"]) == pytest.approx([0.85, 0.7, np.nan], nan_ok=True)


def test_summarize_takes_several_columns():
    table = stats.summarize(seeds(**DIVERGED), ["optimizer", "seed"], "accuracy")
    assert list(table.columns[:2]) == ["optimizer", "seed"]
    assert len(table) == 6


def test_confusion_rows_are_the_true_digits():
    matrix = stats.confusion([4, 4, 4, 9], [4, 9, 9, 9])
    expected = np.zeros((10, 10), int)
    expected[4, 4], expected[4, 9], expected[9, 9] = 1, 2, 1
    np.testing.assert_array_equal(matrix, expected)


def test_confusion_takes_digits_only():
    with pytest.raises(ValueError, match="predictions must be digits"):
        stats.confusion([1, 2], [1, 10])


@pytest.fixture(scope="module")
def by_digit(answers):
    return stats.class_table(*answers).set_index("digit")


def test_class_table_agrees_with_sklearn(answers, by_digit):
    report = metrics.classification_report(*answers, output_dict=True)
    names = {"macro": "macro avg", "weighted": "weighted avg"}
    for row in [*map(str, range(10)), "macro", "weighted"]:
        expected = list(report[names.get(row, row)].values())
        assert list(by_digit.loc[row]) == pytest.approx(expected), row


def test_the_accuracy_row_holds_the_accuracy_three_times(answers, by_digit):
    labels, predictions = answers
    accuracy = (labels == predictions).mean()
    assert list(by_digit.loc["accuracy"]) == pytest.approx([accuracy] * 3 + [2000])


def test_class_table_follows_the_definitions(answers, by_digit):
    labels, predictions = answers
    tp = ((labels == 3) & (predictions == 3)).sum()
    precision, recall = tp / (predictions == 3).sum(), tp / (labels == 3).sum()
    f1 = 2 / (1 / precision + 1 / recall)
    found = by_digit.loc["3", ["precision", "recall", "f1"]]
    assert list(found) == pytest.approx([precision, recall, f1])


def test_class_table_without_a_digit_gives_zero_not_a_warning():
    table = stats.class_table([0, 1], [0, 0])
    assert len(table) == 13
    assert table["precision"][1] == 0  # no image is called a 1
    assert table["recall"][7] == 0  # no image is a 7


def test_most_confused_leaves_the_diagonal_out():
    matrix = np.diag([50] * 10)
    matrix[4, 9], matrix[7, 2] = 10, 50
    table = stats.most_confused(matrix, 5)
    pairs = table[["true", "predicted", "count"]].values.tolist()
    assert pairs == [[7, 2, 50], [4, 9, 10]]
    assert list(table["share"]) == pytest.approx([0.5, 10 / 60])


def test_most_confused_gives_as_many_pairs_as_asked():
    matrix = np.diag([50] * 10)
    matrix[4, 9], matrix[7, 2] = 10, 50
    table = stats.most_confused(matrix, 1)
    assert table[["true", "predicted"]].values.tolist() == [[7, 2]]


def test_mcnemar_known_value():
    labels = np.zeros(100, int)
    a, b = labels.copy(), labels.copy()
    b[:9], a[9:10] = 1, 1  # 9 images only a gets right, 1 only b
    result = stats.mcnemar(labels, a, b)
    assert (result["only_a"], result["only_b"]) == (9, 1)
    assert result["p"] == pytest.approx(2 * (1 + 10) / 2**10)  # 0.021484


def test_mcnemar_of_equal_predictions_finds_nothing():
    labels = np.zeros(100, int)
    assert stats.mcnemar(labels, labels, labels)["p"] == 1


def test_holm_by_hand():
    p = [0.04, 0.01, np.nan, 0.03]
    # sorted 0.01*3, 0.03*2, 0.04*1 -> made monotone
    assert stats.holm(p) == pytest.approx([0.06, 0.03, np.nan, 0.06], nan_ok=True)


def test_holm_stays_at_one_or_below():
    assert list(stats.holm([0.9, 0.8])) == [1, 1]


@pytest.fixture(scope="module")
def pair():
    """Accuracies of two groups, five seeds each; the seeds differ more than they."""
    rng = np.random.default_rng(0)
    base = rng.normal(0.95, 0.02, 5)
    return base, base + 0.01 + rng.normal(0, 0.001, 5)


def paired(sgd, adam, **options):
    """The only row of the paired test of two groups."""
    frame = seeds(sgd=sgd, adam=adam)
    (row,) = stats.paired_test(frame, "optimizer", "accuracy", **options).itertuples()
    return row


def test_paired_test_agrees_with_scipy(pair):
    row, expected = paired(*pair), sps.ttest_rel(*pair)
    assert (row.a, row.b, row.n) == ("sgd", "adam", 5)
    assert row.p == pytest.approx(expected.pvalue)
    assert (row.low, row.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_one_comparison_needs_no_correction(pair):
    row = paired(*pair)
    assert row.p_holm == row.p


def test_pairing_finds_what_the_spread_of_the_seeds_hides(pair):
    assert sps.ttest_ind(*pair).pvalue > 0.05
    assert paired(*pair).verdict == "adam"


def test_the_verdict_names_the_lower_loss(pair):
    assert paired(*pair, higher_is_better=False).verdict == "sgd"


def test_pairs_are_matched_by_seed_not_by_row():
    frame = seeds(sgd=[0.1, 0.2, 0.4], adam=[0.2, 0.35, 0.5])
    shuffled = frame.iloc[[0, 1, 2, 5, 3, 4]]
    table = stats.paired_test(shuffled, "optimizer", "accuracy")
    pd.testing.assert_frame_equal(
        table, stats.paired_test(frame, "optimizer", "accuracy")
    )


def test_holm_changes_a_verdict():
    """A p just below 0.05 decides alone, and not among six comparisons."""
    a, noise = np.zeros(4), np.array([-1.0, 0.4, 1.0, -0.4])
    b = a + 1.5 + noise
    alone = stats.paired_test(seeds(a=a, b=b), "optimizer", "accuracy")
    assert alone["p"][0] < 0.05
    assert alone["verdict"][0] == "b"
    groups = seeds(a=a, b=b, c=b + noise[::-1], d=a + noise)
    crowd = stats.paired_test(groups, "optimizer", "accuracy")
    assert len(crowd) == 6
    row = crowd[(crowd.a == "a") & (crowd.b == "b")].iloc[0]
    assert row.p == alone["p"][0]
    assert row.p_holm > 0.05
    assert row.verdict == "undecided"


@pytest.mark.parametrize(
    ("sgd", "adam"),
    [
        ([0.9], [0.1]),  # one seed
        ([0.9, 0.8], [0.9, 0.8]),  # no difference
        ([0.9, 0.8], [0.8, 0.7]),  # the same difference twice
    ],
)
def test_no_verdict_without_a_measure_of_chance(sgd, adam):
    row = paired(sgd, adam)
    assert np.isnan([row.low, row.high, row.p, row.p_holm]).all()
    assert row.verdict == "undecided"
    assert row.difference == pytest.approx(np.mean(sgd) - np.mean(adam))


def test_pairs_without_a_finite_value_are_left_out():
    assert paired([0.9, 0.8], [0.7, np.nan]).n == 1


def test_one_group_has_nothing_to_compare_with():
    assert stats.paired_test(seeds(sgd=[0.9, 0.8]), "optimizer", "accuracy").empty


def test_a_seed_that_comes_twice_is_refused():
    frame = pd.concat([seeds(sgd=[0.9]), seeds(sgd=[0.9])])
    with pytest.raises(ValueError, match="sgd has seed 0 more than once"):
        stats.paired_test(frame, "optimizer", "accuracy")


def test_undecided_when_the_seeds_disagree():
    row = paired([0.90, 0.92, 0.91], [0.91, 0.91, 0.92])
    assert row.p > 0.05
    assert row.low < 0 < row.high
    assert row.verdict == "undecided"


def test_numeric_groups_keep_their_values():
    frame = seeds(a=[0.5, 0.61, 0.7], b=[0.1, 0.2, 0.3]).replace({"a": 0.1, "b": 0.01})
    row = stats.paired_test(frame, "optimizer", "accuracy").iloc[0]
    assert (row.a, row.b, row.verdict) == (0.1, 0.01, 0.1)


CONFIDENCE = np.array([0.05, 0.95, 0.95, 1.0, 0.3], dtype=np.float32)
CORRECT = np.array([False, True, False, True, True])


def test_calibration_by_hand():
    table = stats.calibration(CONFIDENCE, CORRECT)
    assert list(table["n"]) == [1, 0, 0, 1, 0, 0, 0, 0, 0, 3]
    last = table.loc[9, ["low", "high", "confidence", "accuracy"]]
    assert list(last) == pytest.approx([0.9, 1, 2.9 / 3, 2 / 3])


def test_an_empty_bin_has_no_accuracy():
    empty = stats.calibration(CONFIDENCE, CORRECT).loc[1]
    assert np.isnan(empty[["confidence", "accuracy"]].astype(float)).all()


def test_bins_of_equal_size_start_with_the_least_sure():
    table = stats.calibration_of_least_sure(CONFIDENCE, CORRECT, size=2, bins=2)
    assert list(table["n"]) == [2, 2]
    assert list(table["confidence"]) == pytest.approx([0.175, 0.95])
    assert list(table["accuracy"]) == [0.5, 0.5]
    assert list(table["high"]) == pytest.approx([0.3, 0.95])


def test_expected_calibration_error_by_hand():
    ece = (0.05 + 0.7 + 3 * (2.9 / 3 - 2 / 3)) / 5
    error = stats.expected_calibration_error(CONFIDENCE, CORRECT)
    assert error == pytest.approx(ece)


def test_a_confidence_above_one_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        stats.calibration([1.2], [True])


@pytest.mark.parametrize(
    ("is_calibrated", "low", "high"), [(True, 0, 0.01), (False, 0.4, 1)]
)
def test_error_of_a_forecaster(is_calibrated, low, high):
    """It is right as often as it says, or wrong as often as it says."""
    rng = np.random.default_rng(0)
    confidence = rng.random(50_000)
    right = rng.random(50_000) < confidence
    error = stats.expected_calibration_error(confidence, right == is_calibrated)
    assert low <= error < high


DIGITS = np.arange(10)
SHARES = np.full((10, 10), 0.1)
UNFIT = {
    "a table of values": (lambda: stats.mean_interval([[1, 2], [3, 4]]), r"\[2, 2\]"),
    "a level in percent": (lambda: stats.mean_interval([1, 2], 95), "0 < level < 1"),
    "a share as a count": (lambda: stats.proportion_interval(0.98, 1), "whole"),
    "a mask": (lambda: stats.confusion(DIGITS, DIGITS == 3), "digits 0..9, got False"),
    "no images": (lambda: stats.class_table([], []), r"of shape \[N\], got \(0,\)"),
    "probabilities": (lambda: stats.mcnemar(DIGITS, DIGITS, SHARES), r"got \(10, 10\)"),
    "shares": (lambda: stats.most_confused(SHARES), "not shares"),
    "other counts": (lambda: stats.most_confused(np.ones((2, 3))), r"not \[2, 3\]"),
    "no pairs": (lambda: stats.most_confused(np.eye(10), -1), "at least 1, not -1"),
    "p above 1": (lambda: stats.holm([5.0, 0.1]), r"in 0\.\.1 are needed"),
    "a table of p": (lambda: stats.holm([[0.1, 0.2]]), r"p values \[N\]"),
    "labels": (lambda: stats.calibration([0.9], [7]), "predictions == labels"),
    "no confidence": (lambda: stats.expected_calibration_error([], []), "0 images"),
    "no bins": (lambda: stats.calibration([0.9], [True], 0), "in 0 bins"),
    "an empty bin": (
        lambda: stats.calibration_of_least_sure([0.9], [True], 0),
        "a bin needs 1 image or more, not 0",
    ),
    "other columns": (
        lambda: stats.summarize(seeds(a=[0.5]), "optimiser", "accuracy"),
        "no column 'optimiser' in the frame; it has optimizer, seed, accuracy",
    ),
    "no seeds": (
        lambda: stats.paired_test(seeds(a=[0.5]), "optimizer", "accuracy", "run"),
        "no column 'run'",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_has_no_answer_is_refused(name):
    """Unchecked, each gives meaningless numbers or an error of another library."""
    call, message = UNFIT[name]
    with pytest.raises(ValueError, match=message):
        call()


def three_groups():
    rows = [
        (name, seed, shift + seed / 10)
        for seed in range(4)
        for name, shift in (("a", 2.0), ("b", 1.0), ("c", 1.0))
    ]
    frame = pd.DataFrame(rows, columns=["name", "seed", "score"])
    rough = [0.0, 0.03, -0.02, 0.01, 0.05, -0.04, 0.02, 0.0, 0.01, -0.01, 0.04, 0.02]
    return frame.assign(score=frame["score"] + rough)


def test_differences_in_pairs_are_taken_within_each_seed():
    frame = three_groups()
    table = stats.differences_in_pairs(frame, "name", "score")
    assert list(table["pair"].unique()) == ["a − b", "a − c", "b − c"]
    wide = frame.pivot(index="seed", columns="name", values="score")
    rows = table[table["pair"] == "a − c"]
    assert list(rows["difference"]) == pytest.approx(list(wide["a"] - wide["c"]))


def test_differences_in_pairs_leave_runs_out_that_diverged():
    frame = three_groups()
    frame.loc[frame["name"] == "b", "score"] = np.nan
    table = stats.differences_in_pairs(frame, "name", "score")
    assert list(table["pair"].unique()) == ["a − c"]


def test_simultaneous_intervals_are_bonferroni_and_decide():
    differences = stats.differences_in_pairs(three_groups(), "name", "score")
    table = stats.simultaneous_intervals(differences).set_index("pair")
    rows = differences.loc[differences["pair"] == "a − b", "difference"]
    expected = stats.mean_interval(rows, 1 - 0.05 / 3)
    assert list(table.loc["a − b", ["mean", "low", "high"]]) == pytest.approx(expected)
    assert list(table["decided"]) == [True, True, False]


def test_equal_differences_have_no_interval_and_decide_nothing():
    frame = pd.DataFrame({"name": list("abab"), "seed": [0, 0, 1, 1]})
    frame["score"] = [0.9, 0.8, 0.7, 0.6]
    differences = stats.differences_in_pairs(frame, "name", "score")
    [row] = stats.simultaneous_intervals(differences).itertuples()
    assert row.mean == pytest.approx(0.1) and np.isnan(row.low) and not row.decided


def test_no_pair_of_groups_gives_an_empty_table():
    frame = pd.DataFrame({"name": ["a"], "seed": [0], "score": [1.0]})
    differences = stats.differences_in_pairs(frame, "name", "score")
    assert stats.simultaneous_intervals(differences).empty
