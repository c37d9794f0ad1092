"""The first page: the findings, the chapters as questions, and the provenance."""

import glob
import html
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from nbformat import NotebookNode

from mnistkit.report import scales
from mnistkit.report.site.figures import description, picture
from mnistkit.report.site.markdown import to_html
from mnistkit.report.site.outputs import relative
from mnistkit.report.site.pages import (
    TITLE,
    Course,
    contents,
    fill_page,
    with_anchors,
)
from mnistkit.report.site.provenance import provenance

REVISITED = "07_five_reports_revisited"
# The figure that stands for a chapter; where it is missing, the chapter's first one.
PICTURES = {
    "00_start_here": "digits",
    "01_data_exploration": "extremes",
    "02_model_zoo": "accuracy_against_cost",
    "03_optimizer_comparison": "ravine",
    "04_lr_batch_size_study": "batch_sizes",
    "05_lr_schedules": "schedules",
    "06_confusion_matrix_analysis": "errors",
    REVISITED: "case_six",
}
# How wide the page shows the picture of a chapter, in CSS pixels.
CARD = 340


def first_page(
    scale: str,
    books: Mapping[str, NotebookNode],
    unreadable: set[str],
    course: Course,
    spot_check: str,
) -> str:
    """Return the first page of a scale's site. OSError if pandoc fails.

    `books` are the executed chapters, `unreadable` the chapters that are none, and
    `spot_check` is Markdown.
    """
    findings, closing = read_findings(course.out)
    texts = to_html([*findings, closing, spot_check])
    *told, end, check = texts
    check = check.replace("<h1", "<h3").replace("</h1>", "</h3>")
    sections = [
        introduction(course),
        to_print(course),
        '<h2 id="findings">Findings</h2>',
        list_of_findings(told, end),
        verdicts(scale, course),
        f'<h2 id="chapters">The chapters</h2>\n{cards(scale, course)}',
        f'<h2 id="figures-and-tables">Figures and tables</h2>\n{files(scale, course)}',
        '<h2 id="provenance">Where this comes from</h2>',
        provenance(scale, books, unreadable, course, bool(spot_check)),
        check,
    ]
    main, found = with_anchors("\n".join(part for part in sections if part))
    return fill_page(
        title=TITLE,
        kind="overview",
        contents=contents("index", found, course),
        main=main,
        course=course,
    )


def introduction(course: Course) -> str:
    """Return the title, and what the site is, in a few sentences."""
    stored = course.out / f"{REVISITED}_all.csv"
    claims = "claims of theirs"
    if stored.exists():
        claims = f"{len(pd.read_csv(stored)):,} of their claims"
    count = len(course.openings)
    lead = course.say(
        f"This is a first course on deep learning in {count} notebooks. Each chapter "
        "asks a question, trains the networks that answer it, and shows what came out."
    )
    more = course.say(
        "Five student reports on MNIST, called R1 to R5, are the occasion: their "
        f"experiments are repeated with several seeds, and {claims} are judged. Every "
        "number, figure, table and finding on these pages was computed when the "
        "notebooks were executed; only the questions and the explanations were "
        "written by hand."
    )
    return (
        f'<h1 id="mnist">{course.say(TITLE)}</h1>\n<p class="lead">{lead}</p>\n'
        f"<p>{more}</p>"
    )


def to_print(course: Course) -> str:
    """Return links to the books in the folder of the site; "" if there is none."""
    book = course.say("The course as a book (PDF)")
    books = {
        "report.pdf": f'<a href="report.pdf"{course.to_english}>{book}</a>',
        "report.zh.pdf": '<a href="report.zh.pdf" lang="zh-CN" hreflang="zh-CN">'
        "中文摘要 (PDF)</a>",
    }
    links = [link for name, link in books.items() if (course.out / name).exists()]
    return f"<p>{' · '.join(links)}</p>" if links else ""


def read_findings(out: Path) -> tuple[list[str], str]:
    """Return the findings of chapter 07 in Markdown, and its last one, a summary."""
    stored = out / f"{REVISITED}_findings.csv"
    if not stored.exists():
        return [], f"Chapter {REVISITED[:2]} has no findings at this scale."
    findings = pd.read_csv(stored, dtype=str)["finding"].tolist()
    has_summary = len(findings) > 1 and findings[-1].startswith("**All in all**")
    return (findings[:-1], findings[-1]) if has_summary else (findings, "")


