"""The rules that turn a computation into a verdict on a claim of the five reports.

`ledger.csv` says what the reports claim; r1.py to r5.py hold a computation for each
claim that can be judged. What a computation found gets its verdict by these rules:

- A count, a formula or a definition is *reproduced* or *wrong as stated*: see `exact`
  and `holds`.
- A measured number is *reproduced* if it lies in the 95 % interval for one more run of
  ours: Student's prediction interval, widened by half a unit of the number's last
  digit, because it was rounded. It is *not reproduced* if its distance from our runs is
  significant even after the correction below. Of several numbers in one claim nine in
  ten must lie inside: see `numbers`.
- A ranking is *reproduced* if every pair in it is decided as claimed, and *not
  reproduced* if one pair is decided the other way: see `ranking`.
- A claim that is undecided, or whose evidence was not run, *cannot be checked*; the
  reason is given.

Verdicts by a statistical test hold at a level of 5 % after Holm's correction over all
tests of one report: see `decide`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats as sps

from mnistkit.runs import Record
from mnistkit.stats import holm, paired_test
from mnistkit.storage.files import MNIST
from mnistkit.tables import describe

VERDICTS = ("reproduced", "not reproduced", "wrong as stated", "cannot be checked")
REPRODUCED, NOT_REPRODUCED, WRONG, UNCHECKED = VERDICTS
LEVEL = 0.05  # of the tests; the intervals are those of 1 - LEVEL


class NotRun(Exception):
    """The evidence for a claim is not there; the message says what was not run."""


def trained_on_all(record: Record) -> bool:
    """Whether a run had all training images, or all but a validation part of a sixth.

    The largest such part is R3's, a share of 0.167, which leaves 49,980 images.
    """
    return record.data["train_size"] >= 49_000


@dataclass
class Evidence:
    """What a check may look at: the data, and each experiment's records by its name."""

    mnist: MNIST
    records: dict[str, list[Record]]

    def runs(self, name: str) -> list[Record]:
        """The records of an experiment at whatever scale it was run.

        NotRun if there are none.
        """
        if not self.records.get(name):
            raise NotRun(f"{name} was not run")
        return self.records[name]

    def full(self, name: str) -> list[Record]:
        """The records of an experiment that was run on the reports' scale.

        NotRun if there are none, or if a run had fewer training images.
        """
        records = self.runs(name)
        if not all(trained_on_all(record) for record in records):
            raise NotRun(f"run at a smaller scale only: {describe(records)}")
        return records


@dataclass
class Finding:
    """What a computation says about a claim.

    A finding that rests on statistical tests has the verdict "" until `decide` gives it
    one. Its p values are nan where there is no such test:

    - `against` is the p value of our result if the claim is true: small refutes it.
    - `support` is the p value of our result if the claim is false: small confirms it.
    """

    verdict: str
    regenerated: str = ""  # what we found, as text
    reason: str = ""  # why the verdict is what it is, or what limits it
    points: list[dict] = field(default_factory=list)  # a row per number, see `numbers`
    against: float = math.nan
    support: float = math.nan
    alike: bool = False  # nine in ten of the reported numbers lie inside our intervals


Check = Callable[[Evidence], Finding]

# The computation of each claim that has one, by the claim's id; `check` enters it.
CHECKS: dict[str, Check] = {}


def check(*claims: str) -> Callable[[Check], Check]:
    """Decorator: enter a computation in CHECKS for each of these claims.

    ValueError if a claim already has a computation.
    """

    def enter(computation: Check) -> Check:
        for claim in claims:
            if claim in CHECKS:
                raise ValueError(f"{claim} has two checks")
            CHECKS[claim] = computation
        return computation

    return enter


def exact(reported: object, regenerated: object, reason: str = "") -> Finding:
    """A count, a formula or a definition: reproduced if equal, else wrong as stated."""
    return holds(reported == regenerated, regenerated, reason)


def holds(statement: bool, regenerated: object, reason: str = "") -> Finding:
    """A statement that a computation found true or false, and what it computed."""
    verdict = REPRODUCED if statement else WRONG
    return Finding(verdict, _text(regenerated), reason)


def unchecked(reason: str) -> Finding:
    """A claim that cannot be checked, and why."""
    return Finding(UNCHECKED, reason=reason)


