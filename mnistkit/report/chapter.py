"""Chapter: what a notebook saves, each figure and table with its data and scale."""

import html
import os
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from mnistkit.report.scales import folder
from mnistkit.report.table import Table, number_format
from mnistkit.runs import Record, Run
from mnistkit.storage.files import MNIST
from mnistkit.storage.store import write_atomically
from mnistkit.sweeps import sweep


def use_style():
    """Apply style.mplstyle to all figures made from here on."""
    plt.style.use(Path(__file__).with_name("style.mplstyle"))


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


def add_footer(fig: Figure, text: str) -> Bbox:
    """One small grey line below all that is drawn, wrapped to the figure's width.

    Returns the box around everything, in inches: `bbox_inches="tight"` would draw the
    figure once more for each file.
    """
    for old in [line for line in fig.texts if line.get_gid() == "footer"]:
        old.remove()
    # Lay the axes out once, then freeze: constrained layout would run for every file.
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
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
