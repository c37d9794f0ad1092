"""The chapters of the report: where they lie, their scales, their figures and tables.

A chapter's name is its notebook's name, the prefix of its figures and tables, and its
key in SCALES. Everything goes to figures/ and reports/ of the project ($MNISTKIT_OUT
overrides the place): the full scale there, other scales to subfolders of their own.
"""

import html
import math
import os
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from pandas.io.formats.style import Styler

from mnistkit.data import MNIST, load_mnist
from mnistkit.records import Record, Run, read_record
from mnistkit.runs import sweep
from mnistkit.store import write_atomically

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
# What papermill injects. full injects nothing: it is what the notebooks say, the
# largest runs whose records the project ships.
SCALES: dict[str, dict[str, dict]] = {
    "smoke": {
        "01_data_exploration": dict(embed_size=200, train_size=500, eval_size=200),
        "02_model_zoo": dict(
            networks=["mlp", "lenet", "small_resnet"],
            diagrams=["lenet"],
            epochs=1,
            train_size=200,
            eval_size=100,
            seeds=2,
            grid_train_size=200,
            grid_eval_size=100,
            grid_epochs=1,
        ),
        "03_optimizer_comparison": dict(
            train_size=256,
            eval_size=200,
            epochs=2,
            seeds=2,
            own_train_size=256,
        ),
        "04_lr_batch_size_study": dict(
            seeds=2,
            eval_size=100,
            train_size=320,
            epochs=1,
            batch_model="lenet",
            batch_train_size=256,
            batch_epochs=4,
            grid_model="mlp",
            grid_train_size=256,
            draws=10,
            eval_seeds=2,
        ),
        "05_lr_schedules": dict(
            train_size=200, eval_size=100, epochs=2, seeds=2, demo_size=64, demo_seeds=2
        ),
        "06_confusion_matrix_analysis": dict(
            train_size=256, eval_size=200, epochs=2, seeds=2
        ),
        "07_five_reports_revisited": {},
    },
    "quick": {
        "01_data_exploration": dict(embed_size=800, train_size=10000),
        "02_model_zoo": dict(
            diagrams=["lenet", "small_resnet", "vgg11"],
            epochs=2,
            train_size=500,
            eval_size=400,
            seeds=3,
            grid_train_size=500,
            grid_eval_size=400,
            grid_epochs=3,
        ),
        "03_optimizer_comparison": dict(
            train_size=1500,
            eval_size=1000,
            epochs=3,
            seeds=3,
            own_train_size=1500,
        ),
        "04_lr_batch_size_study": dict(
            eval_size=500,
            train_size=6400,
            epochs=1,
            batch_model="lenet",
            batch_train_size=1280,
            batch_epochs=4,
            grid_model="mlp",
            grid_train_size=1600,
            draws=100,
            eval_seeds=3,
        ),
        "05_lr_schedules": dict(
            train_size=400,
            eval_size=300,
            epochs=4,
            demo_size=192,
            demo_seeds=3,
        ),
        "06_confusion_matrix_analysis": dict(
            train_size=1500,
            eval_size=1000,
            epochs=3,
            seeds=3,
        ),
        "07_five_reports_revisited": {},
    },
    "full": {},
}


def folder(kind: str, scale: str) -> Path:
    """Where `kind` ("figures" or "reports") of a scale goes. ValueError if unknown."""
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    base = Path(os.environ.get("MNISTKIT_OUT") or ROOT) / kind
    return base if scale == "full" else base / scale


def notebook(name: str) -> Path:
    return ROOT / "notebooks" / f"{name}.ipynb"


