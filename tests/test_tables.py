"""Tables: every number of a record in its row, under its name."""

import numpy as np
import pytest

from mnistkit.runs import Record, Run
from mnistkit.tables import describe, epoch_table, run_table, step_table


def record(seed, accuracies, val_size=200, **settings) -> Record:
    """A record with an epoch per validation accuracy, and 250 steps in each epoch."""
    history = [
        {"epoch": n, "val_accuracy": value, "window_losses": [3 / n, 2 / n, 1 / n]}
        for n, value in enumerate(accuracies, start=1)
    ]
    nothing = np.array([])
    return Record(
        run=Run(seed=seed, **settings),
        summary={"epochs_done": len(history), "test_accuracy": 0.9 + seed / 100},
        history=history,
        predictions=nothing,
        confidence=nothing,
        p_true=nothing,
        data={
            "train_size": 16_000,
            "val_size": val_size,
            "test_size": 1_000,
            "steps_per_epoch": 250,
        },
        environment={},
    )


@pytest.fixture
def two():
    options = {"betas": (0.5, 0.9)}
    return [
        record(0, [0.5, 0.75]),
        record(1, [0.25, 0.5, 0.75], val_size=300, optimizer_options=options),
    ]


def test_run_table_has_a_row_per_run(two):
    table = run_table(two)
    assert list(table["seed"]) == [0, 1]
    assert list(table["test_accuracy"]) == [0.9, 0.91]


def test_options_are_columns_and_missing_where_they_are_not_set(two):
    table = run_table(two)
    assert np.isnan(table["betas"][0])
    assert table["betas"][1] == (0.5, 0.9)


def test_epoch_table_has_a_row_per_run_and_epoch(two):
    table = epoch_table(two)
    assert list(table["seed"]) == [0, 0, 1, 1, 1]
    assert list(table["epoch"]) == [1, 2, 1, 2, 3]
    assert list(table["val_accuracy"]) == [0.5, 0.75, 0.25, 0.5, 0.75]


def test_epoch_table_leaves_the_windows_to_the_step_table(two):
    assert "window_losses" not in epoch_table(two)


def test_step_table_has_a_row_per_window_of_100_steps(two):
    """The last window of an epoch of 250 steps is shorter."""
    table = step_table(two[:1])
    assert list(table["epoch"]) == [1, 1, 1, 2, 2, 2]
    assert list(table["step"]) == [100, 200, 250] * 2
    assert list(table["loss"]) == [3, 2, 1, 1.5, 1, 0.5]


def test_step_table_names_the_run_in_each_row(two):
    assert list(step_table(two)["seed"]) == [0] * 6 + [1] * 9


def test_sizes_in_words():
    assert describe([record(0, [0.5, 0.75])]) == (
        "16,000 training, 200 validation, 1,000 test images; 2 epochs; 1 seed"
    )


def test_sizes_in_words_where_records_differ(two):
    assert describe(two) == (
        "16,000 training, 200 to 300 validation, 1,000 test images; "
        "2 to 3 epochs; 1 seed"
    )


def test_one_epoch_is_singular():
    assert "; 1 epoch; " in describe([record(0, [0.5])])


def test_a_seed_that_two_networks_share_counts_once():
    records = [record(0, [0.5]), record(0, [0.5], model="mlp")]
    assert describe(records).endswith("; 1 seed")


def test_the_seeds_are_those_of_each_setting():
    once = record(0, [0.5], model="mlp")
    twice = [record(seed, [0.5]) for seed in range(2)]
    assert describe(twice).endswith("; 2 seeds")
    assert describe([once, *twice]).endswith("; 1 to 2 seeds")
