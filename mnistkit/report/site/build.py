"""Build the site of a scale from its executed chapters."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mnistkit.report import scales
from mnistkit.report.contents import describe, read_opening
from mnistkit.report.site.books import read_books
from mnistkit.report.site.chinese_page import chinese_page
from mnistkit.report.site.figures import drawings
from mnistkit.report.site.first_page import first_page
from mnistkit.report.site.pages import Course, chapter_page
from mnistkit.storage.store import write_atomically


def build_site(scale: str, spot_check: str = "") -> Path:
    """Write reports/[scale]/index.html, and a page for each executed chapter.

    index.zh.html is the first page in Chinese.
    `spot_check` is the end of the first page, in Markdown: the runs that were trained
    anew. Style, script and figures are part of each page, and formulas are MathML. The
    first page alone says when and where the chapters were executed, and which of them
    are missing or unreadable; the others depend on the notebooks and figures only.

    Returns the path of the first page. OSError if pandoc fails.
    """
    out = scales.folder("reports", scale)
    out.mkdir(parents=True, exist_ok=True)
    books, unreadable = read_books(scale)
    course = make_course(scale, frozenset(books))
    # pandoc is a process of its own, so threads are enough to use two cores.
    with ThreadPoolExecutor(2) as pool:
        index = pool.submit(first_page, scale, books, unreadable, course, spot_check)
        pages = pool.map(lambda name: chapter_page(name, books[name], course), books)
        for name, page in zip(books, pages, strict=True):
            write_atomically(out / f"{name}.html", page.encode())
        write_atomically(out / "index.html", index.result().encode())
    write_atomically(out / "index.zh.html", chinese_page(scale, course).encode())
    for name in scales.chapters():
        if name not in books:  # A page of an earlier report would seem to be of this.
            (out / f"{name}.html").unlink(missing_ok=True)
    return out / "index.html"


def make_course(scale: str, present: frozenset[str]) -> Course:
    """Return what the pages of a scale share; `present` names those with a page."""
    openings = {}
    for name in scales.chapters():
        try:
            openings[name] = describe(read_opening(name))
        except Exception:  # The report names a file that is no notebook, and goes on.
            openings[name] = describe("")
    figures = drawings(scales.folder("figures", scale))
    return Course(openings, present, figures, scales.folder("reports", scale))
