"""Checks of R3's trainings: its tests, its schedules, and Adam, NAdam and SGDM."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnistkit.claims.names import name_of
from mnistkit.claims.reported import (
    R3_ACCURACY,
    R3_LR,
    R3_MOMENTUM,
    R3_SCHEDULES,
    R3_WEIGHT_DECAY,
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
from mnistkit.claims.toys import ranking_by_loss, trained
from mnistkit.runs import Record
from mnistkit.tables import describe, run_table
from mnistkit.wording import percent

ACCURACY_MARGIN = 0.001  # a tenth of a point
RATIO_MARGIN = 0.1  # for what is compared on the logarithmic scale

# Rotation


@check("R3-34")
def r3_34(evidence: Evidence) -> Finding:
    """Images that are small, and tensors already, need no rotation in training.

    So rotation should not gain accuracy: the claim agrees as well if it loses some.
    """
    records = evidence.full("rotation", augment=[True, False])
    table = run_table(records)
    table["images"] = table["augment"].map({False: "as they are", True: "rotated"})
    reason = "our rotation also zooms and shifts; tensors can be rotated too (R3-E11); "
    reason += trained(records)
    groups, score = ["as they are", "rotated"], "test_accuracy"
    loses = ranking(table, "images", score, groups, ACCURACY_MARGIN, reason=reason)
    if loses.outcome == AGREES:
        return loses
    return alike(table, "images", score, groups, ACCURACY_MARGIN, reason=reason)


# The printed network, and the printed test


TESTS = {
    "one_by_one_drawn": "drawn",
    "one_by_one_argmax": "largest output",
    "test_accuracy": "with eval()",
}


def same_score(records: list[Record], tests: list[str], reason: str) -> Finding:
    """Whether two tests of the same networks give the same accuracy, for each loss."""
    table = run_table(records).rename(columns=TESTS)
    names = [TESTS[test] for test in tests]
    parts, losses = {}, table.groupby("loss")
    for loss, runs in losses:
        scores = runs.melt("seed", names, var_name="test", value_name="accuracy")
        options = dict(margin=ACCURACY_MARGIN, parts=len(losses))
        finding = alike(scores, "test", "accuracy", names, **options)
        parts[name_of(loss)] = finding
    return together(parts, f"{reason}; {describe(records)}")


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
    networks = run_table(records)[["seed", "test_accuracy"]].assign(network="trained")
    guesses = networks.assign(network="guesses", test_accuracy=0.1)
    table = pd.concat([networks, guesses])
    order = ["trained", "guesses"]
    return ranking(table, "network", "test_accuracy", order, margin=0.1, reason=reason)


@check("R3-26")
def r3_26(evidence: Evidence) -> Finding:
    """Trained by Adam at 0.0003, with a weight decay of 0.00001, the network learns.

    Computed: whether the printed network learns with these settings of the code.
    """
    records = evidence.runs(
        "softmax_twice",
        loss="softmax_twice",
        optimizer="adam",
        lr=R3_LR["code"],
        weight_decay=R3_WEIGHT_DECAY,
    )
    reason = f"the summary has another learning rate (R3-E4); {describe(records)}"
    return learns(records, reason)


@check("R3-43")
def r3_43(evidence: Evidence) -> Finding:
    """Trained by Adam at 0.003, as the summary has it, the network learns.

    Computed: whether the printed network learns at this rate of the summary. Two epochs
    on few images are tried. That it learns there speaks for the claim; if it does not,
    only trainings as long as R3's can tell.
    """
    records = evidence.runs(
        "softmax_twice", loss="softmax_twice", optimizer="adam", lr=R3_LR["summary"]
    )
    finding = learns(records, "the printed code has 0.0003 (R3-E4)")
    if finding.outcome != AGREES:
        found = percent(run_table(records)["test_accuracy"].mean())
        raise NotRun(
            "to be trained: R3's network at 0.003 on all images (so far it has a test "
            f"accuracy of {found}, like guesses: {describe(records)}); {finding.reason}"
        )
    return finding


# Schedules and optimizers


def roughness(losses: Sequence[float]) -> float:
    """How much a curve of losses swings: 0 if each epoch lowers it by the same share.

    It is the mean absolute second difference of the logarithms of the losses. NotRun
    for fewer than three losses.
    """
    if len(losses) < 3:
        raise NotRun("to be trained: three epochs or more")
    return float(np.abs(np.diff(np.log(losses), n=2)).mean())


PRINTED = "SGD as printed"


def score_table(records: list[Record]) -> pd.DataFrame:
    """A row per run of R3's comparison: settings, scores, and how its curves move.

    `line` names the optimizer and the schedule, or is PRINTED for R3's SGD, whose
    momentum is next to nothing. `drawn_accuracy` is R3's own test score: the accuracy
    to expect of predictions drawn from the probabilities. `unrest` and `drawn_unrest`
    are the standard deviations of the test accuracy and of R3's score over the second
    half of the epochs; the latter is nan where R3's test was not made in each epoch.
    `swings` is the roughness of the validation loss in the first ten epochs.
    """
    table = run_table(records)
    words = table[["optimizer", "schedule"]].map(name_of)
    table["line"] = words["optimizer"] + " with " + words["schedule"]
    momenta = [record.run.optimizer_options.get("momentum") for record in records]
    printed = [momentum == R3_MOMENTUM for momentum in momenta]
    table.loc[printed, "line"] = PRINTED
    expected = [record.p_true.mean(dtype=float) for record in records]
    table["drawn_accuracy"] = expected
    if "one_by_one_drawn" in table:
        table["drawn_accuracy"] = table["one_by_one_drawn"].fillna(pd.Series(expected))

    unrests, drawn_unrests, swings = [], [], []
    for record in records:
        history = pd.DataFrame(record.history)
        late = history.iloc[len(history) // 2 :].reindex(
            columns=["test_accuracy", "one_by_one_drawn"]
        )
        unrests.append(late["test_accuracy"].std())
        drawn_unrests.append(late["one_by_one_drawn"].astype(float).std())
        swings.append(roughness(history["val_loss"].iloc[:10]))
    return table.assign(unrest=unrests, drawn_unrest=drawn_unrests, swings=swings)


DRAWN = "test means R3's own score, with predictions drawn by lot"


def by_either_test(
    compare: Callable[[str], Finding], right: str, drawn: str
) -> Finding:
    """The fairest finding on R3's test: by the accuracy, or by R3's own score.

    `compare` gives the finding by a column of `score_table`: `right`, or `drawn` if it
    was measured.
    """
    try:
        return fairest(compare(right), {DRAWN: compare(drawn)})
    except NotRun:
        return compare(right)


def step_is_best(
    evidence: Evidence, value: str, margin: float, **options: Any
) -> Finding:
    """The claim that StepLR has a better value than the other two schedules of Adam."""
    records = evidence.runs("small_schedules", optimizer="adam")
    table = score_table(records)
    if table[value].isna().all():
        raise NotRun("to be trained: R3's schedules, with R3's own test in each epoch")
    best, *others = R3_SCHEDULES
    parts = [
        ranking(
            table,
            "schedule",
            value,
            [best, other],
            margin,
            parts=len(others),
            **options,
        )
        for other in others
    ]
    return together(parts, f"R3 has one run each (R3-E2, R3-E17); {trained(records)}")


@check("R3-38")
def r3_38(evidence: Evidence) -> Finding:
    """With StepLR Adam has a higher test accuracy than with the other two schedules."""

    def compare(score: str) -> Finding:
        return step_is_best(evidence, score, ACCURACY_MARGIN)

    return by_either_test(compare, "test_accuracy", "drawn_accuracy")


@check("R3-47")
def r3_47(evidence: Evidence) -> Finding:
    """With StepLR the test accuracy is steadier than with the other two schedules.

    Compared: its standard deviation over the second half of the epochs.
    """

    def compare(unrest: str) -> Finding:
        options = dict(higher_is_better=False, log=True)
        return step_is_best(evidence, unrest, RATIO_MARGIN, **options)

    return by_either_test(compare, "unrest", "drawn_unrest")


NADAM_FIRST = ["NAdam with StepLR", "Adam with StepLR"]


@check("R3-40")
def r3_40(evidence: Evidence) -> Finding:
    """In the first epochs the validation loss of NAdam swings more than Adam's."""
    records = evidence.runs("small_schedules", schedule="step")
    reason, order = f"in the first ten epochs; {trained(records)}", NADAM_FIRST
    return ranking(
        *(score_table(records), "line", "swings", order, RATIO_MARGIN),
        log=True,
        reason=reason,
    )


