"""Chapter: what a notebook saves, each figure and table with its data and its scale."""

import html
import io
import os
import re
import textwrap
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython import get_ipython
from IPython.display import Markdown, display
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from mnistkit.report.parameters import check_parameters, executed_cells
from mnistkit.report.scales import folder
from mnistkit.report.table import Table, in_print, number_format
from mnistkit.runs import Record, Run
from mnistkit.storage import places
from mnistkit.storage.files import MNIST
from mnistkit.storage.store import write_atomically
from mnistkit.sweeps import sweep

# The file formats of a figure, and the metadata to leave out, so that equal figures
# give equal bytes: the time of day, and the version of matplotlib.
FORMATS: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}}

# How large a notebook shows a figure, in CSS pixels.
PIXELS_PER_INCH = 100


def use_style() -> None:
    """Apply style.mplstyle to all figures made from here on.

    The default style goes first, so that no matplotlibrc of the user changes figures.
    """
    plt.style.use(["default", Path(__file__).with_name("style.mplstyle")])


@dataclass(frozen=True)
class Chapter:
    """Saves the figures and tables of one notebook, each with its data and its scale.

    `name` is the name of the notebook and `scale` a key of SCALES; `data` is the MNIST
    in use, or a sentence that names the data. `experiments` holds the names of the runs
    of each experiment so far, `findings` the sentences for the summary. What is saved
    gets a name of lower case letters, digits and underscores. ValueError, when
    something is saved, for another name or an unknown scale. ValueError at once, in a
    notebook, for parameters that it does not declare or cannot use
    (`check_parameters`).
    """

    name: str
    scale: str
    data: MNIST | str
    experiments: dict[str, list[str]] = field(default_factory=dict, compare=False)
    findings: list[str] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        check_parameters(self.name, executed_cells())

    def sweep(self, experiment: str, runs: list[Run], **options: Any) -> list[Record]:
        """Return the records of `runs`, an experiment of this chapter.

        `options` are those of `mnistkit.sweep`, which trains what has no record. The
        names of the runs go to <chapter>_runs.csv, where chapter 07 and the archive
        find out which runs were made, and why.
        """
        records = sweep(runs, **options)
        self.experiments[experiment] = [run.name for run in runs]
        rows = [(key, run) for key, names in self.experiments.items() for run in names]
        self._write_csv(pd.DataFrame(rows, columns=["experiment", "run"]), "runs")
        return records

    def save_figure(
        self, fig: Figure, name: str, note: str = "", alt: str = ""
    ) -> None:
        """Write <chapter>_<name>.svg and .png with a footer of `note` (see `footer`).

        `alt` says in words what the figure shows, for those who do not see it; both
        files hold it as their description. Equal figures give equal bytes. A notebook
        displays the PNG at once, with `alt`. The figure is closed.
        """
        box = add_footer(fig, self.footer(note))
        for kind, omitted in FORMATS.items():
            metadata = omitted | ({"Description": alt} if alt else {})
            content = io.BytesIO()
            with rc_context({"svg.hashsalt": "mnistkit"}):
                fig.savefig(content, format=kind, bbox_inches=box, metadata=metadata)
            write_atomically(self.path("figures", name, f".{kind}"), content.getvalue())
            if kind == "png":
                show_picture(content.getvalue(), box.width, alt or name)
        plt.close(fig)

    def show_figure(self, fig: Figure, alt: str) -> None:
        """Display a figure, drawn live, that is not to be saved; `alt` describes it."""
        content = io.BytesIO()
        fig.savefig(content, format="png", bbox_inches="tight", metadata=FORMATS["png"])
        show_picture(content.getvalue(), fig.get_tightbbox().width, alt)
        plt.close(fig)

    def save_table(
        self,
        frame: pd.DataFrame,
        name: str,
        note: str = "",
        formats: dict[str, Any] | None = None,
    ) -> Table:
        """Write <chapter>_<name>.csv and return the table for display.

        The caption is that of `footer`; the last column of the file, `data`, names
        data, scale and `note`. An index that is more than row numbers becomes columns.
        `formats` maps columns to format strings or functions; the others go through
        `number_format`. ValueError for a format of a column that does not exist or
        without braces, and for a frame that has a column `data` itself.
        """
        if not isinstance(frame.index, pd.RangeIndex):
            frame = frame.reset_index()
        if "data" in frame.columns:
            raise ValueError(
                "the column 'data' is for the line below a table: rename it"
            )
        for column, chosen in (formats or {}).items():
            if column not in frame.columns:
                raise ValueError(f"a format for {column!r}, which is no column")
            if isinstance(chosen, str) and "{" not in chosen:
                raise ValueError(f"the format {chosen!r} lacks braces: '{{:{chosen}}}'")
        line = self.line(note)
        self._write_csv(frame.assign(data=line), name)
        table = Table(frame, uuid=f"{self.name}_{name}", cell_ids=False)
        shown = {column: number_format(frame[column]) for column in frame.columns}
        shown |= formats or {}
        shown = {column: in_print(chosen) for column, chosen in shown.items()}
        table.format(shown, na_rep="–", escape="html").hide(axis="index")
        table.set_table_styles(
            {"selector": f".col{i}", "props": "text-align: left; word-break: keep-all"}
            for i, column in enumerate(frame.columns)
            if not pd.api.types.is_numeric_dtype(frame[column])
        )
        table.format_index(lambda title: str(title).replace("_", " "), axis=1)
        return table.set_caption(html.escape(self.footer(note)))

    def say(self, finding: str, *, summarize: bool = True) -> Markdown:
        """Return a finding, a sentence, for display; `summary` repeats it.

        With summarize=False it is no part of the summary.
        """
        if summarize:
            self.findings.append(finding)
        return Markdown(finding)

    def summary(self) -> Markdown:
        """Return the findings so far as a list; they go to <chapter>_findings.csv."""
        frame = pd.DataFrame({"finding": self.findings, "data": self.line()})
        self._write_csv(frame, "findings")
        return Markdown("\n".join(f"- {finding}" for finding in self.findings))

    def reports_said(self, most: int = 12) -> Table:
        """Return what the reports say about this chapter's matter, and what was found.

        A row per claim, at most `most`: the report, the claim in words, its value,
        ours, the outcome, and the reading or reason in short, as chapter 07 stored them
        at the full scale. Claims that our trainings judge come first, the decided ones
        before the others.
        FileNotFoundError before chapter 07 was executed.
        """
        path = places.ROOT / "reports" / "07_five_reports_revisited_all.csv"
        stored = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows = stored[stored["chapter"] == self.name[:2]]
        was_trained = rows["evidence"].str.startswith("trained")
        is_decided = rows["outcome"].isin(["agrees", "agrees only if", "differs"])
        importance = 2 * was_trained.astype(int) + is_decided
        rows = rows.loc[importance.sort_values(ascending=False, kind="stable").index]
        one = rows["outcome"] == "agrees only if"
        rows["outcome"] = rows["outcome"].mask(one, "agrees in one reading")
        why = rows["reason"].mask(one, rows["reading"])
        rows["reading or reason"] = why.map(in_short)
        columns = ["report", "claim", "reported", "regenerated", "outcome"]
        columns.append("reading or reason")
        shown = rows[columns].rename(columns={"regenerated": "found"}).head(most)
        table = Table(shown, uuid=f"{self.name}_reports_said", cell_ids=False)
        table.format(escape="html").hide(axis="index")
        rest = len(rows) - len(shown)
        return table.set_caption(f"Chapter 07 has {rest} more." if rest > 0 else "")

    def line(self, note: str = "") -> str:
        """Return the line that every stored table bears: data, scale and `note`."""
        data = self.data if isinstance(self.data, str) else self.data.describe()
        return " · ".join(filter(None, (data, f"{self.scale} scale", note)))

    def footer(self, note: str = "") -> str:
        """Return the line below a figure or a table, for a reader.

        It is `note`, after the data if they are not all of MNIST, and after the scale
        if it is not the full one.
        """
        if self.scale != "full":
            return self.line(note)
        if isinstance(self.data, str):
            return " · ".join(filter(None, (self.data, note)))
        return note if self.data.source == "mnist" else self.line(note)

    def path(self, kind: str, name: str, suffix: str) -> Path:
        """Return the file for `name` in the folder of this scale, which is created.

        `kind` is "figures" or "reports". ValueError for an unknown scale and for a name
        that is not lower case with underscores, OSError for a folder that cannot be
        written.
        """
        if not re.fullmatch("[a-z0-9_]+", name):
            raise ValueError(f"name {name!r} is not lower case with underscores")
        target = folder(kind, self.scale)
        with suppress(OSError):
            target.mkdir(parents=True, exist_ok=True)
        if not os.access(target, os.W_OK):
            raise OSError(
                f"cannot write to {target}; set MNISTKIT_OUT to a folder that can be "
                "written"
            )
        return target / f"{self.name}_{name}{suffix}"

    def _write_csv(self, frame: pd.DataFrame, name: str) -> None:
        text = frame.to_csv(index=False, lineterminator="\n")
        write_atomically(self.path("reports", name, ".csv"), text.encode())


