"""Checks of R2's trainings: losses, accuracies, learning rates and batch sizes."""

from functools import partial

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from mnistkit.claims.reported import R2_LOG, R2_LOSS, R2_SIZES, R2_TABLE
from mnistkit.claims.rules import (
    Evidence,
    Finding,
    NotRun,
    check,
    exact,
    holds,
    numbers,
    ranking,
)
from mnistkit.data import normalize
from mnistkit.models import build_model
from mnistkit.runs import Record
from mnistkit.tables import describe, epoch_table, run_table, step_table

# R2-28 to R2-41: the learning rate and the epochs whose losses and accuracies a claim
# gives. R2-29 gives accuracies alone.
R2_CLAIMS = {
    "R2-28": (0.01, [1, 2]),
    "R2-30": (0.01, [3, 4]),
    "R2-31": (0.01, [5]),
    "R2-32": (0.001, [1]),
    "R2-33": (0.001, [2]),
    "R2-34": (0.001, [3]),
    "R2-35": (0.001, [4]),
    "R2-36": (0.001, [5]),
    "R2-37": (0.0001, [1]),
    "R2-38": (0.0001, [2]),
    "R2-39": (0.0001, [3]),
    "R2-40": (0.0001, [4]),
    "R2-41": (0.0001, [5]),
}
LOSS_UNIT = 0.001  # R2 prints losses with three decimals
ACCURACY_UNIT = 1.0  # R2 prints accuracies in whole percent


def middle(percent: float) -> float:
    """The middle of what R2 means by a percentage: it prints 98 for 98 to 99."""
    return percent + 0.5


# Losses and accuracies by learning rate


def with_rates(records: list[Record], rates: list[float]) -> list[Record]:
    """The records at some learning rates, or NotRun if one of the rates has none."""
    lacking = set(rates) - {record.run.lr for record in records}
    if lacking:
        names = ", ".join(f"{rate:g}" for rate in sorted(lacking))
        raise NotRun(f"not run: lr {names}")
    return [record for record in records if record.run.lr in rates]


def accuracies_by_epoch(records: list[Record]) -> pd.DataFrame:
    """Test accuracies in percent: a row per seed, a column per epoch."""
    table = epoch_table(records)
    return 100 * table.pivot(index="seed", columns="epoch", values="test_accuracy")


def accuracy_labels(epochs: list[int]) -> list[str]:
    return [f"epoch {epoch}, accuracy (%)" for epoch in epochs]


def first_losses(evidence: Evidence, rates: list[float]) -> Finding:
    """The mean losses of the first 100 steps, at some learning rates.

    Runs on fewer images make these steps too, and so they can be judged by them.
    """
    records = with_rates(evidence.runs("learning_rates"), rates)
    steps = step_table(records)
    first = steps[(steps["epoch"] == 1) & (steps["step"] == 100)]
    if first.empty:
        raise NotRun("fewer than 100 steps were run")
    ours = first.pivot(index="seed", columns="lr", values="loss")[rates].dropna()
    reported = [R2_LOSS.loc[100, (rate, 1)] for rate in rates]
    labels = [f"lr {rate:g}, step 100" for rate in rates]
    return numbers(reported, ours, LOSS_UNIT, labels, "first 100 steps")


def losses_and_accuracies(evidence: Evidence, lr: float, epochs: list[int]) -> Finding:
    """The losses of each 100 steps and the test accuracies after some epochs.

    Runs on fewer images than R2's have fewer steps per epoch. Of them only the first
    loss of epoch 1 is compared; NotRun for the later epochs.
    """
    records = with_rates(evidence.runs("learning_rates"), [lr])
    if records[0].data["train_size"] < 60_000:
        if 1 not in epochs:
            raise NotRun(f"run at a smaller scale only: {describe(records)}")
        return first_losses(evidence, [lr])

    windows = [(epoch, step) for epoch in epochs for step in R2_LOSS.index]
    steps = step_table(records)
    losses = steps.pivot(index="seed", columns=["epoch", "step"], values="loss")
    ours = np.hstack([losses[windows], accuracies_by_epoch(records)[epochs]])

    reported = [R2_LOSS.loc[step, (lr, epoch)] for epoch, step in windows]
    reported += [middle(R2_LOG.loc[epoch, lr]) for epoch in epochs]
    labels = [f"epoch {epoch}, step {step}" for epoch, step in windows]
    labels += accuracy_labels(epochs)
    units = [LOSS_UNIT] * len(windows) + [ACCURACY_UNIT] * len(epochs)
    reason = "R2 took its accuracies without eval() (R2-E8), we with it"
    return numbers(reported, ours, np.array(units), labels, reason)


for claim, (lr, epochs) in R2_CLAIMS.items():
    check(claim)(partial(losses_and_accuracies, lr=lr, epochs=epochs))


@check("R2-16")
def r2_16(evidence: Evidence) -> Finding:
    """With batches of 64 and learning rate 0.001 the first 100 steps lose 1.830."""
    return first_losses(evidence, [0.001])


@check("R2-19")
def r2_19(evidence: Evidence) -> Finding:
    """The first 100 steps of SGD with momentum 0.9, at all three learning rates."""
    return first_losses(evidence, list(R2_LOG.columns))