@check("R3-46")
def r3_46(evidence: Evidence) -> Finding:
    """NAdam improves on Adam. Each has the learning rate that suits it best.

    R3 does not say in what. An optimizer lowers the training loss, so that this is a
    reading beside the test accuracy.
    """
    records = evidence.runs("own_lr", optimizer=["nadam", "adam"])
    order, table = ["nadam", "adam"], run_table(records)
    reason = f"each at its own best learning rate; {trained(records)}"
    accuracy = ranking(
        table, "optimizer", "test_accuracy", order, ACCURACY_MARGIN, reason=reason
    )
    reason = f"{accuracy.regenerated}; {reason}"
    loss = ranking_by_loss(table, "optimizer", order, reason=reason)
    return fairest(accuracy, {"to improve is to lower the training loss": loss})


@check("R3-48")
def r3_48(evidence: Evidence) -> Finding:
    """NAdam reaches a higher validation accuracy than Adam."""
    records = evidence.runs("small_schedules", schedule="step")
    table, reason = score_table(records), trained(records)
    score = "val_accuracy"
    return ranking(table, "line", score, NADAM_FIRST, ACCURACY_MARGIN, reason=reason)


@check("R3-49")
def r3_49(evidence: Evidence) -> Finding:
    """NAdam and Adam have the same test accuracy."""
    records = evidence.runs("small_schedules", schedule="step")
    table, reason = score_table(records), trained(records)

    def compare(score: str) -> Finding:
        return alike(table, "line", score, NADAM_FIRST, ACCURACY_MARGIN, reason=reason)

    return by_either_test(compare, "test_accuracy", "drawn_accuracy")


