"""Checks of R5: the residual network of R1, trained with SGD.

The docstring of a check says what the report claims, not what is true.
"""

import copy
from collections.abc import Callable
from functools import cache
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jacrev

from mnistkit.claims.names import name_of
from mnistkit.claims.r1 import tuned_depths
from mnistkit.claims.reported import R5_ACCURACY, R5_LINES, R5_LOSS
from mnistkit.claims.rules import (
    AGREES,
    Evidence,
    Finding,
    NotRun,
    alike,
    check,
    exact,
    fairest,
    holds,
    numbers,
    together,
)
from mnistkit.claims.toys import (
    agrees,
    layers,
    network,
    path,
    pools_save_weights,
    ranking_by_loss,
    steps_per_epoch,
    two_valleys,
)
from mnistkit.data import Batches, normalize
from mnistkit.models import build_model
from mnistkit.runs import Record
from mnistkit.storage.files import MNIST
from mnistkit.tables import describe, run_table
from mnistkit.train import OPTIMIZERS, evaluate, fit, sgdm
from mnistkit.wording import percent

# The layers of the network


def layer_kinds() -> list[str]:
    """The class name of each leaf layer of the network, in order of execution."""
    return [row["kind"] for row in layers()]


@check("R5-02")
def r5_02(evidence: Evidence) -> Finding:
    """The output layer includes convolutions, pools and fully connected layers.

    Computed is the kind of the last layer; the claim needs a convolution there.
    """
    kind = layer_kinds()[-1]
    reason = "convolutions and pools are hidden layers (R5-E1)"
    return holds(kind == "Conv2d", f"the output layer is a {kind} layer", reason)


@check("R5-08")
def r5_08(evidence: Evidence) -> Finding:
    """The fully connected layer is the last of the hidden layers."""
    *hidden, output = layer_kinds()
    text = f"the last hidden layer is a {hidden[-1]}, the output layer a {output}"
    reason = "the only fully connected layer of this network gives the output"
    return holds("Linear" in hidden, text, reason)


@check("R5-07")
def r5_07(evidence: Evidence) -> Finding:
    """Pooling compresses the data and saves parameters.

    Computed are the inputs of the last layer with the pools, and with none.
    """
    return pools_save_weights(network()[:-1], "what is saved are that layer's weights")


@check("R5-25")
def r5_25(evidence: Evidence) -> Finding:
    """PyTorch has a ready-made resnet18."""
    from torchvision import models

    has_one = hasattr(models, "resnet18")
    text = f"torchvision.models has {'a' if has_one else 'no'} resnet18"
    reason = "torchvision belongs to PyTorch; it is for 3 channels and 1,000 classes"
    return holds(has_one, text, reason)


# What layers can do


@cache
def trained(mnist: MNIST) -> nn.Sequential:
    """R5's network after 10,000 images, in evaluation mode, without gradients."""
    images, labels = mnist.train_images[:10_000], mnist.train_labels[:10_000]
    model = cast(nn.Sequential, build_model("small_resnet", final_relu=False))
    optimizer = sgdm(model.parameters(), lr=0.01, momentum=0.5)
    for _ in fit(model, Batches(images, labels, 64), optimizer, epochs=1):
        pass
    return model.eval().requires_grad_(False)


@check("R5-03")
def r5_03(evidence: Evidence) -> Finding:
    """A CNN classifies a digit alike wherever it stands in the image.

    Computed are the accuracies on 500 test images that are moved to the right, or down,
    by a pixel or by four; alike means within 1 point.
    """
    model = trained(evidence.mnist)
    images, labels = evidence.mnist.test_images[:500], evidence.mnist.test_labels[:500]

    def accuracy(pixels: int, axis: int) -> float:
        return evaluate(model, images.roll(pixels, dims=axis), labels)["accuracy"]

    still = accuracy(0, 1)
    worst, texts = still, [f"{percent(still, 0)} of 500 test images are right"]
    for pixels in (1, 4):
        right, down = accuracy(pixels, 2), accuracy(pixels, 1)
        worst = min(worst, right, down)
        moved = f"if moved to the right or down by {pixels}"
        texts.append(f"{percent(right, 0)} or {percent(down, 0)} {moved}")
    text = ", ".join(texts)
    return holds(worst >= still - 0.01, text, "after one epoch of 10,000 images")


def gap_from_affine(layers: list[nn.Module], a: Tensor, b: Tensor) -> float:
    """The largest difference between f(a + b) + f(0) and f(a) + f(b).

    It is 0, but for rounding, if the layers make an affine map f.
    """
    f = copy.deepcopy(nn.Sequential(*layers)).double()
    zero = torch.zeros_like(a)
    return (f(a + b) + f(zero) - f(a) - f(b)).abs().max().item()


@check("R5-05")
def r5_05(evidence: Evidence) -> Finding:
    """Without activation functions all layers collapse into one matrix product.

    Computed is how far two convolutions are from an affine map, without and with a ReLU
    between them.
    """
    images = normalize(evidence.mnist.test_images[:2]).double()
    a, b = images[:1], images[1:]
    first, second = [layer for layer in network() if isinstance(layer, nn.Conv2d)]
    without = gap_from_affine([first, second], a, b)
    with_relu = gap_from_affine([first, nn.ReLU(), second], a, b)
    text = (
        f"two convolutions are off an affine map by {without:.0e}, and by "
        f"{with_relu:.2g} with a ReLU between them"
    )
    return holds(without < 1e-9 < with_relu, text, "one product, and biases")


# Shortcuts


