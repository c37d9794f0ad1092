"""The benchmark's rows about the time until a network gets 99 % right."""

import itertools
import statistics
import subprocess
import sys

from torch import nn

from mnistkit.files import MNIST
from mnistkit.speedrun import train_fast
from mnistkit.textbook import train_recipe
from mnistkit.timing import compare, seconds_of
from mnistkit.train import evaluate

LOADING = "from mnistkit import data, speedrun; data.load_mnist()"


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
