"""The rules that turn a computation into an outcome for a claim of the five reports.

`ledger.csv` says what the reports claim; r1.py to r5.py compute, for each claim, what
speaks for or against it; the rules here give the outcome:

- *agrees*: our result is the claimed one. For a measured number this means that the
  difference, beyond what its rounding explains, is surely below a stated margin, such
  as 0.1 points of accuracy, or one unit of the last digit where a report prints few
  digits. Not to find a difference is not enough.
- *agrees only if*: as above, under one reading of the claim, which is named.
- *differs*: our result contradicts the claim beyond chance.
- *too imprecise to say*: our runs are too few, or scatter too much, for either. The
  finding says which difference they would have shown.
- *not run*: the trainings or measurements that the claim is about are not among the
  records.

A count, a formula or a definition agrees or differs: see `exact` and `holds`. The other
rules rest on Student's t tests, which comparisons.py makes, two of each kind. One asks
whether there is a difference; the other, an equivalence test, asks whether it is below
the margin.

- A report trained once, so its number is a sample of one: `numbers` tests it against
  our n runs. The interval of this test is the one for *one more run* of ours.
- The numbers of a whole log are also compared in the mean: see `curve` in curves.py.
- A ranking is a claim about each pair in it: see `ranking`. That groups score alike is
  one, too: see `alike`.

A claim has one p value, which is small if the claim is hard to believe. It is corrected
for the tests that this claim needs, and for no others: a true claim is said to differ
with a chance of 5 % at most, and what else its author claims, or how finely the ledger
divides it, does not change its outcome. Of many true claims some will then be said to
differ. `decide` tells how large a share of such outcomes this may be where it is not
small: see `false_discovery_rates`.

What is shown decides. Where a claim needs several tests and does not agree, its
intervals are those that hold for all of them together, and are labelled so: a claim
differs if one of them excludes it. A claim agrees only if each of its parts does, for
which each part has its own 95 % interval. That a difference is surely below the margin
is a one-sided statement: its interval is that of 90 %, or its bound is told.

A small difference is not held against a report even if it is beyond chance, because
trainings elsewhere differ in more than their seeds.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control

from mnistkit.claims.comparisons import (
    FEWEST_RUNS,
    LEVEL,
    Scale,
    against_one_more_run,
    interval_of_pair,
    pairs_of_groups,
    too_few,
)
from mnistkit.claims.names import NAMES, name_of, to_be_trained
from mnistkit.runs import Record
from mnistkit.stats import check_columns
from mnistkit.storage.files import MNIST
from mnistkit.tables import describe
from mnistkit.wording import number, percent, with_interval

OUTCOMES = ("agrees", "agrees only if", "differs", "too imprecise to say", "not run")
AGREES, AGREES_IF, DIFFERS, IMPRECISE, NOT_RUN = OUTCOMES
PAIR_OUTCOMES = ("as claimed", "reversed", "equivalent", "different", "open")
AS_CLAIMED, REVERSED, EQUIVALENT, DIFFERENT, OPEN = PAIR_OUTCOMES


# What a check may look at, and what it finds


class NotRun(Exception):
    """The evidence for a claim is not there; the message says what was not run."""


def trained_on_all(record: Record) -> bool:
    """Whether a run had all training images, or all but a validation part of a sixth.

    The largest such part is R3's, a share of 0.167, which leaves 49,980 images.
    """
    return record.data["train_size"] >= 49_000


@dataclass
class Evidence:
    """What a check may look at: the data, and each experiment's records by its name.

    `read` collects the records that were asked for, so that it can be said how large
    the trainings behind a finding were.
    """

    mnist: MNIST
    records: Mapping[str, list[Record]]
    read: list[Record] = field(default_factory=list)

    def runs(self, experiment: str, **settings: Any) -> list[Record]:
        """The records of an experiment whose runs have these settings, at any scale.

        A setting is an attribute of a run with its value, or a list of values: model=
        "lenet", lr=[0.01, 0.001]. NotRun if there is no record for one of the values.
        """
        records = self.records.get(experiment, [])
        if not records:
            raise NotRun(to_be_trained(experiment))
        for name, wanted in settings.items():
            values = wanted if isinstance(wanted, list) else [wanted]
            found = [getattr(record.run, name) for record in records]
            lacking = [name_of(value) for value in values if value not in found]
            if lacking:
                missing = ", ".join(lacking)
                if name != "model":
                    missing = f"{name.replace('_', ' ')} {missing}"
                raise NotRun(to_be_trained(experiment, missing))
            records = [r for r in records if getattr(r.run, name) in values]
        self.read += records
        return records

    def full(self, experiment: str, **settings: Any) -> list[Record]:
        """The same records, or NotRun if one of them had fewer images than the report.

        For numbers that depend on the size of the training.
        """
        records = Evidence(self.mnist, self.records).runs(experiment, **settings)
        if not all(trained_on_all(record) for record in records):
            raise NotRun(to_be_trained(experiment, f"so far: {describe(records)}"))
        self.read += records  # a finding does not rest on runs that were refused
        return records


@dataclass
class Finding:
    """What a computation says about a claim.

    `outcome` is one of OUTCOMES. A finding that rests on tests is AGREES or IMPRECISE
    at first; `decide` makes DIFFERS of it where its p value is small enough.
    """

    outcome: str
    regenerated: str = ""  # what we found, as text
    reason: str = ""  # what explains or limits it
    reading: str = ""  # the claim agrees if it is read so; empty if it is read as it is
    p: float = math.nan  # of our result if the claim holds; nan without a test
    parts: int = 1  # how many such findings p was corrected for: see `together`
    joint: str = ""  # regenerated, if it does not agree, with intervals for all parts
    limit: str = ""  # how precise the runs are: `decide` adds it to reason if IMPRECISE
    assured: str = ""  # below what a difference surely is: added if AGREES
    points: list[dict] = field(default_factory=list)  # a row per number: see `numbers`
    pairs: list[dict] = field(default_factory=list)  # a row per pair: see `ranking`
    controls: list[dict] = field(default_factory=list)  # see `negative_control`
    evidence: str = ""  # what it rests on: `judge` fills this in


Check = Callable[[Evidence], Finding]

# The computation of each claim, by the claim's id; `check` enters it.
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


# Counts, formulas and definitions


def exact(reported: object, found: object, reason: str = "") -> Finding:
    """A count, a formula or a definition: it agrees if equal to what we found."""
    return holds(reported == found, found, reason)


def holds(statement: bool, found: object, reason: str = "") -> Finding:
    """A statement that a computation found true or false, and what it computed."""
    return Finding(AGREES if statement else DIFFERS, _text(found), reason)


# Measured numbers


def numbers(
    reported: ArrayLike,
    values: ArrayLike,
    unit: ArrayLike,
    margin: float,
    labels: Sequence[str] | None = None,
    log: bool = False,
    share: bool = False,
    reason: str = "",
    parts: int = 1,
) -> Finding:
    """Measured numbers of a report, compared with the same numbers of our runs.

    - `reported` is one number or k of them, `values` those of n runs: [n] or [n, k]. A
      run with a value that is not finite (it diverged) is left out.
    - `unit` is one unit of the last printed digit, 0.01 for "0.97": one for all numbers
      or one for each. A number that was cut off instead of rounded is given as the
      middle of its range.
    - `margin` is the difference that would matter, in the unit of the numbers. On the
      logarithmic scale (`log`, for losses) it is a share: 0.1 for 10 %.
    - `share`: the numbers are accuracies or the like, from 0 to 1.
    - `parts`: the claim has so many parts, of which this is one (see `together`).

    The claim agrees if each number does. Its p value is the smallest over the numbers
    that do not agree, times k and times the parts (Bonferroni). The finding has a point
    per number:

    - label, reported, n; mean of our runs (geometric on the logarithmic scale);
    - low, high: the interval for one more run, 95 %, widened by half a unit on both
      sides because the report's number was rounded; inside: whether it lies in there;
    - joint_low, joint_high: the same for all numbers and parts of the claim together;
    - t: how far off it is beyond its rounding, in standard deviations of one more run;
    - p of no difference; within: whether the difference is surely below the margin;
      apart: what it is surely below, at 95 %;
    - precision: half the width of the interval, before it was widened; margin; and
      detectable: the difference that would have been found with a chance of 80 %. These
      three, and apart, are shares on the logarithmic scale.

    With fewer than three runs the claim is IMPRECISE, and there are no points.
    """
    theirs = np.atleast_1d(np.asarray(reported, float))  # [k]
    ours = np.asarray(values, float).reshape(-1, len(theirs))  # [n, k]
    ours = ours[np.isfinite(ours).all(axis=1)]
    n, count = ours.shape
    if n < FEWEST_RUNS:
        return Finding(IMPRECISE, reason=reason, parts=parts, limit=too_few(n))

    scale, tests = Scale(log, share), count * parts
    points = against_one_more_run(theirs, ours, unit, margin, scale, tests)
    points.insert(0, "label", list(labels) if labels is not None else "")
    apart = f"surely less than {scale.size(points['apart'].max())} apart"
    return Finding(
        outcome=AGREES if points["within"].all() else IMPRECISE,
        regenerated=_points_text(points, scale),
        reason=reason,
        p=min(1.0, tests * float(points["p"].where(~points["within"], 1).min())),
        parts=parts,
        joint=_points_text(points, scale, tests),
        limit=_limit_text(points["detectable"].max(), scale, margin),
        assured=f"beyond rounding {apart}; {scale.size(margin)} would matter",
        points=points.to_dict("records"),
    )


def _points_text(points: pd.DataFrame, scale: Scale, tests: int = 1) -> str:
    """Our means with the interval for one more run, or how many numbers are inside.

    The intervals are those that hold for several tests together, or for one.
    """
    if len(points) > 3:
        inside, within = points["inside"].sum(), points["within"].sum()
        where = f"where one more run of ours could ({points['n'].iloc[0]} runs)"
        margin = scale.size(points["margin"].iloc[0])
        sure = f"{within} are surely closer to our mean than {margin}"
        sure += surely_different(points, tests)
        return f"{inside} of {len(points)} numbers lie {where}; {sure}"
    name, ends = "one more run, with rounding,", ["low", "high"]
    if tests > 1:
        name = f"one more run, with rounding, {_level(tests)}:"
        ends = ["joint_low", "joint_high"]
    texts = []
    for row in points.to_dict("records"):
        low, high = (row[end] for end in ends)
        form = scale.number
        mean = with_interval(row["mean"], low, high, row["n"], form, interval=name)
        texts.append(f"{name_of(row['label'])} {mean}".strip())
    return "; ".join(texts)


def surely_different(points: pd.DataFrame, tests: int) -> str:
    """How many numbers differ, by each of so many tests; no words if none does.

    Where only the numbers inside are counted, this is what decides.
    """
    differ = (points["p"].where(~points["within"], 1) * tests < LEVEL).sum()
    return f", {differ} surely different" if differ else ""


def _level(tests: int, level: float = LEVEL) -> str:
    """The level in percent of intervals that hold for several tests together."""
    return f"{100 * (1 - level / tests):.3g} %"


def _limit_text(detectable: float, scale: Scale, margin: float) -> str:
    """What runs like ours would detect; of losses that more than double, the ratio."""
    least, matters = f"a difference of {scale.size(detectable)}", scale.size(margin)
    if scale.log and detectable >= 1:
        least, matters = (
            f"a ratio of {number(1 + x, 2)}" for x in (detectable, margin)
        )
    detected = f"runs like ours would detect {least} with a chance of 80 %"
    return f"{detected}; {matters} would matter"


# Rankings, and groups that score alike


def ranking(
    frame: pd.DataFrame,
    by: str,
    value: str,
    order: Sequence[Any],
    margin: float,
    higher_is_better: bool = True,
    log: bool = False,
    paired: bool = True,
    reason: str = "",
    parts: int = 1,
) -> Finding:
    """A claimed order of groups, best first, judged pair by pair.

    - `frame` has a row per run: its group in the column `by`, its seed in `seed`, its
      score in the column `value`. A score that is not finite is left out.
    - `margin` is the smallest difference that counts as one, in the unit of the score,
      or a share on the logarithmic scale (`log`, for losses).
    - `paired`: runs with the same seed are compared with each other. This makes sense
      if the seed gives them the same first weights and the same batches. Runs of
      different networks are compared by Welch's test.
    - `parts`: the claim has so many parts, of which this is one (see `together`).

    The claim agrees if every pair is as claimed. It differs if one pair is reversed or
    equivalent, that is, closer than the margin. The finding has a row per pair:

    - first, second: the groups, the better one by the claim first; n: the number of
      seeds, or of runs in the smaller group; outcome: one of PAIR_OUTCOMES;
    - difference of the means (first minus second), low and high (its 95 % interval),
      low90 and high90 (its 90 % interval, which lies within the margin if the pair is
      equivalent), and detectable (what would have been found with a chance of 80 %). On
      the logarithmic scale these are shares: 0.1 if the first is 10 % higher;
    - p of no difference and p_equivalent, both corrected over the pairs (Holm). The
      intervals are not: with several pairs the finding tells their outcomes instead.

    A pair with fewer than three runs is open, as is one whose differences are all the
    same. NotRun if a group has no runs; ValueError if a seed occurs twice in a group of
    pairs.
    """
    pairs = _compare_groups(frame, by, value, order, margin, log, paired, parts)
    is_as_claimed = (pairs["difference"] > 0) == higher_is_better
    differs = pairs["p"] < LEVEL
    pairs["outcome"] = np.select(
        [differs & is_as_claimed, differs, pairs["p_equivalent"] < LEVEL],
        [AS_CLAIMED, REVERSED, EQUIVALENT],
        default=OPEN,
    )
    # Each pair may refute the claim, by either test.
    against = np.fmin(pairs["p"].where(~is_as_claimed, 1), pairs["p_equivalent"])
    against = against.where(pairs["outcome"] != AS_CLAIMED, 1)
    means = _means(frame, by, value, order, log)
    means = means.sort_values(ascending=not higher_is_better)
    scale, p = Scale(log, share=value.endswith("accuracy")), against.min()
    return _on_pairs(pairs, AS_CLAIMED, p, means, reason, scale, margin, parts)


def alike(
    frame: pd.DataFrame,
    by: str,
    value: str,
    groups: Sequence[Any],
    margin: float,
    log: bool = False,
    paired: bool = True,
    reason: str = "",
    parts: int = 1,
) -> Finding:
    """The claim that groups score alike; arguments and pairs are those of `ranking`.

    It agrees if all pairs are equivalent. It differs if one pair is "different": there
    is a difference, and it is not known to be below the margin.
    """
    pairs = _compare_groups(frame, by, value, groups, margin, log, paired, parts)
    is_equivalent = pairs["p_equivalent"] < LEVEL
    pairs["outcome"] = np.select(
        [is_equivalent, pairs["p"] < LEVEL], [EQUIVALENT, DIFFERENT], default=OPEN
    )
    p = pairs["p"].where(~is_equivalent, 1).min()
    means = _means(frame, by, value, groups, log)
    scale = Scale(log, share=value.endswith("accuracy"))
    return _on_pairs(pairs, EQUIVALENT, p, means, reason, scale, margin, parts)


def _means(
    frame: pd.DataFrame, by: str, value: str, groups: Sequence[Any], log: bool
) -> pd.Series:
    """The means of the finite scores by group, geometric on the logarithmic scale."""
    scores = frame.set_index(by)[value].astype(float)
    scores = scores[np.isfinite(scores)]
    scale = Scale(log)
    forward = pd.Series(scale.forward(scores), scores.index)
    means = forward.groupby(level=0).mean().reindex(list(groups))
    return pd.Series(scale.back(means.to_numpy()), means.index, name=value)


def _compare_groups(
    frame: pd.DataFrame,
    by: str,
    value: str,
    groups: Sequence[Any],
    margin: float,
    log: bool,
    paired: bool,
    parts: int,
) -> pd.DataFrame:
    """The pairs of `ranking`, without outcomes."""
    check_columns(frame, by, value, "seed")
    lacking = [group for group in groups if group not in set(frame[by])]
    if lacking:
        raise NotRun(f"to be trained: {', '.join(map(name_of, lacking))}")
    finite = frame[np.isfinite(frame[value].astype(float))]
    scores = {}
    for group in groups:
        scores[group] = finite[finite[by] == group].set_index("seed")[value]
        if paired and not scores[group].index.is_unique:
            raise ValueError(f"{by} {group} has a seed more than once")
    return pairs_of_groups(scores, margin, log, paired, parts)


def _on_pairs(
    pairs: pd.DataFrame,
    claimed: str,
    p: float,
    means: pd.Series,
    reason: str,
    scale: Scale,
    margin: float,
    parts: int,
) -> Finding:
    """The finding on pairs of which each is claimed to have one outcome."""
    n = pairs["n"].min()
    # Pairs that are decided one by one can be open once all claims are counted.
    is_open = pairs["outcome"] == OPEN
    detectable = pairs.loc[is_open if is_open.any() else ~is_open, "detectable"].max()
    limit = _limit_text(detectable, scale, margin)
    return Finding(
        outcome=AGREES if (pairs["outcome"] == claimed).all() else IMPRECISE,
        regenerated=_pairs_text(pairs, means, scale, margin),
        reason=reason,
        p=min(1.0, parts * float(p)),
        parts=parts,
        joint=_pairs_text(pairs, means, scale, margin, parts),
        limit=limit if n >= FEWEST_RUNS else too_few(n),
        pairs=pairs.to_dict("records"),
    )


def _pairs_text(
    pairs: pd.DataFrame,
    means: pd.Series,
    scale: Scale,
    margin: float,
    parts: int = 1,
) -> str:
    """The means of the groups, best first, and the outcomes of their pairs.

    Of one pair its difference is told, the first group by the claim before the second;
    on the logarithmic scale their ratio, if the first is twice the second or more. The
    interval holds for all parts of the claim together. If the pair is equivalent, it is
    that of the equivalence test, whose two tests are one-sided.
    """
    what = f"{name_of(means.name)}: " if means.name in NAMES else ""
    if len(pairs) == 1:
        [pair] = pairs.to_dict("records")
        means = means.reindex([pair["first"], pair["second"]])
    groups = [f"{scale.number(x)} ({name_of(group)})" for group, x in means.items()]
    told = what + ", ".join(groups)
    if len(pairs) == 1:
        is_equivalent = parts * pair["p_equivalent"] < LEVEL
        is_equivalent &= pair["outcome"] not in (AS_CLAIMED, REVERSED)
        level = 2 * LEVEL if is_equivalent else LEVEL
        gap, n = pair["difference"], pair["n"]
        low, high = interval_of_pair(pair, scale, 1 - level / parts)
        interval = f"{_level(parts, level)} interval"
        if scale.log and gap >= 1:
            form = partial(number, digits=2)
            ratio = with_interval(
                1 + gap, 1 + low, 1 + high, n, form, interval=interval
            )
            return f"{told}; ratio {ratio}"
        form = scale.change
        difference = with_interval(gap, low, high, n, form, interval=interval)
        matters = f", surely below the {scale.size(margin)} that would matter"
        return f"{told}; difference {difference}{matters if is_equivalent else ''}"
    counts = pairs["outcome"].value_counts()
    parts = [f"{counts[kind]} {kind}" for kind in PAIR_OUTCOMES if kind in counts]
    runs = f"{pairs['n'].min()} runs each"
    return f"{told}, {runs}; of {len(pairs)} pairs {', '.join(parts)}"


# Claims of several parts or readings, and the outcomes of a report


def together(
    parts: Mapping[str, Finding] | Sequence[Finding], reason: str = ""
) -> Finding:
    """The finding on a claim of several parts, which may have names.

    It agrees if all parts do, and differs if one does; its p value is the smallest of
    the parts. What limits it is what limits the imprecise parts. ValueError for a part
    with a test that was not corrected for the number of parts.
    """
    named = parts if isinstance(parts, Mapping) else dict(enumerate(parts))
    findings = list(named.values())
    tested = [part for part in findings if not math.isnan(part.p)]
    if any(part.parts < len(tested) for part in tested):
        raise ValueError(f"the tests have to be corrected for {len(tested)} parts")
    outcomes = {finding.outcome for finding in findings}
    if DIFFERS in outcomes:
        outcome = DIFFERS
    else:
        outcome = AGREES if outcomes == {AGREES} else IMPRECISE

    def texts(attribute: str, of: Collection[str] = OUTCOMES) -> str:
        told = []
        for name, part in named.items():
            text = getattr(part, attribute)
            if text and part.outcome in of and text not in told:
                told.append(f"{name}: {text}" if isinstance(name, str) else text)
        return ". ".join(told)

    def rows(attribute: str) -> list[dict]:
        return [row for part in findings for row in getattr(part, attribute)]

    return Finding(
        outcome=outcome,
        regenerated=texts("regenerated"),
        reason=_join(reason, texts("reason")),
        p=min((part.p for part in tested), default=math.nan),
        joint=texts("joint"),
        limit=texts("limit", of=[IMPRECISE]),
        assured=texts("assured", of=[AGREES]),
        points=rows("points"),
        pairs=rows("pairs"),
        controls=rows("controls"),
    )


def fairest(as_written: Finding, readings: Mapping[str, Finding]) -> Finding:
    """The finding on a claim that can be read in several ways, in the author's favour.

    It is that on the claim as it is written if this agrees, else that under the first
    other reading that agrees, which it names. If none agrees, it is that on the claim
    as it is written if this is open, else the one with the largest p value: a claim
    differs only if it differs under all readings.
    """
    for reading, finding in {"": as_written, **readings}.items():
        if finding.outcome == AGREES:
            finding.reading = reading
            return finding

    def plausibility(finding: Finding) -> float:
        untested = 0.0 if finding.outcome == DIFFERS else 1.0
        return untested if math.isnan(finding.p) else finding.p

    if plausibility(as_written) >= LEVEL:
        return as_written
    return max([as_written, *readings.values()], key=plausibility)


def decide(findings: Sequence[Finding]) -> None:
    """Set the final outcomes of findings, and tell what they rest on, in place.

    Where the p value of a finding is below LEVEL, its outcome is DIFFERS. The other
    findings do not change an outcome. They do tell how many of those that differ may do
    so by chance, and where this share is LEVEL or more, the reason says so.
    """
    rates = false_discovery_rates([finding.p for finding in findings])
    for finding, rate in zip(findings, rates, strict=True):
        told = ""
        if finding.p < LEVEL:
            finding.outcome = DIFFERS
            if rate >= LEVEL:
                tests = np.isfinite(rates).sum()
                told = f"p = {finding.p:.2g} (false discovery rate {percent(rate, 0)} "
                told += f"among {tests} tested claims)"
        elif finding.outcome == AGREES:
            told = finding.assured
        elif finding.outcome == IMPRECISE:
            told = finding.limit
        if finding.outcome != AGREES:
            finding.regenerated = finding.joint or finding.regenerated
        elif finding.reading:
            finding.outcome = AGREES_IF
        finding.reason = _join(told, finding.reason)
        finding.limit = finding.assured = finding.joint = ""  # they have been told


def false_discovery_rates(p: Sequence[float]) -> np.ndarray:
    """The rates at which p values [N] of tests mislead (Benjamini and Hochberg, 1995).

    If each claim with a p value as small is said to differ, this is the share of true
    ones to be expected among them, at most. A nan stays nan and counts as no test.
    """
    rates = np.array(p, dtype=float)
    tested = np.isfinite(rates)
    if tested.any():
        rates[tested] = false_discovery_control(rates[tested])
    return rates


def _join(*texts: str) -> str:
    return "; ".join(text for text in texts if text)


def _text(value: object) -> str:
    """A value that was found, as tables show it.

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
