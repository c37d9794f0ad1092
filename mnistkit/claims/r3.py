"""Checks of R3: its network, its losses, its optimizers and the code as printed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn, tensor
from torch.optim import SGD, Adam, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from mnistkit.claims.reported import R3_KERNEL, R3_LR, R3_MOMENTUM, R3_STEP
from mnistkit.claims.rules import (
    Evidence,
    Finding,
    NotRun,
    check,
    exact,
    fairest,
    holds,
)
from mnistkit.claims.tiny_training import path, two_valleys
from mnistkit.data import Batches
from mnistkit.models import build_model, count_params, layer_table
from mnistkit.storage.places import ROOT
from mnistkit.train import LOSSES, SCHEDULES, evaluate, score_one_by_one

# The network and its layers


@check("R3-04")
def r3_04(evidence: Evidence) -> Finding:
    """Fully connected layers on images need too many parameters; a convolution shares.

    Computed: the parameters of R3's first convolution, and of a fully connected layer
    from the same image to the same 64 maps.
    """
    network = build_model("two_conv")
    layers = list(network.modules())
    first = next(layer for layer in layers if isinstance(layer, nn.Conv2d))
    shared = count_params(first)
    separate = (28 * 28 + 1) * 64 * 28 * 28
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    linear_share = sum(map(count_params, linear)) / count_params(network)
    return holds(
        shared < separate,
        f"{shared:,}; if not shared {separate:,}",
        f"yet {linear_share:.1%} of R3's own are in linear layers",
    )


@check("R3-05")
def r3_05(evidence: Evidence) -> Finding:
    """A kernel of three rows -1 0 1 answers vertical edges and nothing else.

    It gives + where the image rises from 0 to 1 and - where it falls.
    """
    rising = tensor([[0.0, 1, 1]] * 3)
    falling = 1 - rising
    flat = torch.ones(3, 3)
    horizontal = rising.T
    images = torch.stack([rising, falling, flat, horizontal])
    outputs = F.conv2d(images[:, None], tensor(R3_KERNEL)[None, None])  # [4, 1, 1, 1]
    found = outputs.flatten().tolist()
    signs = np.sign(found).tolist()
    return holds(signs == [1, -1, 0, 0], found, "rising, falling, flat, horizontal")


@check("R3-17")
def r3_17(evidence: Evidence) -> Finding:
    """The output of a convolution has the side 1 + (L + 2p - k) / stride.

    Computed: L = 28, padding 1, a kernel of 3 and stride 2, for which the formula gives
    no whole number. R3's own convolutions have stride 1.
    """
    kernel, image = torch.ones(1, 1, 3, 3), torch.ones(1, 28, 28)
    side = F.conv2d(image, kernel, stride=2, padding=1).shape[-1]
    as_stated = 1 + (28 + 2 * 1 - 3) / 2
    reason = f"the formula gives {as_stated} (R3-E14)"
    rounded = {"it is rounded down": exact(int(as_stated), side, reason)}
    return fairest(exact(as_stated, side, reason), rounded)


@check("R3-19")
def r3_19(evidence: Evidence) -> Finding:
    """The network has two convolutions with pools, then three linear layers.

    Computed: the output shapes of the pools and of the linear layers.
    """
    shapes = [
        "x".join(map(str, row["output"]))
        for row in layer_table(build_model("two_conv"))
        if row["kind"] in ("MaxPool2d", "Linear")
    ]
    return exact(["64x14x14", "128x7x7", "784", "98", "10"], shapes)


# Loss functions


@check("R3-07")
def r3_07(evidence: Evidence) -> Finding:
    """With a sigmoid the gradient of MSE vanishes at 0 and 1, so cross-entropy is used.

    Computed: the slopes of both losses where the sigmoid is almost 1 and the label 0.
    """
    logit, label = tensor(9.0, requires_grad=True), tensor(0.0)

    def slope(loss_fn: Callable[[Tensor, Tensor], Tensor]) -> float:
        loss = loss_fn(logit.sigmoid(), label)
        return round(torch.autograd.grad(loss, logit)[0].item(), 3)

    slopes = [slope(F.mse_loss), slope(F.binary_cross_entropy)]
    return exact([0.0, 1.0], slopes, "but R3's second softmax undoes it (R3-E1)")


@check("R3-21")
def r3_21(evidence: Evidence) -> Finding:
    """The printed network is trained on the cross-entropy of its probabilities.

    It ends in a softmax and is trained with CrossEntropyLoss, which takes another one.
    Computed: the loss as printed and as R3 defines it, -sum P log Q, where the network
    is sure of the right digit and where it is sure of a wrong one.
    """
    logits = 100 * torch.eye(10, dtype=torch.float64)[:2]
    probabilities = logits.softmax(1)  # of the digit 0, then of the digit 1
    label = tensor([0])
    printed, defined = [], []
    for row in range(2):
        printed.append(LOSSES["softmax_twice"](logits[[row]], label).item())
        defined.append(probabilities[row, 0].log().neg().item())
    return holds(
        np.allclose(printed, defined),
        f"{printed[0]:.3f} if right, {printed[1]:.3f} if wrong",
        f"by R3's definition {abs(defined[0]):.0f} and {defined[1]:.0f} (R3-E1)",
    )


# Optimizers and schedules


def steps_without_correction(count: int) -> np.ndarray:
    """R3's steps m / sigma for a learning rate of 1 and a constant gradient of 1."""
    times = np.arange(1, count + 1)
    m = 1 - 0.9**times
    sigma = np.sqrt(1 - 0.999**times)
    return m / sigma


