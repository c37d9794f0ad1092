"""What checks share: a network, gradients, problems for optimizers."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from scipy import stats as sps
from torch import Tensor, nn
from torch.optim import Optimizer

from mnistkit.claims.comparisons import LEVEL
from mnistkit.claims.names import name_of
from mnistkit.claims.rules import (
    AGREES,
    IMPRECISE,
    Evidence,
    Finding,
    NotRun,
    holds,
    ranking,
)
from mnistkit.data import Batches, normalize
from mnistkit.models import build_model, layer_table
from mnistkit.runs import Record
from mnistkit.stats import mean_interval
from mnistkit.tables import describe
from mnistkit.wording import number, percent, with_interval

# A formula as printed, beside the right one


def agrees(claimed: Any, right: Any, what: str, reason: str = "") -> Finding:
    """Whether a report's formula agrees with the right one, on the same numbers.

    `claimed` and `right` are what they give: tensors, arrays or numbers whose shapes
    broadcast. The text of the finding names `what` they give, and the last number of
    each.
    """
    claimed, right = np.asarray(claimed, float), np.asarray(right, float)
    last_right, last_claimed = number(right.flat[-1]), number(claimed.flat[-1])
    text = f"{what} is {last_right}, by the report's formula {last_claimed}"
    return holds(np.allclose(claimed, right, rtol=1e-4, atol=1e-5), text, reason)


# Trainings: what was trained, rankings by loss, scores on one side of a threshold


def beyond(
    shares: ArrayLike, threshold: float, above: bool, what: str, reason: str = ""
) -> Finding:
    """The claim that the mean of shares [n] is above a threshold, or below it.

    It agrees if the mean surely is, and differs if it surely is on the other side. Both
    tests are one-sided, so that the interval shown is that of 90 %.
    """
    values = np.asarray(shares, float)
    side, word = ("greater", "above") if above else ("less", "below")
    p = float(sps.ttest_1samp(values, threshold, alternative=side).pvalue)
    estimate = mean_interval(values, level=1 - 2 * LEVEL)
    text = with_interval(*estimate, len(values), interval="90 % interval")
    return Finding(
        AGREES if p < LEVEL else IMPRECISE,
        f"{what} {text}",
        reason,
        p=1 - p,
        limit=f"not surely {word} {percent(threshold, 1)}",
        assured=f"surely {word} {percent(threshold, 1)}",
    )


def ranking_by_loss(
    frame: pd.DataFrame,
    by: str,
    order: list[Any],
    paired: bool = True,
    reason: str = "",
    value: str = "train_loss",
    parts: int = 1,
) -> Finding:
    """`ranking` by the training loss: lower is better, and 10 % is a difference."""
    return ranking(
        frame,
        by,
        value,
        order,
        margin=0.10,
        higher_is_better=False,
        log=True,
        paired=paired,
        reason=reason,
        parts=parts,
    )


def trained(records: Sequence[Record]) -> str:
    """Which networks were trained, on how many images and for how long, in words."""
    networks = sorted({name_of(record.run.model) for record in records})
    return f"{' and '.join(networks)}: {describe(records)}"


# The network of R1 and R5


@functools.cache
def network() -> nn.Sequential:
    """R1's network with its initial weights, in evaluation mode, without gradients.

    All checks share the network: do not change it.
    """
    built = cast(nn.Sequential, build_model("small_resnet"))
    return built.eval().requires_grad_(False)


@functools.cache
def layers() -> list[dict[str, Any]]:
    """A row of `layer_table` per leaf layer of the network, in order of execution."""
    return layer_table(network())


def steps_per_epoch(evidence: Evidence) -> int:
    """Batches of 64 in the 60,000 training images, the last and smaller one included.

    NotRun without full MNIST.
    """
    need_full_mnist(evidence)
    return len(Batches(evidence.mnist.train_images, evidence.mnist.train_labels, 64))


def need_full_mnist(evidence: Evidence) -> None:
    """NotRun unless all 70,000 images were loaded."""
    if evidence.mnist.source != "mnist":
        raise NotRun("needs full MNIST")


# What pools save


def pools_save_weights(convolutions: nn.Sequential, reason: str) -> Finding:
    """The finding on the claim that pools save parameters (R2-06, R5-07).

    Compared are the inputs of the linear layer behind `convolutions`, with and without
    the pools. These end in a Flatten and are in evaluation mode.
    """
    without = [part for part in convolutions if not isinstance(part, nn.MaxPool2d)]
    image = torch.zeros(1, 1, 28, 28)
    pooled, unpooled = (
        layers(image).shape[1] for layers in (convolutions, nn.Sequential(*without))
    )
    text = f"the first linear layer has {pooled:,} inputs, without pools {unpooled:,}"
    return holds(pooled < unpooled, text, reason)


# Gradients in deep networks


def first_gradient(
    evidence: Evidence,
    depth: int,
    he: bool,
    norm: bool = False,
    shortcuts: bool = False,
    seed: int = 0,
) -> float:
    """The length of the gradient at the first of `depth` hidden layers of 32 units.

    The network is untrained, the loss is that of 256 training images. `he`: the weights
    have He's initialisation and the biases are 0; otherwise both are torch's default.
    `norm` and `shortcuts`: each hidden layer has batch norm, all but the first one a
    shortcut around it.
    """
    images = normalize(evidence.mnist.train_images[:256]).flatten(1)
    sizes = [784] + [32] * depth + [10]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        linear = [nn.Linear(*pair) for pair in zip(sizes, sizes[1:], strict=False)]
        if he:
            for layer in linear:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    hidden = images
    for place, layer in enumerate(linear[:-1]):
        out = layer(hidden)
        if norm:
            out = F.batch_norm(out, None, None, training=True)
        out = out.relu()
        hidden = hidden + out if shortcuts and place > 0 else out
    loss = F.cross_entropy(linear[-1](hidden), evidence.mnist.train_labels[:256])
    [gradient] = torch.autograd.grad(loss, linear[0].weight)
    return gradient.norm().item()


# Problems for optimizers


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


def ravine(point: Tensor) -> Tensor:
    """50 x^2 + y^2 / 2 of a point (x, y): steep along x, flat along y."""
    return (torch.tensor([50, 0.5]) * point**2).sum()
