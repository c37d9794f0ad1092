"""Which runs the chapters made, and why: their run lists, and the records behind them.

A chapter leaves reports/<chapter>_runs.csv with a row per run: the experiment that it
belongs to, and its name in the store. Chapter 07 and the archive read these lists.
"""

import pandas as pd

from mnistkit.data import load_mnist
from mnistkit.report.scales import chapters, folder
from mnistkit.runs import Record, read_record
from mnistkit.storage import places


def read_run_lists(scale: str) -> pd.DataFrame:
    """The runs of all chapters at a scale: chapter, experiment, run (its name).

    A chapter that was not executed into $MNISTKIT_OUT is read from the project.
    """
    project = places.ROOT / "reports" / ("" if scale == "full" else scale)
    frames = [pd.DataFrame(columns=["chapter", "experiment", "run"])]
    for name in chapters():
        paths = [
            base / f"{name}_runs.csv" for base in (folder("reports", scale), project)
        ]
        path = next((path for path in paths if path.exists()), None)
        if path is not None:
            frames.append(pd.read_csv(path).assign(chapter=name))
    return pd.concat(frames, ignore_index=True)


def read_experiments(scale: str) -> dict[str, list[Record]]:
    """The records of every experiment, by its name; those that are missing left out."""
    source, found = load_mnist().source, {}
    for experiment, rows in read_run_lists(scale).groupby("experiment", sort=False):
        if rows["chapter"].nunique() > 1:
            raise ValueError(f"experiment {experiment!r} is in two chapters")
        records = [read_record(name, source) for name in rows["run"]]
        found[experiment] = [record for record in records if record is not None]
    return found
