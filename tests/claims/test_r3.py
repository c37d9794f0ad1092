"""R3's checks: their outcomes, and that a planted wrong input changes each of them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planting import changed, outcome
from torch import nn

from mnistkit.claims import r3, r3_trainings
from mnistkit.claims.ledger import judge, read_ledger
from mnistkit.claims.rules import CHECKS, Evidence, NotRun
from mnistkit.models import build_model
from mnistkit.train import LOSSES

LEDGER = read_ledger().query("report == 'R3'")
NOISE = [0.0001, -0.0001, 0.0, 0.0002, -0.0002]  # rules say nothing without scatter


@pytest.fixture
def records(stored):
    return dict(stored.records)


@pytest.fixture(scope="session")
def outcomes(stored):
    """The outcome of each claim of R3 on the true evidence."""
    checks = {claim: CHECKS[claim] for claim in LEDGER["id"]}
    table = judge(LEDGER, checks, stored).table
    return table.set_index("id")["outcome"]


def test_each_claim_has_one_check():
    ours = [claim for claim in CHECKS if claim.startswith("R3-")]
    assert sorted(ours) == list(LEDGER["id"])


# How records are changed: each function returns all experiments, one of them changed


def everywhere(run):
    return True


def optimizer_is(name):
    return lambda run: run.optimizer == name


def with_scores(records, experiment, condition, first=0, **scores):
    """Set scores where the run meets a condition; `first` chooses their noise."""
    planted = []
    for record in records[experiment]:
        if condition(record.run):
            new = {}
            for place, (name, score) in enumerate(scores.items(), start=first):
                new[name] = score + NOISE[(record.run.seed + place) % 5]
            record = changed(record, new)
        planted.append(record)
    return records | {experiment: planted}


def with_curves(records, column, curve_of, experiment="small_schedules"):
    """Replace a column of an experiment's histories by curve_of(run, its values)."""
    planted = []
    for record in records[experiment]:
        values = np.array([row.get(column, np.nan) for row in record.history])
        pairs = zip(record.history, curve_of(record.run, values), strict=True)
        history = [row | {column: float(value)} for row, value in pairs]
        planted.append(changed(record, history=history))
    return records | {experiment: planted}


def zigzag(run, size, values):
    """1 + size, 1 - size, 1 + size, ...: as many as the values."""
    size *= 1 + size * run.seed  # so that the runs scatter
    return 1 + size * (-1.0) ** np.arange(len(values))


def on_all_images(records, experiment, **settings):
    """Add runs on all images, five seeds of Adam, with these settings."""
    runs = [record for record in records["shared_lr"] if record.run.optimizer == "adam"]
    planted = [changed(record, **settings) for record in runs]
    return records | {experiment: records.get(experiment, []) + planted}


# Wrong inputs: each function patches a module, or returns changed records


def one_improvement_at_the_end(records, patch):
    def at_the_end(run, values):
        return np.arange(len(values)) == len(values) - 1

    for experiment in ("schedules", "small_schedules"):
        records = with_curves(records, "val_accuracy", at_the_end, experiment)
    return records


def convolution_with_a_huge_kernel(records, patch):
    huge = nn.Conv2d(1, 64, 800, device="meta")
    network = nn.Sequential(huge, nn.Linear(1, 1))
    patch.setattr(r3, "build_model", lambda name: network)


def kernel_of_the_other_sign(records, patch):
    patch.setattr(r3, "R3_KERNEL", [[1.0, 0.0, -1.0]] * 3)


def squared_error_that_does_not_vanish(records, patch):
    patch.setattr(F, "mse_loss", F.binary_cross_entropy)


def corrected_steps(records, patch):
    patch.setattr(r3, "steps_without_correction", np.ones)


def one_valley_on_the_left(records, patch):
    patch.setattr(r3, "two_valleys", lambda point: ((point + 1) ** 2).sum())


def leaking_test(records, patch):
    def train(network, images, size):
        with torch.no_grad():
            network[-1].bias.add_(1)

    patch.setattr(r3, "predict_in_training_mode", train)


def output_of_side_15(records, patch):
    patch.setattr(F, "conv2d", lambda *inputs, **options: torch.ones(1, 15, 15))


