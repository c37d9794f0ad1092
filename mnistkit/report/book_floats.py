"""Figures and tables of the book: from the outputs of notebooks to typst."""

import base64
import html
import json
import re
import struct
import textwrap
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from pathlib import Path

from nbformat import NotebookNode

from mnistkit.report.book_captions import table_caption, unbroken

LIVE = "nbval-ignore-output"
# The width of a page's text, and the height that a figure may have, in points.
PAGE_WIDTH, TALLEST = 493, 290
# So much smaller than in a notebook is a figure. Its labels, which have 9 points there,
# can still be read. Pictures without axes, such as digits, may be lower.
SCALE, LOWEST = 0.57, 100
# How many characters of a table fit into the width of a page, and beside a caption.
CHARACTERS, NARROW = 115, 80
CAPTION = 200  # How many characters of a description make a caption.


def typst_string(text: str) -> str:
    """Return a text as a string literal of typst."""
    return json.dumps(unbroken(text), ensure_ascii=False)


class Pictures:
    """The figures of a chapter: `files` has those that the book shows, by their names.

    `shown` has them in their order, as `add` returned them.
    `folder` has the chapter's saved figures. A picture that a cell saved is the SVG
    that lies beside the PNG which is equal to the output, without its footer. A live
    figure, which is another one at each execution, is the PNG of the notebook.
    """

    def __init__(self, chapter: str, folder: Path) -> None:
        self.chapter = chapter
        self.files: dict[str, bytes] = {}
        self.shown: list[dict[str, str | int]] = []
        saved = sorted(folder.glob(f"{chapter}_*.png"))
        self.saved = {path.read_bytes(): path.with_suffix(".svg") for path in saved}

    def is_widget(self, cell: NotebookNode) -> bool:
        """Whether a cell shows a picture that is no figure."""
        return any(
            "image/png" in output.get("data", {})
            and _png(output) not in self.saved
            and "_figure(" not in cell.source
            and "show_picture" not in cell.source
            and LIVE not in cell.metadata.get("tags", [])
            for output in cell.get("outputs", [])
        )

    def add(self, cell: NotebookNode, output: NotebookNode) -> dict[str, str | int]:
        """Keep the picture; return its `file`, `alt`, `note` and `share` of a page."""
        png = _png(output)
        shown = output.metadata.get("image/png", {})
        path = self.saved.get(png)
        is_live = LIVE in cell.metadata.get("tags", [])
        alt = shown.get("alt") or output.data.get("text/plain", "A figure.")
        if path is None or is_live or not path.exists():
            name = f"{self.chapter}-{len(self.files)}.png"
            self.files[name] = png
            width, height = struct.unpack(">2I", png[16:24])
            # A pixel of a page is 1/100 inch in a figure.
            points = 0.72 * shown.get("width", width)
            share = _share(points, points * height / width, has_axes=True)
            added = {"file": name, "alt": alt, "note": "", "share": share}
        else:
            svg, note = without_footer(path.read_text("utf-8"))
            self.files[path.name] = svg.encode()
            share = picture_share(svg)
            added = {"file": path.name, "alt": alt, "note": note, "share": share}
        self.shown.append(added)
        return added


def _png(output: NotebookNode) -> bytes:
    return base64.b64decode(output.data["image/png"])


def without_footer(svg: str) -> tuple[str, str]:
    """Return a figure that ends above its footer, and the text of the footer.

    The shapes of its letters stay, because later texts may use them.
    """
    found = re.search(r'^  ?<g id="footer">\n(.*?)^  ?</g>\n', svg, re.M | re.S)
    if not found:
        return svg, ""
    note = " ".join(re.findall(r"<!-- (.*?) -->", found[1], re.S))
    first_line = float(re.search(r"translate\([\d.]+ ([\d.]+)\)", found[1])[1])
    bare = re.sub(r"^ *<use [^>]*/>\n", "", found[1], flags=re.M)
    svg = svg.replace(found[1], bare)
    # The letters of the footer are 7 points high, the gap above it is 8 % of an inch.
    height = f"{first_line - 8:.2f}"
    svg = re.sub(r'(<svg [^>]*?height=")[\d.]+', rf"\g<1>{height}", svg, count=1)
    svg = re.sub(r'(viewBox="0 0 [\d.]+ )[\d.]+', rf"\g<1>{height}", svg, count=1)
    return svg, " ".join(html.unescape(note).split())


def picture_share(svg: str) -> int:
    """Return the width of a saved figure, in percent of a page's text."""
    found = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    width, height = (float(found[1]), float(found[2])) if found else (1.0, 1.0)
    return _share(width, height, has_axes='id="xtick_1"' in svg)


def _share(width: float, height: float, has_axes: bool) -> int:
    highest = TALLEST if has_axes else LOWEST
    scale = min(SCALE, highest / height, PAGE_WIDTH / width)
    return round(100 * scale * width / PAGE_WIDTH)


