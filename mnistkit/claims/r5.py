"""Checks of R5: the residual network of R1, trained with SGD.

The docstring of a check says what the report claims, not what is true.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jacrev

from mnistkit.claims.reported import R5_ACCURACY, R5_LOSS
from mnistkit.claims.rules import Evidence, Finding, check, exact, holds, numbers
from mnistkit.claims.tiny_training import (
    agrees,
    block_with_zero_residual,
    first_block,
    first_test_images,
    fresh_network,
    input_of_first_block,
    layer_kinds,
    learns,
    network,
    path,
    printed_loop_trains_like_fit,
    shallow_network_is_better,
    steps_per_epoch,
    trained_network,
    two_valleys,
)
from mnistkit.data import normalize
from mnistkit.models import count_params
from mnistkit.tables import run_table
from mnistkit.train import OPTIMIZERS, evaluate

# The layers of the network


def convolutions() -> list[nn.Conv2d]:
    """The two 5x5 convolutions, which are outside the residual blocks."""
    return [layer for layer in network() if isinstance(layer, nn.Conv2d)]


def last_layer() -> nn.Linear:
    """The linear layer that gives the logits."""
    [linear] = [layer for layer in network() if isinstance(layer, nn.Linear)]
    return linear


@check("R5-02")
def r5_02(evidence: Evidence) -> Finding:
    """Convolutions, pools and fully connected layers form the output layer.

    Computed is the kind of the last layer; the claim needs a convolution there.
    """
    kind = layer_kinds()[-1]
    reason = "convolutions and pools are hidden layers (R5-E1)"
    return holds(kind == "Conv2d", f"output layer: {kind}", reason)


@check("R5-08")
def r5_08(evidence: Evidence) -> Finding:
    """The fully connected layer comes last, after convolutions and pools."""
    return exact("Linear", layer_kinds()[-1], "but R5-02 places it otherwise")


@check("R5-19")
def r5_19(evidence: Evidence) -> Finding:
    """The two 5x5 convolutions give 16 and 32 maps, and the last layer 10 of 512."""
    channels = [convolution.out_channels for convolution in convolutions()]
    last = last_layer()
    count = count_params(network())
    reason = f"{count:,} parameters; the Dropout2d is never called (R5-E6)"
    found = [*channels, last.in_features, last.out_features]
    return exact([16, 32, 512, 10], found, reason)


@check("R5-07")
def r5_07(evidence: Evidence) -> Finding:
    """Max pooling compresses the data and saves parameters.

    Computed are the inputs of the last layer with the pools, and with none.
    """
    pooled = last_layer().in_features
    hidden = network()[:-1]
    no_pools = [layer for layer in hidden if not isinstance(layer, nn.MaxPool2d)]
    image = torch.zeros(1, 1, 28, 28)
    unpooled = nn.Sequential(*no_pools)(image).shape[1]
    text = f"{pooled} inputs to the last layer, {unpooled:,} without pools"
    saves = "MaxPool2d" in layer_kinds() and pooled < unpooled
    return holds(saves, text, "only the last layer has fewer parameters for it")


@check("R5-25")
def r5_25(evidence: Evidence) -> Finding:
    """PyTorch itself has a resnet18."""
    names = [*dir(torch), *dir(nn)]
    text = f"not among {len(names):,} names in torch and torch.nn"
    reason = "it is in torchvision.models, for 3 channels and 1,000 classes (R5-E11)"
    return holds("resnet18" in names, text, reason)


# What layers can express


@check("R5-03")
def r5_03(evidence: Evidence) -> Finding:
    """A CNN classifies alike wherever the digit stands.

    Computed are the accuracies on 500 test images as they are, and moved to the right.
    """
    model = trained_network(evidence, final_relu=False)
    images, labels = first_test_images(evidence)
    accuracies = []
    for pixels in (0, 2, 4):
        moved = images.roll(pixels, dims=2)
        accuracies.append(round(evaluate(model, moved, labels)["accuracy"], 2))
    alike = min(accuracies) > accuracies[0] - 0.05
    reason = "of images moved by 0, 2, 4 pixels: pools forgive small shifts only"
    return holds(alike, f"accuracies {accuracies}", reason)


def fold(x: Tensor) -> Tensor:
    """A layer of two ReLUs: it rises from 0 to 1 at x = 0.5 and falls back to 0."""
    return 2 * F.relu(x) - 4 * F.relu(x - 0.5)


def count_linear_pieces(values: Tensor) -> int:
    """How often the values [N] turn from rising to falling or back, plus one."""
    sign_changes = values.diff().sign().diff() != 0
    return 1 + int(sign_changes.sum())


@check("R5-04")
def r5_04(evidence: Evidence) -> Finding:
    """More layers can express more complex features.

    Counted are the pieces of a function of one number, made of 1 to 5 layers.
    """
    x = torch.linspace(0, 1, 1025)
    pieces = []
    for _ in range(5):
        x = fold(x)
        pieces.append(count_linear_pieces(x))
    grows = pieces == sorted(set(pieces))
    reason = "linear pieces that two ReLUs per layer can make, for 1 to 5 layers"
    return holds(grows, pieces, reason)


def gap_from_affine(layers: list[nn.Module], a: Tensor, b: Tensor) -> float:
    """The largest difference between f(a + b) + f(0) and f(a) + f(b).

    It is 0, but for rounding, if the layers make an affine map f.
    """
    f = copy.deepcopy(nn.Sequential(*layers)).double()
    zero = torch.zeros_like(a)
    return (f(a + b) + f(zero) - f(a) - f(b)).abs().max().item()


@check("R5-05")
def r5_05(evidence: Evidence) -> Finding:
    """Without activations the layers collapse into one matrix product.

    Computed is how far two convolutions are from an affine map, without and with a ReLU
    between them.
    """
    images = normalize(evidence.mnist.test_images[:2]).double()
    a, b = images[:1], images[1:]
    first, second = convolutions()
    without = gap_from_affine([first, second], a, b)
    with_relu = gap_from_affine([first, nn.ReLU(), second], a, b)
    text = f"off by {without:.0e}, with a ReLU by {with_relu:.2g}"
    return holds(without < 1e-9 < with_relu, text, "with biases, an affine map")


@check("R5-06")
def r5_06(evidence: Evidence) -> Finding:
    """Batch norm, between convolution and activation, fixes mean and variance.

    Computed are both after the first batch norm, on 64 training images.
    """
    body = first_block(fresh_network()).body
    convolution_and_norm = body[:2]
    maps = convolution_and_norm(input_of_first_block(evidence.mnist.train_images[:64]))
    mean, variance = abs(maps.mean().item()), maps.var().item()
    kinds = [type(layer).__name__ for layer in body[:3]]
    found = [*kinds, round(mean, 2), round(variance, 2)]
    reason = "then it learns a scale and a shift of its own"
    return exact(["Conv2d", "BatchNorm2d", "ReLU", 0.0, 1.0], found, reason)


# Shortcuts


def two_rows() -> Tensor:
    """Sixteen numbers from -1 to 1 in two rows [2, 8]."""
    return torch.linspace(-1, 1, 16, dtype=torch.float64).view(2, 8)


class UnitsOutput(NamedTuple):
    """Where five residual units lead, and the sum of the F(x) on the way."""

    x: Tensor
    residual_sum: Tensor


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


def gap_from_sum(x: Tensor, activation: Callable[[Tensor], Tensor]) -> float:
    """The largest difference between the units' output and x + the sum of the F."""
    output = five_units(x, activation)
    return (output.x - x - output.residual_sum).abs().max().item()