@check("R3-42")
def r3_42(evidence: Evidence) -> Finding:
    """SGDM has a lower test accuracy than Adam.

    Its momentum is 0.9 and its learning rate 0.01, or both are as R3 prints them.
    """
    records = evidence.runs("small_schedules", optimizer=["adam", "sgdm"])
    table = score_table(records)

    def compare(line: str, score: str) -> Finding:
        order = ["Adam with StepLR", line]
        return ranking(table, "line", score, order, ACCURACY_MARGIN)

    readings = {
        "its momentum is the printed 0.00001": compare(PRINTED, "test_accuracy"),
        DRAWN: compare("SGDM with StepLR", "drawn_accuracy"),
    }
    found = fairest(compare("SGDM with StepLR", "test_accuracy"), readings)
    usual = table.loc[table["line"] == "SGDM with StepLR", "test_accuracy"].mean()
    found.reason = (
        f"with a momentum of 0.9 and a rate of 0.01 SGDM has {percent(usual)}; R3 "
        f"compares one run each, by drawn scores (R3-E12); {trained(records)}"
    )
    return found


@check("R3-50")
def r3_50(evidence: Evidence) -> Finding:
    """With SGDM training and validation converge, but the test accuracy does not rise.

    Compared: the validation accuracy after the last epoch, and the test score, which
    stays more than a point behind if it does not rise along. Whether it rises at all is
    not tested. The runs are those of R3's printed line for SGD.
    """
    records = evidence.runs("small_schedules", optimizer="sgdm")
    table = score_table(records)
    printed = table[table["line"] == PRINTED]

    def compare(score: str) -> Finding:
        names = {"val_accuracy": "validation", score: "test"}
        groups = list(names.values())
        scores = printed.rename(columns=names).melt("seed", groups, "of", "accuracy")
        return ranking(scores, "of", "accuracy", groups, margin=0.01)

    found = by_either_test(compare, "test_accuracy", "drawn_accuracy")
    if found.reading:
        found.reading += ", and not to rise is to stay behind the validation accuracy"
    found.reason = (
        "compared after the last epoch only, and whether training and validation "
        "converge was not tested; validation took the largest output (R3-E12); "
        f"{trained(records)}"
    )
    return found


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
    values = list(R3_ACCURACY.values())
    return numbers(values, scores, 0.001, ACCURACY_MARGIN, parts, share=True)
