"""Checks of R4: five known networks on a grid of learning rates and dropouts."""

import re
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import norm, spearmanr
from torch import nn, zeros
from torch.nn import Conv2d, Linear, MaxPool2d, Sequential
from torch.utils.flop_counter import FlopCounterMode

from mnistkit.claims import UNCHECKED, Finding, exact, holds, numbers, ranking
from mnistkit.data import normalize, split
from mnistkit.models import build_model, conv, count_macs, count_params, head
from mnistkit.records import Run
from mnistkit.tables import run_table

SCORES = ["train_accuracy", "val_accuracy", "test_accuracy"]
ROWS = {  # R4's best runs (R4-25 to R4-29), at the names of our networks
    "lenet": (0.005, 0.3, 61_990, 0.9961, 0.9910, 0.9928, 192.88),
    "alexnet": (0.0005, 0.25, 28_514_378, 0.9967, 0.9905, 0.9917, 457.99),
    "resnet18": (0.001, 0.5, 11_172_810, 0.9966, 0.9930, 0.9931, 614.06),
    "vgg11": (0.0005, 0.3, 128_806_154, 0.9950, 0.9893, 0.9908, 872.76),
    "wrn16_4": (0.0005, 0.3, 2_748_602, 0.9962, 0.9939, 0.9937, 652.82),
}
GRID = [*product(ROWS, (1e-3, 5e-3, 5e-4), (0.5, 0.25, 0.3, 0.75))]
BEST = pd.DataFrame(ROWS, ["lr", "dropout", "parameters", *SCORES, "seconds"]).T
SECONDS, TEST = BEST["seconds"], BEST["test_accuracy"]
IMAGES, NORM = zeros(2, 1, 28, 28), nn.BatchNorm2d(1)
TEXT, LAYERS = "alexnet_text", Conv2d | Linear
with torch.device("meta"):  # shapes without values
    SHAPES, COLOUR = zeros(2, 1, 28, 28), zeros(2, 3, 28, 28)
    UNPADDED = Sequential(*conv(1, 6, 5, pool=True), *conv(6, 16, 5, pool=True))
    BLOCK = conv(128, 256, padding=1) + conv(256, 256, padding=1, pool=True)
    OLD = [*conv(3, 96, 11, stride=4, padding=2), MaxPool2d(3, 2)]  # AlexNet of 2012:
    OLD += [*conv(96, 256, 5, padding=2, groups=2), MaxPool2d(3, 2)]  # two groups are
    OLD += conv(256, 384, padding=1) + conv(384, 384, padding=1, groups=2)  # two GPUs
    OLD += [*conv(384, 256, padding=1, groups=2), MaxPool2d(3, 2)]
    OLD = Sequential(*OLD, *head(9216, 4096, 4096, 1000))
    TWO, ONE = Sequential(*conv(1, 1), *conv(1, 1)), Sequential(*conv(1, 1, 5))


def net(name) -> nn.Module:
    with torch.device("meta"):
        return build_model(name)


def each(measure) -> pd.Series:
    return pd.Series({name: measure(net(name)) for name in ROWS})


def count(name) -> int:
    return count_params(net(name))


def widths(name, kind) -> list[int]:
    return [len(m.weight) for m in net(name).modules() if isinstance(m, kind)]


def failure(call, *args) -> str:
    """The message of the error that a call raises, or nothing."""
    try:
        call(*args)
    except (RuntimeError, ValueError) as error:
        return str(error)
    return ""


class Nested(nn.Module):  # indented as the block of R4-15
    def __init__(self):
        super().__init__()

        def forward(self, x):
            return x


def best_run(e, name) -> Finding:
    """A row of R4's table: its parameters, then its accuracies where they were run."""
    row, n = BEST.loc[name], count(name)
    if n != row["parameters"]:
        return exact(int(row["parameters"]), n)
    full = [r for r in e.records.get("r4_grid", []) if r.data["train_size"] > 49_000]
    cell = name, row["lr"], row["dropout"]
    runs = [r for r in full if (r.run.model, r.run.lr, r.run.dropout) == cell]
    if len(runs) < 3:
        reason = f"the parameters agree; accuracies: n = {len(runs)}, 3 are needed"
        return Finding(UNCHECKED, f"{n:,} parameters", reason)
    return numbers(row[SCORES], run_table(runs)[SCORES], 1e-4, SCORES)