@check("R3-08")
def r3_08(evidence: Evidence) -> Finding:
    """Adam steps by the learning rate times m / sigma, two moving averages.

    Computed: such steps as a multiple of Adam's, for a constant gradient. The averages
    start at 0, which Adam corrects. They agree if no step is off by more than 1 %.
    """
    count = 938
    adam = -path(Adam, torch.sum, [0.0], count, lr=1.0).flatten().diff().numpy()
    ratios = steps_without_correction(count) / adam
    found = ", ".join(f"{ratios[step - 1]:.2f}" for step in (1, 10, count))
    return holds(
        bool(np.abs(ratios - 1).max() < 0.01),
        f"{found} times Adam's steps 1, 10 and {count}",
        "the bias correction is missing (R3-E9)",
    )


@check("R3-09")
def r3_09(evidence: Evidence) -> Finding:
    """Momentum avoids local minima and saddle points.

    Computed: of 49 starts above the shallower of two valleys, on the right, the share
    that SGD brings to the deeper one, on the left of 0.
    """
    starts = np.linspace(0.08, 2, 49).tolist()
    shares = {}
    for momentum in (0.0, 0.5, 0.9):
        points = path(SGD, two_valleys, starts, 400, lr=0.01, momentum=momentum)
        shares[momentum] = (points[-1] < 0).double().mean().item()
    texts = [f"{share:.0%} with momentum {m:g}" for m, share in shares.items()]
    found = f"the lower valley is reached from {', '.join(texts)}"
    always = holds(shares[0.9] == 1, found)
    more_often = holds(shares[0.9] > shares[0.0], found)
    reading = "avoids means more often than without momentum"
    return fairest(always, {reading: more_often})


@check("R3-27")
def r3_27(evidence: Evidence) -> Finding:
    """The printed line for SGD, with a momentum of 0.00001, sets up SGD with momentum.

    Computed: how far 99 steps down a slope of 1 lead with the printed momentum, and
    with the usual one, as a multiple of the way without momentum.
    """

    def way(momentum: float) -> float:
        points = path(SGD, torch.sum, [0.0], 99, lr=R3_LR["code"], momentum=momentum)
        return points[-1].item()

    printed = way(R3_MOMENTUM) / way(0)
    usual = way(0.9) / way(0)
    reason = f"of plain SGD's way in 99 steps; {usual:.1f} with momentum 0.9 (R3-E10)"
    return holds(printed > 2, f"{printed:.4f}", reason)


def lr_factors(
    schedule: Callable[..., LRScheduler], *settings: Any, steps: int = 64
) -> np.ndarray:
    """The learning rate of each step as a share of the optimizer's: [steps].

    `settings` are the arguments of `schedule` that follow the optimizer.
    """
    optimizer = SGD([torch.zeros(1)], lr=1.0)
    scheduler = schedule(optimizer, *settings)
    factors = []
    for _ in range(steps):
        factors += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    return np.array(factors)


