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
    mean, low, high = stats.mean_interval([1, 2, 3])
    assert mean == 2 and high - 2 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    values = np.random.default_rng(1).normal(size=7)
    expected = sps.ttest_1samp(values, 0).confidence_interval(0.9)
    assert stats.mean_interval(values, 0.9)[1:] == pytest.approx(tuple(expected))


def test_one_value_has_no_interval():
    assert stats.mean_interval([0.5])[0] == 0.5
    assert np.isnan(stats.mean_interval([0.5])[1:]).all()
    assert np.isnan(stats.mean_interval([])).all()


def test_wilson_interval_known_values():
    # closed form for 0 of n: high = z^2 / (n + z^2); for 8 of 10 the textbook value
    z2 = sps.norm.ppf(0.975) ** 2
    assert stats.proportion_interval(0, 10) == pytest.approx((0, z2 / (10 + z2)))
    assert stats.proportion_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    with pytest.raises(ValueError, match="11 successes of 10"):
        stats.proportion_interval(11, 10)


def test_summarize_keeps_order_and_counts_only_finite_values():
    frame = seeds(sgd=[0.9, 0.8], adam=[0.7, np.nan], bad=[np.nan, np.inf])
    table = stats.summarize(frame, "optimizer", "accuracy")
    assert list(table.columns) == ["optimizer", "mean", "low", "high", "n"]
    assert list(table["optimizer"]) == ["sgd", "adam", "bad"]
    assert list(table["n"]) == [2, 1, 0]
    assert table["mean"][0] == pytest.approx(0.85) and table["mean"][1] == 0.7
    assert np.isnan(table["low"][1]) and np.isnan(table["mean"][2])
    both = stats.summarize(frame, ["optimizer", "seed"], "accuracy")
    assert list(both.columns[:2]) == ["optimizer", "seed"] and len(both) == 6


def test_confusion_rows_are_the_true_digits():
    matrix = stats.confusion([4, 4, 4, 9], [4, 9, 9, 9])
    assert matrix.shape == (10, 10) and matrix.sum() == 4
    assert matrix[4, 9] == 2 and matrix[9, 4] == 0
    with pytest.raises(ValueError, match="predictions must be digits"):
        stats.confusion([1, 2], [1, 10])


def test_class_table_agrees_with_sklearn_and_with_the_definitions(answers):
    labels, predictions = answers
    table = stats.class_table(labels, predictions).set_index("digit")
    report = metrics.classification_report(labels, predictions, output_dict=True)
    names = {"macro": "macro avg", "weighted": "weighted avg"}
    for row in [*map(str, range(10)), "macro", "weighted"]:
        expected = list(report[names.get(row, row)].values())
        assert list(table.loc[row]) == pytest.approx(expected), row
    accuracy = report["accuracy"]
    assert list(table.loc["accuracy"]) == pytest.approx([accuracy] * 3 + [2000])
    tp = ((labels == 3) & (predictions == 3)).sum()
    precision, recall = tp / (predictions == 3).sum(), tp / (labels == 3).sum()
    assert table.loc["3", "precision"] == pytest.approx(precision)
    assert table.loc["3", "f1"] == pytest.approx(2 / (1 / precision + 1 / recall))


def test_class_table_without_a_digit_gives_zero_not_a_warning():
    table = stats.class_table([0, 1], [0, 0])
    assert len(table) == 13 and table["precision"][1] == 0 and table["recall"][7] == 0


def test_most_confused_leaves_the_diagonal_out():
    matrix = np.diag([50] * 10)
    matrix[4, 9], matrix[7, 2] = 10, 50
    table = stats.most_confused(matrix, 5)
    pairs = table[["true", "predicted", "count"]].values.tolist()
    assert pairs == [[7, 2, 50], [4, 9, 10]]
    assert list(table["share"]) == pytest.approx([0.5, 10 / 60])
    assert len(stats.most_confused(matrix, 1)) == 1


def test_mcnemar_known_value():
    labels = np.zeros(100, int)
    a, b = labels.copy(), labels.copy()
    b[:9], a[9:10] = 1, 1  # 9 images only a gets right, 1 only b
    result = stats.mcnemar(labels, a, b)
    assert (result["only_a"], result["only_b"]) == (9, 1)
    assert result["p"] == pytest.approx(2 * (1 + 10) / 2**10)  # 0.021484
    assert stats.mcnemar(labels, a, a)["p"] == 1


def test_holm_by_hand():
    p = [0.04, 0.01, np.nan, 0.03]
    # sorted 0.01*3, 0.03*2, 0.04*1 -> made monotone
    assert stats.holm(p) == pytest.approx([0.06, 0.03, np.nan, 0.06], nan_ok=True)
    assert list(stats.holm([0.9, 0.8])) == [1, 1]