def r4_30(e):
    first, second = TEST["wrn16_4"], TEST.drop("wrn16_4").max()
    error = np.sqrt((first * (1 - first) + second * (1 - second)) / 10_000)
    p = float(norm.sf((first - second) / error))
    text = f"{1e4 * (first - second):.0f} images ahead, p = {p:.2f}"
    reason = "one run each (R4-E7); VGG's training accuracy is 99.50 % (R4-E11)"
    return Finding("", text, reason, support=p)


def r4_38(e):
    with FlopCounterMode(display=False) as counter:
        OLD(zeros(1, 3, 224, 224, device="meta"))
    half, here = counter.get_total_flops() / 4e6, count_macs(net("alexnet")) / 1e6
    text = f"{half:.0f} million multiply-adds per GPU, here {here:.0f}"
    return holds(half < here, text, "the original was split for memory (R4-E9)")


def r4_12(e):
    """The gradient at the first of 24 layers of 32 units, plain and mended."""
    images, labels = normalize(e.mnist.train_images[:256]), e.mnist.train_labels[:256]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        layers = [nn.Linear(784, 32)] + [nn.Linear(32, 32) for _ in range(24)]
        last = nn.Linear(32, 10)
    norms = []
    for mended in (False, True):
        x = layers[0](images.flatten(1))
        for layer in layers[1:]:
            y = layer(x)
            y = F.batch_norm(y, None, None, training=True) if mended else y
            x = y.relu() + (x if mended else 0)
        loss = F.cross_entropy(last(x), labels)
        norms.append(torch.autograd.grad(loss, layers[0].weight)[0].norm().item())
    text = "norm {:.0e}, with batch norm and shortcuts {:.0e}".format(*norms)
    return holds(norms[0] < 1e-3 * norms[1], text, "the gradient only, untrained")


def r4_35(e):
    """The gap of the two losses at dropout 0.75 against 0.25, over learning rates."""
    runs = run_table([r for r in e.full("r4_grid") if r.run.model == "lenet"])
    runs = runs[runs["seed"] == 0]
    gaps = runs.assign(gap=(runs["val_loss"] - runs["train_loss"]).abs())
    gaps["seed"] = gaps["lr"]  # pairs are those of the same learning rate
    reason = "the gap of the losses only, one seed for each of three learning rates"
    return ranking(gaps, "dropout", "gap", [0.75, 0.25], False, reason)