@check("R3-28")
def r3_28(evidence: Evidence) -> Finding:
    """StepLR, stepped once an epoch, multiplies the rate by 0.9 every two epochs.

    Computed: the rates of 64 epochs by torch's schedule, and by ours, which is stepped
    after every batch, here five to an epoch.
    """
    step_size, gamma = R3_STEP
    claimed = 0.9 ** (np.arange(64) // 2)
    printed = lr_factors(lr_scheduler.StepLR, step_size, gamma)
    ours = lr_factors(SCHEDULES["step"], 5, 64, steps=5 * 64)[::5]
    agree = np.allclose(printed, claimed) and np.allclose(ours, claimed)
    return holds(agree, f"{printed[-1]:.4f} of the first rate in epoch 64")


# The code as printed


def stored_measurement(name: str) -> pd.DataFrame:
    """A table of chapter 05 that was measured once. NotRun if there is none.

    What depends on the machine is read from there, so that an outcome does not.
    """
    file = ROOT / "reports" / f"05_lr_schedules_{name}.csv"
    if not file.exists():
        raise NotRun(f"{name} was not measured")
    return pd.read_csv(file)


@check("R3-12")
def r3_12(evidence: Evidence) -> Finding:
    """With cuDNN deterministic, its benchmark off, a convolution repeats its output.

    Measured: a row per convolution that was computed twice on a GPU, with cuDNN's two
    settings and whether the outputs are the `same`, bit by bit.
    """
    table = stored_measurement("cudnn")
    as_printed = table[table["deterministic"] & ~table["benchmark"]]
    found = f"{as_printed['same'].sum()} of {len(as_printed)} the same"
    return holds(bool(as_printed["same"].all()), found, "no seed is set (R3-E8)")


@check("R3-03")
def r3_03(evidence: Evidence) -> Finding:
    """The test set is kept until the end.

    Computed: the printed loop tests at each improvement of the validation accuracy; how
    often it does before the last epoch, in our runs of Adam with StepLR.
    """
    counts = []
    for record in evidence.runs("schedules", optimizer="adam", schedule="step"):
        best, tests = 0.0, 0
        for epoch in record.history[:-1]:
            if epoch["val_accuracy"] > best:
                best = epoch["val_accuracy"]
                tests += 1
        counts.append(tests)
    found = f"{min(counts)} to {max(counts)} tests before the last epoch"
    return holds(max(counts) == 0, found, "one at each improvement (R3-E5)")


Examples = tuple[Tensor, Tensor]  # images and labels


def train_as_printed(
    train: Examples, validation: Examples, test: Examples, epochs: int = 3
) -> Tensor:
    """R3's loop: the last weights, then those of the best validation, as a vector."""
    network = build_model("small_resnet")
    optimizer = Adam(network.parameters(), lr=R3_LR["code"])
    batches = Batches(*train, batch_size=16)
    best, kept = 0.0, Tensor()
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            LOSSES["softmax_twice"](network(images), labels).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10)
            optimizer.step()
        accuracy = evaluate(network, *validation)["accuracy"]
        if accuracy > best:
            best = accuracy
            kept = nn.utils.parameters_to_vector(network.parameters()).detach()
            score_one_by_one(network, *test)
    last = nn.utils.parameters_to_vector(network.parameters()).detach()
    return torch.cat([last, kept])


@check("R3-15")
def r3_15(evidence: Evidence) -> Finding:
    """The test set takes no part in training the network.

    Computed: whether the printed loop leaves other weights, at its end or of its best
    epoch, if all test labels are wrong. Tried on a few images and a smaller network.
    """
    mnist = evidence.mnist
    train = mnist.train_images[:320], mnist.train_labels[:320]
    validation = mnist.train_images[320:400], mnist.train_labels[320:400]
    images, labels = mnist.test_images[:20], mnist.test_labels[:20]
    weights = train_as_printed(train, validation, (images, labels))
    misled = train_as_printed(train, validation, (images, (labels + 1) % 10))
    same = torch.equal(weights, misled)
    return holds(
        same,
        "the same weights" if same else "other weights",
        "with wrong test labels; but the schedule was chosen by test curves (R3-E5)",
    )
