"""Checks of R4: five known networks on a grid of learning rates and dropouts.

The docstring of a check says what the report claims, not what is true. Most claims are
about architectures: their shapes and counts are found on torch's device "meta", where
tensors have a shape but no values, so that nothing is computed.
"""

import functools
import re
from collections.abc import Callable, Iterable
from itertools import pairwise

import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mnistkit.claims.reported import R4_BEST
from mnistkit.claims.rules import (
    IMPRECISE,
    Evidence,
    Finding,
    check,
    exact,
    holds,
    numbers,
    trained_on_all,
)
from mnistkit.data import normalize, split
from mnistkit.models import build_model, conv, count_params, head, layer_table
from mnistkit.tables import run_table

RUNS = "runs"  # what `outcome` says of code that raises no error


@functools.cache
def network(name: str) -> nn.Module:
    """A network of our zoo on the device "meta"."""
    with torch.device("meta"):
        return build_model(name)


@functools.cache
def layers(name: str) -> list[dict]:
    """A row per layer of a network of our zoo, as `layer_table` describes it."""
    return layer_table(network(name))


def widths(name: str, *kinds: str) -> list[int]:
    """The number of maps or units of each layer of these kinds, from first to last."""
    return [row["output"][0] for row in layers(name) if row["kind"] in kinds]


def parameters(name: str) -> int:
    """The number of weights and biases of a network of our zoo."""
    return count_params(network(name))


def reported_parameters(name: str) -> int:
    """The number of parameters that R4 prints for a network."""
    return int(R4_BEST["parameters"][name])


def parameters_of_all() -> pd.Series:
    """The number of parameters of each network in R4's table."""
    return pd.Series({name: parameters(name) for name in R4_BEST.index})


def multiply_adds_of_all() -> pd.Series:
    """The multiply-adds per image of each network in R4's table."""
    return pd.Series(
        {name: sum(row["macs"] for row in layers(name)) for name in R4_BEST.index}
    )


def alexnet_2012() -> list[nn.Module]:
    """The layers of AlexNet as published, for colour images of 224x224 pixels.

    Its kernels were spread over two GPUs: `groups=2` marks the convolutions that see
    only the maps on their own GPU. The padding of the first convolution is not in the
    paper; without it 224 pixels do not give maps of 55x55. The layers are on the device
    "meta". Source: Krizhevsky, Sutskever and Hinton (2012).
    """
    with torch.device("meta"):
        return [
            *conv(3, 96, 11, stride=4, padding=2),
            nn.MaxPool2d(3, stride=2),
            *conv(96, 256, 5, padding=2, groups=2),
            nn.MaxPool2d(3, stride=2),
            *conv(256, 384, padding=1),
            *conv(384, 384, padding=1, groups=2),
            *conv(384, 256, padding=1, groups=2),
            nn.MaxPool2d(3, stride=2),
            *head(9216, 4096, 4096, 1000),
        ]


def output_shape(
    stack: Iterable[nn.Module], channels: int = 1, size: int = 28
) -> torch.Size:
    """The shape, [1, ...], of what layers on the device "meta" make of one image."""
    image = torch.zeros(1, channels, size, size, device="meta")
    return nn.Sequential(*stack)(image).shape


def outcome(function: Callable[..., object], *arguments: object) -> str:
    """The message of the error that a call raises; RUNS if it raises none."""
    try:
        function(*arguments)
    except (RuntimeError, ValueError) as error:
        return str(error)
    return RUNS


@check("R4-01")
def r4_01(evidence: Evidence) -> Finding:
    """Validation images are held out, and at least four CNNs are compared.

    Counted are the networks in our zoo that stand for R4's and have convolutions, and
    the images that our split holds out.
    """
    networks = [name for name in R4_BEST.index if widths(name, "Conv2d")]
    _, held_out = split(evidence.mnist.train_labels)
    return holds(
        len(networks) >= 4 and len(held_out) > 0,
        f"{len(networks)} networks, {len(held_out):,} images held out",
        "in our zoo; the size of R4's split is not given",
    )


@check("R4-02")
def r4_02(evidence: Evidence) -> Finding:
    """The images have 28x28 pixels and belong to ten classes."""
    height, width = evidence.mnist.test_images.shape[1:]
    classes = len(evidence.mnist.test_labels.unique())
    return exact([28, 28, 10], [height, width, classes])


