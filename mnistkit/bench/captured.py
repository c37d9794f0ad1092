"""The captured training step of a GPU: is it the ordinary step, and how fast is it?"""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from mnistkit.bench.textbook import model_and_optimizer
from mnistkit.bench.timing import compare
from mnistkit.data import Batches
from mnistkit.models import MODELS
from mnistkit.steps import make_step
from mnistkit.storage.files import MNIST
from mnistkit.train import SCHEDULES

STEPS = 20

# The largest distance between the two networks after STEPS steps, as a share of the way
# that the weights have gone. Rounding differs, and Adam enlarges what is rounded where
# a gradient is nearly zero; a wrong batch or learning rate gives a share of about 1.
TOLERANCE = 0.1


def captured_steps(
    mnist: MNIST, names: Iterable[str] = tuple(MODELS)
) -> Iterator[dict[str, Any]]:
    """STEPS steps of each network, captured and ordinary: first checked, then timed.

    Batches of 64 images, Adam, a learning rate that rises. ValueError where nothing is
    captured because `mnist` is not on a GPU; RuntimeError, before any later row, for a
    network that the captured step trains differently.
    """
    if mnist.train_images.device.type != "cuda":
        raise ValueError("a training step is captured on a CUDA GPU only")
    for name in names:
        yield checked_row(mnist, name)


def checked_row(mnist: MNIST, name: str) -> dict[str, Any]:
    """The row of one network. RuntimeError if the captured step trains it wrongly."""
    ours, make_ours = training(mnist, name, capture=True)
    plain, make_plain = training(mnist, name, capture=False)
    start = copy.deepcopy(plain.state_dict())
    make_ours()
    make_plain()
    apart = distance(ours, plain.state_dict()) / distance(plain, start)
    if not apart < TOLERANCE:
        raise RuntimeError(
            f"the captured step trains {name} wrongly: after {STEPS} steps its weights "
            f"are {apart:.0%} of their way apart from those of the ordinary step"
        )
    row = compare(make_ours, make_plain, warm_up=False)
    note = (
        f"{1000 * row['ours_s'] / STEPS:.2f} against "
        f"{1000 * row['other_s'] / STEPS:.2f} ms per step of 64 images; after "
        f"{STEPS} steps the weights are {apart:.1e} of their way apart"
    )
    names = {"row": f"captured step, {name}", "other": "ordinary step"}
    return names | row | {"note": note}


def training(
    mnist: MNIST, name: str, capture: bool
) -> tuple[nn.Module, Callable[[], None]]:
    """The network at its start, and the function that makes STEPS steps with it."""
    network, _ = model_and_optimizer(name, mnist.train_images.device)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = SCHEDULES["warmup_cosine"](adam, STEPS, 10)
    step = make_step(network, adam, schedule=schedule, capture=capture)
    size = 64 * STEPS
    batches = list(Batches(mnist.train_images[:size], mnist.train_labels[:size], 64))
    network.train()

    def make_steps() -> None:
        for batch in batches:
            step(*batch)

    return network, make_steps


def distance(network: nn.Module, weights: dict[str, torch.Tensor]) -> float:
    """The Euclidean distance of the network's parameters from `weights`."""
    squares = [
        (value.detach() - weights[name]).double().square().sum()
        for name, value in network.named_parameters()
    ]
    return torch.stack(squares).sum().sqrt().item()