def another_network(records, patch):
    patch.setattr(r3, "build_model", lambda name: build_model("lenet"))


def one_softmax(records, patch):
    patch.setitem(LOSSES, "softmax_twice", F.cross_entropy)


def equal_scores(records, patch):
    return with_scores(
        records,
        "softmax_twice",
        everywhere,
        one_by_one_drawn=0.9,
        one_by_one_argmax=0.9,
        test_accuracy=0.9,
    )


def network_that_guesses(records, patch):
    return with_scores(records, "softmax_twice", everywhere, test_accuracy=0.1)


def network_that_learns(records, patch):
    return with_scores(records, "softmax_twice", everywhere, test_accuracy=0.9)


def real_momentum(records, patch):
    patch.setattr(r3, "R3_MOMENTUM", 0.9)


def schedule_of_four_epochs(records, patch):
    patch.setattr(r3, "R3_STEP", (4, 0.9))


def step_is_best(records, patch):
    def is_step(run):
        return run.schedule == "step"

    return with_scores(records, "small_schedules", is_step, test_accuracy=0.97)


def step_is_steady(records, patch):
    def wavers(run, values):
        size = 0.0001 if run.schedule == "step" else 0.01
        return 0.9 * zigzag(run, size, values)

    return with_curves(records, "test_accuracy", wavers)


def nadam_swings(records, patch):
    def swings(run, values):
        size = 0.4 if run.optimizer == "nadam" else 0.01
        return values * zigzag(run, size, values)

    return with_curves(records, "val_loss", swings)


def sgdm_is_best(records, patch):
    return with_scores(
        records, "small_schedules", optimizer_is("sgdm"), test_accuracy=0.99
    )


def nadam_is_best(records, patch):
    return with_scores(records, "own_lr", optimizer_is("nadam"), test_accuracy=0.995)


def nadam_validates_better(records, patch):
    return with_scores(
        records, "small_schedules", optimizer_is("nadam"), val_accuracy=0.97
    )


def nadam_tests_like_adam(records, patch):
    for first, name in enumerate(["adam", "nadam"]):
        records = with_scores(
            records, "small_schedules", optimizer_is(name), first, test_accuracy=0.94
        )
    return records


def sgdm_is_certain(records, patch):
    """R3's drawn score is as good as the validation accuracy."""
    planted = []
    for record in records["small_schedules"]:
        noise = NOISE[record.run.seed % 5]
        drawn = {"one_by_one_drawn": record.summary["val_accuracy"] + noise}
        planted.append(changed(record, drawn))
    return records | {"small_schedules": planted}


# Of each claim: its true outcome, the wrong input, and the outcome with it
PLANTED = {
    "R3-03": ("differs", one_improvement_at_the_end, "agrees"),
    "R3-04": ("agrees", convolution_with_a_huge_kernel, "differs"),
    "R3-05": ("agrees", kernel_of_the_other_sign, "differs"),
    "R3-07": ("agrees", squared_error_that_does_not_vanish, "differs"),
    "R3-08": ("differs", corrected_steps, "agrees"),
    "R3-09": ("agrees only if", one_valley_on_the_left, "agrees"),
    "R3-15": ("agrees", leaking_test, "differs"),
    "R3-17": ("agrees only if", output_of_side_15, "differs"),
    "R3-19": ("agrees", another_network, "differs"),
    "R3-21": ("differs", one_softmax, "agrees"),
    "R3-24": ("differs", equal_scores, "agrees"),
    "R3-25": ("too imprecise to say", equal_scores, "agrees"),
    "R3-26": ("agrees", network_that_guesses, "differs"),
    "R3-27": ("differs", real_momentum, "agrees"),
    "R3-28": ("agrees", schedule_of_four_epochs, "differs"),
    "R3-38": ("too imprecise to say", step_is_best, "agrees"),
    "R3-40": ("too imprecise to say", nadam_swings, "agrees"),
    "R3-42": ("agrees only if", sgdm_is_best, "differs"),
    "R3-43": ("not run", network_that_learns, "agrees"),
    "R3-46": ("agrees only if", nadam_is_best, "agrees"),
    "R3-47": ("too imprecise to say", step_is_steady, "agrees"),
    "R3-48": ("too imprecise to say", nadam_validates_better, "agrees"),
    "R3-49": ("too imprecise to say", nadam_tests_like_adam, "agrees"),
    "R3-50": ("agrees only if", sgdm_is_certain, "differs"),
}