@check("R4-03")
def r4_03(evidence: Evidence) -> Finding:
    """Images and labels must be moved to the network's device before use.

    The device "meta" stands for a GPU: the network is there, the images are on the CPU.
    """
    fails = outcome(network("lenet"), torch.zeros(2, 1, 28, 28)) != RUNS
    return holds(fails, f"{'an' if fails else 'no'} error if not moved")


@check("R4-04")
def r4_04(evidence: Evidence) -> Finding:
    """LeNet was made for images of 32x32 pixels and takes those of MNIST unchanged.

    Unchanged means without padding. LeNet's third convolution has a 5x5 kernel, which
    needs maps of 5x5 or more.
    """
    with torch.device("meta"):
        before_the_third = conv(1, 6, 5, pool=True) + conv(6, 16, 5, pool=True)
    height, width = output_shape(before_the_third)[-2:]
    return holds(
        width >= 5,
        f"maps of {height}x{width} for the last 5x5 kernel",
        "28x28 images need a padding of 2 (R4-E1)",
    )


@check("R4-05")
def r4_05(evidence: Evidence) -> Finding:
    """LeNet has convolutions of 6, 16 and 120 maps, then 84 and 10 units."""
    return exact(
        [6, 16, 120, 84, 10, reported_parameters("lenet")],
        [*widths("lenet", "Conv2d", "Linear"), parameters("lenet")],
        "with a padding of 2 in the first convolution",
    )


@check("R4-06")
def r4_06(evidence: Evidence) -> Finding:
    """AlexNet has five convolutions, and more kernels and units than LeNet.

    More units are meant of the largest linear layer. The widths are those of the text.
    """
    kernels = widths("alexnet_text", "Conv2d")
    units = widths("alexnet_text", "Linear")
    more_kernels = sum(kernels) > sum(widths("lenet", "Conv2d"))
    larger_layers = max(units) > max(widths("lenet", "Linear"))
    return holds(
        len(kernels) == 5 and more_kernels and larger_layers, [*kernels, *units]
    )


@check("R4-07")
def r4_07(evidence: Evidence) -> Finding:
    """The AlexNet of 2012 takes colour images of 224x224 with kernels 11 pixels wide.

    The paper's maps after the first convolution are 55 pixels wide.
    """
    first_convolution = alexnet_2012()[:1]
    width = output_shape(first_convolution, channels=3, size=224)[-1]
    return exact(55, width, "the side, with a padding of 2")


@check("R4-08")
def r4_08(evidence: Evidence) -> Finding:
    """The AlexNet of 2012 fails on 28x28 images, because a pool gets too small maps.

    Compared are the two sizes that the error message names.
    """
    message = outcome(output_shape, alexnet_2012(), 3)
    sizes = re.findall(r"\(256x.x.\)", message)
    return exact("(256x2x2) (256x0x0)", " ".join(sizes))


@check("R4-09")
def r4_09(evidence: Evidence) -> Finding:
    """With 3x3 kernels and 2x2 pools AlexNet takes 28x28 images."""
    stack = network("alexnet_text").children()
    return exact(RUNS, outcome(output_shape, stack))


@check("R4-10")
def r4_10(evidence: Evidence) -> Finding:
    """Each convolution of AlexNet has twice the kernels that one GPU held in 2012.

    The parameters of the network that this describes are counted.
    """
    return exact(
        reported_parameters("alexnet"),
        parameters("alexnet_text"),
        "other widths fit it (R4-E2)",
    )


@check("R4-11")
def r4_11(evidence: Evidence) -> Finding:
    """A weak point of AlexNet is the size of its linear layers.

    They are large if they hold more than half of the parameters.
    """
    linear = [row for row in layers("alexnet") if row["kind"] == "Linear"]
    share = sum(row["parameters"] for row in linear) / parameters("alexnet")
    return holds(share > 0.5, f"{share:.0%} of the parameters")