@dataclass(frozen=True)
class Chapter:
    """Saves the figures and tables of one notebook, each with its data and its scale.

    `data` is the MNIST in use, or a sentence that names the data. Names of figures and
    tables are lower case with underscores (ValueError otherwise, or unknown scale).
    """

    name: str
    scale: str
    data: MNIST | str
    experiments: dict[str, list[str]] = field(default_factory=dict, compare=False)

    def sweep(self, experiment: str, runs: list[Run], **options) -> list[Record]:
        """The records of `runs`, an experiment of this chapter, by `sweep(runs)`.

        The names of its runs go to <chapter>_runs.csv: from there chapter 07 and the
        archive know which runs were made, and why. `options` are those of `sweep`.
        """
        records = sweep(runs, **options)
        self.experiments[experiment] = [run.name for run in runs]
        rows = [(key, run) for key, runs in self.experiments.items() for run in runs]
        text = pd.DataFrame(rows, columns=["experiment", "run"]).to_csv(
            index=False, lineterminator="\n"
        )
        write_atomically(self.path("reports", "runs", ".csv"), text.encode())
        return records

    def save_figure(self, fig: Figure, name: str, note: str = ""):
        """Write <chapter>_<name>.svg and .png, a footer with data, scale, note below.

        The bytes are the same for the same figure. The footer stays on the figure, so
        that the notebook shows it as well.
        """
        box = add_footer(fig, self.line(note))
        for suffix, undated in ((".svg", {"Date": None}), (".png", {"Software": None})):
            target = self.path("figures", name, suffix)
            part = target.with_name(f".{target.name}.{os.getpid()}{suffix}")
            with rc_context({"svg.hashsalt": "mnistkit"}):
                fig.savefig(part, bbox_inches=box, metadata=undated)
            os.replace(part, target)

    def save_table(
        self, frame: pd.DataFrame, name: str, note="", formats: dict | None = None
    ) -> "Table":
        """Write <chapter>_<name>.csv, its last column `data` the line of the caption.

        Returns the table for display. An index that is more than row numbers becomes
        columns. `formats` maps columns to format strings or functions; other numbers
        get four significant digits. ValueError for a format without its column.
        """
        if not isinstance(frame.index, pd.RangeIndex):
            frame = frame.reset_index()
        for column in formats or {}:
            if column not in frame.columns:
                raise ValueError(f"a format for {column!r}, which is no column")
        line = self.line(note)
        text = frame.assign(data=line).to_csv(index=False, lineterminator="\n")
        write_atomically(self.path("reports", name, ".csv"), text.encode())
        table = Table(frame, uuid=f"{self.name}_{name}", cell_ids=False)
        chosen = {name: number_format(frame[name]) for name in frame.columns}
        chosen |= formats or {}
        table.format(chosen, na_rep="–", escape="html").hide(axis="index")
        table.set_table_styles(
            {"selector": f".col{i}", "props": "text-align: left; word-break: keep-all"}
            for i, name in enumerate(frame.columns)
            if not pd.api.types.is_numeric_dtype(frame[name])
        )
        table.format_index(lambda title: str(title).replace("_", " "), axis=1)
        return table.set_caption(html.escape(line))

    def line(self, note: str = "") -> str:
        data = self.data if isinstance(self.data, str) else self.data.describe()
        return " · ".join(filter(None, (data, f"{self.scale} scale", note)))

    def path(self, kind: str, name: str, suffix: str) -> Path:
        if not re.fullmatch("[a-z0-9_]+", name):
            raise ValueError(f"name {name!r} is not lower case with underscores")
        target = folder(kind, self.scale)
        target.mkdir(parents=True, exist_ok=True)
        return target / f"{self.name}_{name}{suffix}"


def read_run_lists(scale: str) -> pd.DataFrame:
    """The runs of all chapters at a scale: chapter, experiment, run (its name).

    A chapter that was not executed into $MNISTKIT_OUT is read from the project.
    """
    project = ROOT / "reports" / ("" if scale == "full" else scale)
    frames = [pd.DataFrame(columns=["chapter", "experiment", "run"])]
    for name in CHAPTERS:
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


class Table(Styler):
    """A pandas Styler whose plain text is the table, not an address in memory."""

    def __repr__(self) -> str:
        return self.data.to_string(index=False)


def number_format(column: pd.Series):
    """How a table shows a column: with as many decimals in all rows, if they are
    floats of like size; else each value by `show`."""
    if not pd.api.types.is_float_dtype(column):
        return show
    sizes, shown = column[column.abs() > 0].abs(), column.dropna().map(show)
    if sizes.empty or sizes.max() > 1000 * sizes.min() or shown.str.contains("e").any():
        return show
    decimals = shown.str.partition(".")[2].str.len().max()  # that are needed at all
    return f"{{:,.{min(decimals, max(0, 3 - math.floor(math.log10(sizes.max()))))}f}}"


def show(value) -> str:
    """A number as a table shows it: 41,706 or 0.9871; anything else as text."""
    if isinstance(value, bool) or not hasattr(value, "__round__"):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def add_footer(fig: Figure, text: str) -> Bbox:
    """One small grey line below all that is drawn, wrapped to the figure's width.

    Returns the box around everything, in inches: `bbox_inches="tight"` would draw the
    figure once more for each file.
    """
    for old in [line for line in fig.texts if line.get_gid() == "footer"]:
        old.remove()
    fig.draw_without_rendering()  # lays out the axes,
    fig.set_layout_engine("none")  # once: constrained layout is slow
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    footer = fig.text(
        box.x0 / width,
        (box.y0 - 0.08) / height,
        text,
        size=7,
        color="0.4",
        va="top",
        gid="footer",
        parse_math=False,
    )
    excess = footer.get_window_extent().width / fig.dpi / max(box.width, 2.0)
    if excess > 1:
        footer.set_text(textwrap.fill(text, int(0.97 * len(text) / excess)))
    around = footer.get_window_extent().transformed(fig.dpi_scale_trans.inverted())
    return Bbox.union([box, around]).padded(rcParams["savefig.pad_inches"])
