"""python -m mnistkit bench: how fast the course is, measured side by side.

Each row compares two ways to do the same work, which take turns in one process, at
least five times each. A ratio above 1 says that ours is faster. Absolute times depend
on the machine and on what else it does; ratios hardly do. NOTES.md in this folder says
what was tried to make the course fast, and what each attempt brought.
"""

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from mnistkit.bench.captured import captured_steps
from mnistkit.bench.reports import reports
from mnistkit.bench.speedrun import train_fast
from mnistkit.bench.textbook import (
    model_and_optimizer,
    textbook_epoch,
    torchvision_dataset,
    train_recipe,
)
from mnistkit.bench.timing import compare, seconds_of
from mnistkit.data import Batches, load_mnist, normalize
from mnistkit.models import MODELS
from mnistkit.runs import Run, environment
from mnistkit.storage import places
from mnistkit.storage.files import MNIST
from mnistkit.sweeps import select_data, train_run
from mnistkit.train import evaluate, fit
from mnistkit.wording import mean_of, percent
from mnistkit.workers.pool import process_pool

Row = dict[str, Any]  # row, other, ours_s, other_s, ratio, low, high, pairs, note

LOADING = "import mnistkit.bench.speedrun; mnistkit.load_mnist()"
# Images per repetition. On a GPU, every network has as many.
IMAGES = {"lenet": 3200, "small_resnet": 3200, "four_conv": 640}
IMAGES_ON_GPU = dict.fromkeys(MODELS, 6400)


