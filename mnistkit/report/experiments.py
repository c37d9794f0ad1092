"""Which runs the chapters made, and why: their run lists, and the records behind them.

A chapter leaves reports/<chapter>_runs.csv with a row per run: the experiment to which
the run belongs, and its name in the store. Chapter 07 and the archive read these lists.
"""

from pathlib import Path

import pandas as pd

from mnistkit.data import load_mnist
from mnistkit.report.scales import chapters, folder
from mnistkit.runs import Record, read_record
from mnistkit.storage import places


def read_run_lists(scale: str) -> pd.DataFrame:
    """Return the runs of all chapters at a scale: chapter, experiment, run (its name).

    The list of a chapter that was not executed into $MNISTKIT_OUT is read from the
    project; a chapter without any list has no rows. ValueError for a file that is no
    run list.
    """
    project = places.ROOT / "reports" / ("" if scale == "full" else scale)
    frames = [pd.DataFrame(columns=["chapter", "experiment", "run"])]
    for name in chapters():
        for reports in (folder("reports", scale), project):
            path = reports / f"{name}_runs.csv"
            if path.exists():
                frames.append(_read_list(path).assign(chapter=name))
                break
    return pd.concat(frames, ignore_index=True)


class Experiments(dict[str, list[Record]]):
    """The records of every experiment, by its name. ValueError for one without any."""

    def __init__(self, scale: str):
        super().__init__()
        self.scale = scale

    def __missing__(self, name: str) -> list[Record]:
        raise ValueError(
            f"experiment {name!r} has no records at the {self.scale} scale: execute "
            "the other chapters at this scale first"
        )


def read_experiments(scale: str) -> Experiments:
    """Return the records of every experiment, by its name.

    Runs that have no record are left out. ValueError if two chapters use one name.
    """
    source = load_mnist().source
    experiments = Experiments(scale)
    for experiment, rows in read_run_lists(scale).groupby("experiment", sort=False):
        if rows["chapter"].nunique() > 1:
            raise ValueError(f"experiment {experiment!r} is in two chapters")
        records = [read_record(name, source) for name in rows["run"]]
        if found := [record for record in records if record is not None]:
            experiments[str(experiment)] = found
    return experiments


def _read_list(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, encoding="utf-8", dtype=str)[["experiment", "run"]]
    except (ValueError, KeyError):
        raise ValueError(
            f"{path} is no run list, with columns experiment and run; "
            "execute its chapter again, or remove the file"
        ) from None
