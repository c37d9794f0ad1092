"""Verdicts on the five reports' claims: the rules, and the ledger they are applied to.

`ledger.csv` says what the reports claim; r1.py to r5.py bind a computation to each
claim that can be judged. The rules below turn what was computed into a verdict:

- a count, a formula or a definition is *reproduced* or *wrong as stated*: `exact`;
- a measured number is *reproduced* if it lies in the 95 % interval for one more run of
  ours (Student's prediction interval, half a unit of its last digit granted for
  rounding), *not reproduced* if it is a surprise even after the correction below, else
  undecided; of several numbers in a claim nine in ten must lie inside: `numbers`;
- a ranking is *reproduced* if every pair is decided as claimed, *not reproduced* if a
  pair is decided the other way, else undecided: `ranking`;
- what is undecided or was not run *cannot be checked*, and the reason is given.

Verdicts by test hold at 5 % after Holm's correction over all tests of one report.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats as sps

from mnistkit.runs import Record
from mnistkit.stats import holm, paired_test
from mnistkit.storage.files import MNIST
from mnistkit.tables import describe

VERDICTS = ("reproduced", "not reproduced", "wrong as stated", "cannot be checked")
REPRODUCED, NOT_REPRODUCED, WRONG, UNCHECKED = VERDICTS
LEVEL = 0.05


class Missing(Exception):
    """The evidence for a claim is not there; the message says what was not run."""


@dataclass
class Evidence:
    """What checks may look at: the data, and the records of each experiment by name."""

    mnist: MNIST
    records: dict[str, list[Record]]

    def runs(self, name: str) -> list[Record]:
        """The records of an experiment at whatever scale it was run, or Missing."""
        if not self.records.get(name):
            raise Missing(f"{name} was not run")
        return self.records[name]

    def full(self, name: str) -> list[Record]:
        """Only if it was run on (nearly) all training images, as the reports did."""
        records = self.runs(name)
        if min(record.data["train_size"] for record in records) < 49_000:
            raise Missing(f"run at a smaller scale only: {describe(records)}")
        return records


@dataclass
class Finding:
    """What a computation says about a claim; without a verdict, `decide` gives one.

    `points` holds a dict(label, reported, mean, low, high, n, inside) per number.
    `against` and `support` are p values: how surprising is what was computed if the
    claim is true, or if it is not? `alike`: do measured numbers look like ours?
    """

    verdict: str
    regenerated: str = ""
    reason: str = ""
    points: list[dict] = field(default_factory=list)
    against: float = math.nan
    support: float = math.nan
    alike: bool = False


def exact(reported, regenerated, reason: str = "") -> Finding:
    """A count, a formula or a definition: equal, or wrong as stated."""
    verdict = REPRODUCED if reported == regenerated else WRONG
    return Finding(verdict, _text(regenerated), reason)


def holds(statement: bool, regenerated, reason: str = "") -> Finding:
    """A statement that a computation found true or false, and what it computed."""
    verdict = REPRODUCED if statement else WRONG
    return Finding(verdict, _text(regenerated), reason)


def unchecked(reason: str) -> Finding:
    return Finding(UNCHECKED, reason=reason)


def numbers(reported, values, unit, labels=None, reason: str = "") -> Finding:
    """Measured numbers [k] against those of n runs of ours [n, k] (or one: [n]).

    `unit` is that of the last printed digit, 0.01 for "0.97" (one, or one per number).
    A number that is cut off instead of rounded is given as the middle of its range. Two
    runs or fewer decide nothing.
    """
    reported = np.atleast_1d(np.asarray(reported, float))
    values = np.asarray(values, float).reshape(-1, len(reported))
    n, mean = len(values), values.mean(0)
    if n < 3:
        return unchecked(f"n = {n}: at least three runs are needed")
    spread = values.std(0, ddof=1) * math.sqrt(1 + 1 / n)  # of one more run
    excess = np.maximum(abs(reported - mean) - unit / 2, 0)
    # Runs that all agree, and disagree with the report: no chance of a later one.
    t = np.divide(excess, spread, np.where(excess > 0, np.inf, 0.0), where=spread > 0)
    p = 2 * sps.t.sf(t, n - 1)
    half = sps.t.ppf(1 - LEVEL / 2, n - 1) * spread
    points = pd.DataFrame({"label": labels or "", "reported": reported, "mean": mean})
    points = points.assign(low=mean - half, high=mean + half, n=n)
    points["inside"] = excess <= half
    inside = int(points["inside"].sum())
    text = f"{inside} of {len(reported)} within the intervals, n = {n}"
    if len(reported) == 1:
        text = "{:.4g} [{:.4g}, {:.4g}], n = {:.0f}".format(*points.iloc[0, 2:6])
    against = min(1.0, len(reported) * p.min())
    alike = inside >= 0.9 * len(reported)
    return Finding("", text, reason, points.to_dict("records"), against, alike=alike)


def ranking(
    frame, by: str, value: str, order: list, higher_is_better=True, reason: str = ""
) -> Finding:
    """The groups in `order`, best first, by tests paired over seeds.

    All pairs must be decided as claimed (then the largest p counts: each must be
    small); one pair the other way is enough against it (smallest p, times the pairs).
    """
    rows = frame[frame[by].isin(order)]
    lacking = [name for name in order if name not in set(rows[by])]
    if lacking:
        return unchecked(f"not run: {', '.join(map(str, lacking))}")
    rows = rows.sort_values(by, key=lambda names: names.map(order.index), kind="stable")
    tests = paired_test(rows, by, value, higher_is_better=higher_is_better)
    if tests["p"].isna().any():
        return unchecked(f"n = {tests['n'].min()}: too few runs to tell from chance")
    as_claimed = (tests["difference"] > 0) == higher_is_better
    for_claim = np.where(as_claimed, tests["p"] / 2, 1 - tests["p"] / 2)
    means = rows.groupby(by, sort=False)[value].mean().sort_values()
    means = means[::-1] if higher_is_better else means
    text = "best first: "
    text += ", ".join(f"{name} {mean:.4g}" for name, mean in means.items())
    text += f", n = {tests['n'].min()}"
    against = min(1.0, len(tests) * float((1 - for_claim).min()))
    return Finding("", text, reason, [], against, float(for_claim.max()))


def decide(findings: list[Finding]):
    """Put verdicts for p values, Holm-adjusted over `findings`, in place."""
    tested = [finding for finding in findings if not finding.verdict]
    p = [value for finding in tested for value in (finding.against, finding.support)]
    adjusted = iter(holm(p))
    for finding in tested:
        against, support = next(adjusted), next(adjusted)
        if against < LEVEL:
            finding.verdict = NOT_REPRODUCED
        elif support < LEVEL or finding.alike:
            finding.verdict = REPRODUCED
        else:
            finding.verdict = UNCHECKED
            finding.reason = "; ".join(filter(None, ("undecided", finding.reason)))


def _text(value) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
