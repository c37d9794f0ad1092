"""Checks of R3's trainings: its tests, its schedules, and Adam, NAdam and SGDM."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mnistkit.claims.r3 import stored_measurement
from mnistkit.claims.reported import (
    R3_ACCURACY,
    R3_LR,
    R3_MOMENTUM,
    R3_SCHEDULES,
    R3_WEIGHT_DECAY,
    R3_WORKERS,
)
from mnistkit.claims.rules import (
    AGREES,
    Evidence,
    Finding,
    NotRun,
    alike,
    check,
    fairest,
    numbers,
    ranking,
    together,
)
from mnistkit.runs import Record
from mnistkit.tables import run_table

ACCURACY_MARGIN = 0.001  # a tenth of a point
RATIO_MARGIN = 0.1  # for what is compared on the logarithmic scale

# Data


@check("R3-13")
def r3_13(evidence: Evidence) -> Finding:
    """Loading works best without worker processes: the fewer of them, the better.

    Measured: the seconds in which a DataLoader serves batches of 16, with each number
    of workers in turn; a repetition has a seed.
    """
    table = stored_measurement("workers")
    workers = [R3_WORKERS, 1, 2, 4]
    return ranking(
        table,
        "workers",
        "seconds",
        workers,
        RATIO_MARGIN,
        higher_is_better=False,
        log=True,
    )


@check("R3-34")
def r3_34(evidence: Evidence) -> Finding:
    """Images that are small, and tensors already, need no rotation in training.

    So rotation should not gain accuracy: the claim agrees as well if it loses some.
    """
    table = run_table(evidence.full("rotation", augment=[True, False]))
    reason = "our rotation also zooms and shifts; tensors can be rotated too (R3-E11)"
    groups = [False, True]
    loses = ranking(
        table, "augment", "test_accuracy", groups, ACCURACY_MARGIN, reason=reason
    )
    if loses.outcome == AGREES:
        return loses
    return alike(
        table, "augment", "test_accuracy", groups, ACCURACY_MARGIN, reason=reason
    )


# The printed network, and the printed test


def same_score(records: list[Record], tests: list[str], reason: str) -> Finding:
    """Whether two tests of the same networks give the same accuracy, for each loss."""
    table = run_table(records)
    parts = {}
    for loss, runs in table.groupby("loss"):
        scores = runs.melt("seed", tests, var_name="test", value_name="accuracy")
        parts[str(loss)] = alike(scores, "test", "accuracy", tests, ACCURACY_MARGIN)
    return together(parts, reason)


@check("R3-24")
def r3_24(evidence: Evidence) -> Finding:
    """The printed test, which draws each prediction, gives the network's accuracy.

    Compared: the accuracy that such draws have on average, and that of the largest
    outputs.
    """
    records = evidence.runs("softmax_twice", lr=R3_LR["code"])
    tests = ["one_by_one_drawn", "one_by_one_argmax"]
    return same_score(records, tests, "a draw misses more often (R3-E2)")


@check("R3-25")
def r3_25(evidence: Evidence) -> Finding:
    """The printed test, one image at a time without eval(), gives the accuracy.

    Compared: the accuracies of the largest outputs in such a test, and with eval().
    """
    records = evidence.runs("softmax_twice", lr=R3_LR["code"])
    reason = "batch norm normalises each image by its own statistics (R3-E3)"
    return same_score(records, ["one_by_one_argmax", "test_accuracy"], reason)


def learns(records: list[Record], reason: str) -> Finding:
    """Whether trained networks are more accurate than guesses, which are right in 10 %.

    Ten points would be the smallest success.
    """
    trained = run_table(records)[["seed", "test_accuracy"]].assign(network="trained")
    guesses = trained.assign(network="guesses", test_accuracy=0.1)
    table = pd.concat([trained, guesses])
    order = ["trained", "guesses"]
    return ranking(table, "network", "test_accuracy", order, margin=0.1, reason=reason)


@check("R3-26")
def r3_26(evidence: Evidence) -> Finding:
    """The network is trained by Adam: learning rate 0.0003, weight decay 0.00001.

    Computed: whether the printed network learns with these settings of the code.
    """
    records = evidence.runs(
        "softmax_twice",
        loss="softmax_twice",
        optimizer="adam",
        lr=R3_LR["code"],
        weight_decay=R3_WEIGHT_DECAY,
    )
    return learns(records, "the summary has another learning rate (R3-E4)")


@check("R3-43")
def r3_43(evidence: Evidence) -> Finding:
    """The final network is trained by Adam with StepLR from a learning rate of 0.003.

    Computed: whether the printed network learns at this rate of the summary. Two epochs
    are tried, in which StepLR does not lower it yet.
    """
    records = evidence.runs(
        "softmax_twice", loss="softmax_twice", optimizer="adam", lr=R3_LR["summary"]
    )
    return learns(records, "the printed code has the rate 0.0003 (R3-E4)")


# Schedules and optimizers


def roughness(losses: Sequence[float]) -> float:
    """How much a curve of losses swings: 0 if each epoch lowers it by the same share.

    It is the mean absolute second difference of the logarithms of the losses. NotRun
    for fewer than three losses.
    """
    if len(losses) < 3:
        raise NotRun("run for fewer than three epochs")
    return float(np.abs(np.diff(np.log(losses), n=2)).mean())


def score_table(records: list[Record]) -> pd.DataFrame:
    """A row per run of R3's comparison: settings, scores, and how its curves move.

    `line` names the optimizer and the schedule, or is "printed" for R3's SGD, whose
    momentum is next to nothing. `drawn` is the accuracy to expect of predictions drawn
    from the probabilities. `gain` is the test accuracy after the last epoch less that
    after the first, `unrest` its standard deviation over the second half of the epochs.
    `swings` is the roughness of the validation loss in the first ten epochs.
    """
    table = run_table(records)
    table["line"] = table["optimizer"] + " " + table["schedule"]
    momenta = [record.run.optimizer_options.get("momentum") for record in records]
    printed = [momentum == R3_MOMENTUM for momentum in momenta]
    table.loc[printed, "line"] = "printed"
    table["drawn"] = [record.p_true.mean(dtype=float) for record in records]

    gains, unrests, swings = [], [], []
    for record in records:
        history = pd.DataFrame(record.history)
        test = history["test_accuracy"]
        gains.append(test.iloc[-1] - test.iloc[0])
        unrests.append(test.iloc[len(test) // 2 :].std())
        swings.append(roughness(history["val_loss"].iloc[:10]))
    return table.assign(gain=gains, unrest=unrests, swings=swings)


@check("R3-38")
def r3_38(evidence: Evidence) -> Finding:
    """With StepLR Adam has a higher test accuracy than with the other two schedules."""
    table = score_table(evidence.runs("schedules", optimizer="adam"))
    best, *others = R3_SCHEDULES
    parts = {}
    for other in others:
        order = [best, other]
        parts[other] = ranking(
            table, "schedule", "test_accuracy", order, ACCURACY_MARGIN
        )
    return together(parts, "R3 saw drawn scores of one run each (R3-E2, R3-E17)")


@check("R3-47")
def r3_47(evidence: Evidence) -> Finding:
    """With StepLR the test accuracy is steadier than with the other two schedules.

    Compared: its standard deviation over the second half of the epochs.
    """
    table = score_table(evidence.runs("schedules", optimizer="adam"))
    best, *others = R3_SCHEDULES
    parts = {}
    for other in others:
        order = [best, other]
        parts[other] = ranking(
            table,
            "schedule",
            "unrest",
            order,
            RATIO_MARGIN,
            higher_is_better=False,
            log=True,
        )
    return together(parts)


NADAM_FIRST = ["nadam step", "adam step"]


@check("R3-40")
def r3_40(evidence: Evidence) -> Finding:
    """In the first epochs the validation loss of NAdam swings more than Adam's."""
    table = score_table(evidence.runs("schedules", schedule="step"))
    return ranking(table, "line", "swings", NADAM_FIRST, RATIO_MARGIN, log=True)


