"""python -m mnistkit bench: how fast the course is, measured side by side.

Each row compares two ways to do the same work, alternating in one process, at least
five pairs. A ratio above 1 says that ours is faster. Absolute times depend on the
machine and on what else it does; ratios hardly do.
"""

import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mnistkit.data import Batches, load_mnist, normalize
from mnistkit.files import MNIST
from mnistkit.fused import train_fused
from mnistkit.records import Run
from mnistkit.report import ROOT
from mnistkit.runs import select_data
from mnistkit.speedrun import train_fast
from mnistkit.textbook import fresh, textbook_epoch, torchvision_dataset, train_recipe
from mnistkit.train import clock, environment, evaluate, fit
from mnistkit.workers import process_pool

PAIRS = 5
IMAGES = {"lenet": 6400, "small_resnet": 6400, "four_conv": 1280}  # per repetition


def run_bench() -> int:
    """Measure all rows, print them and write reports/benchmark.csv; exit status 0."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mnist, rows = load_mnist(device=device), []
    torch.set_num_threads(1)
    for measure in (
        epochs, overhead, to_99_percent, sweeps, large_networks, reports
    ):
        for row in measure(mnist):
            rows.append(row | {"machine": environment(device)["device"]})
            print(describe(row), flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(ROOT / "reports" / "benchmark.csv", index=False, float_format="%.4g")
    return 0


def compare(ours: Callable, other: Callable, pairs: int = PAIRS) -> dict:
    """Seconds of both (medians) and other / ours: median, min and max of `pairs`."""
    ours(), other()  # warm up: memory, kernels, caches
    times = []
    for _ in range(pairs):
        times.append([_seconds(ours), _seconds(other)])
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratios = [b / a for a, b in times]
    return {
        "ours_s": mine,
        "other_s": theirs,
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "pairs": pairs,
    }


def epochs(mnist: MNIST):
    """`fit` against the loop of the tutorials, on the same images in the same order."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = torchvision_dataset(mnist, Path(folder))
        for name, size in IMAGES.items():
            row = compare(
                lambda name=name, size=size: fit_epoch(mnist, name, size),
                lambda name=name, size=size: textbook_epoch(dataset, name, size, mnist),
            )
            gap = fit_epoch(mnist, name, size) - textbook_epoch(
                dataset, name, size, mnist
            )
            note = f"batch 64, {size:,} images; mean losses differ by {abs(gap):.0e}"
            yield {"row": f"epoch of {name}", "other": "textbook loop"} | row | {
                "note": note
            }


def fit_epoch(mnist: MNIST, name: str, size: int) -> float:
    """One epoch of `fit` on the first `size` images; the mean loss."""
    network, optimizer = fresh(name, mnist.train_images.device)
    batches = Batches(mnist.train_images[:size], mnist.train_labels[:size], 64)
    [row] = fit(network, batches, optimizer, epochs=1)
    return row["train_loss"]