def numbers(
    reported: ArrayLike,
    values: ArrayLike,
    unit: ArrayLike,
    labels: Sequence[str] | None = None,
    reason: str = "",
) -> Finding:
    """Measured numbers of a report, compared with the same numbers of our runs.

    `reported` is one number or k of them, `values` those of n runs: [n] or [n, k].
    `unit` is one unit of the last printed digit, 0.01 for "0.97": one for all numbers
    or one for each. A number that was cut off instead of rounded is given as the middle
    of its range. `labels` name the k numbers.

    The finding has a point per number, dict(label, reported, mean, low, high, n,
    inside): low and high bound the interval for one more run, without the allowance for
    rounding, which `inside` grants. With fewer than three runs the claim cannot be
    checked.
    """
    reported = np.atleast_1d(np.asarray(reported, float))  # [k]
    values = np.asarray(values, float).reshape(-1, len(reported))  # [n, k]
    n, count = values.shape
    if n < 3:
        return unchecked(f"n = {n}: at least three runs are needed")

    # One more run differs from the mean of n by its own spread and that of the mean.
    mean = values.mean(0)
    spread = values.std(0, ddof=1) * math.sqrt(1 + 1 / n)
    half_width = sps.t.ppf(1 - LEVEL / 2, n - 1) * spread

    # How far off is a reported number, beyond what its rounding may account for?
    excess = np.maximum(abs(reported - mean) - np.asarray(unit, float) / 2, 0)
    inside = excess <= half_width
    # Runs that all agree have no spread: any excess over them is beyond chance.
    t = np.where(excess > 0, np.inf, 0.0)
    np.divide(excess, spread, out=t, where=spread > 0)
    p = 2 * sps.t.sf(t, n - 1)

    points = pd.DataFrame(
        {
            "label": labels or "",
            "reported": reported,
            "mean": mean,
            "low": mean - half_width,
            "high": mean + half_width,
            "n": n,
            "inside": inside,
        }
    ).to_dict("records")
    if count == 1:
        text = "{mean:.4g} [{low:.4g}, {high:.4g}], n = {n}".format(**points[0])
    else:
        text = f"{inside.sum()} of {count} within the intervals, n = {n}"
    return Finding(
        verdict="",
        regenerated=text,
        reason=reason,
        points=points,
        against=min(1.0, count * p.min()),  # Bonferroni's correction over the numbers
        alike=bool(inside.sum() >= 0.9 * count),
    )


def ranking(
    frame: pd.DataFrame,
    by: str,
    value: str,
    order: list,
    higher_is_better: bool = True,
    reason: str = "",
) -> Finding:
    """A claimed order of groups, best first, judged by tests paired over seeds.

    `frame` has a row per run: its group in the column `by`, its seed in `seed`, its
    score in the column `value`. Every pair of groups in `order` is tested.

    Support is the largest one-sided p over the pairs, because every pair must hold.
    Against is the smallest p of the opposite side, Bonferroni-corrected over the pairs,
    because one reversed pair refutes the order. The claim cannot be checked if a group
    has no runs, or if a pair has fewer than two seeds or the same difference for each.
    """
    rows = frame[frame[by].isin(order)]
    lacking = [group for group in order if group not in set(rows[by])]
    if lacking:
        return unchecked(f"not run: {', '.join(map(str, lacking))}")

    # In the claimed order, the first group of each pair is the better one.
    rows = rows.sort_values(by, key=lambda names: names.map(order.index), kind="stable")
    tests = paired_test(rows, by, value, higher_is_better=higher_is_better)
    n = tests["n"].min()
    if tests["p"].isna().any():
        return unchecked(f"n = {n}: too few runs to tell from chance")
    as_claimed = (tests["difference"] > 0) == higher_is_better
    one_sided = np.where(as_claimed, tests["p"] / 2, 1 - tests["p"] / 2)
    opposite = 1 - one_sided

    means = rows.groupby(by, sort=False)[value].mean().sort_values()
    if higher_is_better:
        means = means[::-1]
    found = ", ".join(f"{group} {mean:.4g}" for group, mean in means.items())
    return Finding(
        verdict="",
        regenerated=f"best first: {found}, n = {n}",
        reason=reason,
        against=min(1.0, len(tests) * float(opposite.min())),
        support=float(one_sided.max()),
    )


def decide(findings: list[Finding]) -> None:
    """Set `verdict` on every finding that lacks one, after Holm's correction.

    The correction is over both p values of all these findings. Modifies in place.
    """
    tested = [finding for finding in findings if not finding.verdict]
    p_values = [p for finding in tested for p in (finding.against, finding.support)]
    adjusted = np.reshape(holm(p_values), (-1, 2))
    for finding, (against, support) in zip(tested, adjusted, strict=True):
        if against < LEVEL:
            finding.verdict = NOT_REPRODUCED
        elif support < LEVEL or finding.alike:
            finding.verdict = REPRODUCED
        else:
            finding.verdict = UNCHECKED
            finding.reason = "; ".join(filter(None, ["undecided", finding.reason]))


def _text(value: object) -> str:
    """A regenerated value as tables show it.

    Whole numbers have their thousands separated, other numbers six significant digits;
    the items of a list are separated by commas.
    """
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, bool | str):  # before int, because True is an int as well
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}"
