"""Checks of R2: its network, what it says of convolutions, and its printed code."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mnistkit.claims.reported import R2_LOG, R2_LOSS
from mnistkit.claims.rules import Evidence, Finding, check, fairest, holds
from mnistkit.claims.toys import first_gradient, pools_save_weights, steps_per_epoch
from mnistkit.data import normalize
from mnistkit.models import build_model
from mnistkit.wording import number

# Convolution and pooling


@check("R2-03")
def r2_03(evidence: Evidence) -> Finding:
    """The kernel size decides how many rounds of convolution and maps there are.

    Computed: the number of maps of three layers that differ in the kernel size only.
    """
    layers = [nn.Conv2d(1, 4, kernel) for kernel in (1, 3, 5)]
    maps = [layer(torch.zeros(1, 28, 28)).shape[0] for layer in layers]
    text = "kernels of 1, 3 and 5 pixels give {}, {} and {} maps".format(*maps)
    reason = "out_channels decides the number of maps (R2-E2)"
    return holds(len(set(maps)) > 1, text, reason)


@check("R2-04")
def r2_04(evidence: Evidence) -> Finding:
    """Padding with a border of zeros keeps the size of the maps.

    Computed: the maps behind kernels of 3 and 5 with a stride of 1, whose border is one
    pixel wide, or (k - 1) / 2.
    """
    one_pixel = [size_of_map(3, padding=1), size_of_map(5, padding=1)]
    half_a_kernel = [size_of_map(3, padding=1), size_of_map(5, padding=2)]
    text = (
        "of 28 pixels, kernels of 3 and 5 leave {} and {} with a border of 1, {} and "
        "{} with one of (k - 1) / 2"
    ).format(*one_pixel, *half_a_kernel)
    reason = "R2's own network has no padding (R2-E3)"
    as_written = holds(one_pixel == [28, 28], text, reason)
    as_read = holds(half_a_kernel == [28, 28], text, reason)
    return fairest(as_written, {"the padding is (k - 1) / 2 and the stride 1": as_read})


def size_of_map(kernel: int, padding: int) -> int:
    """The side of the map that a convolution makes of 28 x 28 pixels."""
    image, weights = torch.zeros(1, 1, 28, 28), torch.zeros(1, 1, kernel, kernel)
    return F.conv2d(image, weights, padding=padding).shape[-1]


@check("R2-06")
def r2_06(evidence: Evidence) -> Finding:
    """Pooling lowers the resolution because the maps have too many parameters.

    Maps have values and no parameters. Computed: the inputs of R2's first linear layer,
    whose weights are saved, with and without the pools.
    """
    layers = list(build_model("four_conv").eval().children())
    first_linear = [type(layer) for layer in layers].index(nn.Linear)
    reason = "maps are activations (R2-E4)"
    finding = pools_save_weights(nn.Sequential(*layers[:first_linear]), reason)
    finding.reading = "the parameters are the weights of the layer behind the maps"
    return finding


# The network


@check("R2-27")
def r2_27(evidence: Evidence) -> Finding:
    """Each image of 28 x 28 pixels enters the network as a row of 784 numbers."""
    rows = normalize(evidence.mnist.train_images[:2]).flatten(1)  # [2, 784]
    try:
        build_model("four_conv")(rows)
        does = "takes"
    except RuntimeError:
        does = "refuses"
    reason = "it takes images [N, 1, 28, 28] (R2-E1)"
    return holds(does == "takes", f"R2's network {does} rows of 784", reason)


@check("R2-53")
def r2_53(evidence: Evidence) -> Finding:
    """Batch norm prevents gradients from vanishing or exploding.

    Computed: how many times larger the gradient of the first layer is in a network of
    25 hidden layers than in one of 2, before training. A gradient that is more than 100
    times smaller vanishes, one that is more than 100 times larger explodes. Batch norm
    prevents this if it happens without batch norm only.
    """
    helps, texts = {}, []
    for name, he in (("torch's default", False), ("He's", True)):
        without, with_norm = (
            growth_of_gradient(evidence, norm, he) for norm in (False, True)
        )
        steady = [1 / 100 <= growth <= 100 for growth in (without, with_norm)]
        helps[name] = steady == [False, True]
        told = (
            f"{number(without, 1)} without batch norm and {number(with_norm, 2)} with"
        )
        texts.append(f"by {told} it ({name} weights)")
    text = (
        "from 2 layers to 25 the gradient of the first one is multiplied "
        f"{', '.join(texts)}"
    )
    reason = "even with batch norm the gradient grows"
    as_read = holds(helps["torch's default"], text, reason)
    reading = "the weights have torch's default initialisation"
    return fairest(holds(all(helps.values()), text, reason), {reading: as_read})


def growth_of_gradient(evidence: Evidence, norm: bool, he: bool) -> float:
    """The gradient of 25 hidden layers over that of 2: geometric mean of 3 seeds."""
    length = partial(first_gradient, evidence, he=he, norm=norm)
    ratios = [length(25, seed=seed) / length(2, seed=seed) for seed in range(3)]
    return float(np.exp(np.mean(np.log(ratios))))


# The data


@check("R2-20")
def r2_20(evidence: Evidence) -> Finding:
    """The mean loss of every 100 batches makes nine lines for an epoch."""
    batches = steps_per_epoch(evidence)
    reason = f"of {batches} batches the last {batches % 100} are never printed"
    return holds(len(R2_LOSS) == batches // 100, f"{batches // 100} lines", reason)


@check("R2-26")
def r2_26(evidence: Evidence) -> Finding:
    """The files of MNIST lie in two folders, progress and raw."""
    from torchvision.datasets import MNIST

    dataset = MNIST.__new__(MNIST)  # without __init__, which would look for the files
    dataset.root = "data"
    names = [Path(dataset.processed_folder).name, Path(dataset.raw_folder).name]
    reason = "its new versions make only raw (R2-E12)"
    text = f"torchvision calls them {' and '.join(names)}"
    return holds(names == ["progress", "raw"], text, reason)


# The printed test, and what is shown and logged


@check("R2-23")
def r2_23(evidence: Evidence) -> Finding:
    """Test images are shown with their predicted and their true digits.

    Computed: how many of 16 predictions of a perfect network the printed code calls
    right. The code compares predictions for the last test batch with training labels.
    """
    predictions = evidence.mnist.test_labels[-16:]  # those of a perfect network
    compared_with = evidence.mnist.train_labels[:16]
    right = (predictions == compared_with).sum().item()
    text = f"the code calls a perfect network right on {right} of 16 images, not on all"
    reason = "picture, label and prediction are of three different images (R2-E10)"
    return holds(right == 16, text, reason)


@check("R2-24")
def r2_24(evidence: Evidence) -> Finding:
    """The losses, and the accuracy of each epoch, are logged for TensorBoard.

    Computed: what the printed code logs of the five epochs of R2's own log at learning
    rate 0.01, with the last loss of each epoch.
    """
    losses = R2_LOSS.loc[900, 0.01].to_list()
    counts = [100 * percent for percent in R2_LOG[0.01]]  # of 10,000 test images
    logged, accuracies = printed_logging(losses, counts)
    text = (
        f"it logs {len(set(logged))} of the 5 losses and {len(accuracies)} of the 5 "
        "accuracies"
    )
    reason = "the last loss five times, and a count instead of an accuracy (R2-E11)"
    return holds(logged == losses and len(accuracies) == 5, text, reason)


def printed_logging(losses: list[float], counts: list[int]) -> tuple[list, list]:
    """What R2's code logs as LOSS and as acc, of trainings with these numbers by epoch.

    It logs after the last epoch, so that its variables have the last values.
    """
    loss, correct = losses[-1], counts[-1]
    return [loss for _ in range(5)], [correct]


PRINTED_ACCURACY = "%d%%"  # the format of R2's code


@check("R2-54")
def r2_54(evidence: Evidence) -> Finding:
    """The printed test gives the test accuracy in whole percent.

    Computed: what it prints for 9,899 right ones of 10,000 images, which is 98.99 %.
    """
    printed = PRINTED_ACCURACY % (100 * 9_899 / 10_000)
    text, reason = f"it prints {printed} for 98.99 %", "so do we read R2's log (R2-E9)"
    cut_off = holds(printed == "98%", text, reason)
    reading = "the decimals are cut off, not rounded"
    return fairest(holds(printed == "99%", text), {reading: cut_off})