def in_short(reason: str) -> str:
    """Return the first part of a reason, without the numbers of errata."""
    return re.split(r"; |\. ", re.sub(r" \(R[^)]*-E[^)]*\)", "", reason))[0]


def show_picture(png: bytes, inches: float, alt: str) -> None:
    """Display a PNG in a notebook, with a width in inches and its alternative text."""
    if get_ipython() is not None:
        width = round(PIXELS_PER_INCH * inches)
        data = {"image/png": png, "text/plain": alt}
        display(data, raw=True, metadata={"image/png": {"width": width, "alt": alt}})


def add_footer(fig: Figure, text: str) -> Bbox:
    """Put one small grey line below all that is drawn, wrapped to the figure's width.

    An earlier footer is replaced. Returns the box around everything, in inches, for
    `savefig(bbox_inches=...)`: with "tight" each file would draw the figure twice.
    """
    for old in [line for line in fig.texts if line.get_gid() == "footer"]:
        old.remove()
    # Lay the axes out once, then freeze: constrained layout would run for every file.
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    box = fig.get_tightbbox()
    width, height = fig.get_size_inches()
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
    # The footer is wrapped at the width of the drawing, or at 2 inches if that is more.
    excess = footer.get_window_extent().width / fig.dpi / max(box.width, 2.0)
    if excess > 1:
        footer.set_text(textwrap.fill(text, int(0.97 * len(text) / excess)))
    around = footer.get_window_extent().transformed(fig.dpi_scale_trans.inverted())
    return Bbox.union([box, around]).padded(rcParams["savefig.pad_inches"])