@check("R4-12")
def r4_12(evidence: Evidence) -> Finding:
    """Depth spoils the gradient; batch norm and shortcuts mend it.

    Compared is the gradient at the first layer of an MLP with 25 hidden layers of 32
    units: plain, and with batch norm and a shortcut at each layer.
    """
    images = normalize(evidence.mnist.train_images[:256]).flatten(1)
    labels = evidence.mnist.train_labels[:256]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        sizes = pairwise([784, *[32] * 25, 10])
        first, *middle, last = (nn.Linear(*size) for size in sizes)

    plain = mended = first(images)
    for layer in middle:
        plain = layer(plain).relu()
        change = F.batch_norm(layer(mended), None, None, training=True).relu()
        mended = mended + change

    def gradient_norm(hidden: Tensor) -> float:
        loss = F.cross_entropy(last(hidden), labels)
        # Both losses pass through the first layer, so its graph is kept for the second.
        (gradient,) = torch.autograd.grad(loss, first.weight, retain_graph=True)
        return gradient.norm().item()

    without, with_both = gradient_norm(plain), gradient_norm(mended)
    return holds(
        without < 1e-3 * with_both,
        f"norm {without:.0e}, with batch norm and shortcuts {with_both:.0e}",
        "the gradient only, untrained",
    )


@check("R4-13")
def r4_13(evidence: Evidence) -> Finding:
    """ResNet-18 has blocks of two 3x3 convolutions with batch norm and a shortcut.

    The parameters of our ResNet-18 are compared with the number that R4 prints.
    """
    return exact(reported_parameters("resnet18"), parameters("resnet18"))


@check("R4-14")
def r4_14(evidence: Evidence) -> Finding:
    """A convolution needs no bias when batch norm follows it.

    A bias of 5, added to real images, must not change what batch norm returns.
    """
    images = evidence.mnist.test_images[:64].unsqueeze(1) / 255
    batch_norm = nn.BatchNorm2d(1)
    change = (batch_norm(images) - batch_norm(images + 5)).abs().max().item()
    return holds(change < 1e-3, f"{change:.0e} for a bias of 5")


@check("R4-15")
def r4_15(evidence: Evidence) -> Finding:
    """The residual block runs as printed, with `forward` indented into `__init__`."""

    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()

            # As printed, this is a local function and no method of the class.
            def forward(self: nn.Module, x: Tensor) -> None: ...

    return exact(RUNS, outcome(Nested(), torch.zeros(1)), "dedent it (R4-E12)")


@check("R4-16")
def r4_16(evidence: Evidence) -> Finding:
    """The VGG network is VGG-13.

    The parameters of our VGG-13 are compared with the number that R4 prints.
    """
    return exact(
        reported_parameters("vgg11"),
        parameters("vgg13"),
        "the report's count is VGG-11's (R4-E3)",
    )


@check("R4-17")
def r4_17(evidence: Evidence) -> Finding:
    """Two small kernels see as much as a large one, with fewer weights, one more ReLU.

    Two convolutions of 3x3 are compared with one of 5x5. Without padding a map of 28
    pixels shrinks by one less than the width that each output sees.
    """
    with torch.device("meta"):
        two_small = nn.Sequential(*conv(1, 1, 3), *conv(1, 1, 3))
        one_large = nn.Sequential(*conv(1, 1, 5))
    seen_by_two = 28 - output_shape(two_small)[-1] + 1
    seen_by_one = 28 - output_shape(one_large)[-1] + 1
    fewer, more = count_params(two_small), count_params(one_large)
    more_relus = len(two_small) > len(one_large)
    return holds(
        seen_by_two == seen_by_one and fewer < more and more_relus,
        f"{seen_by_two}x{seen_by_two} pixels; {fewer} < {more} parameters for one map",
    )


@check("R4-18")
def r4_18(evidence: Evidence) -> Finding:
    """VGG's third block has two convolutions to 256 maps, each with a ReLU, and a pool.

    The printed layers of the block are looked up among those of VGG-11 and of VGG-13.
    """

    def printed(stack: nn.Module) -> str:
        return ", ".join(str(layer) for layer in stack.children())

    with torch.device("meta"):
        block = nn.Sequential(
            *conv(128, 256, padding=1), *conv(256, 256, padding=1, pool=True)
        )
    return holds(
        all(printed(block) in printed(network(name)) for name in ("vgg11", "vgg13")),
        f"{count_params(block):,} parameters, in VGG-11 and VGG-13",
    )