class UnitsOutput(NamedTuple):
    """Where five residual units lead, and the sum of the F(x) on the way."""

    x: Tensor
    residual_sum: Tensor


def start() -> Tensor:
    """The x_l [8] that enters the units: numbers from -1 to 1."""
    return torch.linspace(-1, 1, 8, dtype=torch.float64)


def residual(x: Tensor) -> Tensor:
    """The F of the residual units, a function of [8] that mixes the numbers."""
    return torch.sin(3 * x.flip(0))


def five_units(x: Tensor, activation: Callable[[Tensor], Tensor]) -> UnitsOutput:
    """Five units x = activation(x + F(x)), one after the other."""
    residual_sum = torch.zeros_like(x)
    for _ in range(5):
        residual_sum = residual_sum + residual(x)
        x = activation(x + residual(x))
    return UnitsOutput(x, residual_sum)


def gap_from_sum(activation: Callable[[Tensor], Tensor]) -> float:
    """The largest difference between the units' output and x_l + the sum of the F."""
    output = five_units(start(), activation)
    return (output.x - start() - output.residual_sum).abs().max().item()


@check("R5-13")
def r5_13(evidence: Evidence) -> Finding:
    """With h the identity and f a ReLU, x_L is x_l plus the sum of the F in between."""
    with_relu = gap_from_sum(F.relu)
    with_identity = gap_from_sum(nn.Identity())
    text = (
        f"the sum is off by {with_relu:.2g}, and by {with_identity:.0e} if f is the "
        "identity"
    )
    reason = "the sum needs f = identity, as in R5's code, not a ReLU (R5-E2)"
    return holds(with_relu < 1e-5, text, reason)


@check("R5-14")
def r5_14(evidence: Evidence) -> Finding:
    """The gradient at x_l is dL/dx_L (1 + d(sum F)/dx_L), whose 1 keeps it up.

    Computed is dx_L/dx_l [8, 8] of units without an activation, beside the factor, in
    which the 1 is the identity matrix.
    """

    def units(x: Tensor) -> UnitsOutput:
        return five_units(x, nn.Identity())

    jacobian, by_start = jacrev(units)(start())
    by_end = by_start @ jacobian.inverse()  # d(sum F)/dx_L, by the chain rule
    one = torch.eye(8, dtype=torch.float64)
    what, reason = "an entry of dx_L/dx_l", "the sum starts at x_l (R5-E3)"
    by_x_l = agrees(one + by_start, jacobian, what, reason)
    return fairest(
        agrees(one + by_end, jacobian, what, reason),
        {"the sum is differentiated by x_l": by_x_l},
    )


@check("R5-27")
def r5_27(evidence: Evidence) -> Finding:
    """Residual networks are easier to train than plain ones, or at least no worse.

    Compared are the last training losses at each depth, each network at its own
    learning rate. Those of the residual network may be lower, or alike.
    """
    records = evidence.runs("depth")
    runs = tuned_depths(records)
    has_shortcuts = runs["shortcuts"].astype(bool)
    runs["network"] = has_shortcuts.map({True: "residual", False: "plain"})
    depths = runs.groupby("layers", sort=False)
    order, options = ["residual", "plain"], dict(paired=False, parts=len(depths))
    parts = {}
    for depth, table in depths:
        same = alike(table, "network", "train_loss", order, 0.1, log=True, **options)
        lower = ranking_by_loss(table, "network", order, **options)
        parts[str(depth)] = same if same.outcome == AGREES else lower
    return together(parts, describe(records))


# Training and testing


@check("R5-16")
def r5_16(evidence: Evidence) -> Finding:
    """Optimizers lead to the global minimum of the loss.

    Four of them start at 1.2 on a function of two valleys; the lower one is below 0.
    """
    ends = {}
    for name in ("sgd", "sgdm", "adagrad", "adam"):
        points = path(OPTIMIZERS[name], two_valleys, [1.2], 200, lr=0.05)
        ends[name] = points[-1].item()
    stops = ", ".join(f"{name_of(name)} at {end:.2f}" for name, end in ends.items())
    text = f"they stop: {stops}"
    reason = "the global minimum is at −1.04; nothing guarantees it (R5-E8)"
    return holds(max(ends.values()) < 0, text, reason)


@check("R5-22")
def r5_22(evidence: Evidence) -> Finding:
    """The last lines of epoch 10 stand at the images 56960 to 59520, 95 to 99 %.

    R5 prints a line each 10 batches of 64: the images so far, and their share.
    """
    steps = steps_per_epoch(evidence)
    lines = [f"{64 * i} ({100 * i / steps:.0f}%)" for i in range(0, steps, 10)]
    return exact(R5_LINES, lines[-5:], "the losses printed are of single batches")


def last_scores(records: list[Record]) -> Finding:
    """R5's test accuracy and loss against those of runs of ours."""
    runs = run_table(records)
    accuracy, loss = runs["test_accuracy"], runs["test_loss"]
    return together(
        {
            "accuracy": numbers(
                R5_ACCURACY, accuracy, 1e-4, margin=0.001, share=True, parts=2
            ),
            "loss": numbers(R5_LOSS, loss, 1e-4, margin=0.10, log=True, parts=2),
        },
        reason="R5 does not say how it scaled the pixels",
    )


@check("R5-23")
def r5_23(evidence: Evidence) -> Finding:
    """After 10 epochs the test accuracy is 0.9910 and the test loss 0.0261."""
    normalized = last_scores(evidence.full("r5"))
    try:
        scaled = last_scores(evidence.full("scalings", normalize=False))
    except NotRun:
        return normalized
    return fairest(normalized, {"the pixels are scaled to 0..1": scaled})