@check("R5-10")
def r5_10(evidence: Evidence) -> Finding:
    """As a plain network gets deeper, its accuracy ends up falling."""
    return shallow_network_is_better(evidence, "train_accuracy", higher_is_better=True)


@check("R5-11")
def r5_11(evidence: Evidence) -> Finding:
    """A block learns F = H - x; with F = 0 the block is the identity."""
    block = block_with_zero_residual(final_relu=False)
    x = input_of_first_block(evidence.mnist.test_images[:2])
    gap = (block(x) - x).abs().max().item()
    return holds(gap == 0, f"off by {gap:g}")


@check("R5-13")
def r5_13(evidence: Evidence) -> Finding:
    """With f = ReLU, x_L is x_l plus the sum of the F in between."""
    start = two_rows()[0]
    with_relu = gap_from_sum(start, F.relu)
    with_identity = gap_from_sum(start, nn.Identity())
    text = f"off by {with_relu:.2g}; by {with_identity:.1g} if f is the identity"
    reason = "the sum needs f = identity, not a ReLU (R5-E2)"
    return holds(with_relu < 1e-5, text, reason)


def five_identity_units(x: Tensor) -> UnitsOutput:
    """Five units without an activation, for which R5's sum of the F holds."""
    return five_units(x, nn.Identity())


@check("R5-14")
def r5_14(evidence: Evidence) -> Finding:
    """The gradient has the factor 1 + d(sum F)/dx, whose 1 keeps it from vanishing.

    Computed is dx_L/dx [8, 8] beside the factor as printed, where the 1 is added to
    each entry, and beside one with the identity matrix.
    """
    jacobian, sum_jacobian = jacrev(five_identity_units)(two_rows()[0])
    as_printed = (1 + sum_jacobian - jacobian).abs().max().item()
    with_matrix = (torch.eye(8) + sum_jacobian - jacobian).abs().max().item()
    text = f"off by {as_printed:.2g}; by {with_matrix:.1g} with the identity matrix"
    reason = "the 1 must be the identity matrix (R5-E3)"
    return holds(as_printed < 1e-3, text, reason)


