"""Tables of pandas as plain HTML: what is looked up stays, what is style goes."""

import html
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

# A number as a table shows it, with or without a unit; or that there is none.
NUMBER = re.compile(r"[−+-]?[\d,]*\.?\d+(e[−+-]?\d+)?( ?[%kM])?|–|nan|NaN|")
# The beginning of an outcome, and the class of its colour. The first that fits counts.
OUTCOMES = {
    "agrees only if": "partly",
    "agrees in one reading": "partly",
    "agrees": "agrees",
    "differs": "differs",
    "too imprecise": "open",
    "our runs cannot": "open",
    "not run": "not-run",
    "was not run": "not-run",
    "仅当": "partly",
    "成立": "agrees",
    "不成立": "differs",
    "无法判定": "open",
    "没有运行": "not-run",
}
CLAIM = re.compile(r"R\d-E?\d+")


@dataclass
class Cell:
    """A cell: its tag, the columns that it spans, and what stands in it, as HTML."""

    tag: str
    span: int = 1
    inner: str = ""

    @property
    def text(self) -> str:
        """What a reader sees of the cell."""
        return html.unescape(re.sub("<[^>]*>", "", self.inner)).strip()


@dataclass
class Table:
    """The rows of a table, its caption, and the name under which it was saved."""

    head: list[list[Cell]] = field(default_factory=list)
    body: list[list[Cell]] = field(default_factory=list)
    caption: str = ""
    name: str = ""


class Reader(HTMLParser):
    """Reads the first table in some HTML into `table`."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.table = Table()
        self.rows: list[list[Cell]] = self.table.body
        self.place: str = ""  # the element whose content is read: style, caption, cell
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "table":
            self.table.name = (found.get("id") or "").removeprefix("T_")
        elif tag in ("thead", "tbody"):
            self.rows = self.table.head if tag == "thead" else self.table.body
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append(Cell(tag, int(found.get("colspan") or 1)))
            self.place = "cell"
        elif tag in ("caption", "style"):
            self.place = tag
        else:
            self.add(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "caption", "style"):
            self.place = ""
        else:
            self.add(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.add(html.escape(data, quote=False))

    def add(self, text: str) -> None:
        if self.place == "cell":
            self.rows[-1][-1].inner += text
        elif self.place == "caption":
            self.table.caption += text


def read_table(text: str) -> Table:
    """Return the first table in HTML that pandas wrote, with a single row of heads."""
    table = Reader(text).table
    if len(table.head) == 2:
        pairs = list(zip(*table.head, strict=False))
        if all(not upper.text or not lower.text for upper, lower in pairs):
            # pandas gives the name of the index a row of its own.
            table.head = [[a if a.text else b for a, b in pairs]]
    return table


def table_html(table: Table) -> str:
    """Return a table as HTML: columns of numbers to the right, outcomes in colour."""
    columns = list(zip(*table.body, strict=False))
    numbers = [all(NUMBER.fullmatch(cell.text) for cell in c) for c in columns]
    names = [cell.text for cell in table.head[-1]] if table.head else []
    is_verdict = [name in ("outcome", "结果") for name in names]
    known: set[str] = set()

    def row(cells: list[Cell], is_head: bool) -> str:
        place, shown = 0, []
        for cell in cells:
            inner = cell.inner.strip()
            kinds = ["number"] if place < len(numbers) and numbers[place] else []
            tag = cell.tag if cell.text or cell.tag == "td" else "td"
            if not is_head and place < len(is_verdict) and is_verdict[place]:
                if kind := outcome(cell.text):
                    inner = f'<span class="outcome {kind}">{inner}</span>'
            attributes = f' class="{" ".join(kinds)}"' if kinds else ""
            if any(is_verdict) and not is_head and 0 < place < len(names):
                # On a phone a row is a card, in which each cell has its title.
                attributes += f' data-title="{html.escape(names[place])}"'
            if tag == "th":
                attributes += ' scope="col"' if is_head else ' scope="row"'
            if cell.span > 1:
                attributes += f' colspan="{cell.span}"'
            shown.append(f"<{tag}{attributes}>{inner}</{tag}>")
            place += cell.span
        claim = cells[0].text if cells and not is_head else ""
        is_new = bool(CLAIM.fullmatch(claim)) and claim not in known
        known.add(claim)
        start = f'<tr id="{claim}">' if is_new else "<tr>"
        return f"{start}{''.join(shown)}</tr>"

    head = "\n".join(row(cells, True) for cells in table.head)
    body = "\n".join(row(cells, False) for cells in table.body)
    kind = "data verdicts" if any(is_verdict) else "data"
    return (
        f'<div class="scroll"><table class="{kind}">\n<thead>\n{head}\n</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def outcome(text: str) -> str:
    """Return the class of an outcome's colour, "" for another text."""
    kinds = (kind for start, kind in OUTCOMES.items() if text.startswith(start))
    return next(kinds, "")
