"""The chapters of the report: where they lie, their scales, their figures and tables.

A chapter's name is its notebook's name, the prefix of its figures and tables, and its
key in SCALES. Everything goes to figures/ and reports/ of the project ($MNISTKIT_OUT
overrides the place): the full scale there, other scales to subfolders of their own.
"""

import ast
import html
import json
import math
import os
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from pandas.io.formats.style import Styler

from mnistkit.data import MNIST
from mnistkit.store import write_atomically

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
# What papermill injects. quick injects nothing: it is what the notebooks say.
SCALES: dict[str, dict[str, dict]] = {
    "smoke": {
        "01_data_exploration": dict(embed_size=200, train_size=500, eval_size=200),
        "02_model_zoo": dict(
            networks=["mlp", "lenet", "small_resnet"], diagrams=["lenet"], epochs=1,
            train_size=200, eval_size=100, seeds=2, grid_epochs=1,
        ),
        "03_optimizer_comparison": dict(
            train_size=256, eval_size=200, epochs=2, seeds=2, own_train_size=256,
        ),
        "04_lr_batch_size_study": dict(
            seeds=2, eval_size=100, train_size=320, batch_train_size=256,
            grid_train_size=256, draws=10,
        ),
        "05_lr_schedules": dict(
            train_size=200, eval_size=100, epochs=2, seeds=2, demo_size=64, demo_seeds=2
        ),
        "06_confusion_matrix_analysis": dict(
            train_size=256, eval_size=200, epochs=2, seeds=2
        ),
        "07_five_reports_revisited": {},
    },
    "quick": {},
    # The protocols of the reports. laptop_... is what stands in for the parts that take
    # a GPU, where there is none and the records are not there either.
    "full": {
        "01_data_exploration": dict(embed_size=2000, train_size=60000, eval_size=2000),
        "02_model_zoo": dict(
            diagrams=[], epochs=8, train_size=60000, eval_size=10000, seeds=5,
            large_train_size=60000, large_eval_size=10000, large_seeds=1,
            laptop_sizes=[1000, 1000, 64, 32], grid_epochs=8,
            grid_networks=["lenet", "alexnet", "resnet18", "vgg11", "wrn16_4"],
        ),
        "03_optimizer_comparison": dict(
            train_size=60000, eval_size=10000, epochs=10, seeds=5,
            own_train_size=60000, laptop_train_size=6000,
        ),
        "04_lr_batch_size_study": dict(
            seeds=3, eval_size=10000, train_size=60000, epochs=5,
            batch_model="four_conv", batch_train_size=60000, batch_epochs=5,
            laptop_batch_train_size=3200, grid_model="lenet", grid_train_size=10000,
            draws=300,
        ),
        "05_lr_schedules": dict(
            model="two_conv", train_size=60000, eval_size=10020, epochs=64, seeds=3,
            laptop_train_size=600, laptop_eval_size=1000,
        ),
        "06_confusion_matrix_analysis": dict(
            train_size=60000, eval_size=10000, epochs=10, seeds=5
        ),
        "07_five_reports_revisited": {},
    },
}


def folder(kind: str, scale: str) -> Path:
    """Where `kind` ("figures" or "reports") of a scale goes. ValueError if unknown."""
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    base = Path(os.environ.get("MNISTKIT_OUT") or ROOT) / kind
    return base if scale == "full" else base / scale


def notebook(name: str) -> Path:
    return ROOT / "notebooks" / f"{name}.ipynb"


def settings(name: str, scale: str) -> dict:
    """A chapter's parameters at a scale: its notebook's, and what the scale injects."""
    for cell in json.loads(notebook(name).read_text())["cells"]:
        if "parameters" in cell["metadata"].get("tags", ()):
            lines = ast.parse("".join(cell["source"])).body
            said = {line.target.id: ast.literal_eval(line.value) for line in lines}
            return said | {"scale": scale} | SCALES[scale].get(name, {})
    raise ValueError(f"{name}: no cell tagged `parameters`")


@dataclass(frozen=True)
class Chapter:
    """Saves the figures and tables of one notebook, each with its data and its scale.

    `data` is the MNIST in use, or a sentence that names the data. Names of figures and
    tables are lower case with underscores (ValueError otherwise, or unknown scale).
    """

    name: str
    scale: str
    data: MNIST | str

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
