"""A chapter as a page: its cells between the contents and the neighbours."""

import copy
import hashlib
import html
import re
import string
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pypandoc
from nbformat import NotebookNode

from mnistkit.report.book_captions import unbroken
from mnistkit.report.site.books import lesson_cells
from mnistkit.report.site.markdown import to_html
from mnistkit.report.site.outputs import Outputs, merge_streams
from mnistkit.report.translation import translate

HEADING = re.compile(r'<h([1-4]) id="([^"]*)">(.*?)</h\1>', re.DOTALL)
# A link to another chapter, with or without a section of it.
CHAPTER_LINK = re.compile(
    r'<a\s+href="(\d\d_\w+)\.ipynb(#[^"]*)?"[^>]*>(.*?)</a>', re.S
)
# Code, and what stands in a tag
NO_TEXT = re.compile(r"(<pre.*?</pre>|<code.*?</code>|<[^>]*>)", re.DOTALL)
LINK_HERE = re.compile(r'href="(#[^"]+)"')
TITLE = "MNIST: a course report"
# The first page in each language: its name, and what a link to it says.
FIRST = {"en": ("index", "English"), "zh-CN": ("index.zh", "中文")}

ABOUT = (
    '<p class="about">This page shows the notebook {} as '
    "it was executed. What it asks to run, to move or to draw works in JupyterLab.</p>"
)


@dataclass(frozen=True)
class Course:
    """What the pages of a site share.

    `openings` has what every chapter says of itself (`contents.describe`), `present`
    the chapters that have a page, `figures` the SVG of each PNG (`drawings`), and `out`
    is the folder of the pages. `language` is that of a first page; all chapters are in
    English.
    """

    openings: Mapping[str, Mapping[str, str | int | None]]
    present: frozenset[str]
    figures: Mapping[str, Path]
    out: Path
    language: str = "en"

    def say(self, english: str) -> str:
        """Return a text in the language of the page, or as it is if it is unknown."""
        return (translate(english) if self.language == "zh-CN" else None) or english

    @property
    def to_english(self) -> str:
        """The attribute of a link to a page in English, unless this page is English."""
        return "" if self.language == "en" else ' hreflang="en"'

    def heading(self, name: str) -> str:
        """Return number and title of a chapter, as HTML."""
        title = self.openings[name]["title"]
        return html.escape(f"{name[:2]} · {title}" if title else name)


def chapter_page(name: str, book: NotebookNode, course: Course) -> str:
    """Return the page of a chapter, a function of its notebook and its figures.

    Its links to other chapters lead to their pages. OSError if pandoc fails.
    """
    book = copy.deepcopy(book)
    texts: list[str] = []  # Markdown, for pandoc
    parts: list[str | int] = []  # HTML, or the number of a text
    outputs = Outputs(name, course.figures, course.out)
    for cell in lesson_cells(book):
        if cell.cell_type == "markdown":
            outputs.enter(cell.source)
            parts.append(len(texts))
            texts.append(cell.source)
        if cell.cell_type != "code":
            continue
        parts.append(outputs.code(cell))
        merge_streams(cell)
        for number, output in enumerate(cell.outputs):
            shown = outputs.html(cell, number)
            if shown is None:
                parts += ['<div class="said">', len(texts), "</div>"]
                texts.append(output.data["text/markdown"])
            else:
                parts.append(shown)
    found = to_html(texts)
    body = "\n".join(found[p] if isinstance(p, int) else p for p in parts if p != "")
    body = link_chapters(body, course.present)
    body, sections = with_anchors(body)
    body = body.replace("</h1>", f"</h1>\n{ABOUT.format(html.escape(name))}", 1)
    if not re.search("<h1", body):
        body = f"<h1>{html.escape(name)}</h1>\n{body}"
    around = neighbours(name, course)
    return fill_page(
        title=f"{html.unescape(course.heading(name))} · {TITLE}",
        kind="chapter",
        contents=contents(name, sections, course),
        main=f"{body}\n{around}",
        course=course,
    )


def link_chapters(body: str, present: frozenset[str]) -> str:
    """Let links to notebooks lead to pages; where there is no page, text stays."""

    def lead(link: re.Match[str]) -> str:
        name, section, text = link.groups()
        if name not in present:
            return text
        return f'<a href="{name}.html{(section or "").lower()}">{text}</a>'

    return CHAPTER_LINK.sub(lead, body)