@check("R3-46")
def r3_46(evidence: Evidence) -> Finding:
    """NAdam improves on Adam. Each has the learning rate that suits it best."""
    table = run_table(evidence.runs("own_lr", optimizer=["nadam", "adam"]))
    return ranking(
        table, "optimizer", "test_accuracy", ["nadam", "adam"], ACCURACY_MARGIN
    )


@check("R3-48")
def r3_48(evidence: Evidence) -> Finding:
    """NAdam reaches a higher validation accuracy than Adam."""
    table = score_table(evidence.runs("schedules", schedule="step"))
    return ranking(table, "line", "val_accuracy", NADAM_FIRST, ACCURACY_MARGIN)


@check("R3-49")
def r3_49(evidence: Evidence) -> Finding:
    """NAdam and Adam have the same test accuracy."""
    table = score_table(evidence.runs("schedules", schedule="step"))
    return alike(table, "line", "test_accuracy", NADAM_FIRST, ACCURACY_MARGIN)


def argmax_and_drawn(table: pd.DataFrame) -> str:
    """The two test scores of R3's SGD as printed, as text."""
    printed = table[table["line"] == "printed"]
    by_argmax, drawn = printed["test_accuracy"].mean(), printed["drawn"].mean()
    return f"SGD as printed: {by_argmax:.3f} by argmax, {drawn:.3f} drawn (R3-E12)"


@check("R3-42")
def r3_42(evidence: Evidence) -> Finding:
    """SGDM has a lower test accuracy than Adam.

    Its momentum is 0.9 and its learning rate 0.01, or both are as R3 prints them.
    """
    table = score_table(evidence.runs("schedules", optimizer=["adam", "sgdm"]))
    reason = argmax_and_drawn(table)
    findings = {}
    for line in ("sgdm step", "printed"):
        order = ["adam step", line]
        findings[line] = ranking(
            table, "line", "test_accuracy", order, ACCURACY_MARGIN, reason=reason
        )
    reading = "its momentum is the printed 0.00001"
    return fairest(findings["sgdm step"], {reading: findings["printed"]})


@check("R3-50")
def r3_50(evidence: Evidence) -> Finding:
    """With SGDM training and validation converge, but the test accuracy does not rise.

    Compared with 0: the gain of the test accuracy from the first to the last epoch, of
    SGDM with our settings and as printed. One point would be a rise.
    """
    table = score_table(evidence.runs("schedules", optimizer="sgdm"))
    parts = {}
    for line, runs in table.groupby("line"):
        parts[str(line)] = numbers(0, runs["gain"], 0, margin=0.01, labels=[str(line)])
    return together(parts, argmax_and_drawn(table))


@check("R3-44")
def r3_44(evidence: Evidence) -> Finding:
    """Adam with StepLR reaches these accuracies: training, validation and test."""
    records = evidence.full(
        "schedules",
        model="two_conv",
        optimizer="adam",
        schedule="step",
        lr=R3_LR["code"],
    )
    parts = list(R3_ACCURACY)
    scores = run_table(records)[[f"{part}_accuracy" for part in parts]]
    return numbers(list(R3_ACCURACY.values()), scores, 0.001, ACCURACY_MARGIN, parts)
