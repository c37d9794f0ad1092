"""Checks of R4: five known networks on a grid of learning rates and dropouts."""

import re

import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import nn, zeros
from torch.autograd import grad
from torch.nn import Conv2d, Linear, Sequential
from torch.utils.flop_counter import FlopCounterMode

from mnistkit.claims.rules import UNCHECKED, Finding, exact, holds, numbers
from mnistkit.data import normalize, split
from mnistkit.models import MODELS, build_model, conv, count_macs, count_params, head
from mnistkit.tables import run_table

SCORES = ["train_accuracy", "val_accuracy", "test_accuracy"]
ROWS = {  # R4's best runs (R4-25 to R4-29), at the names of our networks
    "lenet": (0.005, 0.3, 61_990, 0.9961, 0.9910, 0.9928, 192.88),
    "alexnet": (0.0005, 0.25, 28_514_378, 0.9967, 0.9905, 0.9917, 457.99),
    "resnet18": (0.001, 0.5, 11_172_810, 0.9966, 0.9930, 0.9931, 614.06),
    "vgg11": (0.0005, 0.3, 128_806_154, 0.9950, 0.9893, 0.9908, 872.76),
    "wrn16_4": (0.0005, 0.3, 2_748_602, 0.9962, 0.9939, 0.9937, 652.82),
}
BEST = pd.DataFrame(ROWS, ["lr", "dropout", "parameters", *SCORES, "seconds"]).T
SECONDS, TEST = BEST["seconds"], BEST["test_accuracy"]
with torch.device("meta"):  # shapes without values
    NETWORKS = {name: build_model(name) for name in MODELS}
    UNPADDED = conv(1, 6, 5, pool=True) + conv(6, 16, 5, pool=True)
    TWO_SMALL, ONE_LARGE = conv(1, 1, 3) + conv(1, 1, 3), conv(1, 1, 5)
    BLOCK = conv(128, 256, padding=1) + conv(256, 256, padding=1, pool=True)
    POOL = [nn.MaxPool2d(3, 2)]
    ALEXNET_2012 = conv(3, 96, 11, stride=4, padding=2) + POOL
    ALEXNET_2012 += conv(96, 256, 5, padding=2, groups=2) + POOL  # a group per GPU
    ALEXNET_2012 += conv(256, 384, padding=1) + conv(384, 384, padding=1, groups=2)
    ALEXNET_2012 += conv(384, 256, padding=1, groups=2) + POOL
    ALEXNET_2012 += head(9216, 4096, 4096, 1000)
PARAMETERS = {name: count_params(network) for name, network in NETWORKS.items()}
SIZES = pd.Series({name: PARAMETERS[name] for name in ROWS})
MACS = pd.Series({name: count_macs(NETWORKS[name]) for name in ROWS})
LINEAR = count_params(NETWORKS["alexnet"][14:]) / PARAMETERS["alexnet"]  # a share


def widths(name, kind=Conv2d | Linear):
    """The outputs of each layer of a kind."""
    return [len(m.weight) for m in NETWORKS[name].modules() if isinstance(m, kind)]


def shape(layers, channels=1, size=28):
    """The shape of what layers make of an image."""
    return Sequential(*layers)(zeros(1, channels, size, size, device="meta")).shape


def outcome(call, *args):
    """The message of the error that a call raises, or "runs"."""
    try:
        call(*args)
    except (RuntimeError, ValueError) as error:
        return str(error)
    return "runs"


def r4_01(e):
    """The networks with convolutions, and the images that are held out."""
    networks = [name for name in ROWS if widths(name, Conv2d)]
    held_out = len(split(e.mnist.train_labels)[1])
    text = f"{len(networks)} networks, {held_out:,} images held out"
    reason = "in our zoo; the size of R4's split is not given"
    return holds(len(networks) >= 4 and held_out > 0, text, reason)


def r4_03(e):
    """A network on the device "meta", with images on the CPU."""
    fails = outcome(NETWORKS["lenet"], zeros(2, 1, 28, 28)) != "runs"
    return holds(fails, f"{'an' if fails else 'no'} error if not moved")


def r4_06(e):
    """The kernels and units of AlexNet, against LeNet's."""
    kernels, units = widths("alexnet_text", Conv2d), widths("alexnet_text", Linear)
    more = sum(kernels) > sum(widths("lenet", Conv2d))
    larger = max(units) > max(widths("lenet", Linear))
    return holds(len(kernels) == 5 and more and larger, kernels + units)


def r4_08(e):
    """The sizes in the error message of the network of 2012."""
    message = outcome(shape, ALEXNET_2012, 3)
    return exact("(256x2x2) (256x0x0)", " ".join(re.findall(r"\(256x.x.\)", message)))


