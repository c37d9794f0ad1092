"""Records as tidy pandas frames."""

import pandas as pd

from mnistkit.runs import Record
from mnistkit.train import WINDOW


def run_table(records: list[Record]) -> pd.DataFrame:
    """A row per run: its settings (options as columns of their own) and summary."""
    return pd.DataFrame([r.run.settings() | r.summary for r in records])


def epoch_table(records: list[Record]) -> pd.DataFrame:
    """A row per run and epoch: settings and history."""
    rows = [
        r.run.settings() | {k: v for k, v in row.items() if k != "window_losses"}
        for r in records
        for row in r.history
    ]
    return pd.DataFrame(rows)


def step_table(records: list[Record]) -> pd.DataFrame:
    """A row per run and window of 100 steps: settings, epoch, step, loss.

    `step` counts from the start of the epoch to the window's last step; the last
    window of an epoch may be shorter than 100 (R2 never printed it).
    """
    rows = []
    for record in records:
        steps = record.data["steps_per_epoch"]
        for row in record.history:
            for window, loss in enumerate(row["window_losses"], start=1):
                place = {"epoch": row["epoch"], "step": min(window * WINDOW, steps)}
                rows.append(record.run.settings() | place | {"loss": loss})
    return pd.DataFrame(rows)


def describe(records: list[Record]) -> str:
    """The sizes behind a figure, with ranges where the records differ, such as "10,000
    training, 10,000 validation, 1,000 test images; 2 to 3 epochs; 3 seeds".
    """
    words = {"train": "training", "val": "validation", "test": "test"}
    parts = [
        f"{_span(r.data[f'{name}_size'] for r in records)} {word}"
        for name, word in words.items()
    ]
    epochs = _span(r.summary["epochs_done"] for r in records)
    seeds = len({r.run.seed for r in records})
    return (
        f"{', '.join(parts)} images; {epochs} epoch{'' if epochs == '1' else 's'}; "
        f"{seeds} seed{'' if seeds == 1 else 's'}"
    )


def _span(values) -> str:
    values = sorted(set(values))
    low, high = f"{values[0]:,}", f"{values[-1]:,}"
    return low if low == high else f"{low} to {high}"
