"""The page into which the executed chapters are merged."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mnistkit.report.publish import build_index

# The smallest PNG: one grey pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5E"
    "rkJggg=="
)
STAMP = {
    "data": "planted data",
    "device": "a processor",
    "cores": 2,
    "finished": "2026-01-02T03:04:05Z",
    "seconds": 6.7,
}
SOLUTION = "<details><summary>Solution</summary>\n\n$a$\n\n</details>"


def display(**data):
    kinds = {"markdown": "text/markdown", "html": "text/html", "png": "image/png"}
    data = {kinds[kind]: content for kind, content in data.items()}
    return new_output("display_data", data={"text/plain": "<Figure>"} | data)


@pytest.fixture
def out(project):
    """The folder of a report with an executed chapter 01_good, and without 02_other."""
    for name in ("01_good", "02_other"):
        project.plant(name)
    outputs = [
        display(markdown="**Finding** of the chapter"),
        display(html='<table><tr><td><a href="02_other.ipynb">2</a></td></tr></table>'),
        display(png=PIXEL),
    ]
    cells = [
        new_markdown_cell("# Good title\n\nA formula: $x^2$"),
        new_markdown_cell(f"## Section\n\n[next](02_other.ipynb)\n\n{SOLUTION}"),
        new_code_cell("print()", outputs=outputs),
    ]
    out = project.folder / "reports" / "smoke"
    out.mkdir(parents=True)
    book = new_notebook(cells=cells, metadata={"mnistkit": STAMP})
    nbformat.write(book, out / "01_good.ipynb")
    return out


@pytest.fixture
def page(out):
    return build_index("smoke").read_text()


def test_the_page_is_the_index_of_its_scale(out):
    assert build_index("smoke") == out / "index.html"


def test_the_page_loads_nothing(page):
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_figures_are_embedded(page):
    assert f"data:image/png;base64,{PIXEL}" in page


def test_formulas_need_no_script(page):
    assert "<math" in page
    assert "<script" not in page


def test_findings_are_text(page):
    assert "<strong>Finding</strong> of the chapter" in page


def test_tables_stay_tables(page):
    assert re.search(r"<td><a[^>]*>2</a></td>", page)


def test_links_to_other_notebooks_stay_on_the_page(page):
    assert page.count('href="#02_other"') == 2  # one in the text and one in a table
    assert ".ipynb" not in page


def test_solutions_stay_closed(page):
    assert re.search(r"<details>\s*<summary>", page)


def test_sections_stand_below_their_chapter_in_the_contents(page):
    contents = re.search("<nav.*?</nav>", page, re.DOTALL)[0]
    assert re.search(r"Good title</a>\s*<ul>\s*<li><a href=\"#section\"", contents)


def test_a_chapter_can_be_linked_by_its_name(page):
    assert 'id="01_good"' in page


def row(page, name):
    """The cells of a chapter in the table of the first section, as text."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.DOTALL)
    [found] = [cells for cells in rows if f">{name}<" in cells]
    found = re.findall(r"<td[^>]*>(.*?)</td>", found, re.DOTALL)
    return [re.sub("<.*?>", "", cell) for cell in found]


def test_the_page_says_what_a_chapter_was_executed_on(page):
    machine = "a processor, 2 cores"
    expected = ["01_good", "planted data", "2026-01-02 03:04", "7", machine]
    assert row(page, "01_good") == expected


def test_the_page_says_that_a_chapter_is_missing(page):
    assert row(page, "02_other")[1] == "missing at this scale"


def test_the_page_says_that_the_last_execution_failed(out):
    (out / "01_good.failed.ipynb").write_text("")
    page = build_index("smoke").read_text()
    assert row(page, "01_good")[1] == "planted data (the last execution failed)"
    assert 'href="01_good.failed.ipynb"' in page


def test_the_page_lists_figures_and_tables(out, project):
    figures = project.folder / "figures" / "smoke"
    figures.mkdir(parents=True)
    for file in (figures / "01_good_line.svg", out / "01_good_count.csv"):
        file.write_text("")
    page = build_index("smoke").read_text()
    assert 'href="01_good_count.csv"' in page
    assert 'href="../../figures/smoke/01_good_line.svg"' in page
    assert 'href="../../figures/smoke/01_good_line.png"' in page


def test_a_page_without_chapters_names_them_all(project):
    project.plant("01_good")
    assert (
        row(build_index("quick").read_text(), "01_good")[1] == "missing at this scale"
    )


def test_a_chapter_without_a_title_is_called_by_its_name(out):
    book = nbformat.read(out / "01_good.ipynb", 4)
    nbformat.write(
        new_notebook(metadata=book.metadata, cells=book.cells[2:]),
        out / "01_good.ipynb",
    )
    assert re.search(r"<h1[^>]*>.*01_good</h1>", build_index("smoke").read_text())
