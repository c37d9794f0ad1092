"""Checks of R2: its network, what it says of convolutions, and its printed code."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mnistkit.claims.reported import R2_LOG, R2_LOSS
from mnistkit.claims.rules import (
    Evidence,
    Finding,
    NotRun,
    check,
    exact,
    fairest,
    holds,
    together,
)
from mnistkit.data import Batches, normalize
from mnistkit.models import build_model, count_params

# Convolution and pooling


@check("R2-03")
def r2_03(evidence: Evidence) -> Finding:
    """The kernel size decides how many rounds of convolution and maps there are.

    Computed: the number of maps of three layers that differ in the kernel size only.
    """
    layers = [nn.Conv2d(1, 4, kernel) for kernel in (1, 3, 5)]
    maps = [layer(torch.zeros(1, 28, 28)).shape[0] for layer in layers]
    return holds(
        len(set(maps)) > 1,
        f"{maps} maps for kernel sizes 1, 3, 5",
        "out_channels decides the number of maps (R2-E2)",
    )


@check("R2-04")
def r2_04(evidence: Evidence) -> Finding:
    """Padding with a border of zeros keeps the size of the maps.

    Computed: the maps behind kernels of 3 and 5 with a stride of 1, whose border is one
    pixel wide, or (k - 1) / 2.
    """
    one_pixel = [size_of_map(3, padding=1), size_of_map(5, padding=1)]
    half_a_kernel = [size_of_map(3, padding=1), size_of_map(5, padding=2)]
    reason = "kernels of 3 and 5; R2's network has no padding (R2-E3)"
    as_written = exact([28, 28], one_pixel, reason)
    as_read = exact([28, 28], half_a_kernel, reason)
    return fairest(as_written, {"the padding is (k - 1) / 2 and the stride 1": as_read})


def size_of_map(kernel: int, padding: int) -> int:
    """The side of the map that a convolution makes of 28 x 28 pixels."""
    image, weights = torch.zeros(1, 1, 28, 28), torch.zeros(1, 1, kernel, kernel)
    return F.conv2d(image, weights, padding=padding).shape[-1]


@check("R2-06")
def r2_06(evidence: Evidence) -> Finding:
    """Without pooling the feature maps lead to too many parameters.

    Computed: the parameters of R2's convolutions, and the inputs of its first linear
    layer, with and without the pools.
    """
    layers = list(build_model("four_conv").eval().children())
    kinds = [type(layer) for layer in layers]
    pooled = layers[: kinds.index(nn.Linear)]
    unpooled = [layer for layer in pooled if not isinstance(layer, nn.MaxPool2d)]

    weights, weights_unpooled = (
        count_params(nn.Sequential(*part)) for part in (pooled, unpooled)
    )
    image = torch.zeros(1, 1, 28, 28)
    inputs, inputs_unpooled = (
        nn.Sequential(*part)(image).shape[1] for part in (pooled, unpooled)
    )
    reason = "maps are activations; parameters are weights (R2-E4)"
    as_written = holds(
        weights < weights_unpooled,
        f"{weights:,} parameters of the convolutions, {weights_unpooled:,} without",
        reason,
    )
    of_linear = holds(
        inputs < inputs_unpooled,
        f"{inputs:,} inputs of the first linear layer, {inputs_unpooled:,} without",
        reason,
    )
    reading = "parameters means those of the first linear layer"
    return fairest(as_written, {reading: of_linear})


# The network


@check("R2-27")
def r2_27(evidence: Evidence) -> Finding:
    """Each image of 28 x 28 pixels enters the network as a row of 784 numbers."""
    rows = normalize(evidence.mnist.train_images[:2]).flatten(1)  # [2, 784]
    try:
        build_model("four_conv")(rows)
        outcome = "accepted"
    except RuntimeError:
        outcome = "error"
    return holds(
        outcome == "accepted",
        f"rows of 784: {outcome}",
        "this network takes images [N, 1, 28, 28] (R2-E1)",
    )


@check("R2-53")
def r2_53(evidence: Evidence) -> Finding:
    """Batch norm prevents gradients from vanishing or exploding.

    Computed: how many times larger the gradient of the first layer is in a network of
    25 hidden layers than in one of 2, before training. A gradient that is more than 100
    times smaller vanishes, one that is more than 100 times larger explodes. Batch norm
    prevents this if it happens without batch norm only.
    """

    def finding(he: bool) -> Finding:
        without = growth_of_gradient(evidence, batch_norm=False, he=he)
        with_norm = growth_of_gradient(evidence, batch_norm=True, he=he)
        text = f"{without:.1g} times as large without it, {with_norm:.2g} with it"
        return holds(is_steady(with_norm) and not is_steady(without), text)

    default, he = finding(he=False), finding(he=True)
    both = together({"torch's initialisation": default, "He's": he})
    text = both.regenerated
    found = fairest(both, {"the weights have torch's default initialisation": default})
    found.regenerated = text
    found.reason = "25 layers against 2; even with batch norm the gradients grow"
    return found


def growth_of_gradient(evidence: Evidence, batch_norm: bool, he: bool) -> float:
    """The gradient of 25 hidden layers over that of 2: geometric mean of 3 seeds."""
    logs = []
    for seed in range(3):
        deep = first_gradient(evidence, 25, batch_norm, he, seed)
        shallow = first_gradient(evidence, 2, batch_norm, he, seed)
        logs.append(np.log(deep / shallow))
    return float(np.exp(np.mean(logs)))


def is_steady(growth: float) -> bool:
    return 1 / 100 <= growth <= 100


def first_gradient(
    evidence: Evidence, depth: int, batch_norm: bool, he: bool, seed: int
) -> float:
    """The norm of the gradient at the first of `depth` hidden layers of 32 units.

    The loss is that of 256 training images. `he`: the weights have He's initialisation
    and the biases are 0; otherwise both are torch's default.
    """
    images = normalize(evidence.mnist.train_images[:256])
    labels = evidence.mnist.train_labels[:256]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs in [784] + [32] * (depth - 1):
            norm = [nn.BatchNorm1d(32)] if batch_norm else []
            layers += [nn.Linear(inputs, 32), *norm, nn.ReLU()]
        layers.append(nn.Linear(32, 10))
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        if he:
            for layer in linear:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    loss = F.cross_entropy(nn.Sequential(*layers)(images), labels)
    [gradient] = torch.autograd.grad(loss, linear[0].weight)
    return gradient.norm().item()


# The data


@check("R2-20")
def r2_20(evidence: Evidence) -> Finding:
    """The mean loss of every 100 batches makes nine lines for an epoch."""
    mnist = evidence.mnist
    if mnist.source != "mnist":
        raise NotRun("needs full MNIST")
    batches = len(Batches(mnist.train_images, mnist.train_labels, 64))
    printed_lines = len(R2_LOSS)
    reason = f"of {batches} batches the last {batches % 100} are never printed"
    return exact(printed_lines, batches // 100, reason)


@check("R2-26")
def r2_26(evidence: Evidence) -> Finding:
    """The files of MNIST lie in two folders, progress and raw."""
    from torchvision.datasets import MNIST

    dataset = MNIST.__new__(MNIST)  # without __init__, which would look for the files
    dataset.root = "data"
    names = [Path(dataset.processed_folder).name, Path(dataset.raw_folder).name]
    return exact(["progress", "raw"], names, "the first is called processed (R2-E12)")


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
    return holds(
        right == 16,
        f"a perfect network is called right for {right} of 16",
        "image, label and prediction are of three images, so that one in ten is called "
        "right by chance (R2-E10)",
    )


@check("R2-24")
def r2_24(evidence: Evidence) -> Finding:
    """The losses, and the accuracy of each epoch, are logged for TensorBoard.

    Computed: what the printed code logs of the five epochs of R2's own log at learning
    rate 0.01, with the last loss of each epoch.
    """
    losses = R2_LOSS.loc[900, 0.01].to_list()
    accuracies = R2_LOG[0.01].to_list()
    counts = [100 * percent for percent in accuracies]  # of 10,000 test images
    logged_losses, logged_accuracies = printed_logging(losses, counts)
    return holds(
        logged_losses == losses and logged_accuracies == accuracies,
        f"LOSS {logged_losses}, acc {logged_accuracies}",
        "the last loss is logged five times, and a count of the last epoch (R2-E11)",
    )


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
    reason = (
        "in R2's table the learning rates 0.01 and 0.001 cannot be told apart from "
        "epoch 4 on (R2-E9)"
    )
    rounded = exact("99%", printed, reason)
    cut_off = exact("98%", printed, reason)
    return fairest(rounded, {"the decimals are cut off, not rounded": cut_off})
