"""Two ways to do the same work, timed side by side."""

import statistics
from collections.abc import Callable

import torch

from mnistkit.train import clock

PAIRS = 5


def compare(ours: Callable, other: Callable, pairs=PAIRS, warm_up=True) -> dict:
    """Seconds of both (medians) and other / ours: median, min and max of `pairs`."""
    if warm_up:  # memory, kernels, caches
        ours(), other()
    return ratios([(seconds_of(ours), seconds_of(other)) for _ in range(pairs)])


def ratios(times: list[tuple[float, float]]) -> dict:
    """A row's numbers from pairs of seconds, ours and the other's."""
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    quotients = [b / a for a, b in times]
    return {
        "ours_s": mine,
        "other_s": theirs,
        "ratio": statistics.median(quotients),
        "low": min(quotients),
        "high": max(quotients),
        "pairs": len(times),
    }


def seconds_of(work: Callable) -> float:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start = clock(device)
    work()
    return clock(device) - start
