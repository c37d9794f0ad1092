"""Checks of R2's trainings: losses, accuracies, learning rates and batch sizes."""

from functools import partial

import numpy as np
import pandas as pd

from mnistkit.claims.curves import curve
from mnistkit.claims.reported import R2_LOG, R2_LOSS, R2_SIZES, R2_TABLE
from mnistkit.claims.rules import (
    AGREES,
    DIFFERS,
    IMPRECISE,
    Evidence,
    Finding,
    NotRun,
    alike,
    check,
    holds,
    numbers,
    ranking,
    together,
)
from mnistkit.claims.toys import ranking_by_loss, trained
from mnistkit.runs import Record
from mnistkit.tables import describe, epoch_table, run_table, step_table

LOSS_UNIT = 0.001  # R2 prints losses with three decimals
LOSS_MARGIN = 0.10  # a share
# R2 prints accuracies in whole percent and tells no smaller difference.
ACCURACY_UNIT = ACCURACY_MARGIN = 0.01
POINT_1 = 0.001  # 0.1 points, the margin between accuracies of our own
RATES = list(R2_LOG.columns)
SIZES = list(R2_SIZES.columns)
WITHOUT_EVAL = "R2 took its accuracies without eval() (R2-E8), we with it"

# The log of losses and accuracies by learning rate

Losses = dict[tuple[float, int], np.ndarray]


def log_losses(records: list[Record]) -> Losses:
    """The losses [n, 9] of each learning rate and epoch of R2's log, a row per seed.

    A loss that was not recorded is nan, which leaves its run out of all comparisons.
    """
    steps = step_table(records)
    table = steps.pivot(index="seed", columns=["lr", "epoch", "step"], values="loss")
    table = table.reindex(columns=R2_LOSS.unstack().index.sort_values())
    return {setting: table[setting].to_numpy() for setting in R2_LOSS}


def accuracies(records: list[Record], by: list[str]) -> pd.DataFrame:
    """Test accuracies: a row per seed, a column per value of `by`."""
    return epoch_table(records).pivot(index="seed", columns=by, values="test_accuracy")


def middle(percent: float) -> float:
    """The middle of what R2 means by a percentage: it prints 98 for 98 to 99 %."""
    return (percent + 0.5) / 100


def losses_of_epoch(
    lr: float, epoch: int, ours: np.ndarray, wrong: dict[str, np.ndarray], parts: int
) -> Finding:
    """R2's nine losses of an epoch, compared with ours, as one part of a claim."""
    return curve(
        R2_LOSS[lr, epoch],
        ours,
        LOSS_UNIT,
        LOSS_MARGIN,
        [f"lr {lr:g}, epoch {epoch}, step {step}" for step in R2_LOSS.index],
        log=True,
        wrong=wrong,
        parts=parts,
    )


def as_in_the_log(evidence: Evidence, lr: float, epochs: list[int]) -> Finding:
    """At a learning rate the losses and test accuracies of epochs are those of the log.

    The negative control are our runs at the other learning rates and epochs.
    """
    records = evidence.full("learning_rates", lr=RATES)
    losses = log_losses(records)
    parts, count = {}, len(epochs) + 1
    for epoch in epochs:
        wrong = {
            f"epoch {epoch} against lr {other_lr:g}, epoch {other_epoch}": ours
            for (other_lr, other_epoch), ours in losses.items()
            if (other_lr, other_epoch) != (lr, epoch)
        }
        finding = losses_of_epoch(lr, epoch, losses[lr, epoch], wrong, count)
        parts[f"losses of epoch {epoch}"] = finding

    at_this_rate = [record for record in records if record.run.lr == lr]
    parts["accuracy"] = numbers(
        [middle(R2_LOG.loc[epoch, lr]) for epoch in epochs],
        accuracies(at_this_rate, ["epoch"])[epochs],
        ACCURACY_UNIT,
        ACCURACY_MARGIN,
        [f"epoch {epoch}" for epoch in epochs],
        share=True,
        parts=count,
    )
    return together(parts, WITHOUT_EVAL)


