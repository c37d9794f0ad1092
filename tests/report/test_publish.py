"""The page into which the executed chapters are merged."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import mnistkit
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
    metadata = {"image/png": {"alt": 'One grey "pixel"', "width": 500}}
    data = {"text/plain": "<Figure>"} | data
    return new_output("display_data", data=data, metadata=metadata)


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
    return build_index("smoke").read_text("utf-8")


def test_the_page_is_the_index_of_its_scale(out):
    assert build_index("smoke") == out / "index.html"


def test_the_page_loads_nothing(page):
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_figures_are_embedded(page):
    assert f"data:image/png;base64,{PIXEL}" in page


def test_a_figure_has_its_alternative_text(page):
    [image] = re.findall(r"<img[^>]*alt=[^>]*>", page)
    assert 'alt="One grey &quot;pixel&quot;"' in image
    assert 'width="500"' in image or "width:500px" in image.replace(" ", "")


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
    assert re.search(r"Good title</a>\s*<ul>\s*<li><a href=\"#01-section\"", contents)


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
    (out / "01_good.failed.ipynb").write_text("", "utf-8")
    page = build_index("smoke").read_text("utf-8")
    assert row(page, "01_good")[1] == "planted data (the last execution failed)"
    assert 'href="01_good.failed.ipynb"' in page


def test_the_page_lists_figures_and_tables(out, project):
    figures = project.folder / "figures" / "smoke"
    figures.mkdir(parents=True)
    for file in (figures / "01_good_line.svg", out / "01_good_count.csv"):
        file.write_text("", "utf-8")
    page = build_index("smoke").read_text("utf-8")
    assert 'href="01_good_count.csv"' in page
    assert 'href="../../figures/smoke/01_good_line.svg"' in page
    assert 'href="../../figures/smoke/01_good_line.png"' in page


def test_a_page_without_chapters_names_them_all(project):
    project.plant("01_good")
    assert (
        row(build_index("quick").read_text("utf-8"), "01_good")[1]
        == "missing at this scale"
    )


def test_a_chapter_without_a_title_is_called_by_its_name(out):
    book = nbformat.read(out / "01_good.ipynb", 4)
    nbformat.write(
        new_notebook(metadata=book.metadata, cells=book.cells[2:]),
        out / "01_good.ipynb",
    )
    assert re.search(
        r"<h1[^>]*>.*01_good</h1>", build_index("smoke").read_text("utf-8")
    )


# ------------------------------------------------------------ ids, and what they are of


class Ids(HTMLParser):
    """All ids of a page, the chapter of each, and the links of its contents."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.chapters, self.contents = [], {}, []
        self.in_contents, self.chapter = False, ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.in_contents |= tag == "nav"
        if "id" in found:
            if re.fullmatch(r"\d\d_\w+", found["id"]):
                self.chapter = found["id"]
            self.ids.append(found["id"])
            self.chapters[found["id"]] = self.chapter
        if tag == "a" and self.in_contents:
            self.contents.append(found["href"].removeprefix("#"))

    def handle_endtag(self, tag):
        if tag == "nav":
            self.in_contents = False


@pytest.fixture
def twins(out):
    """The ids of a page of two chapters with equal sections, one of them twice."""
    text = "## Findings\n\n[up](#findings)"
    for name in ("01_good", "02_other"):
        cells = [new_markdown_cell(source) for source in (f"# {name}", text, text)]
        for number, cell in enumerate(cells):
            cell.id = f"cell{number}"
        book = new_notebook(cells=cells, metadata={"mnistkit": STAMP})
        nbformat.write(book, out / f"{name}.ipynb")
    return Ids(build_index("smoke").read_text("utf-8"))


def test_ids_differ_in_the_whole_page(twins):
    assert sorted(twins.ids) == sorted(set(twins.ids))


def test_the_contents_lead_to_sections_of_the_same_chapter(twins):
    found = [(link[:2], twins.chapters[link][:2]) for link in twins.contents[1:-1]]
    assert found == [(n, n) for n in ("01", "02") for _ in range(3)]


def test_a_link_to_a_section_stays_in_its_chapter(twins, out):
    page = (out / "index.html").read_text("utf-8")
    assert page.count('<a href="#01-findings">up') == 2
    assert page.count('<a href="#02-findings">up') == 2


# --------------------------------------------------------- copies that are not readable


def notebook(**changes):
    cells = [new_markdown_cell("planted")]
    book = new_notebook(cells=cells, metadata={"mnistkit": STAMP}) | changes
    return json.dumps(book)


