"""How long runs take, by estimate."""

import json
import statistics
import time
from functools import cache

import torch

from mnistkit.data import load_mnist
from mnistkit.models import count_macs
from mnistkit.runs import Record, Run, cpu_name

# A training computes at about this share of the speed of matrix products: lenet less,
# the large networks more.
EFFICIENCY = 0.2


def expected_seconds(runs: list[Run], records: list[Record]) -> dict[str, float]:
    """Return the seconds that each run takes by estimate, by its name.

    Records of this machine with the same network and precision tell the time per image
    and epoch. Where there is none, the estimate counts multiply-adds, on a CPU. The
    result is empty if one of the runs cannot be estimated.
    """
    on_cuda = torch.cuda.is_available()
    here = torch.cuda.get_device_name() if on_cuda else cpu_name()
    measured: dict[str, list[float]] = {}
    for record in records:
        if record.environment["device"] == here:
            images = record.data["train_size"] * record.summary["epochs_done"]
            seconds = record.summary["seconds"] / images
            measured.setdefault(_network(record.run), []).append(seconds)
    per_image = {key: statistics.median(times) for key, times in measured.items()}
    expected = {}
    for run in runs:
        key = _network(run)
        try:
            if key not in per_image:
                per_image[key] = _seconds_by_macs(run, on_cuda)
        except Exception:
            # A network of the user's own may fail, which its training will report.
            return {}
        whole = (1 - run.val_fraction) * len(load_mnist().train_labels)
        expected[run.name] = per_image[key] * (run.train_size or whole) * run.epochs
    return expected


def _network(run: Run) -> str:
    return json.dumps([run.model, run.model_options, run.code, run.precision])


def _seconds_by_macs(run: Run, on_cuda: bool) -> float:
    """Return the seconds per image: a step is a forward and two backward passes."""
    if on_cuda:
        raise ValueError("a GPU waits for each step of a small network")
    with torch.device("meta"):
        macs = count_macs(run.build_model())
    return 3 * macs / (EFFICIENCY * _macs_per_second())


@cache
def _macs_per_second() -> float:
    """Return the speed of matrix products on one thread of this machine."""
    matrix = torch.ones(512, 512)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    count = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < 0.1:
        matrix @ matrix
        count += 1
    torch.set_num_threads(threads)
    return count * 512**3 / elapsed
