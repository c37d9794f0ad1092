"""Intervals, paired tests and tables on plain labels, predictions and frames.

Pure functions of numpy, scipy, scikit-learn and pandas: nothing here trains, reads
files or draws. Labels and predictions are integers 0..9 of shape [N].
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats as sps

DIGITS = range(10)


def check_columns(frame: pd.DataFrame, *columns: str) -> None:
    """Raise ValueError, which names both, if the frame lacks one of the columns."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        known = ", ".join(map(str, frame.columns))
        raise ValueError(f"no column {missing[0]!r} in the frame; it has {known}")


def mean_interval(
    values: npt.ArrayLike, level: float = 0.95
) -> tuple[float, float, float]:
    """Return (mean, low, high) of independent values, by Student's t interval.

    One value gives (mean, nan, nan), because one run does not tell how much runs vary.
    No value gives (nan, nan, nan). ValueError unless `values` are numbers [N] and
    0 < level < 1.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not 0 < level < 1:
        raise ValueError(
            f"values [N] and 0 < level < 1 are needed, not {list(values.shape)} and "
            f"{level}"
        )
    if values.size == 0:
        return np.nan, np.nan, np.nan
    if values.size == 1:
        return float(values[0]), np.nan, np.nan
    mean = values.mean()
    standard_error = values.std(ddof=1) / np.sqrt(values.size)
    half_width = sps.t.ppf((1 + level) / 2, values.size - 1) * standard_error
    return float(mean), float(mean - half_width), float(mean + half_width)


def proportion_interval(
    successes: int, n: int, level: float = 0.95
) -> tuple[float, float]:
    """Return (low, high) for a proportion such as accuracy on n images (Wilson, 1927).

    ValueError unless both are whole numbers, 0 <= successes <= n and n >= 1: a share
    such as 0.98 is not a number of successes.
    """
    whole = int(successes) == successes and int(n) == n
    if not whole or n < 1 or not 0 <= successes <= n:
        raise ValueError(
            f"{successes} successes of {n}: need whole 0 <= successes <= n >= 1"
        )
    trials = sps.binomtest(int(successes), int(n))
    interval = trials.proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


def summarize(
    frame: pd.DataFrame, by: str | Sequence[str], value: str, level: float = 0.95
) -> pd.DataFrame:
    """Return a row per group, in order of appearance: by..., mean, low, high, n.

    `by` is a column name or a list of them; low..high is the t interval of the mean.
    Values that are not finite (runs that diverged) are left out, and n counts the
    values that were kept: a smaller n is a finding, not a detail. ValueError for a
    column that the frame lacks.
    """
    by = [by] if isinstance(by, str) else list(by)
    check_columns(frame, *by, value)
    groups = frame.groupby(by, sort=False, observed=True, dropna=False)
    rows = []
    for key, values in groups[value]:
        kept = values[np.isfinite(values.astype(float))]
        rows.append((*key, *mean_interval(kept, level), len(kept)))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n"])


def differences_in_pairs(
    frame: pd.DataFrame, by: str, value: str, pair: str = "seed"
) -> pd.DataFrame:
    """Return a row per two groups of `by` and seed: pair, a, b, seed, difference.

    `difference` is the `value` of a minus that of b with the same seed, and `pair` is
    "a − b" in words. The groups keep their order of appearance. Differences that are
    not finite, as of runs that diverged, are left out. ValueError if a group holds the
    same seed twice, and for a column that the frame lacks.
    """
    check_columns(frame, by, value, pair)
    _check_each_once(frame, by, pair)
    wide = frame.set_index([pair, by])[value].astype(float).unstack(by)
    parts = []
    for a, b in combinations(frame[by].unique(), 2):
        differences = wide[a] - wide[b]
        differences = differences[np.isfinite(differences)]
        names = {"pair": f"{a} − {b}", "a": a, "b": b, pair: differences.index}
        parts.append(pd.DataFrame(names | {"difference": differences.to_numpy()}))
    if not parts:
        return pd.DataFrame(columns=["pair", "a", "b", pair, "difference"])
    return pd.concat(parts, ignore_index=True)


def simultaneous_intervals(
    differences: pd.DataFrame, level: float = 0.95
) -> pd.DataFrame:
    """Return a row per pair: pair, a, b, mean, low, high, n, decided.

    `differences` is that of `differences_in_pairs`. All intervals hold together with
    the probability `level`: by Bonferroni, each of k intervals has the level
    1 - (1 - level) / k. A pair is `decided` if its interval excludes 0, so that an
    interval and its verdict never contradict each other. Differences that are all equal
    have no interval, as in `paired_test`.
    """
    tests = max(1, differences["pair"].nunique())
    one_level = 1 - (1 - level) / tests
    table = summarize(differences, ["pair", "a", "b"], "difference", one_level)
    low, high = (table[bound].to_numpy(float) for bound in ("low", "high"))
    no_spread = np.isclose(low, high, rtol=1e-9, atol=1e-12)
    table.loc[no_spread, ["low", "high"]] = np.nan
    table["decided"] = (table["low"] > 0) | (table["high"] < 0)
    return table


def _check_each_once(frame: pd.DataFrame, by: str, pair: str) -> None:
    repeated = frame.duplicated([by, pair])
    if repeated.any():
        row = frame[repeated].iloc[0]
        raise ValueError(f"{by} {row[by]} has {pair} {row[pair]} more than once")


def _as_digits(values: npt.ArrayLike, what: str) -> np.ndarray:
    digits = np.asarray(values)
    if digits.ndim != 1 or len(digits) == 0:
        raise ValueError(f"{what} must be digits 0..9 of shape [N], got {digits.shape}")
    # numpy counts True and False as the digits 1 and 0.
    unfit = digits[~np.isin(digits, DIGITS) | (digits.dtype == bool)]
    if len(unfit) > 0:
        raise ValueError(f"{what} must be digits 0..9, got {unfit[0]}")
    return digits.astype(int)


def as_counts(matrix: npt.ArrayLike) -> np.ndarray:
    """Return a confusion matrix [10, 10] of counts as integers.

    ValueError for another shape, and for shares: their rows were divided by a sum.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (10, 10):
        raise ValueError(f"counts [10, 10] are needed, not {list(matrix.shape)}")
    if (matrix != np.floor(matrix)).any() or (matrix < 0).any():
        raise ValueError("counts [10, 10] are needed, not shares or negative numbers")
    return matrix.astype(int)


