"""The rule for many numbers along a training, such as R2's log of losses.

A log that looks right may look so for many settings. So a log is also set against our
own runs with *wrong* settings (a negative control).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mnistkit.claims.comparisons import LEVEL, Scale
from mnistkit.claims.rules import (
    AGREES,
    DIFFERS,
    IMPRECISE,
    Finding,
    numbers,
    surely_different,
)


def curve(
    reported: ArrayLike,
    values: ArrayLike,
    unit: float,
    margin: float,
    labels: Sequence[str] | None = None,
    log: bool = False,
    share: bool = False,
    wrong: Mapping[str, ArrayLike] | None = None,
    reason: str = "",
    parts: int = 1,
) -> Finding:
    """Many numbers along a training, judged as a whole.

    The arguments are those of `rules.numbers`: `reported` [k], `values` [n, k]. One
    number of a log scatters much from run to run, the mean of all of them little. So
    the claim agrees if the mean does (geometric on the logarithmic scale) and no single
    number differs. Its p value is the smaller one of these two tests, each of which is
    corrected for both.

    `wrong` are our runs with other settings than the report's, by what is wrong: they
    give the finding's controls (`negative_control`).
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values).all(axis=1)]
    both = 2 * parts
    each = numbers(reported, values, unit, margin, labels, log, share, parts=both)
    if not each.points:
        return Finding(IMPRECISE, reason=reason, parts=parts, limit=each.limit)
    whole = _in_the_mean(reported, values, unit, margin, log, share, both)
    inside = sum(point["inside"] for point in each.points)
    mean = Scale(log, share).number(whole.points[0]["reported"])
    controls = negative_control(reported, wrong or {}, unit, margin, log)
    p = min(each.p, whole.p)
    off = surely_different(pd.DataFrame(each.points), both * len(each.points))

    def told(ours: str) -> str:
        return f"mean {mean}, ours {ours}, {inside} of {len(each.points)} inside{off}"

    return Finding(
        outcome=AGREES if whole.outcome == AGREES and p >= LEVEL else IMPRECISE,
        regenerated=told(whole.regenerated),
        reason=reason,
        p=p,
        parts=parts,
        joint=told(whole.joint),
        limit=f"mean: {whole.limit}",
        assured=f"mean: {whole.assured}",
        points=each.points,
        controls=controls.to_dict("records"),
    )


def _in_the_mean(
    reported: ArrayLike,
    values: ArrayLike,
    unit: float,
    margin: float,
    log: bool,
    share: bool = False,
    parts: int = 1,
) -> Finding:
    """The finding of `numbers` on the mean of a curve, from the means of our runs."""
    scale, reported = Scale(log), np.asarray(reported, float)
    mean = scale.back(scale.forward(reported).mean())
    ours = scale.back(scale.forward(values).mean(axis=-1))
    # Rounding errors average out: of k numbers the mean's is smaller by the root of k.
    units = unit * mean / reported if log else np.full(len(reported), unit)
    unit_of_mean = units.mean() / math.sqrt(len(units))
    return numbers(mean, ours, unit_of_mean, margin, log=log, share=share, parts=parts)


def negative_control(
    reported: ArrayLike,
    wrong: Mapping[str, ArrayLike],
    unit: float,
    margin: float,
    log: bool = False,
) -> pd.DataFrame:
    """A report's curve [k], set against runs [n, k] with settings that are not its own.

    A row per setting: setting (its name in `wrong`), inside and of (how many of the k
    numbers are inside), outcome (that of `curve`, as if it were the only claim). An
    agreement with the right setting says little if the wrong ones agree as well.
    """
    rows = []
    for setting, values in wrong.items():
        each = numbers(reported, values, unit, margin, log=log, parts=2)
        whole = _in_the_mean(reported, values, unit, margin, log, parts=2)
        outcome = DIFFERS if min(each.p, whole.p) < LEVEL else whole.outcome
        inside = sum(point["inside"] for point in each.points)
        rows.append((setting, inside, len(each.points), outcome))
    return pd.DataFrame(rows, columns=["setting", "inside", "of", "outcome"])