def figure(picture: dict[str, str | int]) -> str:
    """Return a figure in typst. Its caption is the beginning of its description.

    That is the first sentence, and those after it for which CAPTION has room.
    """
    alt = " ".join(str(picture["alt"]).split())
    first, *more = re.split(r"(?<=[.!?]) (?=[A-Z0-9])", alt)
    caption = first.rstrip(".") + "."
    for sentence in more:
        if len(caption) + len(sentence) < CAPTION:
            caption += f" {sentence}"
    if picture["note"]:
        caption = f"{caption.rstrip('.')} ({picture['note']})."
    return (
        f"#picture({typst_string(str(picture['file']))}, alt: {typst_string(alt)}, "
        f"share: {picture['share']}%, caption: {typst_string(caption)})"
    )


class _Cells(HTMLParser):
    """The head and the body of an HTML table as rows of texts, and its caption."""

    def __init__(self) -> None:
        super().__init__()
        self.head: list[list[str]] = []
        self.body: list[list[str]] = []
        self.caption = ""
        self.where = ""
        self.spans: dict[int, int] = {}  # Rows that a cell above still covers.

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("caption", "thead", "tbody"):
            self.where = tag
        rows = self.head if self.where == "thead" else self.body
        if tag == "tr":
            rows.append([])
        elif tag in ("th", "td"):
            while self.spans.get(len(rows[-1]), 0):
                self.spans[len(rows[-1])] -= 1
                rows[-1].append("")
            span = int(dict(attrs).get("rowspan") or 1)
            self.spans[len(rows[-1])] = span - 1
            rows[-1].append("")

    def handle_data(self, data: str) -> None:
        rows = self.head if self.where == "thead" else self.body
        if self.where == "caption":
            self.caption += data
        elif self.where and rows and rows[-1]:
            rows[-1][-1] += data


def table(page: str, chapter: str, sections: list[str], known: list[str]) -> str:
    """Return a table of an output, which is HTML, in typst.

    `sections` are the titles above it, the last of which names it in its caption;
    `known` are the titles of the tables before (`table_caption`).
    """
    cells = _Cells()
    cells.feed(page[page.index("<table") :])
    rows = [[" ".join(cell.split()) for cell in row] for row in cells.body]
    # A frame has the names of its columns and of its index in two rows.
    head = ["".join(dict.fromkeys(column)) for column in zip(*cells.head, strict=True)]
    head = [" ".join(title.split()) for title in head]
    name = re.search(rf'id="T_{chapter}_(\w+)"', page)
    saved = name[1] if name else ""
    caption = table_caption(sections[-1], saved, cells.caption, known)
    return rows_table(head, rows, caption)


def rows_table(
    head: list[str],
    rows: list[list[str]],
    caption: str,
    widths: Sequence[str] = (),
    fills: Sequence[str] = (),
) -> str:
    """Return a table of texts in typst. Words are aligned left, numbers right.

    `widths` are those of the columns, by default what suits the texts; `fills` has the
    colour of the last cell of each row, "" for none.
    """
    columns = list(zip(*rows, strict=True))
    if _width(head, columns) > CHARACTERS:
        head = [_wrapped(t, c) for t, c in zip(head, columns, strict=True)]
    align = ["left" if _is_text(column) else "right" for column in columns]
    widths = list(widths) or _widths(head, columns)
    narrow = "auto" in widths and _width(head, columns) <= NARROW
    return (
        f"#data-table(columns: {_array(widths)}, align: {_array(align)}, "
        f"head: {_array(map(typst_string, head))}, "
        f"cells: {_array(typst_string(cell) for row in rows for cell in row)}, "
        f"narrow: {str(narrow).lower()}, caption: {typst_string(caption)}"
        + (f", fills: {_array(map(_colour, fills))})" if fills else ")")
    )


def _colour(code: str) -> str:
    return f"rgb({typst_string(code)})" if code else "none"


def _array(items: Iterable[str]) -> str:
    """Return an array of typst. (The comma makes one of a single item, too.)"""
    return f"({', '.join(items)},)"


def _is_text(column: tuple[str, ...]) -> bool:
    return any(re.search("[A-Za-z]{2}|[一-龥]", cell) for cell in column)


def _width(head: list[str], columns: list[tuple[str, ...]]) -> int:
    """Return how many characters a line of the table has, two of them as a gap."""
    texts = zip(head, columns, strict=True)
    return sum(max(map(len, (*t.split("\n"), *c))) + 2 for t, c in texts)


def _wrapped(title: str, column: tuple[str, ...]) -> str:
    """Return the title of a column in two lines, or as wide as its longest word."""
    longest = max(map(len, (*title.split(), *column)))
    longest = max(longest, len(title) // 2 + 2)
    return "\n".join(textwrap.wrap(title, longest, break_long_words=False))


def _widths(head: list[str], columns: list[tuple[str, ...]]) -> list[str]:
    """Return the widths: what the content needs, or shares where that is too much.

    The share of a column is its longest word, and a part of what is left that grows
    with the mean and the largest length of its texts.
    """
    if _width(head, columns) <= CHARACTERS:
        return ["auto"] * len(head)
    room = CHARACTERS - 2 * len(head)
    texts = list(zip(head, columns, strict=True))
    words = [max(map(len, " ".join((t, *c)).split())) for t, c in texts]
    means = [sum(map(len, c)) / len(c) / 2 + max(map(len, c)) / 2 for c in columns]
    more = [max(0, mean - word) for mean, word in zip(means, words, strict=True)]
    left = max(0, room - sum(words)) / max(1, sum(more))
    return [f"{w + left * m:.1f}fr" for w, m in zip(words, more, strict=True)]