def confusion(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> np.ndarray:
    """Return counts [10, 10]: a row per true digit, a column per predicted digit.

    ValueError if either argument is anything but digits of shape [N].
    """
    from sklearn import metrics

    labels = _as_digits(labels, "labels")
    predictions = _as_digits(predictions, "predictions")
    return metrics.confusion_matrix(labels, predictions, labels=DIGITS)


def class_table(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> pd.DataFrame:
    """Return precision, recall, f1 and support of each digit, and their averages.

    The column `digit` has "0".."9", then "accuracy", "macro" and "weighted". For one
    digit, say 3, TP counts the 3s that are called a 3, FP the other digits that are
    called a 3, and FN the 3s that are called something else. Then

        precision = TP / (TP + FP), the share of the images called a 3 that are 3s;
        recall = TP / (TP + FN), the share of the 3s that are called a 3;
        f1 = 2 precision recall / (precision + recall), their harmonic mean;
        support = TP + FN, the number of 3s.

    Report R1 prints other formulas. A ratio without a denominator counts as 0, as in
    scikit-learn. "macro" is the plain mean over digits, "weighted" the mean weighted by
    support. "accuracy" counts TP, FP and FN over all digits: precision, recall and f1
    then equal the accuracy, because every FP of one digit is an FN of another.
    """
    from sklearn import metrics

    labels = _as_digits(labels, "labels")
    predictions = _as_digits(predictions, "predictions")

    def scores(average: str | None) -> tuple:
        return metrics.precision_recall_fscore_support(
            labels, predictions, labels=DIGITS, average=average, zero_division=0
        )

    columns = ["precision", "recall", "f1", "support"]
    table = pd.DataFrame(dict(zip(columns, scores(average=None), strict=True)))
    table.insert(0, "digit", [str(digit) for digit in DIGITS])
    averages = {"accuracy": "micro", "macro": "macro", "weighted": "weighted"}
    for name, average in averages.items():
        precision, recall, f1, _ = scores(average)
        table.loc[len(table)] = [name, precision, recall, f1, len(labels)]
    return table


def most_confused(matrix: npt.ArrayLike, n: int = 10) -> pd.DataFrame:
    """Return the n largest errors of a confusion matrix: true, predicted, count, share.

    `share` is the count divided by the number of images of the true digit. Pairs that
    were never confused are not listed; ties keep the order of the digits. ValueError
    unless `matrix` holds counts [10, 10] and n >= 1.
    """
    matrix = as_counts(matrix)
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    errors = matrix.copy()
    np.fill_diagonal(errors, 0)
    true, predicted = np.nonzero(errors)
    counts = errors[true, predicted]
    images_of_digit = matrix.sum(axis=1)
    frame = pd.DataFrame(
        {
            "true": true,
            "predicted": predicted,
            "count": counts,
            "share": counts / images_of_digit[true],
        }
    )
    frame = frame.sort_values("count", ascending=False, kind="stable")
    return frame.head(n).reset_index(drop=True)


def mcnemar(
    labels: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike
) -> dict[str, float]:
    """Test whether predictions a and b err equally often: dict(only_a, only_b, p).

    only_a and only_b count the images that only a, or only b, gets right; p is exact
    (binomial) and two-sided (McNemar, 1947). The test speaks about two trained networks
    on these images; for two *methods*, compared over seeds, use `paired_test`.
    ValueError if the shapes differ, or for anything but digits of shape [N].
    """
    labels = _as_digits(labels, "labels")
    a, b = _as_digits(a, "predictions a"), _as_digits(b, "predictions b")
    if not labels.shape == a.shape == b.shape:
        raise ValueError(f"shapes differ: {labels.shape}, {a.shape}, {b.shape}")
    only_a = int(((a == labels) & (b != labels)).sum())
    only_b = int(((a != labels) & (b == labels)).sum())
    n = only_a + only_b
    p = float(sps.binomtest(only_a, n).pvalue) if n > 0 else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": p}


def holm(p: npt.ArrayLike) -> np.ndarray:
    """Return p values corrected for their number by Holm's method (Holm, 1979).

    A nan stays nan and does not count as a test. ValueError unless `p` [N] lies in
    0..1.
    """
    p = np.asarray(p, dtype=float)
    if p.ndim != 1 or (p < 0).any() or (p > 1).any():
        raise ValueError(f"p values [N] in 0..1 are needed, not {p.tolist()}")
    tests = np.isfinite(p).sum()
    # argsort puts nan last, so the first entries are the tests in order of their p.
    order = np.argsort(p)[:tests]
    # The smallest p is multiplied by the number of tests, the next by one less, and so
    # on. No adjusted p falls below its predecessor or exceeds 1.
    scaled = p[order] * np.arange(tests, 0, -1)
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted


def paired_test(
    frame: pd.DataFrame,
    by: str,
    value: str,
    pair: str = "seed",
    higher_is_better: bool = True,
) -> pd.DataFrame:
    """Compare all groups of `by` in pairs with a paired t test; return a row per pair.

    The columns are a, b, n, difference, low, high, p, p_holm and verdict. Rows of two
    groups with the same `pair` (seed) belong together. Where one of them has no finite
    value both are left out; n counts those that remain. `difference` is the mean of
    a - b, low..high its 95 % Student t interval, `p` is two-sided, and `p_holm` is
    corrected over all pairs of groups in this table. `verdict` names the better group
    if p_holm < 0.05 and is "undecided" otherwise.

    With n < 2, or if all differences are equal, nothing tells chance from effect: low,
    high and p are nan and the verdict is "undecided". (A t test would give p = 0 for
    equal differences. Accuracies are counts, so equal differences come from rounding or
    from too few seeds, not from certainty.) The differences are taken as roughly
    normal. ValueError if a group holds the same pair twice, and for a column that the
    frame lacks.
    """
    check_columns(frame, by, value, pair)
    _check_each_once(frame, by, pair)
    wide = frame.set_index([pair, by])[value].astype(float).unstack(by)
    rows = []
    for a, b in combinations(frame[by].unique(), 2):
        differences = (wide[a] - wide[b]).to_numpy()
        differences = differences[np.isfinite(differences)]
        n = len(differences)
        mean, low, high = mean_interval(differences)
        p = np.nan
        if n > 1:
            if np.allclose(differences, differences[0], rtol=1e-9, atol=1e-12):
                low = high = np.nan
            else:
                p = float(sps.ttest_1samp(differences, 0).pvalue)
        rows.append((a, b, n, mean, low, high, p))
    columns = ["a", "b", "n", "difference", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p"])
    a_is_better = (table["difference"] > 0) == higher_is_better
    better = table["a"].where(a_is_better, table["b"]).astype(object)
    table["verdict"] = better.where(table["p_holm"] < 0.05, "undecided")
    return table


def calibration(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 10
) -> pd.DataFrame:
    """Return a row per bin of equal width: bin, low, high, n, confidence, accuracy.

    `confidence` [N] is the probability given to each prediction, `correct` bool [N]
    whether it is right. low and high are the edges of the bin (low <= confidence <
    high; the last bin includes 1), n counts its images, and confidence and accuracy are
    means over them, nan in an empty bin. ValueError if the shapes differ, if there are
    no images or no bins, if a confidence lies outside 0..1, or if `correct` is anything
    but true or false.
    """
    confidence, correct = _checked(confidence, correct, bins)
    edges = np.linspace(0, 1, bins + 1)
    bin_of_image = np.digitize(confidence, edges[1:-1])  # [N], 0..bins-1
    n = np.bincount(bin_of_image, minlength=bins)
    summed_confidence = np.bincount(bin_of_image, confidence, bins)
    right = np.bincount(bin_of_image, correct, bins)
    # Division by nan instead of 0 leaves nan in an empty bin, without a warning.
    divisor = np.where(n > 0, n, np.nan)
    return pd.DataFrame(
        {
            "bin": np.arange(bins),
            "low": edges[:-1],
            "high": edges[1:],
            "n": n,
            "confidence": summed_confidence / divisor,
            "accuracy": right / divisor,
        }
    )


def _checked(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return both as floats [N]. ValueError for what `calibration` refuses."""
    confidence = np.asarray(confidence, dtype=float)
    correct = np.asarray(correct, dtype=float)
    if confidence.shape != correct.shape or confidence.ndim != 1:
        raise ValueError(f"shapes differ: {confidence.shape} and {correct.shape}")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidence must lie in 0..1")
    if not np.isin(correct, (0, 1)).all():
        raise ValueError("correct must be true or false: predictions == labels")
    if len(confidence) == 0 or bins < 1:
        raise ValueError(f"{len(confidence)} images in {bins} bins: need 1 or more")
    return confidence, correct


def calibration_of_least_sure(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, size: int, bins: int = 10
) -> pd.DataFrame:
    """Return a row per bin of equal size: bin, low, high, n, confidence, accuracy.

    The images are sorted by confidence. The `size` least sure ones are the first bin,
    the next `size` the second, and so on; images that do not fit into `bins` such bins
    are left out. On MNIST most images have a confidence near 1, so that bins of equal
    width would hold nearly all of them in the last bin. low and high are the limits of
    the confidence in the bin. ValueError as for `calibration`, and unless size >= 1.
    """
    confidence, correct = _checked(confidence, correct, bins)
    if size < 1:
        raise ValueError(f"a bin needs 1 image or more, not {size}")
    order = confidence.argsort(kind="stable")
    rows = []
    for number in range(bins):
        images = order[number * size : (number + 1) * size]
        if len(images) > 0:
            sure = confidence[images]
            rows.append(
                {
                    "bin": number,
                    "low": sure.min(),
                    "high": sure.max(),
                    "n": len(images),
                    "confidence": sure.mean(),
                    "accuracy": correct[images].mean(),
                }
            )
    return pd.DataFrame(rows)


def expected_calibration_error(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 10
) -> float:
    """Return the mean |accuracy - confidence| over bins, weighted by their images.

    The measure is that of Naeini et al. (2015), on the bins of `calibration`.
    """
    table = calibration(confidence, correct, bins)
    gap = (table["accuracy"] - table["confidence"]).abs()
    return float((gap * table["n"]).sum() / table["n"].sum())
