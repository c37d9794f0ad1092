"""What the checks of R1 and R5 share: their network, short trainings, toy problems.

R3's checks use the toy problems too.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mnistkit.claims.rules import Evidence, Finding, NotRun, holds
from mnistkit.data import Batches
from mnistkit.models import build_model, layer_table
from mnistkit.train import sgdm

# A formula as printed, beside the right one


def agrees(claimed: Any, right: Any, reason: str = "") -> Finding:
    """Whether a report's formula agrees with the right one, on the same numbers.

    `claimed` and `right` are what they give: tensors, arrays or numbers whose shapes
    broadcast. The text of the finding shows the last number of each.
    """
    claimed = np.asarray(claimed, dtype=float)
    right = np.asarray(right, dtype=float)
    text = f"{right.flat[-1]:.4g}; as stated {claimed.flat[-1]:.4g}"
    return holds(np.allclose(claimed, right, rtol=1e-4, atol=1e-5), text, reason)


# The network of R1 and R5


def fresh_network(final_relu: bool = True) -> nn.Sequential:
    """The network with its initial weights, in training mode.

    R1 has a ReLU after each addition of a shortcut, R5 has none (final_relu=False).
    """
    return cast(nn.Sequential, build_model("small_resnet", final_relu=final_relu))


@functools.cache
def network() -> nn.Sequential:
    """R1's network with its initial weights, in evaluation mode, without gradients.

    All checks share the network: do not change it.
    """
    return fresh_network().eval().requires_grad_(False)


@functools.cache
def layers() -> list[dict[str, Any]]:
    """A row of `layer_table` per leaf layer of the network, in order of execution."""
    return layer_table(network())


@functools.cache
def layer_kinds() -> list[str]:
    """The class name of each leaf layer of the network, in order of execution."""
    return [row["kind"] for row in layers()]


# Short trainings of the network


class TinyTraining(NamedTuple):
    """What the training loop needs: a fresh network, a few batches, an optimizer."""

    network: nn.Sequential
    batches: Batches
    optimizer: Optimizer


def tiny_training(
    evidence: Evidence, steps: int = 5, final_relu: bool = True
) -> TinyTraining:
    """`steps` batches of 64 training images, and SGD with lr 0.01, momentum 0.5."""
    size = 64 * steps
    images = evidence.mnist.train_images[:size]
    labels = evidence.mnist.train_labels[:size]
    model = fresh_network(final_relu)
    optimizer = sgdm(model.parameters(), lr=0.01, momentum=0.5)
    return TinyTraining(model, Batches(images, labels, 64), optimizer)


# Steps of an epoch


def need_full_mnist(evidence: Evidence) -> None:
    """NotRun unless all 70,000 images were loaded."""
    if evidence.mnist.source != "mnist":
        raise NotRun("needs full MNIST")


def steps_per_epoch(evidence: Evidence) -> int:
    """Batches of 64 in the 60,000 training images, the last and smaller one included.

    NotRun without full MNIST.
    """
    need_full_mnist(evidence)
    return len(Batches(evidence.mnist.train_images, evidence.mnist.train_labels, 64))


# Toy problems for optimizers


def path(
    optimizer: Callable[..., Optimizer],
    function: Callable[[Tensor], Tensor],
    start: list[float],
    count: int,
    **options: float,
) -> Tensor:
    """The points [count + 1, d] of an optimizer that minimises a function of [d].

    The first point is `start`; the others follow from `count` steps. `options` are the
    optimizer's, such as lr.
    """
    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    update = optimizer([point], **options)
    points = [point.detach().clone()]
    for _ in range(count):
        update.zero_grad()
        function(point).backward()
        update.step()
        points.append(point.detach().clone())
    return torch.stack(points)


def two_valleys(point: Tensor) -> Tensor:
    """A function of [1] with the global minimum at -1.04 and a local one at 0.96."""
    return ((point**2 - 1) ** 2 + 0.3 * point).sum()