@check("R4-20")
def r4_20(evidence: Evidence) -> Finding:
    """WRN-16-4 has a stem of 16 maps and three groups of two blocks 4 times as wide.

    The parameters of our wide ResNet are compared with the number that R4 prints.
    """
    return exact(
        reported_parameters("wrn16_4"),
        parameters("wrn16_4"),
        "without batch norm on the shortcuts (R4-E4)",
    )


@check("R4-22")
def r4_22(evidence: Evidence) -> Finding:
    """AlexNet's first linear layer needs 2304 inputs.

    So many values do our AlexNet's convolutions and pools make of one image.
    """
    [flattened] = widths("alexnet", "Flatten")
    return exact(2304, flattened)


@check("R4-23")
def r4_23(evidence: Evidence) -> Finding:
    """The loss fails unless the first dimension of its input is 64.

    The last batch of 10,000 images in batches of 64 has 16.
    """
    result = outcome(
        F.cross_entropy, torch.zeros(16, 10), evidence.mnist.test_labels[-16:]
    )
    return holds(
        result != RUNS,
        "16 work" if result == RUNS else result,
        "it must equal the number of labels (R4-E5)",
    )


def best_run(evidence: Evidence, name: str) -> Finding:
    """A row of R4's table: its parameters, then its accuracies where they were run.

    Three runs of ours or more with the same network, learning rate and dropout, on
    almost all training images, are needed to compare accuracies.
    """
    row = R4_BEST.loc[name]
    if parameters(name) != reported_parameters(name):
        return exact(reported_parameters(name), parameters(name))
    # An experiment may share runs with another one: each run counts once.
    records = {
        record.run.name: record
        for experiment in ("grid", "best_of_grid", "r4_best")
        for record in evidence.records.get(experiment, [])
    }
    same_setting = [
        record
        for record in records.values()
        if trained_on_all(record)
        and record.run.model == name
        and record.run.lr == row["lr"]
        and record.run.dropout == row["dropout"]
    ]
    if len(same_setting) < 3:
        return Finding(
            IMPRECISE,
            f"{parameters(name):,} parameters",
            f"the parameters agree; accuracies: n = {len(same_setting)}, 3 are needed",
        )
    scores = ["val_accuracy", "test_accuracy"]
    return numbers(
        row[scores],
        run_table(same_setting)[scores],
        1e-4,
        scores,
        "not the training accuracy: ours is with dropout",
    )


@check("R4-25")
def r4_25(evidence: Evidence) -> Finding:
    """The parameters and accuracies of LeNet's best run."""
    return best_run(evidence, "lenet")


@check("R4-26")
def r4_26(evidence: Evidence) -> Finding:
    """The parameters and accuracies of AlexNet's best run."""
    return best_run(evidence, "alexnet")


@check("R4-27")
def r4_27(evidence: Evidence) -> Finding:
    """The parameters and accuracies of ResNet-18's best run."""
    return best_run(evidence, "resnet18")


@check("R4-28")
def r4_28(evidence: Evidence) -> Finding:
    """The parameters and accuracies of VGG's best run."""
    return best_run(evidence, "vgg11")


@check("R4-29")
def r4_29(evidence: Evidence) -> Finding:
    """The parameters and accuracies of the wide ResNet's best run."""
    return best_run(evidence, "wrn16_4")


@check("R4-30")
def r4_30(evidence: Evidence) -> Finding:
    """The wide ResNet has the best test accuracy.

    A one-sided z test compares it with the second best; both accuracies are shares of
    the same number of test images, 10,000.
    """
    images = 10_000
    accuracy = R4_BEST["test_accuracy"]
    best, second = accuracy["wrn16_4"], accuracy.drop("wrn16_4").max()
    variance = (best * (1 - best) + second * (1 - second)) / images
    p = float(norm.sf((best - second) / variance**0.5))
    return Finding(
        "",
        f"{images * (best - second):.0f} images ahead, p = {p:.2f}",
        "one run each (R4-E7); VGG's training accuracy is 99.50 % (R4-E11)",
        support=p,
    )