def r4_12(e):
    """The gradient at the first of 25 layers of 32 units, plain and mended."""
    images, labels = normalize(e.mnist.train_images[:256]), e.mnist.train_labels[:256]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        layers = [m for m in head(784, *[32] * 25, 10) if isinstance(m, Linear)]
    plain = mended = layers[0](images.flatten(1))
    for layer in layers[1:-1]:
        plain = layer(plain).relu()
        mended = mended + F.batch_norm(layer(mended), None, None, training=True).relu()
    losses = [F.cross_entropy(layers[-1](x), labels) for x in (plain, mended)]
    norms = [grad(x, layers[0].weight, retain_graph=True)[0].norm() for x in losses]
    text = f"norm {norms[0]:.0e}, with batch norm and shortcuts {norms[1]:.0e}"
    return holds(norms[0] < 1e-3 * norms[1], text, "the gradient only, untrained")


def r4_14(e):
    """What a bias of 5 changes after batch norm."""
    x, batch_norm = e.mnist.test_images[:64, None] / 255, nn.BatchNorm2d(1)
    change = (batch_norm(x) - batch_norm(x + 5)).abs().max().item()
    return holds(change < 1e-3, f"{change:.0e} for a bias of 5")


class Nested(nn.Module):  # indented as the block of R4-15
    def __init__(self):
        super().__init__()

        def forward(self, x): ...


def r4_17(e):
    """What two 3x3 kernels and one of 5x5 see, and their parameters."""
    two, one = 29 - shape(TWO_SMALL)[-1], 29 - shape(ONE_LARGE)[-1]
    fewer, more = (count_params(Sequential(*net)) for net in (TWO_SMALL, ONE_LARGE))
    text = f"{two}x{two} pixels; {fewer} < {more} parameters for one map"
    return holds(two == one and fewer < more and len(TWO_SMALL) > len(ONE_LARGE), text)


def r4_18(e):
    """The layers of the block, looked up among those of both VGGs."""
    block = ", ".join(map(str, BLOCK))
    vggs = [", ".join(map(str, NETWORKS[name])) for name in ("vgg11", "vgg13")]
    text = f"{count_params(Sequential(*BLOCK)):,} parameters, in VGG-11 and VGG-13"
    return holds(all(block in vgg for vgg in vggs), text)


def r4_23(e):
    """The loss of 16 images, the last batch of 10,000 in batches of 64."""
    found = outcome(F.cross_entropy, zeros(16, 10), e.mnist.test_labels[-16:])
    text = "16 work" if found == "runs" else found
    return holds(found != "runs", text, "it must equal the number of labels (R4-E5)")


def best_run(e, name):
    """A row of R4's table: its parameters, then its accuracies where they were run."""
    row, n = BEST.loc[name], PARAMETERS[name]
    if n != row["parameters"]:
        return exact(int(row["parameters"]), n)
    names = ("grid", "best_of_grid", "r4_lenet")
    found = {r.run.name: r for key in names for r in e.records.get(key, [])}
    full = [r for r in found.values() if r.data["train_size"] > 49_000]
    setting = name, row["lr"], row["dropout"]
    runs = [r for r in full if (r.run.model, r.run.lr, r.run.dropout) == setting]
    if len(runs) < 3:
        reason = f"the parameters agree; accuracies: n = {len(runs)}, 3 are needed"
        return Finding(UNCHECKED, f"{n:,} parameters", reason)
    scores, reason = SCORES[1:], "not the training accuracy: ours is with dropout"
    return numbers(row[scores], run_table(runs)[scores], 1e-4, scores, reason)


def r4_30(e):
    """A z test of the two best accuracies on the 10,000 test images."""
    first, second = TEST["wrn16_4"], TEST.drop("wrn16_4").max()
    variance = (first * (1 - first) + second * (1 - second)) / 10_000
    p = float(norm.sf((first - second) / variance**0.5))
    text = f"{1e4 * (first - second):.0f} images ahead, p = {p:.2f}"
    reason = "one run each (R4-E7); VGG's training accuracy is 99.50 % (R4-E11)"
    return Finding("", text, reason, support=p)


def r4_31(e):
    """Seconds per million parameters, and what the seconds rank with."""
    rates = 1e6 * SECONDS / SIZES
    sizes, macs = (SECONDS.corr(x, method="spearman") for x in (SIZES, MACS))
    text = f"{rates.min():.0f} to {rates.max():,.0f} s per million"
    reason = f"rank correlation {sizes:.1f}, with multiply-adds {macs:.1f} (R4-E6)"
    return holds(rates.max() < 2 * rates.min(), text, reason)