def list_of_findings(findings: list[str], end: str) -> str:
    """Return the findings, which are HTML, as a list; `end` follows them."""
    items = "\n".join(f"<li>{text}</li>" for text in findings)
    return (f'<ol class="findings">\n{items}\n</ol>\n' if items else "") + end


def verdicts(scale: str, course: Course) -> str:
    """Return the figure of all outcomes; "" if there is none at this scale."""
    png = scales.folder("figures", scale) / f"{REVISITED}_summary.png"
    svg = png.with_suffix(".svg")
    if not (png.exists() and svg.exists()):
        return ""
    shown = picture(png.read_bytes(), svg, 860)
    alt = described(svg, "The outcomes of the claims", course)
    caption = course.say(
        "How many claims of each report agree with our runs, and the same by the "
        "evidence behind the verdict."
    )
    return (
        f'<figure id="verdicts"><div class="scroll"><img class="wide" '
        f'src="{shown.address}" width="{shown.width}" height="{shown.height}" '
        f'alt="{alt}"></div>\n<figcaption>{caption}</figcaption></figure>'
    )


def cards(scale: str, course: Course) -> str:
    """Return the chapters as a list: number, title, question, time and picture."""
    shown = []
    for name, opening in course.openings.items():
        title = course.heading(name)
        if name in course.present:
            title = f'<a href="{name}.html"{course.to_english}>{title}</a>'
        minutes = opening["minutes"]
        comma = ", " if course.language == "en" else "，"
        facts = [course.say(f"{minutes} minutes")] if minutes else []
        if opening["builds on"]:
            facts.append(f"{course.say('builds on')} {opening['builds on']}")
        if course.language != "en":
            facts.append(course.say("in English"))
        shown.append(
            f'<li class="card">{card_picture(scale, name, course)}<h3>{title}</h3>'
            f"<p>{html.escape(str(opening['question']))}</p>"
            f"<small>{html.escape(comma.join(facts))}</small></li>"
        )
    return '<ol class="cards">\n' + "\n".join(shown) + "\n</ol>"


def card_picture(scale: str, name: str, course: Course) -> str:
    """Return the picture of a chapter, described as the figure itself is."""
    folder = scales.folder("figures", scale)
    found = sorted(folder.glob(f"{glob.escape(name)}_*.png"))
    chosen = folder / f"{name}_{PICTURES.get(name, '')}.png"
    if chosen not in found:
        if not found:
            return ""
        chosen = found[0]
    svg = chosen.with_suffix(".svg")
    drawn = svg if svg.exists() else None
    shown = picture(chosen.read_bytes(), drawn, CARD)
    alt = described(drawn, f"A figure of chapter {name[:2]}", course)
    return (
        f'<img src="{shown.address}" width="{shown.width}" height="{shown.height}" '
        f'alt="{alt}">'
    )


def described(svg: Path | None, otherwise: str, course: Course) -> str:
    """Return what an SVG says that it shows, as HTML in the language of the page."""
    text = html.unescape(description(svg)) if svg else ""
    return html.escape(course.say(text or otherwise))


def files(scale: str, course: Course) -> str:
    """Return links to the file of every figure and table, folded."""
    figures = scales.folder("figures", scale)
    lines = []
    for name in course.openings:
        prefix = glob.escape(name)
        found = {*figures.glob(f"{prefix}_*.svg"), *course.out.glob(f"{prefix}_*.csv")}
        for path in sorted(found):
            links = [(path, path.stem)]
            if path.suffix == ".svg" and path.with_suffix(".png").exists():
                links.append((path.with_suffix(".png"), "png"))
            lines.append(
                f"<li>{', '.join(_link(*link, course.out) for link in links)}</li>"
            )
    if not lines:
        return "<p>None at this scale.</p>"
    listed = "\n".join(lines)
    return (
        f"<details><summary>All {len(lines)} files</summary>\n"
        f'<ul class="files">\n{listed}\n</ul></details>'
    )


def _link(path: Path, text: str, out: Path) -> str:
    address = quote(relative(path, out))
    return f'<a href="{address}">{html.escape(text)}</a>'