def overhead(mnist: MNIST, size: int = 6400):
    """`fit` against a bare loop over images that were normalised beforehand."""
    images = normalize(mnist.train_images[:size])
    images = images.contiguous(memory_format=torch.channels_last)
    labels = mnist.train_labels[:size]

    def bare():
        network, optimizer = fresh("lenet", images.device)
        network.train()
        for index in torch.randperm(size).to(images.device).split(64):
            loss = F.cross_entropy(network(images[index]), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    row = compare(lambda: fit_epoch(mnist, "lenet", size), bare)
    note = f"batch 64, {size:,} images; fit takes {1 / row['ratio'] - 1:+.1%}"
    yield {"row": "fit, lenet", "other": "bare loop"} | row | {"note": note}


def to_99_percent(mnist: MNIST, seeds: int = 10):
    """Training time of `speedrun` against a well-known recipe; accuracy over seeds."""
    images, labels = mnist.train_images, mnist.train_labels
    models = {"ours": [], "recipe": []}
    seed = itertools.count()

    def ours():
        models["ours"].append(train_fast(images, labels, next(seed)))

    def recipe():
        models["recipe"].append(train_recipe(images, labels, next(seed)))

    row = compare(ours, recipe)
    while len(models["ours"]) < seeds:
        ours()
    note = "; ".join(
        f"{name}: test accuracy {statistics.mean(scores):.2%} "
        f"({min(scores):.2%} to {max(scores):.2%}), n = {len(scores)}"
        for name, scores in (
            (name, [_accuracy(model, mnist) for model in found])
            for name, found in models.items()
        )
    )
    yield {"row": "speedrun", "other": "one-epoch recipe"} | row | {"note": note}


def _accuracy(model: nn.Module, mnist: MNIST) -> float:
    return evaluate(model, mnist.test_images, mnist.test_labels)["accuracy"]


def sweeps(mnist: MNIST, size: int = 2560):
    """16 runs of lenet: fused, on all cores, and one by one with all threads."""
    settings = itertools.product((0.001, 0.003), (0.0, 0.25), range(4))
    runs = [
        Run(model="lenet", lr=lr, dropout=p, seed=seed, val_fraction=0,
            train_size=size, eval_size=100)
        for lr, p, seed in settings
    ]
    cores = joblib.cpu_count()
    shares = [runs[core::cores] for core in range(cores)]
    with process_pool(cores) as pool:

        def ours():
            list(pool.map(train_fused, shares))

        def one_by_one():
            torch.set_num_threads(cores)
            for run in runs:
                batches, *_ = select_data(run, mnist)
                model = run.build_model().to(memory_format=torch.channels_last)
                adam = torch.optim.Adam(model.parameters(), run.lr)
                list(fit(model, batches, adam, epochs=1))
            torch.set_num_threads(1)

        row = compare(ours, one_by_one)
    pace = [len(runs) * size / 60_000 / row[side] for side in ("ours_s", "other_s")]
    note = (
        f"{pace[0]:.2f} model-epochs per second, one by one {pace[1]:.2f}; "
        f"{size:,} images each"
    )
    name = f"16 fused LeNets, {cores} processes"
    yield {"row": name, "other": "all threads"} | row | {"note": note}


def large_networks(mnist: MNIST):
    """Steps of 32 images, against matrix products of as many operations."""
    images, labels = normalize(mnist.train_images[:32]), mnist.train_labels[:32]
    matrix = torch.randn(1024, 1024, device=images.device)
    for name in ("resnet18", "wrn16_4", "vgg11"):
        network, optimizer = fresh(name, images.device)

        def step(network=network, optimizer=optimizer):
            loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        with FlopCounterMode(display=False) as counter:
            step()
        products = max(1, round(counter.get_total_flops() / (2 * 1024**3)))

        def multiply(products=products):
            for _ in range(products):
                matrix @ matrix

        row = compare(step, multiply)
        note = (
            f"{row['ratio']:.0%} of the peak of matrix products; "
            f"{1875 * row['ours_s']:,.0f} s for 1,875 steps of 32, an epoch"
        )
        yield {"row": f"step of {name}", "other": "matrix products"} | row | {
            "note": note
        }


def reports(mnist: MNIST):
    """The full report from the shipped records, and the memory of the quick one."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"MNISTKIT_OUT": folder, "MNISTKIT_STORE": f"{folder}/records"}
        seconds, _, said = watch(["report", "--scale", "full"], settings)
        chapters = re.findall(r"^(\d\d)_\w+ +([\d.]+) s$", said, re.MULTILINE)
        note = "; ".join(f"{number}: {part} s" for number, part in chapters)
        yield {
            "row": "full report from records", "ours_s": seconds,
            "note": f"two chapters at a time; chapter {note}",
        }
        seconds, peak, _ = watch(["report"], {"MNISTKIT_OUT": folder})
        yield {
            "row": "quick report", "ours_s": seconds,
            "note": f"at most {peak / 2**30:.2f} GB in one process; records that exist "
            "are not trained again",
        }


def watch(command: list[str], settings: dict[str, str]) -> tuple[float, int, str]:
    """Run `python -m mnistkit command`: seconds, largest resident bytes of a process
    of it (looked at five times a second), and what it printed. ValueError if it fails.
    """
    import psutil

    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as said:
        process = psutil.Popen(
            [sys.executable, "-m", "mnistkit", *command],
            env=os.environ | settings, stdout=said, stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            time.sleep(0.2)
            try:
                for part in [process, *process.children(recursive=True)]:
                    peak = max(peak, part.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise ValueError(f"mnistkit {' '.join(command)} failed: {text[-500:]}")
    return time.perf_counter() - start, peak, text


def describe(row: dict) -> str:
    """A row on one line."""
    text = f"{row['row']:24} {row['ours_s']:8.3f} s"
    if "other" in row:
        text += (
            f"  {row['other']:16} {row['other_s']:8.3f} s  x{row['ratio']:.2f} "
            f"({row['low']:.2f} to {row['high']:.2f})"
        )
    return f"{text}  {row['note']}"


def _seconds(work: Callable) -> float:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start = clock(device)
    work()
    return clock(device) - start
