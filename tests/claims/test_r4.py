"""R4's checks: each has its outcome on the true evidence, another on a planted one.

A plant takes the true evidence and pytest's `monkeypatch`. It changes a part that the
check uses, a network or a number of R4's table, or returns evidence with other records.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from planting import changed, outcome, with_changed, with_records, without
from torch import nn

from mnistkit.claims import r4
from mnistkit.claims.reported import R4_BEST, R4_DROPOUTS, R4_RATES
from mnistkit.claims.rules import (
    AGREES,
    AGREES_IF,
    CHECKS,
    DIFFERS,
    IMPRECISE,
    NOT_RUN,
    Evidence,
)
from mnistkit.claims.toys import first_gradient

NOISE = np.array([-1, 1, 0, -0.5, 0.5]) * 1e-4  # of five seeds
ACCURACIES = ["val_accuracy", "test_accuracy"]


# Plants: other networks and other printed numbers


def taken_for(name, other):
    """Another network in the place of one of the zoo."""

    def plant(evidence, monkeypatch):
        network, layers = r4.network, r4.layers
        swap = {name: other}
        monkeypatch.setattr(r4, "network", lambda name: network(swap.get(name, name)))
        monkeypatch.setattr(r4, "layers", lambda name: layers(swap.get(name, name)))

    return plant


def printed(name, column, value):
    """Another number in R4's table."""

    def plant(evidence, monkeypatch):
        table = R4_BEST.copy()
        table.loc[name, column] = value
        monkeypatch.setattr(r4, "R4_BEST", table)
        monkeypatch.setattr(r4, "PARAMETERS", table["parameters"])

    return plant


def padded_convolutions(evidence, monkeypatch):
    monkeypatch.setattr(r4, "conv", partial(r4.conv, padding=1))


def alexnet_without_its_last_pools(evidence, monkeypatch):
    layers = r4.alexnet_2012()[:5]
    monkeypatch.setattr(r4, "alexnet_2012", lambda: layers)


def he_initialisation(evidence, monkeypatch):
    def gradient(evidence, depth, he, **options):
        return first_gradient(evidence, depth, True, **options)

    monkeypatch.setattr(r4, "first_gradient", gradient)


def labels_of_ten_images(evidence, monkeypatch):
    few = replace(evidence.mnist, test_labels=evidence.mnist.test_labels[:10])
    return Evidence(few, evidence.records)


def times_proportional_to_parameters(evidence, monkeypatch):
    seconds = R4_BEST["parameters"] / 1e5
    monkeypatch.setattr(r4, "R4_BEST", R4_BEST.assign(seconds=seconds))


def ten_times_the_parameters(evidence, monkeypatch):
    larger = nn.Linear(9216, 40_960, device="meta")
    monkeypatch.setattr(r4, "alexnet_2012", lambda: [larger])


# Plants: other records


def shifted(experiment, score, shift):
    """One score of an experiment's runs, shifted."""

    def shift_it(record):
        return changed(record, {score: record.summary[score] + shift})

    return lambda evidence, _: with_changed(evidence, experiment, shift_it)


def gaps_that_fall(evidence, monkeypatch):
    """A gap between training and validation loss that falls with the dropout."""
    records = [
        changed(r, {"train_loss": r.summary["val_loss"] - 0.1 * (1 - r.run.dropout)})
        for r in evidence.records["grid"]
    ]
    return with_records(evidence, grid=records)


def unsteady_grid(evidence, monkeypatch):
    """Accuracies that scatter over the settings ten times as much."""
    scores = [r.summary["test_accuracy"] for r in evidence.records["grid"]]
    records = [
        changed(r, {"test_accuracy": 0.99 + 10 * (score - np.mean(scores))})
        for r, score in zip(evidence.records["grid"], scores, strict=True)
    ]
    return with_records(evidence, grid=records)


def large_rate_taken_for_the_small_one(evidence, monkeypatch):
    swap = {0.005: 0.001, 0.001: 0.005, 0.0005: 0.0005}

    def exchange(record):
        history = [row | {"lr": swap[row["lr"]]} for row in record.history]
        return changed(record, history=history, lr=swap[record.run.lr])

    return with_changed(evidence, "grid", exchange)


