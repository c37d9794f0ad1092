"""Records as tidy pandas frames."""

from collections.abc import Iterable

import pandas as pd

from mnistkit.runs import Record
from mnistkit.train import WINDOW


def run_table(records: list[Record]) -> pd.DataFrame:
    """Return a row per run: its settings (a column per option) and its summary."""
    return pd.DataFrame([record.run.settings() | record.summary for record in records])


def epoch_table(records: list[Record]) -> pd.DataFrame:
    """Return a row per run and epoch: the settings, and the history without windows."""
    rows = [record.run.settings() | row for record in records for row in record.history]
    return pd.DataFrame(rows).drop(columns="window_losses", errors="ignore")


def step_table(records: list[Record]) -> pd.DataFrame:
    """Return a row per run and window of 100 steps: settings, epoch, step, loss.

    `loss` is the mean over the window. `step` counts from the start of the epoch to the
    last step of the window. The last window of an epoch may be shorter than 100; R2
    never printed that one.
    """
    rows = []
    for record in records:
        steps = record.data["steps_per_epoch"]
        for row in record.history:
            for window, loss in enumerate(row["window_losses"], start=1):
                step = min(window * WINDOW, steps)
                place = {"epoch": row["epoch"], "step": step, "loss": loss}
                rows.append(record.run.settings() | place)
    return pd.DataFrame(rows)


def describe(records: list[Record]) -> str:
    """Return the sizes behind a figure, as ranges where the records differ.

    An example: "10,000 training, 10,000 validation, 1,000 test images; 2 to 3 epochs;
    1 to 5 seeds". The seeds are those of each setting.
    """
    parts = []
    for key, word in (("train", "training"), ("val", "validation"), ("test", "test")):
        size = _range_text(record.data[f"{key}_size"] for record in records)
        parts.append(f"{size} {word}")
    epochs = _range_text(record.summary["epochs_done"] for record in records)
    epoch_word = "epoch" if epochs == "1" else "epochs"
    seeds = _range_text(_seeds_per_setting(records))
    seed_word = "seed" if seeds == "1" else "seeds"
    return f"{', '.join(parts)} images; {epochs} {epoch_word}; {seeds} {seed_word}"


def _seeds_per_setting(records: list[Record]) -> list[int]:
    seeds: dict[str, set[int]] = {}
    for record in records:
        setting = str(record.run.settings() | {"seed": None})
        seeds.setdefault(setting, set()).add(record.run.seed)
    return [len(group) for group in seeds.values()]


def _range_text(values: Iterable[int]) -> str:
    ordered = sorted(values)
    low, high = f"{ordered[0]:,}", f"{ordered[-1]:,}"
    return low if low == high else f"{low} to {high}"
