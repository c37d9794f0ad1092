"""python -m mnistkit bench: how fast the course is, measured side by side.

Each row compares two ways to do the same work, alternating in one process, at least
five pairs. A ratio above 1 says that ours is faster. Absolute times depend on the
machine and on what else it does; ratios hardly do.

What was tried, and what it brought (once, on two cores of an AMD EPYC with AVX2):

    images resident as uint8       0.03 instead of 10.9 ms per batch of 64 (DataLoader)
    1,024 images indexed at once   0.03 instead of 0.10 ms per batch
    channels_last                  lenet x1.1, small_resnet x1.5
    fused SGD                      lenet x1.0; vgg11's update x1.4, its step x1.02
    fused Adam                     x1.8 with 5 million parameters; lenet x1.0
    one process per core           x1.8 over all threads in one process
    LeNets trained in one step     x2.1 more, for 300 lines of which `fit` shows
                                   nothing: dropped
    freed memory kept              `fit` nothing
    first layer not trained        its weights' gradient runs at 6 of 88 GFLOPS
    three chapters at a time       no gain over two on two cores
    figures drawn 3 times, not 6   a third of the time of saving them

What bounds them: lenet spends a quarter of its step in batch norm over 6 channels, too
few for a vector register; the larger networks, in convolutions at 60 to 90 % of the
peak of matrix products.
"""

import itertools
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import joblib
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mnistkit.bench.reports import reports
from mnistkit.bench.speedrun import train_fast
from mnistkit.bench.textbook import (
    fresh,
    textbook_epoch,
    torchvision_dataset,
    train_recipe,
)
from mnistkit.bench.timing import compare, seconds_of
from mnistkit.data import Batches, load_mnist, normalize
from mnistkit.runs import Run, environment
from mnistkit.storage import places
from mnistkit.storage.files import MNIST
from mnistkit.sweeps import process_pool, select_data, train_run
from mnistkit.train import evaluate, fit

LOADING = "import mnistkit.bench.speedrun; mnistkit.load_mnist()"
IMAGES = {"lenet": 3200, "small_resnet": 3200, "four_conv": 640}  # per repetition


def run_bench() -> int:
    """Measure all rows, print them and write reports/benchmark.csv; exit status 0."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mnist, rows = load_mnist(device=device), []
    torch.set_num_threads(1)
    for measure in (epochs, overhead, to_99_percent, sweeps, large_networks, reports):
        for row in measure(mnist):
            rows.append(row | {"machine": environment(device)["device"]})
            print(describe(row), flush=True)
    table = pd.DataFrame(rows)
    path = places.ROOT / "reports" / "benchmark.csv"
    table.to_csv(path, index=False, float_format="%.4g")
    return 0


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
            names = {"row": f"epoch of {name}", "other": "textbook loop"}
            yield names | row | {"note": note}


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

    (
        train_fast(images[:5000], labels[:5000]),
        train_recipe(images[:5000], labels[:5000], 0),
    )
    row = compare(ours, recipe, warm_up=False)
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
    loading = seconds_of(
        lambda: subprocess.run([sys.executable, "-c", LOADING], check=True)
    )
    note += f"; start-up and loading, not counted: {loading:.1f} s"
    yield {"row": "speedrun", "other": "one-epoch recipe"} | row | {"note": note}


def _accuracy(model: nn.Module, mnist: MNIST) -> float:
    return evaluate(model, mnist.test_images, mnist.test_labels)["accuracy"]


def sweeps(mnist: MNIST, size: int = 1920):
    """16 runs of lenet: one process per core, against one after another."""
    settings = itertools.product((0.001, 0.003), (0.0, 0.25), range(4))
    runs = [
        Run(
            model="lenet",
            lr=lr,
            dropout=p,
            seed=seed,
            val_fraction=0,
            epochs=1,
            train_size=size,
            eval_size=100,
        )
        for lr, p, seed in settings
    ]
    cores = joblib.cpu_count()

    def one_by_one():
        torch.set_num_threads(cores)
        for run in runs:
            batches, *_ = select_data(run, mnist)
            model = run.build_model().to(memory_format=torch.channels_last)
            adam = torch.optim.Adam(model.parameters(), run.lr)
            list(fit(model, batches, adam, epochs=1))
        torch.set_num_threads(1)

    with process_pool(cores) as pool:
        row = compare(lambda: list(pool.map(train_run, runs)), one_by_one)
    ours, theirs = (
        len(runs) * size / 60_000 / row[side] for side in ("ours_s", "other_s")
    )
    note = (
        f"{ours:.2f} against {theirs:.2f} model-epochs per second; {size:,} images each"
    )
    names = {
        "row": f"16 LeNets, {cores} processes",
        "other": "one by one, all threads",
    }
    yield names | row | {"note": note}


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
        names = {"row": f"step of {name}", "other": "matrix products"}
        yield names | row | {"note": note}


def describe(row: dict) -> str:
    """A row on one line."""
    text = f"{row['row']:24} {row['ours_s']:8.3f} s"
    if "other" in row:
        text += (
            f"  {row['other']:16} {row['other_s']:8.3f} s  x{row['ratio']:.2f} "
            f"({row['low']:.2f} to {row['high']:.2f})"
        )
    return f"{text}  {row['note']}"
