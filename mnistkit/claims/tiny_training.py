"""What the checks of R1 and R5 share: their network, short trainings, toy problems.

R3's checks use `agrees` and the toy problems too.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from mnistkit.claims.rules import Evidence, Finding, NotRun, holds, ranking
from mnistkit.data import Batches, normalize
from mnistkit.models import Residual, build_model, layer_table
from mnistkit.train import evaluate, fit, sgdm

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


def first_block(model: nn.Sequential) -> Residual:
    """The first residual block; it maps [B, 16, 12, 12] to the same shape."""
    return next(layer for layer in model if isinstance(layer, Residual))


def input_of_first_block(images: Tensor) -> Tensor:
    """uint8 images [N, 28, 28] -> the maps [N, 16, 12, 12] that enter the block."""
    convolution_relu_pool = network()[:3]
    return convolution_relu_pool(normalize(images))


def block_with_zero_residual(final_relu: bool = True) -> Residual:
    """The first block in evaluation mode, with F(x) = 0 for every x.

    F ends in a batch norm. Its bias starts at 0, and its weight is set to 0 here.
    """
    block = first_block(fresh_network(final_relu).eval())
    batch_norm = cast(nn.BatchNorm2d, block.body[-1])
    nn.init.zeros_(batch_norm.weight)
    return block


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


def trained_network(evidence: Evidence, final_relu: bool = True) -> nn.Sequential:
    """The network after 20 steps, in training mode."""
    model, batches, optimizer = tiny_training(evidence, 20, final_relu)
    for _ in fit(model, batches, optimizer, epochs=1):
        pass
    return model


def first_test_images(evidence: Evidence) -> tuple[Tensor, Tensor]:
    """The first 500 test images [500, 28, 28] and their labels [500]."""
    return evidence.mnist.test_images[:500], evidence.mnist.test_labels[:500]


def learns(evidence: Evidence, final_relu: bool = True) -> Finding:
    """Whether 20 steps bring the accuracy on 500 test images above one half."""
    model = trained_network(evidence, final_relu)
    accuracy = evaluate(model, *first_test_images(evidence))["accuracy"]
    return holds(accuracy > 0.5, f"accuracy {accuracy:.2f} after 20 steps")


def printed_loop_trains_like_fit(
    evidence: Evidence, loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
) -> Finding:
    """Whether 5 steps of the printed loop, and of `fit`, have the same mean loss."""
    model, batches, optimizer = tiny_training(evidence)
    total = 0.0
    for images, labels in batches:
        optimizer.zero_grad()
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()

    [epoch] = fit(*tiny_training(evidence), epochs=1)
    return agrees(total / len(batches), epoch["train_loss"])


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


# Degradation: plain networks that are too deep


def plain_network(depth: int, seed: int) -> nn.Sequential:
    """`depth` linear layers without shortcuts, [B, 1, 28, 28] -> logits [B, 10].

    Batch norm keeps the gradients from vanishing, so that a deep network does learn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        stack: list[nn.Module] = [nn.Flatten(), nn.Linear(784, 32)]
        for _ in range(depth - 2):
            stack += [nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32)]
        stack += [nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)]
        return nn.Sequential(*stack)


def train_plain_networks(evidence: Evidence) -> pd.DataFrame:
    """The last of 4 epochs on 960 training images, of 2 and of 20 layers, 3 seeds each.

    The columns are layers ("2 layers" or "20 layers"), seed, and those of `fit`.
    """
    images = evidence.mnist.train_images[:960]
    labels = evidence.mnist.train_labels[:960]
    rows = []
    for seed in range(3):
        for depth in (2, 20):
            model = plain_network(depth, seed)
            batches = Batches(images, labels, 64, seed=seed)
            optimizer = sgdm(model.parameters(), lr=0.01)
            history = list(fit(model, batches, optimizer, epochs=4))
            rows.append({"layers": f"{depth} layers", "seed": seed} | history[-1])
    return pd.DataFrame(rows)


def shallow_network_is_better(
    evidence: Evidence, score: str, higher_is_better: bool
) -> Finding:
    """Whether 2 layers beat 20 in a training score of `fit`, by tests over 3 seeds."""
    return ranking(
        train_plain_networks(evidence),
        by="layers",
        value=score,
        order=["2 layers", "20 layers"],
        higher_is_better=higher_is_better,
        reason="on the training images, with batch norm",
    )


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