def run_bench(only: Sequence[str] = ()) -> int:
    """Measure the rows and print them; all of them go to reports/benchmark.csv.

    `only` names the parts of MEASURES that are to run; nothing is written then.
    Returns the exit status 0. ValueError for an unknown name.
    """
    for name in only:
        if name not in MEASURES:
            raise ValueError(f"unknown rows {name!r}; known: {', '.join(MEASURES)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    every = list(MEASURES)
    if device.type != "cuda":
        every.remove("captured_steps")
    mnist = load_mnist(device=device)
    rows: list[Row] = []
    torch.set_num_threads(1)
    for name in only or every:
        for row in MEASURES[name](mnist):
            rows.append(row | {"machine": environment(device)["device"]})
            print(describe(row), flush=True)
    if only:
        return 0
    table = pd.DataFrame(rows)
    path = places.ROOT / "reports" / "benchmark.csv"
    table.to_csv(path, index=False, float_format="%.4g")
    return 0


def epochs(mnist: MNIST) -> Iterator[Row]:
    """`fit` against the loop of the tutorials, on the same images in the same order."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = torchvision_dataset(mnist, Path(folder))
        on_gpu = mnist.train_images.is_cuda
        for name, size in (IMAGES_ON_GPU if on_gpu else IMAGES).items():
            ours = partial(fit_epoch, mnist, name, size)
            textbook = partial(textbook_epoch, dataset, name, size, mnist)
            row = compare(ours, textbook)
            gap = abs(ours() - textbook())
            note = f"batch 64, {size:,} images; mean losses differ by {gap:.0e}"
            names = {"row": f"epoch of {name}", "other": "textbook loop"}
            yield names | row | {"note": note}


def fit_epoch(mnist: MNIST, name: str, size: int) -> float:
    """The mean loss of one epoch of `fit` on the first `size` training images."""
    network, optimizer = model_and_optimizer(name, mnist.train_images.device)
    batches = Batches(mnist.train_images[:size], mnist.train_labels[:size], 64)
    [row] = fit(network, batches, optimizer, epochs=1)
    return row["train_loss"]


def overhead(mnist: MNIST, size: int = 6400) -> Iterator[Row]:
    """`fit` against a bare loop over images that were normalised beforehand."""
    images = normalize(mnist.train_images[:size])
    images = images.contiguous(memory_format=torch.channels_last)
    labels = mnist.train_labels[:size]

    def bare() -> None:
        network, optimizer = model_and_optimizer("lenet", images.device)
        network.train()
        for index in torch.randperm(size).to(images.device).split(64):
            loss = F.cross_entropy(network(images[index]), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    row = compare(lambda: fit_epoch(mnist, "lenet", size), bare)
    note = f"batch 64, {size:,} images; fit takes {1 / row['ratio'] - 1:+.1%}"
    yield {"row": "fit, lenet", "other": "bare loop"} | row | {"note": note}


def to_99_percent(mnist: MNIST, seeds: int = 20) -> Iterator[Row]:
    """Training time of `speedrun` against a well-known recipe; accuracy over seeds."""
    images, labels = mnist.train_images, mnist.train_labels
    trained: dict[str, list[nn.Module]] = {"ours": [], "recipe": []}
    seed = itertools.count()

    def ours() -> None:
        trained["ours"].append(train_fast(images, labels, next(seed)))

    def recipe() -> None:
        trained["recipe"].append(train_recipe(images, labels, next(seed)))

    # A warm-up on few images: what it trains must not count as a result.
    train_fast(images[:5000], labels[:5000])
    train_recipe(images[:5000], labels[:5000], 0)
    row = compare(ours, recipe, warm_up=False)
    while len(trained["ours"]) < seeds:
        ours()
    notes = [
        f"{name}: test accuracy {accuracies(models, mnist)}"
        for name, models in trained.items()
    ]
    loading = seconds_of(
        lambda: subprocess.run([sys.executable, "-c", LOADING], check=True)
    )
    notes.append(f"start-up and loading, not counted: {loading:.1f} s")
    names = {"row": "speedrun", "other": "one-epoch recipe"}
    yield names | row | {"note": "; ".join(notes)}


def accuracies(models: list[nn.Module], mnist: MNIST) -> str:
    """Test accuracy of the models in words: the mean with its interval, the range."""
    scores = [
        evaluate(model, mnist.test_images, mnist.test_labels)["accuracy"]
        for model in models
    ]
    ends = f"{percent(min(scores))} to {percent(max(scores))}"
    return f"{mean_of(scores, unit='seed')}; all in {ends}"


def sweeps(mnist: MNIST, size: int = 1920) -> Iterator[Row]:
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

    def one_by_one() -> None:
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


def large_networks(mnist: MNIST) -> Iterator[Row]:
    """Training steps of 32 images, against matrix products of as many operations."""
    images, labels = normalize(mnist.train_images[:32]), mnist.train_labels[:32]
    matrix = torch.randn(1024, 1024, device=images.device)
    for name in ("resnet18", "wrn16_4", "vgg11"):
        network, optimizer = model_and_optimizer(name, images.device)
        step = partial(training_step, network, optimizer, images, labels)
        with FlopCounterMode(display=False) as counter:
            step()
        products = max(1, round(counter.get_total_flops() / (2 * 1024**3)))
        row = compare(step, partial(multiply, matrix, products))
        note = (
            f"{row['ratio']:.0%} of the peak of matrix products; "
            f"{1875 * row['ours_s']:,.0f} s for 1,875 steps of 32, an epoch"
        )
        names = {"row": f"step of {name}", "other": "matrix products"}
        yield names | row | {"note": note}


def training_step(
    network: nn.Module, optimizer: Optimizer, images: Tensor, labels: Tensor
) -> None:
    loss = F.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def multiply(matrix: Tensor, times: int) -> None:
    for _ in range(times):
        matrix @ matrix


# What is measured, in this order; each takes the data and yields its rows.
MEASURES: dict[str, Callable[[MNIST], Iterator[Row]]] = {
    "captured_steps": captured_steps,
    "epochs": epochs,
    "overhead": overhead,
    "to_99_percent": to_99_percent,
    "sweeps": sweeps,
    "large_networks": large_networks,
    "reports": reports,
}


def describe(row: Row) -> str:
    """A row on one line, for the terminal."""
    text = f"{row['row']:24} {row['ours_s']:8.3f} s"
    if "other" in row:
        text += (
            f"  {row['other']:16} {row['other_s']:8.3f} s  x{row['ratio']:.2f} "
            f"({row['low']:.2f} to {row['high']:.2f})"
        )
    return f"{text}  {row['note']}"
