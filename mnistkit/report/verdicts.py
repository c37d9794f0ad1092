"""How far a new result of a run is that of the stored record: five verdicts.

- "same bits": all losses, scores and predictions are equal.
- "same within rounding": processors and versions round differently, and every step
  enlarges such a difference. Two ways to compute the same 50 steps differ by 2e-5
  (lenet) to 2e-3 (small_resnet) in their mean loss, as the benchmark notes; after some
  epochs two such networks differ like those of two seeds. So three things must agree:
  the loss of the first steps to START, the loss of each epoch to LATER, and the
  accuracy to chance, which is three standard deviations of a count of the images that
  the two networks call differently.
- "within the seeds' spread": both accuracies lie in the interval for one more run of
  the stored runs that differ from this one only in their seed. Where several runs are
  judged the intervals are simultaneous: all of them together hold with 95 %.
- "different": one of them does not, or they differ although all losses are equal, or
  the run cannot be trained.
- "cannot be judged": fewer than two other seeds tell how much the runs spread.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats as sps

from mnistkit.runs import Record, Run
from mnistkit.wording import number, percent
from mnistkit.workers.pool import Outcome

SAME, ROUNDING, SPREAD = "same bits", "same within rounding", "within the seeds' spread"
DIFFERENT, UNKNOWN = "different", "cannot be judged"

# Largest relative difference of the first losses; bfloat16 rounds to 2**-9 of a number.
# About one in eleven pairs of stored runs with different seeds agrees as well.
START = {"fp32": 2e-3, "bf16": 2**-7}
LATER = 0.1  # largest difference of an epoch's loss, as a share of the first epoch's
EQUAL = 1e-6  # relative; losses that agree to this are those of one network


def find_siblings(stored: Record, records: Sequence[Record]) -> list[Record]:
    """Return the records whose runs differ from the stored one in their seed only."""
    same = _without_seed(stored.run)
    others = [record for record in records if record.run.seed != stored.run.seed]
    return [record for record in others if _without_seed(record.run) == same]


def judge(
    stored: Record, new: Outcome, siblings: Sequence[Record], runs: int = 1
) -> tuple[str, str]:
    """Return the verdict on a new result, and a sentence that says why.

    `new` is a record of the same run or the error that prevented it, and `siblings` are
    the stored records of the same run with other seeds. `runs` is how many runs are
    judged together.
    """
    if not isinstance(new, Record):
        cause = " ".join(f"{type(new).__name__}: {new}".split())
        return DIFFERENT, f"The run cannot be trained here ({cause})."
    if _content(stored) == _content(new):
        return SAME, "All losses, scores and predictions are equal."
    accuracies = stored.summary["test_accuracy"], new.summary["test_accuracy"]
    both = f"{percent(accuracies[0])}, stored, and {percent(accuracies[1])}, new"
    images = len(stored.predictions)
    called = int((stored.predictions != new.predictions).sum())
    # Of two nearly equal outputs either may be the larger one: that is one image more.
    chance = 3 * called**0.5 + 1.5
    is_chance = abs(accuracies[0] - accuracies[1]) * images < chance
    if is_chance and _losses_agree(stored, new):
        gap = abs(first_loss(new) / first_loss(stored) - 1)
        return ROUNDING, (
            f"The first losses differ by {number(gap, 1)} of their size, and "
            f"{called:,} of {images:,} images are called differently."
        )
    if not is_chance and _losses_are_equal(stored, new):
        return DIFFERENT, f"The losses are equal, but the accuracies are {both}."
    n = len(siblings)
    if n < 2:
        return UNKNOWN, (
            f"The accuracies are {both}. Rounding does not explain all differences, "
            f"and the spread of the seeds is unknown (n = {n} other seeds)."
        )
    others = [record.summary["test_accuracy"] for record in siblings]
    level = 1 - 0.05 / runs
    low, high = interval_for_one_more(others, images, level)
    is_inside = all(low <= accuracy <= high for accuracy in accuracies)
    return SPREAD if is_inside else DIFFERENT, (
        f"The accuracies are {both}. The {100 * level:.3g} % interval for one more "
        f"seed is {percent(low)} to {percent(high)} (n = {n} other seeds)."
    )


def interval_for_one_more(
    accuracies: Sequence[float], images: int, level: float = 0.95
) -> tuple[float, float]:
    """Return (low, high) for one more run's accuracy on the same test images.

    It is Student's prediction interval of two accuracies or more. Their standard
    deviation counts as at least the binomial one of an accuracy on so many images,
    because few runs may agree by chance.
    """
    n, mean = len(accuracies), float(np.mean(accuracies))
    binomial = (mean * (1 - mean) / images) ** 0.5
    deviation = max(float(np.std(accuracies, ddof=1)), binomial)
    half_width = (
        float(sps.t.ppf((1 + level) / 2, n - 1)) * deviation * (1 + 1 / n) ** 0.5
    )
    return max(0.0, mean - half_width), min(1.0, mean + half_width)


def first_loss(record: Record) -> float:
    """Return the mean training loss of the first 100 steps, or of fewer if it ends."""
    return record.history[0]["window_losses"][0]


def _without_seed(run: Run) -> dict[str, Any]:
    return run.canonical() | {"seed": None}


def _content(record: Record) -> str:
    """Return all that a training found, as text, in which nan is equal to nan."""
    document = record.to_document()
    timeless = [
        {key: value for key, value in row.items() if key != "seconds"}
        for row in [document["summary"], *document["history"]]
    ]
    return json.dumps([timeless, document["test_predictions"]], sort_keys=True)


def _epoch_losses(*records: Record) -> np.ndarray:
    """Return the training losses, a row per record, of the epochs that all have."""
    epochs = min(len(record.history) for record in records)
    return np.array([[e["train_loss"] for e in r.history[:epochs]] for r in records])


def _losses_agree(stored: Record, new: Record) -> bool:
    old, other = _epoch_losses(stored, new)
    first = abs(first_loss(new) - first_loss(stored))
    is_close = first <= START[stored.run.precision] * first_loss(stored)
    return is_close and bool((abs(other - old) <= LATER * old[0]).all())


def _losses_are_equal(stored: Record, new: Record) -> bool:
    old, other = _epoch_losses(stored, new)
    return bool(np.allclose(old, other, rtol=EQUAL, atol=0))