@check("R2-29")
def r2_29(evidence: Evidence) -> Finding:
    """The accuracies at learning rate 0.01 after the epochs 1 and 2."""
    epochs = [1, 2]
    records = with_rates(evidence.full("learning_rates"), [0.01])
    ours = accuracies_by_epoch(records)[epochs]
    reported = [middle(R2_LOG.loc[epoch, 0.01]) for epoch in epochs]
    return numbers(reported, ours, ACCURACY_UNIT, accuracy_labels(epochs))


@check("R2-46")
def r2_46(evidence: Evidence) -> Finding:
    """R2's table of accuracies by learning rate and epoch agrees with its log."""
    same = int((R2_TABLE == R2_LOG).to_numpy().sum())
    return exact(
        f"{R2_LOG.size} cells as in the log",
        f"{same} cells as in the log",
        "lr 0.01 epoch 2 and lr 0.001 epoch 4 are 98 in the log (R2-E13)",
    )


@check("R2-47")
def r2_47(evidence: Evidence) -> Finding:
    """Near the optimum a falling learning rate swings less than a fixed one.

    Computed: how far 200 runs of SGD are spread around the minimum of w² / 2 after 100
    steps, where the gradient w comes with noise of standard deviation 1.
    """
    noise = torch.Generator().manual_seed(0)

    def spread(decay: float) -> float:
        weights, lr = torch.ones(200), 0.5
        for _ in range(100):
            gradients = weights + torch.randn(200, generator=noise)
            weights = weights - lr * gradients
            lr *= decay
        return weights.std().item()

    fixed = spread(decay=1.0)
    falling = spread(decay=0.97)
    return holds(
        falling < fixed,
        f"spread fixed {fixed:.2f}, falling {falling:.2f}",
        "in a bowl with noise; the report ran no schedule (R2-E14)",
    )


# Batch sizes


@check("R2-49")
def r2_49(evidence: Evidence) -> Finding:
    """The accuracies by batch size and epoch, of which R2 shows no log."""
    table = epoch_table(evidence.full("batch_sizes"))
    lacking = set(R2_SIZES.columns) - set(table["batch_size"])
    if lacking:
        raise NotRun(f"not run: batch size {', '.join(map(str, sorted(lacking)))}")
    accuracies = table.pivot(
        index="seed", columns=["batch_size", "epoch"], values="test_accuracy"
    )
    cells = [(size, epoch) for size in R2_SIZES.columns for epoch in R2_SIZES.index]
    ours = 100 * accuracies[cells].dropna()
    reported = [middle(R2_SIZES.loc[epoch, size]) for size, epoch in cells]
    labels = [f"batch {size}, epoch {epoch}, accuracy (%)" for size, epoch in cells]
    # With batches of 64, R2's training is the one that it logs at learning rate 0.001.
    same = (R2_SIZES[64] == R2_LOG[0.001]).sum()
    reason = f"{same} of 5 cells of row 64 as in the log of lr 0.001 (R2-E13)"
    return numbers(reported, ours, ACCURACY_UNIT, labels, reason)


@check("R2-50")
def r2_50(evidence: Evidence) -> Finding:
    """Fewer steps, so that more epochs are needed, are an advantage of a large batch.

    Looked up: R2's own accuracies after one epoch.
    """
    after_one_epoch = R2_SIZES.loc[1]
    percents = [f"{percent} % at {size}" for size, percent in after_one_epoch.items()]
    return holds(
        after_one_epoch[128] > after_one_epoch[32],
        ", ".join(percents),
        "after one epoch, as R2 prints it: more epochs are the price (R2-E15)",
    )


@check("R2-51")
def r2_51(evidence: Evidence) -> Finding:
    """The variance of the gradient falls with the batch size m as 1/m.

    Computed: the mean squared distance from the gradient of 256 images to the gradients
    of 300 batches that are drawn from them, for single images and for batches of 16.
    """
    images = normalize(evidence.mnist.train_images[:256])
    labels = evidence.mnist.train_labels[:256]
    network = build_model("mlp")
    first_weights = network.get_parameter("1.weight")
    generator = torch.Generator().manual_seed(0)

    def gradient(positions: Tensor) -> Tensor:
        loss = F.cross_entropy(network(images[positions]), labels[positions])
        return torch.autograd.grad(loss, first_weights)[0]

    of_all = gradient(torch.arange(256))

    def variance(batch_size: int) -> float:
        draws = torch.randint(256, (300, batch_size), generator=generator)
        errors = [gradient(batch) - of_all for batch in draws]
        return float(np.mean([error.square().sum().item() for error in errors]))

    ratio = variance(1) / variance(16)
    return holds(
        abs(ratio / 16 - 1) < 0.2,
        f"batches of 16: {ratio:.1f} times smaller",
        "of the mean gradient (R2-E16)",
    )


# A network without convolutions


@check("R2-52")
def r2_52(evidence: Evidence) -> Finding:
    """A convolutional network is more accurate than a plain one."""
    networks = ["four_conv", "mlp"]
    records = [r for r in evidence.runs("zoo") if r.run.model in networks]
    reason = f"the report had no baseline (R2-E17); {describe(records)}"
    return ranking(
        run_table(records), "model", "test_accuracy", networks, reason=reason
    )