@pytest.mark.parametrize("claim", PLANTED)
def test_a_wrong_input_changes_the_outcome(
    claim, outcomes, mnist, records, monkeypatch
):
    found, plant, with_wrong_input = PLANTED[claim]
    assert outcomes[claim] == found
    planted = plant(records, monkeypatch) or records
    assert outcome(claim, Evidence(mnist, planted)) == with_wrong_input


# Claims whose evidence was not trained, or does not decide: it is made up here


def rotation(differ, records):
    def rotated(run):
        return run.augment

    records = on_all_images(records | {"rotation": []}, "rotation", augment=True)
    records = on_all_images(records, "rotation", augment=False)
    records = with_scores(records, "rotation", everywhere, test_accuracy=0.99)
    accuracy = 0.995 if differ else 0.99
    return with_scores(records, "rotation", rotated, 1, test_accuracy=accuracy)


def rotation_that_loses(differ, records):
    def rotated(run):
        return run.augment

    records = rotation(False, records)
    accuracy = 0.995 if differ else 0.98
    return with_scores(records, "rotation", rotated, 1, test_accuracy=accuracy)


def final_network(differ, records):
    settings = dict(model="two_conv", optimizer="adam", schedule="step", lr=0.0003)
    records = on_all_images(records | {"schedules": []}, "schedules", **settings)
    return with_scores(
        records,
        "schedules",
        everywhere,
        train_accuracy=0.999,
        val_accuracy=0.991,
        test_accuracy=0.98 if differ else 0.989,
    )


# Of each claim: its true outcome, and what is made up
MADE_UP = [
    ("R3-34", "too imprecise to say", rotation),
    ("R3-34", "too imprecise to say", rotation_that_loses),
    ("R3-44", "not run", final_network),
]


@pytest.mark.parametrize(("claim", "found", "plant"), MADE_UP)
@pytest.mark.parametrize("differ", [False, True])
def test_better_evidence_would_decide(
    claim, found, plant, differ, outcomes, mnist, records
):
    assert outcomes[claim] == found
    planted = Evidence(mnist, plant(differ, records))
    assert outcome(claim, planted) == ("differs" if differ else "agrees")


# R3's own score


def drawn_line(records, names, score):
    """R3's own score of some lines, and 0.5 of all others."""

    def drawn(run):
        return score if (run.optimizer, run.schedule) in names else 0.5

    planted = []
    for place, record in enumerate(records["small_schedules"]):
        value = drawn(record.run) + NOISE[(record.run.seed + place) % 5]
        planted.append(changed(record, {"one_by_one_drawn": value}))
    return records | {"small_schedules": planted}


@pytest.mark.parametrize(
    ("claim", "first"),
    [("R3-38", ("adam", "step")), ("R3-42", ("adam", "step"))],
)
def test_r3s_own_score_is_a_reading_of_its_test(claim, first, mnist, records):
    """What the accuracy does not show, predictions drawn by lot may."""
    equal = with_scores(records, "small_schedules", everywhere, test_accuracy=0.9)
    planted = drawn_line(equal, [first], 0.8)
    assert outcome(claim, Evidence(mnist, equal)) != "agrees"
    assert outcome(claim, Evidence(mnist, planted)) == "agrees only if"


def test_r3s_own_score_in_each_epoch_is_a_reading_too(mnist, records):
    def wavers(run, values):
        size = 0.0001 if run.schedule == "step" else 0.01
        return 0.9 * zigzag(run, size, np.ones(len(values)))

    planted = with_curves(records, "one_by_one_drawn", wavers)
    assert outcome("R3-47", Evidence(mnist, planted)) == "agrees only if"


def test_a_curve_of_two_epochs_has_no_swings():
    assert r3_trainings.roughness([0.4, 0.2, 0.1]) == pytest.approx(0, abs=1e-12)
    with pytest.raises(NotRun, match="three epochs"):
        r3_trainings.roughness([0.4, 0.2])