def with_anchors(
    body: str, label: str = "Link to here"
) -> tuple[str, list[tuple[int, str, str]]]:
    """Give each heading a unique id and a link to itself, and no level that jumps.

    `label` names these links. Returns the HTML, and the level, id and text of each
    heading. Links in the page may be written as in Jupyter, with capitals.
    """
    used = set(re.findall(r'<(?!h[1-4])\w+[^>]* id="([^"]*)"', body))
    sections = []
    renamed: dict[str, str] = {}

    def change(heading: re.Match[str]) -> str:
        level, wanted, text = int(heading[1]), heading[2], heading[3]
        if not wanted[:1].isalpha():
            wanted = f"section-{wanted.lstrip('-')}".rstrip("-")
        renamed.setdefault(heading[2], wanted)
        # A heading that leaves a level out would seem to lie in a section of its own.
        level = min(level, sections[-1][0] + 1 if sections else 1)
        anchor, number = wanted, 1
        while anchor in used:
            anchor, number = f"{wanted}-{number}", number + 1
        used.add(anchor)
        sections.append((level, anchor, text))
        link = f'<a class="anchor" href="#{anchor}" aria-label="{label}">#</a>'
        return f'<h{level} id="{anchor}">{text}{link if level > 1 else ""}</h{level}>'

    body = HEADING.sub(change, body)

    def follow(link: re.Match[str]) -> str:
        target = renamed.get(link[1][1:].lower())
        return f'href="#{target}"' if target else link[0]

    return LINK_HERE.sub(follow, body), sections


def contents(current: str, sections: list[tuple[int, str, str]], course: Course) -> str:
    """Return the list of all pages, with the sections of the current one."""
    inner = "".join(
        f'<li class="level{level}"><a href="#{anchor}">{re.sub("</?a[^>]*>", "", text)}'
        "</a></li>"
        for level, anchor, text in sections
        if level in (2, 3)
    )
    lines = []
    first, _ = FIRST[course.language]
    for name in (first, *course.openings):
        title = course.say("Overview") if name == first else course.heading(name)
        if name == current:
            here = f'<a href="{name}.html" aria-current="page">{title}</a>'
            lines.append(f'<li class="current">{here}<ol>{inner}</ol></li>')
        elif name == first or name in course.present:
            lines.append(
                f'<li><a href="{name}.html"{course.to_english}>{title}</a></li>'
            )
        else:
            lines.append(f'<li class="missing">{title}</li>')
    word = course.say("Contents")
    return (
        f'<nav class="contents" aria-label="{word}"><details open>'
        f"<summary>{word}</summary>\n<ol>\n" + "\n".join(lines) + "\n</ol>"
        "</details></nav>"
    )


def neighbours(name: str, course: Course) -> str:
    """Return links to the previous and the next page."""
    order = ["index", *(n for n in course.openings if n in course.present)]
    at = order.index(name)
    links = []
    for step, word, sign in ((-1, "Previous", "←"), (1, "Next", "→")):
        if 0 <= at + step < len(order):
            other = order[at + step]
            title = "Overview" if other == "index" else course.heading(other)
            links.append(
                f'<a class="{word.lower()}" href="{other}.html">'
                f"<small>{sign} {word}</small> {title}</a>"
            )
    return f'<nav class="around" aria-label="Neighbours">{"".join(links)}</nav>'


def fill_page(title: str, kind: str, contents: str, main: str, course: Course) -> str:
    """Return a page. Nothing outside may be loaded, no script but ours may run.

    A first page, of the kind "overview", leads to those in the other languages.
    """
    others = [
        f'<a class="language" href="{name}.html" lang="{language}" '
        f'hreflang="{language}">{word}</a>\n'
        for language, (name, word) in FIRST.items()
        if kind == "overview" and language != course.language
    ]
    script = _asset("site.js")
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return string.Template(_asset("page.html")).substitute(
        title=html.escape(title),
        kind=kind,
        generator=generator(),
        policy=(
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{digest}'"
        ),
        style=_asset("site.css"),
        script=script,
        contents=contents,
        main=_unbroken(main),
        language=course.language,
        index=FIRST[course.language][0],
        site=course.say(TITLE),
        skip=course.say("Skip to the text"),
        other="".join(others),
    )


def _unbroken(page: str) -> str:
    """Return HTML in which no line ends before a percent sign; code stays."""
    parts = NO_TEXT.split(page)
    parts[::2] = map(unbroken, parts[::2])
    return "".join(parts)


def generator() -> str:
    """Return what else decides on the bytes of a page: the versions of its makers."""
    makers = ("Pygments", "Pillow")
    found = [f"{maker} {version(maker)}" for maker in makers]
    return ", ".join([f"pandoc {pypandoc.get_pandoc_version()}", *found])


@cache
def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")
