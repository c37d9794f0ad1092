"""The t tests behind the rules: a report's numbers against our runs, and two groups.

Each comparison makes two tests. One asks whether there is a difference. The other asks
whether the difference is smaller than a margin; it is the equivalence test of two
one-sided tests (Schuirmann, 1987).
"""

import math
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special
from scipy import stats as sps

from mnistkit.stats import holm
from mnistkit.wording import change, number, percent, points

LEVEL = 0.05  # of each claim; an interval of a single number is that of 1 - LEVEL
POWER = 0.8  # the chance to find the difference that is called detectable
FEWEST_RUNS = 3  # fewer do not tell how much runs scatter


def too_few(n: int) -> str:
    """What limits a comparison of n runs, fewer than FEWEST_RUNS."""
    return f"{n} runs are too few, {FEWEST_RUNS} are needed"


class Scale:
    """The scale on which numbers are compared, and how they are told.

    - Losses (`log`) are compared by their logarithms. A difference is shown as a share:
      0.1 if a number is 10 % larger.
    - Shares such as accuracies (`share`) are compared as they are. They are told in
      percent, their differences in points, and none is above 1.
    - Other numbers are compared and told as they are.
    """

    def __init__(self, log: bool = False, share: bool = False):
        self.log = log
        self.largest = 1.0 if share else math.inf
        self.number: Callable[[float], str] = percent if share else number
        self.change: Callable[[float], str] = number
        if log or share:
            self.change = change if log else points

    def size(self, difference: float) -> str:
        """A difference in words, without a sign: "1.49 points" or "12 %"."""
        return self.change(difference).removeprefix("+")

    def forward(self, numbers: ArrayLike) -> np.ndarray:
        """Numbers on this scale. ValueError for the logarithm of a negative number."""
        array = np.asarray(numbers, float)
        if not self.log:
            return array
        if (array < 0).any():
            raise ValueError("negative numbers have no logarithm")
        with np.errstate(divide="ignore"):
            return np.log(array)

    def back(self, array: np.ndarray) -> np.ndarray:
        """The numbers that `forward` has put on this scale."""
        return np.exp(array) if self.log else array

    def difference(self, distance: ArrayLike) -> np.ndarray:
        """A distance on this scale, as it is shown."""
        return np.expm1(distance) if self.log else np.asarray(distance)

    def distance(self, margin: float) -> float:
        """A margin, as it is shown, as a distance on this scale."""
        return float(np.log1p(margin)) if self.log else margin


def against_one_more_run(
    reported: np.ndarray,
    values: np.ndarray,
    unit: ArrayLike,
    margin: float,
    scale: Scale,
    tests: int | None = None,
) -> pd.DataFrame:
    """A row per reported number [k], compared with our runs [n, k], at least two.

    The columns are explained in `rules.numbers`. The test is that of two samples, our n
    runs and the report's single one, which are taken to scatter alike. `tests` is the
    number of tests that decide about the claim, k unless it is given.
    """
    tests = tests or len(reported)
    half_unit = np.broadcast_to(np.asarray(unit, float) / 2, reported.shape)
    ours = scale.forward(values)
    mean = ours.mean(axis=0)
    # Of all numbers that would be printed as the reported one, take the nearest to our
    # mean: its distance is what rounding does not explain.
    lowest = reported - half_unit
    lowest = scale.forward(np.maximum(lowest, 0) if scale.log else lowest)
    highest = scale.forward(reported + half_unit)
    theirs = np.clip(mean, lowest, highest)[np.newaxis]

    result = _run(sps.ttest_ind, ours, theirs)
    p_within = _p_within(sps.ttest_ind, ours, theirs, scale.distance(margin))
    half_width, standard_error = _widths(result)
    low = scale.back(mean - half_width) - half_unit
    high = np.minimum(scale.back(mean + half_width) + half_unit, scale.largest)
    df = len(values) - 1
    joint_width = standard_error * sps.t.isf(LEVEL / 2 / tests, df)
    joint_high = scale.back(mean + joint_width) + half_unit
    apart = np.abs(mean - theirs[0]) + standard_error * sps.t.isf(LEVEL, df)
    detectable = standard_error * _detectable(df, tests)
    # Runs that agree to the last digit do not tell how much runs scatter.
    spread = ~np.isclose(ours.max(axis=0), ours.min(axis=0), rtol=1e-9, atol=1e-12)
    return pd.DataFrame(
        {
            "reported": reported,
            "mean": scale.back(mean),
            "low": low,
            "high": high,
            "n": len(values),
            "joint_low": scale.back(mean - joint_width) - half_unit,
            "joint_high": np.minimum(joint_high, scale.largest),
            "inside": (low <= reported) & (reported <= high),
            "t": np.where(spread, -result.statistic, np.nan),
            "p": np.where(spread, result.pvalue, 1.0),
            "within": spread & (p_within < LEVEL),
            "apart": scale.difference(apart),
            "precision": scale.difference(half_width),
            "margin": margin,
            "detectable": scale.difference(detectable),
        }
    )


