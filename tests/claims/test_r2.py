"""Each check of R2 changes its outcome where what it looks at is changed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch.nn.functional as F
from planting import changed, outcome, with_changed, with_records, without
from torch import nn
from torchvision.datasets import MNIST

from mnistkit.claims import r2, r2_trainings
from mnistkit.claims.ledger import read_ledger
from mnistkit.claims.reported import R2_LOG, R2_LOSS, R2_SIZES
from mnistkit.claims.rules import (
    AGREES,
    AGREES_IF,
    CHECKS,
    DIFFERS,
    IMPRECISE,
    NOT_RUN,
    Evidence,
)
from mnistkit.models import build_model

# What is planted: each function returns the evidence that the check is to see


def kernel_size_makes_maps(monkeypatch, evidence):
    layer = nn.Conv2d
    monkeypatch.setattr(nn, "Conv2d", lambda inputs, _, size: layer(inputs, size, size))
    return evidence


def padding_always_keeps_the_size(monkeypatch, evidence):
    monkeypatch.setattr(r2, "size_of_map", lambda kernel, padding: 28)
    return evidence


def network_without_pools(monkeypatch, evidence):
    layers = build_model("four_conv").children()
    kept = [layer for layer in layers if not isinstance(layer, nn.MaxPool2d)]
    monkeypatch.setattr(r2, "build_model", lambda name: nn.Sequential(*kept))
    return evidence


def network_of_rows(monkeypatch, evidence):
    monkeypatch.setattr(r2, "build_model", lambda name: build_model("mlp"))
    return evidence


def batch_norm_does_nothing(monkeypatch, evidence):
    monkeypatch.setattr(F, "batch_norm", lambda x, *_, **options: x)
    return evidence


def fewer_images(monkeypatch, evidence):
    mnist = evidence.mnist
    images, labels = mnist.train_images[:6400], mnist.train_labels[:6400]
    fewer = replace(mnist, train_images=images, train_labels=labels)
    return Evidence(fewer, evidence.records)


def labels_that_fit(monkeypatch, evidence):
    labels = evidence.mnist.train_labels.clone()
    labels[:16] = evidence.mnist.test_labels[-16:]
    return Evidence(replace(evidence.mnist, train_labels=labels), evidence.records)


def everything_is_logged(monkeypatch, evidence):
    def log(losses, counts):
        return losses, [count / 100 for count in counts]

    monkeypatch.setattr(r2, "printed_logging", log)
    return evidence


def folder_is_called_progress(monkeypatch, evidence):
    monkeypatch.setattr(MNIST, "processed_folder", "data/MNIST/progress")
    return evidence


def accuracy_is_rounded(monkeypatch, evidence):
    monkeypatch.setattr(r2, "PRINTED_ACCURACY", "%.0f%%")
    return evidence


def log_of_another_rate(monkeypatch, evidence):
    other = np.roll(R2_LOSS.to_numpy(), 5, axis=1)  # five epochs further
    losses = pd.DataFrame(other, R2_LOSS.index, R2_LOSS.columns)
    monkeypatch.setattr(r2_trainings, "R2_LOSS", losses)
    return evidence


def table_repeats_the_log(monkeypatch, evidence):
    monkeypatch.setattr(r2_trainings, "R2_TABLE", R2_LOG)
    return evidence


def lower_accuracies_by_size(monkeypatch, evidence):
    monkeypatch.setattr(r2_trainings, "R2_SIZES", R2_SIZES - 10)
    return evidence


def small_batches_fail_in_the_first_epoch(monkeypatch, evidence):
    def change(record):
        if record.run.batch_size != 32:
            return record
        first, *others = record.history
        worse = first | {"test_accuracy": first["test_accuracy"] - 0.2}
        return changed(record, history=[worse, *others])

    return with_changed(evidence, "batch_sizes", change)


def worse(record):
    """A record whose test accuracy is lower by 20 points."""
    return changed(record, {"test_accuracy": record.summary["test_accuracy"] - 0.2})


def small_batches_fail(monkeypatch, evidence):
    def change(record):
        return worse(record) if record.run.batch_size == 32 else record

    return with_changed(evidence, "batch_sizes", change)


def printed_test_is_right(monkeypatch, evidence):
    def change(record):
        score = record.summary["test_accuracy"] + 1e-5 * record.run.seed
        return changed(record, {"without_eval_shuffled": score})

    return with_changed(evidence, "without_eval", change)


def convolutions_fail(monkeypatch, evidence):
    def change(record):
        return worse(record) if record.run.model == "four_conv" else record

    return with_changed(evidence, "zoo", change)


def falling_rates_swing(monkeypatch, evidence):
    def change(record):
        if record.run.schedule == "constant":
            return record
        rows = [row | {"val_loss": 10 * row["val_loss"]} for row in record.history]
        return changed(record, history=rows)

    return with_changed(evidence, "small_schedules", change)


# The outcome on the stored records, what is planted, and the outcome then
PLANTED = {
    "R2-03": (DIFFERS, kernel_size_makes_maps, AGREES),
    "R2-04": (AGREES_IF, padding_always_keeps_the_size, AGREES),
    "R2-06": (AGREES_IF, network_without_pools, DIFFERS),
    "R2-20": (AGREES, fewer_images, DIFFERS),
    "R2-21": (DIFFERS, printed_test_is_right, AGREES),
    "R2-23": (DIFFERS, labels_that_fit, AGREES),
    "R2-24": (DIFFERS, everything_is_logged, AGREES),
    "R2-26": (DIFFERS, folder_is_called_progress, AGREES),
    "R2-27": (DIFFERS, network_of_rows, AGREES),
    "R2-28": (IMPRECISE, log_of_another_rate, DIFFERS),
    "R2-30": (IMPRECISE, log_of_another_rate, DIFFERS),
    "R2-31": (IMPRECISE, log_of_another_rate, DIFFERS),
    "R2-32": (IMPRECISE, log_of_another_rate, DIFFERS),
    "R2-33": (AGREES, log_of_another_rate, DIFFERS),
    "R2-34": (IMPRECISE, log_of_another_rate, DIFFERS),
    "R2-35": (AGREES, log_of_another_rate, DIFFERS),
    "R2-36": (AGREES, log_of_another_rate, DIFFERS),
    "R2-37": (IMPRECISE, log_of_another_rate, DIFFERS),
    "R2-38": (IMPRECISE, log_of_another_rate, DIFFERS),
    "R2-39": (IMPRECISE, log_of_another_rate, DIFFERS),
    "R2-40": (AGREES, log_of_another_rate, DIFFERS),
    "R2-41": (AGREES, log_of_another_rate, DIFFERS),
    "R2-46": (DIFFERS, table_repeats_the_log, AGREES),
    "R2-47": (AGREES, falling_rates_swing, DIFFERS),
    "R2-49": (AGREES, lower_accuracies_by_size, DIFFERS),
    "R2-50": (IMPRECISE, small_batches_fail_in_the_first_epoch, DIFFERS),
    "R2-52": (AGREES, convolutions_fail, DIFFERS),
    "R2-53": (AGREES_IF, batch_norm_does_nothing, DIFFERS),
    "R2-54": (AGREES_IF, accuracy_is_rounded, AGREES),
    "R2-56": (IMPRECISE, small_batches_fail, DIFFERS),
}


@pytest.mark.parametrize("claim", PLANTED)
def test_the_outcome_changes_with_what_is_planted(claim, stored, monkeypatch):
    found, plant, planted = PLANTED[claim]
    assert outcome(claim, stored) == found
    assert outcome(claim, plant(monkeypatch, stored)) == planted


@pytest.mark.parametrize("claim", ["R2-28", "R2-35", "R2-37"])
def test_an_accuracy_that_is_not_the_logs_is_noticed(claim, stored, monkeypatch):
    monkeypatch.setattr(r2_trainings, "R2_LOG", R2_LOG - 20)
    assert outcome(claim, stored) == DIFFERS


def test_batch_norm_has_to_help_with_either_initialisation(stored, monkeypatch):
    def growth(evidence, norm, he):
        return 1.0 if norm else 1e-9

    monkeypatch.setattr(r2, "growth_of_gradient", growth)
    assert outcome("R2-53", stored) == AGREES


# Claims whose experiments were not run: what records would say


def first_epochs(evidence, factor, **settings):
    """Records of one epoch, two learning rates and five seeds.

    Their losses are R2's times a factor, and differ by 1 % from seed to seed.
    """
    records = []
    for lr in (0.01, 0.001):
        for seed in range(5):
            first = evidence.records["learning_rates"][0]
            losses = factor * (1 + 0.01 * seed) * R2_LOSS[lr, 1]
            history = [first.history[0] | {"window_losses": list(losses)}]
            run = dict(lr=lr, seed=seed, **settings)
            records.append(changed(first, history=history, **run))
    return records


def unchanged_and_augmented(evidence, unchanged, augmented):
    """Evidence in which two kinds of runs have R2's losses times these factors."""
    return with_records(
        evidence,
        learning_rates=first_epochs(evidence, unchanged),
        r2_preprocessing=first_epochs(evidence, augmented, augment=True),
    )


