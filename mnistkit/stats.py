"""Intervals, paired tests and tables on plain labels, predictions and frames.

Pure functions of numpy, scipy, scikit-learn and pandas: nothing here trains, reads
files or draws. Labels and predictions are integers 0..9 of shape [N].
"""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats as sps

DIGITS = range(10)


def mean_interval(values, level=0.95):
    """(mean, low, high): Student's t interval for the mean of independent values.

    With one value (mean, nan, nan), with none (nan, nan, nan): one run does not tell
    how much runs vary.
    """
    values = np.asarray(values, dtype=float)
    if values.size < 2:
        return (float(values[0]) if values.size else np.nan), np.nan, np.nan
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(values.size)
    half = sps.t.ppf((1 + level) / 2, values.size - 1) * error
    return float(mean), float(mean - half), float(mean + half)


def proportion_interval(successes, n, level=0.95):
    """(low, high) for a proportion, e.g. accuracy on n images (Wilson, 1927)."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} successes of {n}: need 0 <= successes <= n >= 1")
    test = sps.binomtest(int(successes), int(n))
    interval = test.proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


def summarize(frame, by, value, level=0.95):
    """One row per group (order of appearance): by..., mean, low, high, n.

    `by` is a column name or a list of them. Values that are not finite (runs that
    diverged) are left out of the mean, and n counts what was kept: a smaller n is a
    finding, not a detail.
    """
    by = [by] if isinstance(by, str) else list(by)
    groups = frame.groupby(by, sort=False, observed=True, dropna=False)
    rows = []
    for key, values in groups[value]:
        kept = values[np.isfinite(values.astype(float))]
        rows.append((*key, *mean_interval(kept, level), len(kept)))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n"])


def _digits(values, what):
    values = np.asarray(values)
    if values.ndim != 1 or not np.isin(values, DIGITS).all():
        raise ValueError(f"{what} must be digits 0..9 of shape [N], got {values.shape}")
    return values.astype(int)


def confusion(labels, predictions):
    """Counts [10, 10]: row = true digit, column = predicted digit (as sklearn's)."""
    from sklearn import metrics

    labels, predictions = _digits(labels, "labels"), _digits(predictions, "predictions")
    return metrics.confusion_matrix(labels, predictions, labels=DIGITS)


def class_table(labels, predictions):
    """Columns digit, precision, recall, f1, support; digit is "0".."9", then
    "accuracy", "macro" and "weighted".

    For one digit with TP (is it, called it), FP (is not, called it), FN (is it, not
    called it): precision = TP / (TP + FP), the share of the images *called* a 3 that
    are 3s; recall = TP / (TP + FN), the share of the 3s that are called so; F1 =
    2 PR / (P + R), their harmonic mean, never above 1 (report ids R1-E11, R1-E12 give
    other formulas). A ratio without a denominator counts as 0, sklearn's convention.

    The accuracy row is the average over images: there precision, recall and F1 all
    equal the accuracy, because every FP of one digit is an FN of another. `macro` is
    the plain mean over digits, `weighted` the mean weighted by support.
    """
    from sklearn import metrics

    labels, predictions = _digits(labels, "labels"), _digits(predictions, "predictions")

    def scores(average):
        return metrics.precision_recall_fscore_support(
            labels, predictions, labels=DIGITS, average=average, zero_division=0
        )

    columns = ["precision", "recall", "f1", "support"]
    table = pd.DataFrame(dict(zip(columns, scores(None), strict=True)))
    table.insert(0, "digit", [str(digit) for digit in DIGITS])
    averages = {"accuracy": "micro", "macro": "macro", "weighted": "weighted"}
    for name, average in averages.items():
        table.loc[len(table)] = [name, *scores(average)[:3], len(labels)]
    return table


def most_confused(matrix, n=10):
    """The n largest errors of a confusion matrix: true, predicted, count, share.

    `share` is count / number of images of the true digit. Pairs that were never
    confused are not listed; ties keep the order of the digits.
    """
    matrix = np.asarray(matrix)
    true, predicted = np.nonzero(matrix * (1 - np.eye(len(matrix), dtype=int)))
    count = matrix[true, predicted]
    columns = dict(true=true, predicted=predicted, count=count)
    frame = pd.DataFrame({**columns, "share": count / matrix.sum(axis=1)[true]})
    frame = frame.sort_values("count", ascending=False, kind="stable")
    return frame.head(n).reset_index(drop=True)


def mcnemar(labels, a, b):
    """dict(only_a, only_b, p): do predictions a and b err equally often?

    only_a and only_b count the images that only a, or only b, gets right; p is exact
    (binomial) and two-sided (McNemar, 1947). It speaks about these two trained
    networks on these images; about *methods*, over seeds, use `paired_test`.
    """
    labels, a, b = (np.asarray(values) for values in (labels, a, b))
    if not labels.shape == a.shape == b.shape:
        raise ValueError(f"shapes differ: {labels.shape}, {a.shape}, {b.shape}")
    only_a = int(((a == labels) & (b != labels)).sum())
    only_b = int(((a != labels) & (b == labels)).sum())
    n = only_a + only_b
    p = float(sps.binomtest(only_a, n).pvalue) if n else 1.0
    return dict(only_a=only_a, only_b=only_b, p=p)


def holm(p):
    """p values adjusted for their number (Holm, 1979); nan stays nan, uncounted."""
    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # nan sorts last
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted


def paired_test(frame, by, value, pair="seed", higher_is_better=True):
    """All pairs of groups: a, b, n, difference, low, high, p, p_holm, verdict.

    Rows of two groups with the same `pair` (seed) belong together; pairs that lack a
    finite value on one side are left out, n is what remains. difference is the mean of
    a - b, low..high its 95 % Student t interval, p two-sided, p_holm adjusted over all
    pairs of this call. `verdict` is the better group's name if p_holm < 0.05, else
    "undecided".

    With n < 2, or if all differences are equal, nothing tells chance from effect: low,
    high and p are nan and the verdict is "undecided". (A t test would give p = 0 for a
    constant difference; on accuracies, which are counts, that is rounding or too few
    seeds, not certainty.) Differences are taken as roughly normal. ValueError if a
    group holds the same pair twice.
    """
    if frame.duplicated([by, pair]).any():
        row = frame[frame.duplicated([by, pair])].iloc[0]
        raise ValueError(f"{by} {row[by]} has {pair} {row[pair]} more than once")
    wide = frame.set_index([pair, by])[value].astype(float).unstack(by)
    rows = []
    for a, b in combinations(frame[by].unique(), 2):
        gaps = (wide[a] - wide[b]).to_numpy()
        gaps = gaps[np.isfinite(gaps)]
        difference, low, high = mean_interval(gaps)
        p = np.nan
        if len(gaps) > 1 and np.allclose(gaps, gaps[0], rtol=1e-9, atol=1e-12):
            low = high = np.nan
        elif len(gaps) > 1:
            p = float(sps.ttest_1samp(gaps, 0).pvalue)
        rows.append((a, b, len(gaps), difference, low, high, p))
    columns = ["a", "b", "n", "difference", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p"])
    a_better = (table["difference"] > 0) == higher_is_better
    better = table["a"].where(a_better, table["b"]).astype(object)
    table["verdict"] = better.where(table["p_holm"] < 0.05, "undecided")
    return table


def calibration(confidence, correct, bins=10):
    """Equal-width bins of confidence: bin, low, high, n, confidence, accuracy.

    confidence: probability given to the prediction [N], in 0..1; correct: bool [N].
    low and high are the bin's edges (low <= confidence < high; the last bin includes
    1); confidence and accuracy are means within it, nan where the bin is empty.
    """
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    if confidence.shape != correct.shape or confidence.ndim != 1:
        raise ValueError(f"shapes differ: {confidence.shape} and {correct.shape}")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidence must lie in 0..1")
    edges = np.linspace(0, 1, bins + 1)
    index = np.digitize(confidence, edges[1:-1])  # [N], 0..bins-1
    n = np.bincount(index, minlength=bins)
    total = np.where(n, n, np.nan)  # nan, not 0/0, for an empty bin
    means = [np.bincount(index, v, bins) / total for v in (confidence, correct)]
    columns = dict(bin=np.arange(bins), low=edges[:-1], high=edges[1:], n=n)
    return pd.DataFrame({**columns, "confidence": means[0], "accuracy": means[1]})


def expected_calibration_error(confidence, correct, bins=10):
    """Mean |accuracy - confidence| over bins, weighted by n (Naeini et al., 2015)."""
    table = calibration(confidence, correct, bins)
    gap = (table["accuracy"] - table["confidence"]).abs()
    return float((gap * table["n"]).sum() / table["n"].sum())