def one_setting_far_ahead(evidence, monkeypatch):
    """LeNet's named setting, with a validation accuracy that no other one reaches."""
    best = R4_BEST.loc["lenet"]
    records = [
        changed(record, {"val_accuracy": 0.9999})
        if (record.run.lr, record.run.dropout) == (best.lr, best.dropout)
        else record
        for record in evidence.records["grid"]
    ]
    return with_records(evidence, grid=records)


# The outcome of each claim on the true evidence, and what changes it
PLANTS = {
    "R4-04": (AGREES_IF, padded_convolutions),
    "R4-05": (AGREES, taken_for("lenet", "alexnet")),
    "R4-08": (AGREES, alexnet_without_its_last_pools),
    "R4-10": (DIFFERS, printed("alexnet", "parameters", 29_583_562)),
    "R4-11": (AGREES, taken_for("alexnet", "lenet")),
    "R4-12": (AGREES_IF, he_initialisation),
    "R4-13": (AGREES, taken_for("resnet18", "wrn16_4")),
    "R4-16": (DIFFERS, taken_for("vgg13", "vgg11")),
    "R4-17": (AGREES, padded_convolutions),
    "R4-20": (AGREES_IF, printed("wrn16_4", "parameters", 2_749_498)),
    "R4-22": (AGREES, taken_for("alexnet", "lenet")),
    "R4-23": (DIFFERS, labels_of_ten_images),
    "R4-25": (IMPRECISE, shifted("r4_best", "test_accuracy", -0.02)),
    "R4-31": (DIFFERS, times_proportional_to_parameters),
    "R4-33": (AGREES, printed("lenet", "seconds", 700)),
    "R4-35": (NOT_RUN, gaps_that_fall),
    "R4-36": (AGREES, unsteady_grid),
    "R4-39": (DIFFERS, printed("alexnet", "seconds", 700)),
    "R4-42": (AGREES, taken_for("wrn16_4", "lenet")),
    "R4-44": (AGREES_IF, taken_for("vgg13", "alexnet")),
    "R4-45": (AGREES_IF, shifted("grid", "train_accuracy", 0.05)),
    "R4-46": (AGREES, printed("vgg11", "train_accuracy", 0.9949)),
    "R4-47": (AGREES, large_rate_taken_for_the_small_one),
    "R4-48": (IMPRECISE, one_setting_far_ahead),
    "R4-49": (AGREES_IF, printed("wrn16_4", "test_accuracy", 0.9920)),
    "R4-50": (DIFFERS, ten_times_the_parameters),
}


@pytest.mark.parametrize("claim", PLANTS)
def test_a_planted_input_changes_the_outcome(claim, stored, monkeypatch):
    expected, plant = PLANTS[claim]
    assert outcome(claim, stored) == expected
    planted = plant(stored, monkeypatch) or stored
    assert outcome(claim, planted) != expected


# Claims whose trainings wait for a GPU: records made up for five seeds


def runs(evidence, model, accuracy, noise=NOISE, **settings):
    """Records of five seeds, with such validation and test accuracies."""
    template = evidence.records["grid"][0]
    scores = [dict.fromkeys(ACCURACIES, accuracy + shift) for shift in noise]
    return [
        changed(template, score, model=model, seed=seed, **settings)
        for seed, score in enumerate(scores)
    ]


def best_runs(name, shift=0.0):
    """Runs at a network's best setting, with R4's accuracies, or shifted ones."""

    def make(evidence):
        best = R4_BEST.loc[name]
        made = runs(evidence, name, 0, lr=best.lr, dropout=best.dropout)
        scores = [best[ACCURACIES] + shift + noise for noise in NOISE]
        return [changed(r, dict(s)) for r, s in zip(made, scores, strict=True)]

    return "r4_best", make


def all_best_runs(wide_resnet):
    """All five networks with R4's accuracies, the wide ResNet's shifted."""

    def make(evidence):
        records = []
        for name in R4_BEST.index:
            shift = wide_resnet if name == "wrn16_4" else 0
            records += best_runs(name, shift)[1](evidence)
        return records

    return "r4_best", make