def r4_38(e):
    """Multiply-adds of half the network of 2012, and of ours, in millions."""
    with FlopCounterMode(display=False) as counter:
        shape(ALEXNET_2012, 3, 224)
    half, ours = counter.get_total_flops() / 4e6, MACS["alexnet"] / 1e6
    text = f"{half:.0f} million multiply-adds per GPU, here {ours:.0f}"
    return holds(half < ours, text, "the original was split for memory (R4-E9)")


def r4_42(e):
    """The smallest and the largest network, the depths, the first widths of WRN."""
    depths = {name: len(widths(name, Conv2d)) for name in ROWS}
    thin, wide = widths("wrn16_4", Conv2d)[:2]
    extremes = SIZES.idxmin() == "lenet" and SIZES.idxmax() == "vgg11"
    wide_and_shallow = wide == 4 * thin and depths["wrn16_4"] < depths["resnet18"]
    reason = "by parameters, depth and width; parallel is the AlexNet of 2012"
    text = f"{', '.join(map(str, depths.values()))} convolutions"
    return holds(extremes and wide_and_shallow, text, reason)


CHECKS = {
    "R4-01": r4_01,
    "R4-03": r4_03,
    "R4-06": r4_06,
    "R4-08": r4_08,
    "R4-12": r4_12,
    "R4-14": r4_14,
    "R4-17": r4_17,
    "R4-18": r4_18,
    "R4-23": r4_23,
    "R4-30": r4_30,
    "R4-31": r4_31,
    "R4-38": r4_38,
    "R4-42": r4_42,
    "R4-02": lambda e: exact(
        [28, 28, 10],
        [*e.mnist.test_images[0].shape, len(e.mnist.test_labels.unique())],
    ),
    "R4-04": lambda e: holds(
        shape(UNPADDED)[-1] >= 5,
        "maps of {2}x{3} for the last 5x5 kernel".format(*shape(UNPADDED)),
        "28x28 images need a padding of 2 (R4-E1)",
    ),
    "R4-05": lambda e: exact(
        [6, 16, 120, 84, 10, 61_990],
        [*widths("lenet"), PARAMETERS["lenet"]],
        "with a padding of 2 in the first convolution",
    ),
    "R4-07": lambda e: exact(
        55, shape(ALEXNET_2012[:1], 3, 224)[-1], "the side, with a padding of 2"
    ),
    "R4-09": lambda e: exact("runs", outcome(shape, NETWORKS["alexnet_text"])),
    "R4-10": lambda e: exact(
        28_514_378, PARAMETERS["alexnet_text"], "other widths fit it (R4-E2)"
    ),
    "R4-11": lambda e: holds(LINEAR > 0.5, f"{LINEAR:.0%} of the parameters"),
    "R4-13": lambda e: exact(11_172_810, PARAMETERS["resnet18"]),
    "R4-15": lambda e: exact("runs", outcome(Nested(), zeros(1)), "dedent it (R4-E12)"),
    "R4-16": lambda e: exact(
        128_806_154, PARAMETERS["vgg13"], "the report's count is VGG-11's (R4-E3)"
    ),
    "R4-20": lambda e: exact(
        2_748_602, PARAMETERS["wrn16_4"], "without batch norm on the shortcuts (R4-E4)"
    ),
    "R4-22": lambda e: exact(2304, shape(NETWORKS["alexnet"][:15])[1]),
    "R4-29": lambda e: best_run(e, "wrn16_4"),
    "R4-25": lambda e: best_run(e, "lenet"),
    "R4-26": lambda e: best_run(e, "alexnet"),
    "R4-27": lambda e: best_run(e, "resnet18"),
    "R4-28": lambda e: best_run(e, "vgg11"),
    "R4-32": lambda e: holds(
        SECONDS["wrn16_4"] < SECONDS.median(),
        f"{SECONDS['wrn16_4']:.0f} s, the median is {SECONDS.median():.0f} s",
        "only VGG took longer (R4-E6)",
    ),
    "R4-33": lambda e: holds(
        SECONDS.idxmin() == MACS.idxmin() == "lenet" and TEST["lenet"] >= TEST.median(),
        f"{SECONDS.min():.0f} s, the least; accuracy {TEST['lenet']:.2%}",
    ),
    "R4-39": lambda e: holds(
        SECONDS["alexnet"] > SECONDS["resnet18"],
        f"{SECONDS['resnet18']:.0f} s; AlexNet, larger, {SECONDS['alexnet']:.0f} s",
        "the multiply-adds make it slow (R4-E6); the rest was not tested",
    ),
    "R4-41": lambda e: holds(
        PARAMETERS["wrn16_4"] > SIZES.median(),
        f"{PARAMETERS['wrn16_4']:,} parameters",
        "the second smallest of five (R4-E10); the rest was not tested",
    ),
}