def add_shortcut_as_printed(out: int, identity: int) -> int:
    """The addition in R5's residual block, with R5's misspelt name of the input."""
    out += identify  # type: ignore[name-defined]  # noqa: F821
    return out


@check("R5-18")
def r5_18(evidence: Evidence) -> Finding:
    """The printed residual block adds its input to its output.

    Computed is 1 + 1 by the printed line, or the error that the line raises.
    """
    found: int | str
    try:
        found = add_shortcut_as_printed(out=1, identity=1)
    except NameError as error:
        found = str(error)
    reason = "identity is meant (R5-E4); no ReLU after the sum, unlike R5-13 (R5-E5)"
    return exact(2, found, reason)


# Training and testing


def nll_of_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """R5's loss: the negative log-likelihood of labels [B], after a log-softmax."""
    return F.nll_loss(F.log_softmax(logits, dim=1), labels)


@check("R5-15")
def r5_15(evidence: Evidence) -> Finding:
    """The loss is F.nll_loss(output, target), after a log-softmax.

    Computed is that loss of two rows of logits, beside cross-entropy.
    """
    logits, labels = two_rows(), torch.tensor([1, 2])
    claimed = nll_of_logits(logits, labels)
    return agrees(claimed, F.cross_entropy(logits, labels), "on log-softmax")


@check("R5-16")
def r5_16(evidence: Evidence) -> Finding:
    """Optimizers lead to the global minimum of the loss.

    Four of them start at 1.2 on a function of two valleys; the lower one is below 0.
    """
    ends = {}
    for name in ("sgd", "sgdm", "adagrad", "adam"):
        points = path(OPTIMIZERS[name], two_valleys, [1.2], 200, lr=0.05)
        ends[name] = points[-1].item()
    text = ", ".join(f"{name} {end:.2f}" for name, end in ends.items())
    reason = "no guarantee: the global minimum is at -1.04 (R5-E8)"
    return holds(max(ends.values()) < 0, text, reason)


@check("R5-17")
def r5_17(evidence: Evidence) -> Finding:
    """SGD with lr 0.01 and momentum 0.5 trains the network."""
    return learns(evidence, final_relu=False)


@check("R5-20")
def r5_20(evidence: Evidence) -> Finding:
    """Training sets gradients to zero, takes the NLL loss, goes back, steps.

    Computed is the mean loss of the printed loop, beside that of `fit`.
    """
    return printed_loop_trains_like_fit(evidence, nll_of_logits)


@check("R5-21")
def r5_21(evidence: Evidence) -> Finding:
    """Testing in evaluation mode sums the loss and counts the hits.

    Computed are accuracy and mean loss on 500 test images, beside those of `evaluate`.
    """
    images, labels = first_test_images(evidence)
    model = trained_network(evidence, final_relu=False).eval()
    log_probabilities = F.log_softmax(model(normalize(images)), dim=1).detach()
    total_loss = F.nll_loss(log_probabilities, labels, reduction="sum")
    hits = (log_probabilities.argmax(dim=1) == labels).sum()
    right = evaluate(model, images, labels)
    reason = "size_average=False is now reduction='sum'; no_grad is missing (R5-E7)"
    return agrees(
        [hits / len(labels), total_loss / len(labels)],
        [right["accuracy"], right["loss"]],
        reason,
    )


@check("R5-22")
def r5_22(evidence: Evidence) -> Finding:
    """The last lines of epoch 10 stand at images 56960 to 59520, 95 to 99 %.

    R5 prints a line each 10 batches of 64: the images so far, and their share.
    """
    steps = steps_per_epoch(evidence)
    lines = [f"{64 * i} ({100 * i / steps:.0f}%)" for i in range(0, steps, 10)]
    printed = [
        "56960 (95%)",
        "57600 (96%)",
        "58240 (97%)",
        "58880 (98%)",
        "59520 (99%)",
    ]
    return exact(printed, lines[-5:], "the losses printed are of single batches")


@check("R5-23")
def r5_23(evidence: Evidence) -> Finding:
    """The test accuracy after 10 epochs is 0.9910, the loss 0.0261."""
    runs = run_table(evidence.full("r5"))
    return numbers(
        [R5_ACCURACY, R5_LOSS],
        runs[["test_accuracy", "test_loss"]],
        unit=0.0001,
        labels=["accuracy", "loss"],
        reason="R5 does not say how it scaled the pixels",
    )
