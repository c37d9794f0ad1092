"""Two ways to do the same work, timed side by side."""

import statistics
from collections.abc import Callable
from typing import Any

import torch

from mnistkit.train import clock

Work = Callable[[], Any]
PAIRS = 5


def compare(
    ours: Work, other: Work, pairs: int = PAIRS, warm_up: bool = True
) -> dict[str, Any]:
    """Time `ours` and `other` in turn, `pairs` times; the numbers of `ratios`.

    With `warm_up` both first run once without being timed, because a first call also
    allocates memory, chooses kernels and fills caches.
    """
    if warm_up:
        ours()
        other()
    return ratios([(seconds_of(ours), seconds_of(other)) for _ in range(pairs)])


def ratios(times: list[tuple[float, float]]) -> dict[str, Any]:
    """A row's numbers from pairs of seconds (ours, the other's).

    Returns the medians `ours_s` and `other_s`; the quotient other / ours of each pair
    as its median `ratio`, its smallest `low` and its largest `high`; and the number of
    `pairs`. A quotient above 1 says that ours is faster.
    """
    ours, other = zip(*times, strict=True)
    quotients = [theirs / mine for mine, theirs in times]
    return {
        "ours_s": statistics.median(ours),
        "other_s": statistics.median(other),
        "ratio": statistics.median(quotients),
        "low": min(quotients),
        "high": max(quotients),
        "pairs": len(times),
    }


def seconds_of(work: Work) -> float:
    """The seconds that `work` takes, until a CUDA GPU has finished it too."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start = clock(device)
    work()
    return clock(device) - start
