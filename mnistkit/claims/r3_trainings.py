"""Checks of R3's trainings: schedules, and Adam against NAdam and SGDM."""

import numpy as np
import pandas as pd

from mnistkit.claims.r3 import PRINTED_MOMENTUM
from mnistkit.claims.reported import R3_ACCURACY
from mnistkit.claims.rules import Evidence, Finding, check, numbers, ranking
from mnistkit.runs import Record
from mnistkit.tables import describe, epoch_table, run_table

Part = tuple[str, Finding]  # a part of a claim: what it is about, and its finding


def score_table(records: list[Record]) -> pd.DataFrame:
    """A row per run of R3's comparison: settings, scores, and how its curves move.

    `line` names the optimizer and the schedule, or is "printed" for R3's SGD, whose
    momentum is next to nothing. `drawn` is the accuracy to expect of predictions drawn
    from the probabilities. `gain` is the test accuracy after the last epoch less that
    after the first, `unrest` its standard deviation over the second half of the epochs.
    `swings` is the mean rise of the validation loss per epoch in the first ten epochs,
    where a fall counts as 0.
    """
    table = run_table(records)
    table["line"] = table["optimizer"] + " " + table["schedule"]
    momenta = [record.run.optimizer_options.get("momentum") for record in records]
    printed = [momentum == PRINTED_MOMENTUM for momentum in momenta]
    table.loc[printed, "line"] = "printed"
    table["drawn"] = [record.p_true.mean(dtype=float) for record in records]

    gains, unrests, swings = [], [], []
    for record in records:
        curve = epoch_table([record])
        test, val_loss = curve["test_accuracy"], curve["val_loss"]
        gains.append(test.iloc[-1] - test.iloc[0])
        unrests.append(test.iloc[len(test) // 2 :].std())
        swings.append(val_loss.iloc[:10].diff().clip(lower=0).mean())
    return table.assign(gain=gains, unrest=unrests, swings=swings)


def test_accuracy_by_seed(table: pd.DataFrame, line: str) -> pd.Series:
    return table[table["line"] == line].set_index("seed")["test_accuracy"]


def all_of(evidence: Evidence, parts: list[Part], reason: str = "") -> Finding:
    """The finding on a claim of several parts.

    All parts must support it (the largest p counts); one part is enough to refute it
    (the smallest p, times the number of parts). A part that has a verdict already could
    not be checked; its finding is then that of the claim.
    """
    for _, finding in parts:
        if finding.verdict:
            return finding
    against = min(1.0, len(parts) * min(finding.against for _, finding in parts))
    # Measured numbers have no p value in support: theirs is nan.
    support = float(np.nanmax([finding.support for _, finding in parts]))
    text = "; ".join(f"{name} {finding.regenerated}" for name, finding in parts)
    sizes = describe(evidence.runs("schedules"))
    reason = f"{reason}; {sizes}" if reason else sizes
    return Finding("", text, reason, against=against, support=support)


@check("R3-38")
def r3_38(evidence: Evidence) -> Finding:
    """StepLR is best and steadiest on the test images, above constant rate and warm-up.

    All three lines are Adam's.
    """
    table = score_table(evidence.runs("schedules"))
    step, parts = "adam step", []
    for other in ("adam constant", "adam warmup_cosine"):
        test = ranking(table, "line", "test_accuracy", [step, other])
        # A ranking puts the largest value first: the other line wavers more.
        unrest = ranking(table, "line", "unrest", [other, step])
        parts += [("test", test), ("unrest", unrest)]
    return all_of(evidence, parts)


@check("R3-40")
def r3_40(evidence: Evidence) -> Finding:
    """NAdam has more early swings in validation loss than Adam, a better validation
    accuracy, and the same test accuracy.
    """
    table = score_table(evidence.runs("schedules"))
    order = ["nadam step", "adam step"]
    swings = ranking(table, "line", "swings", order)  # the most swings come first
    validation = ranking(table, "line", "val_accuracy", order)
    of_nadam = test_accuracy_by_seed(table, "nadam step")
    of_adam = test_accuracy_by_seed(table, "adam step")
    same_test = numbers(0, (of_nadam - of_adam).dropna(), 0.01)
    return all_of(
        evidence,
        [("swings", swings), ("val", validation), ("test difference", same_test)],
    )


@check("R3-42")
def r3_42(evidence: Evidence) -> Finding:
    """SGDM's test accuracy does not rise, and it is worse than Adam's.

    The finding's reason adds how accurate R3's SGD as printed is if the largest output
    counts, and if predictions are drawn.
    """
    table = score_table(evidence.runs("schedules"))
    test = ranking(table, "line", "test_accuracy", ["adam step", "sgdm step"])
    gain = numbers(0, table.loc[table["line"] == "sgdm step", "gain"], 0.01)
    printed = table[table["line"] == "printed"]
    by_argmax, drawn = printed["test_accuracy"].mean(), printed["drawn"].mean()
    reason = f"SGD as printed: {by_argmax:.3f} by argmax, {drawn:.3f} drawn (R3-E12)"
    return all_of(evidence, [("test", test), ("gain", gain)], reason)


@check("R3-44")
def r3_44(evidence: Evidence) -> Finding:
    """Adam with StepLR ends at these accuracies: training, validation and test."""
    table = score_table(evidence.full("schedules"))
    parts = list(R3_ACCURACY)
    columns = [f"{part}_accuracy" for part in parts]
    scores = table.loc[table["line"] == "adam step", columns]
    return numbers(list(R3_ACCURACY.values()), scores, 0.001, parts)