def test_paired_test_agrees_with_scipy_and_names_the_winner():
    rng = np.random.default_rng(0)
    base = rng.normal(0.95, 0.02, 5)  # the seeds differ more than the groups: pairing
    better = base + 0.01 + rng.normal(0, 0.001, 5)
    table = stats.paired_test(seeds(sgd=base, adam=better), "optimizer", "accuracy")
    expected = sps.ttest_rel(base, better)
    row = table.iloc[0]
    assert len(table) == 1 and (row.a, row.b, row.n) == ("sgd", "adam", 5)
    assert row.p == pytest.approx(expected.pvalue) and row.p_holm == row.p
    assert (row.low, row.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert row.verdict == "adam" and sps.ttest_ind(base, better).pvalue > 0.05
    loss = stats.paired_test(
        seeds(sgd=base, adam=better), "optimizer", "accuracy", higher_is_better=False
    )
    assert loss["verdict"][0] == "sgd"


def test_pairs_are_matched_by_seed_not_by_row():
    frame = seeds(sgd=[0.1, 0.2, 0.4], adam=[0.2, 0.35, 0.5])
    shuffled = frame.iloc[[0, 1, 2, 5, 3, 4]]
    table = stats.paired_test(shuffled, "optimizer", "accuracy")
    pd.testing.assert_frame_equal(
        table, stats.paired_test(frame, "optimizer", "accuracy")
    )


def test_holm_changes_a_verdict():
    a, noise = np.zeros(4), np.array([-1.0, 0.4, 1.0, -0.4])
    b = a + 1.5 + noise  # against a alone: p just below 0.05
    alone = stats.paired_test(seeds(a=a, b=b), "optimizer", "accuracy")
    assert alone["p"][0] < 0.05 and alone["verdict"][0] == "b"
    crowd = stats.paired_test(
        seeds(a=a, b=b, c=b + noise[::-1], d=a + noise), "optimizer", "accuracy"
    )
    assert len(crowd) == 6
    row = crowd[(crowd.a == "a") & (crowd.b == "b")].iloc[0]
    assert row.p == alone["p"][0] and row.p_holm > 0.05 and row.verdict == "undecided"


def test_no_verdict_without_a_measure_of_chance():
    one, same, constant = ([0.9], [0.1]), ([0.9, 0.8],) * 2, ([0.9, 0.8], [0.8, 0.7])
    for sgd, adam in [one, same, constant]:
        table = stats.paired_test(seeds(sgd=sgd, adam=adam), "optimizer", "accuracy")
        row = table.iloc[0]
        assert np.isnan([row.low, row.high, row.p, row.p_holm]).all()
        assert row.verdict == "undecided"
        assert row.difference == pytest.approx(np.mean(sgd) - np.mean(adam))
    diverged = seeds(sgd=[0.9, 0.8], adam=[0.7, np.nan])
    assert stats.paired_test(diverged, "optimizer", "accuracy")["n"].tolist() == [1]
    assert stats.paired_test(seeds(sgd=[0.9, 0.8]), "optimizer", "accuracy").empty
    with pytest.raises(ValueError, match="sgd has seed 0 more than once"):
        frame = seeds(sgd=[0.9])
        stats.paired_test(pd.concat([frame, frame]), "optimizer", "accuracy")


def test_undecided_when_the_seeds_disagree():
    frame = seeds(sgd=[0.90, 0.92, 0.91], adam=[0.91, 0.91, 0.92])
    row = stats.paired_test(frame, "optimizer", "accuracy").iloc[0]
    assert row.p > 0.05 and row.low < 0 < row.high and row.verdict == "undecided"


def test_numeric_groups_keep_their_values():
    frame = seeds(a=[0.5, 0.61, 0.7], b=[0.1, 0.2, 0.3]).replace({"a": 0.1, "b": 0.01})
    row = stats.paired_test(frame, "optimizer", "accuracy").iloc[0]
    assert (row.a, row.b, row.verdict) == (0.1, 0.01, 0.1)


def test_calibration_by_hand():
    confidence = np.array([0.05, 0.95, 0.95, 1.0, 0.3], dtype=np.float32)
    correct = np.array([False, True, False, True, True])
    table = stats.calibration(confidence, correct)
    assert list(table["n"]) == [1, 0, 0, 1, 0, 0, 0, 0, 0, 3]
    assert table["accuracy"][9] == pytest.approx(2 / 3)
    assert table["confidence"][9] == pytest.approx(2.9 / 3)
    assert np.isnan(table["accuracy"][1])
    assert (table["low"][9], table["high"][9]) == pytest.approx((0.9, 1))
    ece = (0.05 + 0.7 + 3 * (2.9 / 3 - 2 / 3)) / 5
    error = stats.expected_calibration_error(confidence, correct)
    assert error == pytest.approx(ece)
    with pytest.raises(ValueError, match="0..1"):
        stats.calibration([1.2], [True])


def test_a_calibrated_forecaster_has_almost_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.random(50_000)
    correct = rng.random(50_000) < confidence
    assert stats.expected_calibration_error(confidence, correct) < 0.01
    assert stats.expected_calibration_error(confidence, ~correct) > 0.4