# The parts of the log: claim, learning rate, epochs
LOG_CLAIMS: dict[str, tuple[float, list[int]]] = {
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
for _claim, (_lr, _epochs) in LOG_CLAIMS.items():
    check(_claim)(partial(as_in_the_log, lr=_lr, epochs=_epochs))


@check("R2-46")
def r2_46(evidence: Evidence) -> Finding:
    """The table of accuracies by learning rate and epoch repeats the log's."""
    same = int((R2_TABLE == R2_LOG).to_numpy().sum())
    text = f"{same} of {R2_LOG.size} cells are as in the log"
    reason = "lr 0.01 epoch 2 and lr 0.001 epoch 4 are 98 in the log (R2-E13)"
    return holds(same == R2_LOG.size, text, reason)


# What is done to the images


def first_epoch(claimed: list[Record], others: list[Record], name: str) -> Finding:
    """Whether the log's first epoch is that of runs as claimed, and not of others.

    `others`, which are called `name`, are the negative control. If the log is theirs as
    well, it does not tell the two apart.
    """
    ours, theirs = log_losses(claimed), log_losses(others)
    rates = sorted({record.run.lr for record in claimed}, reverse=True)
    parts = {}
    for lr in rates:
        wrong = {f"lr {lr:g}, {name}": theirs[lr, 1]}
        part = losses_of_epoch(lr, 1, ours[lr, 1], wrong, len(rates))
        parts[f"lr {lr:g}"] = part
    finding = together(parts)
    tells = any(control["outcome"] == DIFFERS for control in finding.controls)
    if finding.outcome == AGREES and not tells:
        finding.outcome = IMPRECISE
        finding.limit = f"the log fits {name} as well"
    return finding


@check("R2-09")
def r2_09(evidence: Evidence) -> Finding:
    """The images are resized, flipped at random and rotated before training."""
    changed = evidence.full("r2_preprocessing", normalize=False, augment=True)
    rates = sorted({record.run.lr for record in changed})
    plain = evidence.full("learning_rates", lr=rates)
    finding = first_epoch(changed, plain, "unchanged images")
    finding.reason = (
        "R2's code leaves the images as they are (R2-E5), and such runs of ours are "
        "compared in R2-17; these images are rotated, zoomed and shifted, never flipped"
    )
    return finding


@check("R2-17")
def r2_17(evidence: Evidence) -> Finding:
    """The log is that of a network trained on pixels in 0 to 1, not normalised."""
    normalised = evidence.full("r2_preprocessing", normalize=True, augment=False)
    rates = sorted({record.run.lr for record in normalised})
    in_0_to_1 = evidence.full("learning_rates", lr=rates)
    return first_epoch(in_0_to_1, normalised, "normalised pixels")


# Batch sizes


@check("R2-49")
def r2_49(evidence: Evidence) -> Finding:
    """With batches of 32 and of 128 the test accuracies are those of the table."""
    sizes = [32, 128]
    records = evidence.full("batch_sizes", batch_size=sizes)
    cells = [(size, epoch) for size in sizes for epoch in R2_SIZES.index]
    return numbers(
        [middle(R2_SIZES.loc[epoch, size]) for size, epoch in cells],
        accuracies(records, ["batch_size", "epoch"])[cells],
        ACCURACY_UNIT,
        ACCURACY_MARGIN,
        [f"batch {size}, epoch {epoch}, accuracy" for size, epoch in cells],
        share=True,
        reason=WITHOUT_EVAL,
    )


def by_batch_size(table: pd.DataFrame, order: list[int], reason: str) -> Finding:
    """A ranking of batch sizes by test accuracy."""
    table = table.assign(batch="batch " + table["batch_size"].astype(str))
    groups = [f"batch {size}" for size in order]
    return ranking(table, "batch", "test_accuracy", groups, POINT_1, reason=reason)


@check("R2-50")
def r2_50(evidence: Evidence) -> Finding:
    """With larger batches an epoch has fewer steps, so that more epochs are needed.

    Compared: the test accuracies after one epoch.
    """
    table = epoch_table(evidence.full("batch_sizes", batch_size=SIZES))
    reason = "after one epoch; this is the price of a large batch (R2-E15)"
    return by_batch_size(table[table["epoch"] == 1], SIZES, reason)


@check("R2-56")
def r2_56(evidence: Evidence) -> Finding:
    """After five epochs the test accuracy is lower with batches of 128 than of 32."""
    sizes = [32, 128]
    table = run_table(evidence.full("batch_sizes", batch_size=sizes))
    return by_batch_size(table, sizes, "")


# The printed test


@check("R2-21")
def r2_21(evidence: Evidence) -> Finding:
    """The printed test, without eval(), gives the accuracy of the trained network."""
    records = evidence.runs("without_eval")
    right, printed = "with eval()", "as printed"
    tests = {"test_accuracy": right, "without_eval_shuffled": printed}
    table = run_table(records).rename(columns=tests)
    table = table.melt("seed", list(tests.values()), "test", "accuracy")
    reason = (
        "on shuffled images; after R2's five epochs the gap may be smaller (R2-E8); "
        f"{trained(records)}"
    )
    return alike(table, "test", "accuracy", [right, printed], POINT_1, reason=reason)


# Networks and schedules


@check("R2-13")
def r2_13(evidence: Evidence) -> Finding:
    """Batch norm makes training converge faster.

    Compared: the training loss of the first epoch of LeNet, which has batch norm, and
    of the experiment's other network, which is LeNet without. Each has the learning
    rate of the experiment at which its loss is lowest. They are compared in pairs, as
    in R4-51.
    """
    records = evidence.runs("lenet_norm")
    table = run_table(records).assign(
        network=[network_name(record) for record in records],
        first_loss=[record.history[0]["train_loss"] for record in records],
    )
    mean = np.log(table["first_loss"]).groupby([table["network"], table["lr"]]).mean()
    best_lr = table["network"].map(mean.unstack().idxmin(axis=1))
    return ranking_by_loss(
        table[table["lr"] == best_lr],
        by="network",
        order=["with batch norm", "without"],
        reason=f"after one epoch, each at its best rate; {trained(records)}",
        value="first_loss",
    )


def network_name(record: Record) -> str:
    run = record.run
    has_norm = run.model == "lenet" and run.model_options.get("norm", True)
    return "with batch norm" if has_norm else "without"


@check("R2-52")
def r2_52(evidence: Evidence) -> Finding:
    """A network with convolutions is more accurate than one without them."""
    networks = ["four_conv", "mlp"]
    records = evidence.runs("zoo", model=networks)
    table = run_table(records)
    reason = f"the report had no baseline (R2-E17); {describe(records)}"
    return ranking(
        table, "model", "test_accuracy", networks, POINT_1, paired=False, reason=reason
    )


@check("R2-47")
def r2_47(evidence: Evidence) -> Finding:
    """Near the optimum training swings less with a falling learning rate.

    Compared: the swings of Adam with two falling learning rates and with a fixed one.
    """
    schedules = ["constant", "step", "warmup_cosine"]
    records = evidence.runs(
        "small_schedules", optimizer="adam", schedule=schedules, loss="cross_entropy"
    )
    table = run_table(records).assign(swing=[swing(record) for record in records])
    parts = [
        ranking_by_loss(
            table, "schedule", [falling, "constant"], value="swing", parts=2
        )
        for falling in schedules[1:]
    ]
    reason = f"R2 ran no schedule (R2-E14); here Adam does; {trained(records)}"
    return together(parts, reason)


def swing(record: Record) -> float:
    """The mean change of the validation loss from epoch to epoch, in the second half.

    The change is taken without its sign. NotRun for fewer than three epochs.
    """
    losses = [row["val_loss"] for row in record.history]
    if len(losses) < 3:
        raise NotRun("to be trained: three epochs or more")
    second_half = losses[len(losses) // 2 :]
    return float(np.abs(np.diff(second_half)).mean())