def pairs_of_groups(
    scores: Mapping[Any, pd.Series],
    margin: float,
    log: bool,
    paired: bool,
    parts: int = 1,
) -> pd.DataFrame:
    """A row per pair of groups, in the order of `scores`.

    `scores` has the finite scores of each group, by seed. The columns are explained in
    `rules.ranking`; the outcomes are missing. `paired`: the scores of one seed belong
    together, and a seed that one group lacks is left out. Otherwise Welch's test is
    made. `parts` is the number of such comparisons that decide about the claim.
    """
    names = list(combinations(scores, 2))
    rows = []
    for first, second in names:
        a, b = scores[first], scores[second]
        if paired:
            a, b = a.align(b, join="inner")
        row = _pair(a.to_numpy(float), b.to_numpy(float), margin, log, paired)
        tests = len(names) * parts
        detectable = row["standard_error"] * _detectable(row["df"], tests)
        row["detectable"] = float(Scale(log).difference(detectable))
        rows.append({"first": first, "second": second} | row)
    pairs = pd.DataFrame(rows)
    # Of the two tests of a pair at most one can mislead: there is a difference of the
    # margin, or there is not. So each kind of test is corrected on its own.
    return pairs.assign(p=holm(pairs["p"]), p_equivalent=holm(pairs["p_equivalent"]))


def interval_of_pair(
    pair: Mapping[str, Any], scale: Scale, level: float
) -> tuple[float, float]:
    """The interval of a pair's difference at a level such as 0.95, as it is shown."""
    half_width = pair["standard_error"] * sps.t.isf((1 - level) / 2, pair["df"])
    ends = scale.difference(
        [pair["distance"] - half_width, pair["distance"] + half_width]
    )
    return float(ends[0]), float(ends[1])


def _pair(
    a: np.ndarray, b: np.ndarray, margin: float, log: bool, paired: bool
) -> dict[str, Any]:
    """A row of `pairs_of_groups`, p uncorrected, from the scores of two groups.

    Without enough runs, or without any scatter, the p values are 1.
    """
    n = min(len(a), len(b))
    names = ["difference", "distance", "low", "high", "low90", "high90"]
    values = dict.fromkeys(names, np.nan)
    undecided = dict(p=1.0, p_equivalent=1.0, df=np.nan, standard_error=np.nan)
    if n < FEWEST_RUNS:
        return {"n": n} | values | undecided

    scale = Scale(log)
    a, b = scale.forward(a), scale.forward(b)
    values["distance"] = float(a.mean() - b.mean())
    values["difference"] = float(scale.difference(values["distance"]))
    scatter = a - b if paired else np.concatenate([a - a.mean(), b - b.mean()])
    if np.allclose(scatter, scatter[0], rtol=1e-9, atol=1e-12):
        return {"n": n} | values | undecided

    test = sps.ttest_rel if paired else partial(sps.ttest_ind, equal_var=False)
    result = _run(test, a, b)
    for suffix, level in (("", 1 - LEVEL), ("90", 1 - 2 * LEVEL)):
        interval = result.confidence_interval(level)
        values["low" + suffix] = float(scale.difference(interval.low))
        values["high" + suffix] = float(scale.difference(interval.high))
    return (
        {"n": n}
        | values
        | {
            "p": float(result.pvalue),
            "p_equivalent": float(_p_within(test, a, b, scale.distance(margin))),
            "df": result.df,
            "standard_error": _widths(result)[1],
        }
    )


def _run(test: Callable, ours: np.ndarray, theirs: np.ndarray, **options: str) -> Any:
    """A test of scipy's, without its warnings of equal values: the callers see them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return test(ours, theirs, **options)


def _p_within(
    test: Callable, ours: np.ndarray, theirs: np.ndarray, margin: float
) -> np.ndarray:
    """The p value of the equivalence test: small if the difference is below margin."""
    not_below = _run(test, ours, theirs - margin, alternative="greater").pvalue
    not_above = _run(test, ours, theirs + margin, alternative="less").pvalue
    return np.maximum(not_below, not_above)


def _widths(result: Any) -> tuple[np.ndarray, np.ndarray]:
    """Half the width of a test's 95 % interval, and the standard error behind it."""
    interval = result.confidence_interval(1 - LEVEL)
    half_width = (interval.high - interval.low) / 2
    return half_width, half_width / sps.t.isf(LEVEL / 2, result.df)


def _detectable(df: ArrayLike, tests: int) -> np.ndarray:
    """The difference, in standard errors, that a t test finds with a chance of POWER.

    The level is that of one of several tests (Bonferroni). If the true difference is d
    standard errors, then t has the noncentral distribution with noncentrality d.
    """
    critical = sps.t.isf(LEVEL / 2 / tests, df)
    return special.nctdtrinc(df, 1 - POWER, critical)