@check("R4-31")
def r4_31(evidence: Evidence) -> Finding:
    """The time of a run is proportional to the number of parameters.

    Proportional would mean the same seconds per parameter for all five networks; a
    factor of two between them is granted.
    """
    seconds, sizes = R4_BEST["seconds"], parameters_of_all()
    per_million = 1e6 * seconds / sizes
    with_sizes = seconds.corr(sizes, method="spearman")
    with_macs = seconds.corr(multiply_adds_of_all(), method="spearman")
    return holds(
        per_million.max() < 2 * per_million.min(),
        f"{per_million.min():.0f} to {per_million.max():,.0f} s per million",
        f"rank correlation {with_sizes:.1f}, with multiply-adds {with_macs:.1f} "
        "(R4-E6)",
    )


@check("R4-32")
def r4_32(evidence: Evidence) -> Finding:
    """The wide ResNet trains in a relatively short time: below R4's median."""
    seconds = R4_BEST["seconds"]
    return holds(
        seconds["wrn16_4"] < seconds.median(),
        f"{seconds['wrn16_4']:.0f} s, the median is {seconds.median():.0f} s",
        "only VGG took longer (R4-E6)",
    )


@check("R4-33")
def r4_33(evidence: Evidence) -> Finding:
    """LeNet combines a short training time with a high accuracy.

    Its time and its multiply-adds must be the least, its accuracy the median or more.
    """
    seconds, accuracy = R4_BEST["seconds"], R4_BEST["test_accuracy"]
    fastest = seconds.idxmin() == multiply_adds_of_all().idxmin() == "lenet"
    return holds(
        fastest and accuracy["lenet"] >= accuracy.median(),
        f"{seconds.min():.0f} s, the least; accuracy {accuracy['lenet']:.2%}",
    )


@check("R4-38")
def r4_38(evidence: Evidence) -> Finding:
    """The AlexNet of 2012, with its two GPUs, should be faster than the network here.

    Compared are the multiply-adds of half the network of 2012, the part on one GPU,
    with those of the whole network here.
    """
    with FlopCounterMode(display=False) as counter:
        output_shape(alexnet_2012(), channels=3, size=224)
    all_of_2012 = counter.get_total_flops() / 2  # a multiply-add is two operations
    millions_per_gpu = all_of_2012 / 2 / 1e6
    millions_here = multiply_adds_of_all()["alexnet"] / 1e6
    return holds(
        millions_per_gpu < millions_here,
        f"{millions_per_gpu:.0f} million multiply-adds per GPU, "
        f"here {millions_here:.0f}",
        "the original was split for memory (R4-E9)",
    )


@check("R4-39")
def r4_39(evidence: Evidence) -> Finding:
    """ResNet is slow because it is large.

    Then AlexNet, which has more parameters, would take longer than ResNet.
    """
    seconds = R4_BEST["seconds"]
    return holds(
        seconds["alexnet"] > seconds["resnet18"],
        f"{seconds['resnet18']:.0f} s; AlexNet, larger, {seconds['alexnet']:.0f} s",
        "the multiply-adds make it slow (R4-E6); the rest was not tested",
    )


@check("R4-41")
def r4_41(evidence: Evidence) -> Finding:
    """The wide ResNet is a large network: it has more parameters than the median."""
    return holds(
        parameters("wrn16_4") > parameters_of_all().median(),
        f"{parameters('wrn16_4'):,} parameters",
        "the second smallest of five (R4-E10); the rest was not tested",
    )


@check("R4-42")
def r4_42(evidence: Evidence) -> Finding:
    """LeNet is small, VGG is large, the wide ResNet is wider and shallower than ResNet.

    Small and large are meant by parameters. Wide is a first block of four times as many
    maps as the stem, shallow means fewer convolutions.
    """
    sizes = parameters_of_all()
    depths = {name: len(widths(name, "Conv2d")) for name in R4_BEST.index}
    stem, first_block = widths("wrn16_4", "Conv2d")[:2]
    small_and_large = sizes.idxmin() == "lenet" and sizes.idxmax() == "vgg11"
    wide = first_block == 4 * stem
    shallow = depths["wrn16_4"] < depths["resnet18"]
    return holds(
        small_and_large and wide and shallow,
        f"{', '.join(map(str, depths.values()))} convolutions",
        "by parameters, depth and width; parallel is the AlexNet of 2012",
    )
