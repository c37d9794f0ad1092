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
from mnistkit.claims.rules import Evidence, Finding, check, exact, fairest, holds
from mnistkit.claims.toys import path, two_valleys
from mnistkit.models import build_model, count_params, layer_table
from mnistkit.train import LOSSES, SCHEDULES, predict_in_training_mode
from mnistkit.wording import percent, with_minus

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
        f"{shared:,} parameters in the first convolution, {separate:,} if not shared",
        f"yet linear layers hold {percent(linear_share, 1)} of R3's own parameters",
    )


@check("R3-05")
def r3_05(evidence: Evidence) -> Finding:
    """A kernel of three rows -1 0 1 answers vertical edges.

    It gives + where the image rises from 0 to 1, - where it falls, and 0 in flat zones
    and on horizontal edges.
    """
    rising = tensor([[0.0, 1, 1]] * 3)
    falling = 1 - rising
    flat = torch.ones(3, 3)
    horizontal = rising.T
    images = torch.stack([rising, falling, flat, horizontal])
    outputs = F.conv2d(images[:, None], tensor(R3_KERNEL)[None, None])  # [4, 1, 1, 1]
    found = outputs.flatten().tolist()
    text = (
        "it gives {} where the image rises, {} where it falls, {} in a flat zone and "
        "{} on a horizontal edge"
    )
    answers = [with_minus(f"{value:.0f}") for value in found]
    return holds(np.sign(found).tolist() == [1, -1, 0, 0], text.format(*answers))


@check("R3-17")
def r3_17(evidence: Evidence) -> Finding:
    """The output of a convolution has the side 1 + (L + 2p - k) / stride.

    Computed: L = 28, padding 1, a kernel of 3 and stride 2, for which the formula gives
    no whole number. R3's own convolutions have stride 1.
    """
    kernel, image = torch.ones(1, 1, 3, 3), torch.ones(1, 28, 28)
    side = F.conv2d(image, kernel, stride=2, padding=1).shape[-1]
    as_stated = 1 + (28 + 2 * 1 - 3) / 2
    text = f"with a stride of 2 a side of {side}; the formula gives {as_stated}"
    rounded = holds(int(as_stated) == side, text, "it lacks the rounding (R3-E14)")
    return fairest(holds(as_stated == side, text), {"it is rounded down": rounded})


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
        return torch.autograd.grad(loss, logit)[0].item()

    squared, entropy = slope(F.mse_loss), slope(F.binary_cross_entropy)
    text = (
        f"at a sure mistake the slope is {squared:.4f} with the squared error and "
        f"{entropy:.4f} with cross-entropy"
    )
    reason = "yet R3's second softmax brings the fault back (R3-E1)"
    return holds(abs(squared) < 0.001 < abs(entropy), text, reason)


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
        defined.append(abs(probabilities[row, 0].log().item()))
    right, wrong = defined
    text = (
        f"its loss is {printed[0]:.2f} where it is surely right and {printed[1]:.2f} "
        f"where it is surely wrong; by R3's definition {right:.0f} and {wrong:.0f}"
    )
    return holds(np.allclose(printed, defined), text, "there are two softmaxes (R3-E1)")


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
        f"steps 1, 10 and {count} are {found} times as long as Adam's",
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
    texts = [f"{percent(x, 0)} with momentum {m:g}" for m, x in shares.items()]
    found = f"of 49 starts these reach the lower valley: {', '.join(texts)}"
    reason = "saddle points were not tried"
    always = holds(shares[0.9] == 1, found, reason)
    more_often = holds(shares[0.9] > shares[0.0], found, reason)
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
    text = (
        f"on a slope it goes {printed:.4f} times as far as without momentum; with 0.9 "
        f"it goes {usual:.1f} times as far"
    )
    return holds(printed > 2, text, "the value is that of the weight decay (R3-E10)")


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
    return holds(agree, f"in epoch 64 the rate is {printed[-1]:.4f} of the first")


# The code as printed


@check("R3-03")
def r3_03(evidence: Evidence) -> Finding:
    """The test set is kept until the end.

    Computed: the printed loop tests at each improvement of the validation accuracy; how
    often it does before the last epoch, in our runs of Adam with StepLR.
    """
    counts = []
    settings = dict(optimizer="adam", schedule="step")
    records = evidence.runs("schedules", **settings)
    for record in records + evidence.runs("small_schedules", **settings):
        validation = pd.Series([row["val_accuracy"] for row in record.history])
        improves = validation > validation.cummax().shift(fill_value=0)
        counts.append(int(improves[:-1].sum()))
    found = f"{min(counts)} to {max(counts)} tests before the last epoch, in our runs"
    return holds(max(counts) == 0, found, "one at each improvement (R3-E5)")


@check("R3-15")
def r3_15(evidence: Evidence) -> Finding:
    """The test set takes no part in training the network.

    Computed: whether the printed test leaves the network's weights as they are.
    """
    network = build_model("small_resnet")
    before = nn.utils.parameters_to_vector(network.parameters()).clone()
    predict_in_training_mode(network, evidence.mnist.test_images[:20], 1)
    same = torch.equal(before, nn.utils.parameters_to_vector(network.parameters()))
    text = f"the printed test {'leaves the weights as they are' if same else 'trains'}"
    return holds(same, text, "but R3 chose its schedule by test curves (R3-E5)")