def scaled_and_normalised(evidence, scaled, normalised):
    """Evidence in which two kinds of runs have R2's losses times these factors."""
    return with_records(
        evidence,
        learning_rates=first_epochs(evidence, scaled),
        r2_preprocessing=first_epochs(evidence, normalised, normalize=True),
    )


def batch_norm_runs(evidence, with_norm, without):
    """Evidence in which the first epochs of two networks have these losses.

    They have them at the learning rate 0.005, and twice as large ones at two others.
    From seed to seed they differ by 1 and by 2 %.
    """
    records = []
    for model, loss, step in (("lenet", with_norm, 0.01), ("mlp", without, 0.02)):
        for lr in (0.001, 0.005, 0.02):
            for seed in range(5):
                first = evidence.records["grid"][0]
                factor = (1 if lr == 0.005 else 2) * (1 + step * seed)
                history = [first.history[0] | {"train_loss": factor * loss}]
                run = dict(model=model, lr=lr, seed=seed)
                records.append(changed(first, history=history, **run))
    return with_records(evidence, lenet_norm=records)


# How the evidence is made, and with which two numbers the claim has which outcome
SYNTHETIC = {
    "R2-09": (
        unchanged_and_augmented,
        {(2, 1): AGREES, (1, 2): DIFFERS, (1, 1): IMPRECISE},
    ),
    "R2-13": (batch_norm_runs, {(0.1, 0.3): AGREES, (0.3, 0.1): DIFFERS}),
    "R2-17": (
        scaled_and_normalised,
        {(1, 2): AGREES, (2, 1): DIFFERS, (1, 1): IMPRECISE},
    ),
}


@pytest.mark.parametrize("claim", SYNTHETIC)
def test_what_was_not_run_would_be_judged(claim, stored):
    make, expected = SYNTHETIC[claim]
    found = {case: outcome(claim, make(stored, *case)) for case in expected}
    assert found == expected


@pytest.mark.parametrize("claim", SYNTHETIC)
def test_without_its_experiment_a_claim_was_not_run(claim, stored):
    others = without(stored, "r2_preprocessing", "lenet_norm")
    assert outcome(claim, others) == NOT_RUN


def test_every_claim_of_the_ledger_has_a_check_and_a_planted_case():
    ledger = read_ledger()
    claims = set(ledger.loc[ledger["report"] == "R2", "id"])
    assert {claim for claim in CHECKS if claim.startswith("R2")} == claims
    assert {*PLANTED, *SYNTHETIC} == claims