def alexnet_grid(times, **summary):
    """LeNet's grid and AlexNet's, whose accuracies scatter so many times as much."""

    def make(evidence):
        lenet = evidence.records["grid"]
        scores = [0.9 + times * (r.summary["test_accuracy"] - 0.99) for r in lenet]
        alexnet = [
            changed(record, {"test_accuracy": score, **summary}, model="alexnet")
            for record, score in zip(lenet, scores, strict=True)
        ]
        return [*lenet, *alexnet]

    return "grid", make


def vgg_rates(smaller, smallest_of_grid):
    """VGG's runs at a smaller rate than R4's grid has, and at its smallest one."""

    def make(evidence):
        lr = min(R4_RATES)
        return [
            *runs(evidence, "vgg11", smaller, lr=lr / 5),
            *runs(evidence, "vgg11", smallest_of_grid, NOISE[::-1], lr=lr),
        ]

    return "vgg_rates", make


def lenet_norm(with_norm, without):
    """LeNet with and without batch norm; a second learning rate is worse for both.

    The seeds scatter by more than the two differ, so that only pairs decide.
    """

    def make(evidence):
        records = []
        kinds = ((with_norm, 61_990, 1), (without, 61_706, -1))
        for accuracy, parameters, sign in kinds:
            noise = [(150 + sign) * shift for shift in NOISE]
            made = runs(evidence, "lenet", accuracy, noise, lr=0.001)
            made += runs(evidence, "lenet", accuracy - 0.1, lr=0.005)
            records += [changed(r, {"parameters": parameters}) for r in made]
        return records

    return "lenet_norm", make


# Records for which a claim agrees, and for which it differs
MADE_UP = {
    "R4-26": (best_runs("alexnet"), best_runs("alexnet", -0.01)),
    "R4-27": (best_runs("resnet18"), best_runs("resnet18", -0.01)),
    "R4-28": (best_runs("vgg11"), best_runs("vgg11", 0.01)),
    "R4-29": (best_runs("wrn16_4"), best_runs("wrn16_4", -0.01)),
    "R4-30": (all_best_runs(0), all_best_runs(-0.01)),
    "R4-37": (alexnet_grid(10), alexnet_grid(0.1)),
    "R4-40": (vgg_rates(0.99, 0.98), vgg_rates(0.98, 0.99)),
    "R4-51": (lenet_norm(0.97, 0.96), lenet_norm(0.96, 0.97)),
}


@pytest.mark.parametrize("claim", MADE_UP)
def test_made_up_records_decide_what_is_not_run(claim, stored):
    (experiment, agreeing), (_, differing) = MADE_UP[claim]
    expected = AGREES_IF if claim == "R4-26" else AGREES
    assert outcome(claim, without(stored, experiment)) == NOT_RUN
    for make, result in ((agreeing, expected), (differing, DIFFERS)):
        evidence = with_records(stored, **{experiment: make(stored)})
        assert outcome(claim, evidence) == result


def test_a_run_of_alexnet_that_diverges_is_unsteady(stored):
    _, make = alexnet_grid(0.1, status="diverged")
    assert outcome("R4-37", with_records(stored, grid=make(stored))) == AGREES


def test_a_control_does_not_count_as_another_seed(stored):
    records = stored.records["r4_best"]
    control = changed(records[0], {"test_accuracy": 0.5}, precision="bf16")
    evidence = with_records(stored, r4_best=[*records, control])
    seeds = r4.at_best_setting(evidence, "lenet")["seed"]
    assert len(seeds) == seeds.nunique() > 0
    assert outcome("R4-25", evidence) == IMPRECISE


def test_every_check_is_planted():
    claims = {claim for claim in CHECKS if claim.startswith("R4-")}
    assert claims == set(PLANTS) | set(MADE_UP)


def test_the_grid_is_all_of_r4s(stored):
    grid = r4.grid(stored)
    assert len(grid) == len(R4_RATES) * len(R4_DROPOUTS)
