"""The cells of code of a chapter as HTML: folded code, figures, tables and text."""

import base64
import html
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from mnistkit.report.book_captions import table_caption
from mnistkit.report.site.books import varies
from mnistkit.report.site.figures import file_of, picture
from mnistkit.report.site.markdown import code_block
from mnistkit.report.site.tables import read_table, table_html

# What only code has that draws.
DRAWS = re.compile(r"\b(plt\.|axe?s?\.|save_figure\b|show_figure\b)")
# What a cell has that shows a figure; another picture stands for a widget.
SHOWS_FIGURE = re.compile(r"_figure\(|show_picture")
HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PHONE = 600  # CSS pixels; a wider figure would get too small for a phone
STILL = "(This is a picture; in the notebook you can operate it.)"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Outputs:
    """Turns outputs of one chapter into HTML, and counts its figures and tables.

    `figures` has the SVG of each PNG (`drawings`); `out` is the folder of the page.
    `section` is the latest heading, `titles` are those of the tables so far.
    """

    chapter: str
    figures: Mapping[str, Path]
    out: Path
    counts: Counter[str] = field(default_factory=Counter)
    section: str = ""
    titles: list[str] = field(default_factory=list)

    def enter(self, markdown: str) -> None:
        """Note the last heading of a text."""
        heads = HEADING.findall(FENCED.sub("", markdown))
        self.section = heads[-1] if heads else self.section

    def code(self, cell: NotebookNode) -> str:
        """Return the source of a cell: a drawing and an expected answer are closed."""
        source = cell.source.strip()
        if not source:
            return ""
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            kind, title = "answer", "Expected answer"
        elif DRAWS.search(source):
            kind, title = "plot", "Code that draws"
        else:
            kind, title = "lesson", "Code"
        return (
            f'<details class="code {kind}"{" open" if kind == "lesson" else ""}>'
            f"<summary>{title}</summary>{code_block(source)}</details>"
        )

    def html(self, cell: NotebookNode, number: int) -> str | None:
        """Return an output of a cell, or None if it is Markdown."""
        output = cell.outputs[number]
        if output.output_type == "stream":
            return _text(output.text, f"stream {output.name}")
        if output.output_type == "error":
            return _text("\n".join(output.traceback), "error")
        data = output.data
        if "image/png" in data:
            return self.figure(cell, data["image/png"], output.metadata)
        if "text/markdown" in data:
            return None
        if "text/html" in data:
            text = str(data["text/html"])
            return self.data_table(text) if "<table" in text else text
        if "text/plain" in data:
            return _text(data["text/plain"], "result")
        return ""

    def figure(self, cell: NotebookNode, encoded: str, metadata: Any) -> str:
        """Return a picture as a figure with its number, its file and what it shows.

        The file of a live figure is that of the last execution, not that of the
        stored output: the figure stays the PNG of the notebook. The caption of a
        widget says that it is a picture here.
        """
        png = base64.b64decode(encoded)
        look = metadata.get("image/png", {})
        alt = html.escape(str(look.get("alt", "")) or "A picture without description")
        svg = None if varies(cell) else file_of(png, self.figures)
        shown = picture(png, svg, look.get("width"))
        self.counts["Figure"] += 1
        title = f"Figure {self.number('Figure')}"
        wide = ' class="wide"' if shown.width > PHONE else ""
        anchor = f"figure-{self.counts['Figure']}"
        more = f" {self.link(svg, 'SVG')}" if svg else ""
        if not (svg or varies(cell) or SHOWS_FIGURE.search(cell.source)):
            more = f' <span class="still">{STILL}</span>'
        return (
            f'<figure id="{anchor}"><div class="scroll">'
            f'<img{wide} src="{shown.address}" width="{shown.width}" '
            f'height="{shown.height}" alt="{alt}"></div>\n'
            f"<figcaption><b>{title}.</b> {_first_sentence(alt)}{more}</figcaption>"
            "</figure>"
        )

    def data_table(self, text: str) -> str:
        """Return a table of pandas; one that was saved has a number and its file."""
        table = read_table(text)
        shown = table_html(table)
        is_saved = table.name.startswith(f"{self.chapter}_")
        caption = table.caption  # in HTML
        link, anchor = "", ""
        if is_saved:
            self.counts["Table"] += 1
            anchor = f' id="table-{self.counts["Table"]}"'
            file = self.out / f"{table.name}.csv"
            link = f" {self.link(file, 'CSV')}" if file.exists() else ""
            name = table.name.removeprefix(f"{self.chapter}_")
            section = html.escape(self.section or name.capitalize(), quote=False)
            caption = table_caption(section, name, caption, self.titles)
            caption = f"<b>Table {self.number('Table')}.</b> {caption}"
        if caption:
            shown += f"\n<figcaption>{caption}{link}</figcaption>"
        return f'<figure class="table"{anchor}>{shown}</figure>'

    def number(self, kind: str) -> str:
        """Return the number of the latest figure or table, such as 3.2."""
        return f"{int(self.chapter[:2])}.{self.counts[kind]}"

    def link(self, file: Path, text: str) -> str:
        """Return a link to a file."""
        address = html.escape(relative(file, self.out))
        name = html.escape(file.name)
        return f'<a class="file" href="{address}" title="{name}">{text}</a>'


def relative(file: Path, out: Path) -> str:
    """Return the address of a file in a page that lies in the folder `out`."""
    return os.path.relpath(file, out).replace(os.sep, "/")


def merge_streams(cell: NotebookNode) -> None:
    """Make one output of several that a cell printed one after the other."""
    merged: list[NotebookNode] = []
    for output in cell.outputs:
        last = merged[-1] if merged else None
        is_stream = output.output_type == "stream"
        if last and is_stream and last.get("name") == output.name:
            last.text += output.text
        else:
            merged.append(output)
    cell.outputs = merged


def _text(text: str, kind: str) -> str:
    lines = (line.rstrip() for line in ANSI.sub("", text).splitlines())
    shown = html.escape("\n".join(lines).rstrip(), quote=False)
    return f'<pre class="output {kind}">{shown}</pre>'


def _first_sentence(text: str) -> str:
    """Return the first sentence of a text; a full stop of a number ends none."""
    return re.split(r"(?<=[.?!]) (?=[A-Z])", text, maxsplit=1)[0]