CHECKS = {
    "R4-01": lambda e: holds(
        sum(bool(widths(n, Conv2d)) for n in ROWS) >= 4
        and len(held_out := split(e.mnist.train_labels)[1]) > 0,
        f"{len(ROWS)} networks, {len(held_out):,} images held out",
        "in our zoo; the size of R4's split is not given"),
    "R4-02": lambda e: exact([28, 28, 10], [
        *e.mnist.test_images[0].shape, len(e.mnist.test_labels.unique())]),
    "R4-03": lambda e: holds(  # the network is on the device "meta"
        failure(net("lenet"), IMAGES) and not failure(net("lenet"), IMAGES.to("meta")),
        f"{'an error' if failure(net('lenet'), IMAGES) else 'no error'} if not moved"),
    "R4-04": lambda e: holds(
        UNPADDED(SHAPES).shape[-1] >= 5,
        "maps of {2}x{3} for the last 5x5 kernel".format(*UNPADDED(SHAPES).shape),
        "28x28 images need a padding of 2 (R4-E1)"),
    "R4-05": lambda e: exact(
        [6, 16, 120, 84, 10, 61_990], [*widths("lenet", LAYERS), count("lenet")],
        "with a padding of 2 in the first convolution"),
    "R4-06": lambda e: holds(
        len(widths(TEXT, Conv2d)) == 5
        and sum(widths(TEXT, Conv2d)) > sum(widths("lenet", Conv2d))
        and max(widths(TEXT, Linear)) > max(widths("lenet", Linear)),
        widths(TEXT, LAYERS)),
    "R4-07": lambda e: exact(
        55, OLD[0](zeros(1, 3, 224, 224, device="meta")).shape[-1],
        "with a padding of 2"),
    "R4-08": lambda e: exact(
        "(256x2x2) (256x0x0)",
        " ".join(re.findall(r"\(256x.x.\)", failure(OLD, COLOUR)))),
    "R4-09": lambda e: exact("runs", failure(net(TEXT), SHAPES) or "runs"),
    "R4-10": lambda e: exact(28_514_378, count(TEXT), "other widths fit it (R4-E2)"),
    "R4-11": lambda e: holds(
        (share := count_params(net("alexnet")[14:]) / count("alexnet")) > 0.5,
        f"{share:.0%} of the parameters"),
    "R4-12": r4_12,
    "R4-13": lambda e: exact(11_172_810, count("resnet18")),
    "R4-14": lambda e: holds(
        (change := abs(NORM(x := e.mnist.test_images[:64, None] / 255) - NORM(x + 5))
            .max().item()) < 1e-3, f"{change:.0e} for a bias of 5"),
    "R4-15": lambda e: holds(
        not failure(Nested(), IMAGES), failure(Nested(), IMAGES), "dedent it (R4-E12)"),
    "R4-16": lambda e: exact(
        128_806_154, count("vgg13"), "the report's count is VGG-11's (R4-E3)"),
    "R4-17": lambda e: holds(
        (side := 29 - TWO(SHAPES).shape[-1]) == 29 - ONE(SHAPES).shape[-1]
        and len(TWO) > len(ONE) and (n := count_params(TWO)) < count_params(ONE),
        f"{side}x{side} pixels; {n} < {count_params(ONE)} parameters for one map"),
    "R4-18": lambda e: holds(
        all(str(BLOCK)[1:-1] in str([*net(name)]) for name in ("vgg11", "vgg13")),
        f"{count_params(Sequential(*BLOCK)):,} parameters, in VGG-11 and VGG-13"),
    "R4-20": lambda e: exact(
        2_748_602, count("wrn16_4"), "without batch norm on the shortcuts (R4-E4)"),
    "R4-22": lambda e: holds(
        (n := net("alexnet")[:14](SHAPES)[0].numel()) == 2304
        and "mat1 and mat2" in failure(F.linear, zeros(2, n), zeros(8, 9216)), n),
    "R4-23": lambda e: holds(
        error := failure(F.cross_entropy, zeros(16, 10), e.mnist.test_labels[-16:]),
        error or "16 work", "it must equal the number of labels (R4-E5)"),
    "R4-24": lambda e: exact(
        60, len({Run(m, lr=a, dropout=b, epochs=8).name for m, a, b in GRID})),
    **{f"R4-{n}": partial(best_run, name=name) for n, name in enumerate(ROWS, 25)},
    "R4-30": r4_30,
    "R4-31": lambda e: holds(
        (rate := SECONDS / each(count_params) * 1e6).max() < 2 * rate.min(),
        f"{rate.min():.0f} to {rate.max():,.0f} s per million",
        "rank correlation {:.1f}, with multiply-adds {:.1f} (R4-E6)".format(
            *(spearmanr(SECONDS, each(f))[0] for f in (count_params, count_macs)))),
    "R4-32": lambda e: holds(
        SECONDS["wrn16_4"] < SECONDS.median(),
        f"{SECONDS['wrn16_4']:.0f} s, the median is {SECONDS.median():.0f} s",
        "only VGG took longer (R4-E6)"),
    "R4-33": lambda e: holds(
        SECONDS.idxmin() == each(count_macs).idxmin() == "lenet"
        and TEST["lenet"] >= TEST.median(),
        f"{SECONDS.min():.0f} s, the least; accuracy {TEST['lenet']:.2%}"),
    "R4-35": r4_35,
    "R4-38": r4_38,
    "R4-39": lambda e: holds(
        SECONDS["alexnet"] > SECONDS["resnet18"],
        f"{SECONDS['resnet18']:.0f} s; AlexNet, larger, {SECONDS['alexnet']:.0f} s",
        "the multiply-adds make it slow (R4-E6); the rest was not tested"),
    "R4-41": lambda e: holds(
        count("wrn16_4") > each(count_params).median(),
        f"{count('wrn16_4'):,} parameters",
        "the second smallest of five (R4-E10); the rest was not tested"),
    "R4-42": lambda e: holds(
        (sizes := each(count_params)).idxmin() == "lenet" and sizes.idxmax() == "vgg11"
        and len(wide := widths("wrn16_4", Conv2d)) < len(widths("resnet18", Conv2d))
        and wide[1] == 4 * wide[0], [len(widths(name, Conv2d)) for name in ROWS],
        "convolutions of the five; parallel is the AlexNet of 2012"),
}