UNREADABLE = {
    "empty": "",
    "truncated": notebook()[:-20],
    "no notebook": "[]",
    "no cells": notebook(cells=[]),
    "a cell without a source": notebook(cells=[{"cell_type": "code"}]),
    "foreign": notebook(metadata={}),
    "seconds in words": notebook(metadata={"mnistkit": STAMP | {"seconds": "six"}}),
    "metadata without data": notebook(metadata={"mnistkit": {"seconds": 6.7}}),
    "no UTF-8": b"\xff\xfe",
}


@pytest.mark.filterwarnings("ignore")  # nbformat says what is wrong as well
@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_copy_that_cannot_be_read_is_listed_and_left_out(out, content):
    content = content if isinstance(content, bytes) else content.encode()
    (out / "02_other.ipynb").write_bytes(content)
    page = build_index("smoke").read_text("utf-8")
    message = "unreadable: 02_other.ipynb is no executed chapter"
    assert row(page, "02_other")[1] == message
    assert row(page, "01_good")[1] == "planted data"


# --------------------------------------------------- what others wrote, and other files


def test_names_of_files_are_text(out):
    (out / "01_good_a](javascript:alert(1))<b>.csv").write_text("", "utf-8")
    page = build_index("smoke").read_text("utf-8")
    address = "01_good_a%5D%28javascript%3Aalert%281%29%29%3Cb%3E.csv"
    text = "01_good_a](javascript:alert(1))&lt;b&gt;"
    assert re.search(rf'<a\s+href="{address}">{re.escape(text)}</a>', page)


def test_metadata_are_text(out):
    book = nbformat.read(out / "01_good.ipynb", 4)
    book.metadata["mnistkit"]["data"] = "<script>x</script> | [a](b) *c*"
    nbformat.write(book, out / "01_good.ipynb")
    page = build_index("smoke").read_text("utf-8")
    assert row(page, "01_good")[1] == "&lt;script&gt;x&lt;/script&gt; | [a](b) *c*"


def page_of(out, text):
    book = nbformat.read(out / "01_good.ipynb", 4)
    book.cells.append(new_markdown_cell(text))
    nbformat.write(book, out / "01_good.ipynb")
    return build_index("smoke").read_text("utf-8")


def test_a_link_of_a_chapter_runs_no_script(out):
    page = page_of(out, "[name](JavaScript:alert(1)) [web](https://example.org)")
    assert "avaScript:alert" not in page
    assert 'href="https://example.org"' in page


TEXTS = ["![x]({})", '<img src="{}">', '<iframe src="{}"></iframe>']


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("address", ["{}", "../../secret.svg", "file://{}"])
def test_a_file_outside_the_project_is_not_embedded(out, project, text, address):
    secret = project.folder.parent / "secret.svg"
    secret.write_text("<svg>planted</svg>", "utf-8")
    before = build_index("smoke").read_text("utf-8").count("data:image")
    page = page_of(out, text.format(address.format(secret)))
    assert page.count("data:") == before


@pytest.mark.parametrize("text", TEXTS[:2])
@pytest.mark.parametrize("address", ["a%20plot.svg", "../figures/a%20plot.svg"])
def test_an_image_of_the_project_is_embedded(out, project, text, address):
    (project.folder / "figures").mkdir()
    for kind in ("notebooks", "figures"):
        path = project.folder / kind / "a plot.svg"
        path.write_text("<svg>planted</svg>", "utf-8")
    page = page_of(out, text.format(address))
    assert "data:image/svg+xml;base64," in page


def test_the_page_has_its_style(page):
    assert "#about-this-report { margin-top: 0" in page


def test_the_page_is_made_in_a_c_locale_below_any_path(out, project):
    """pandoc decodes its arguments, and the names of files, with the locale."""
    folder = project.folder / "Übung 项目"
    folder.mkdir()
    (folder / "mnistkit").symlink_to(Path(mnistkit.__file__).parent)
    script = (
        "from mnistkit.report import scales, publish\n"
        "from mnistkit.storage import places\n"
        f"places.ROOT = places.Path({ascii(str(project.folder))})\n"
        "print(ascii(str(publish.__file__)))\n"
        "publish.build_index('smoke')"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = os.environ | locale | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"bung" in done.stdout
    assert "Good title" in (out / "index.html").read_text("utf-8")


def test_an_error_of_pandoc_is_an_os_error(out, monkeypatch):
    """The command line shows an OSError in one line."""

    def fail(*arguments, **options):
        raise RuntimeError("planted")

    monkeypatch.setattr("mnistkit.report.publish.pypandoc.convert_text", fail)
    with pytest.raises(OSError, match="pandoc cannot make the page: planted"):
        build_index("smoke")
