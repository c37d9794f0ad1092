"""The book: what stands in it, and that it is the same book each time."""

import base64
import json
import re

import pandas as pd
import pypdf
import pytest
import typst
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)

from mnistkit.report import book, scales
from mnistkit.report.book_cells import FOLDED, NOT_IN_PRINT, chapter_text
from mnistkit.report.book_floats import (
    PAGE_WIDTH,
    Pictures,
    rows_table,
    table,
    without_footer,
)

MEGABYTE = 2**20


@pytest.fixture(scope="module", autouse=True)
def stored_reports():
    """The stored reports are read, wherever the notebooks of this session write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MNISTKIT_OUT", raising=False)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of the book's source, made from the stored notebooks."""
    folder = tmp_path_factory.mktemp("book")
    book.write_source("full", folder)
    book.put_in_order(folder / "book.typ")
    return folder


@pytest.fixture(scope="module")
def content(source):
    return book.compile_book(source / "book.typ")


@pytest.fixture(scope="module")
def pdf(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("pdf") / "report.pdf"
    path.write_bytes(content)
    return pypdf.PdfReader(path)


@pytest.fixture(scope="module")
def text(pdf):
    return "\n".join(page.extract_text() for page in pdf.pages)


@pytest.fixture
def written(monkeypatch, tmp_path):
    """A function that returns the text of a chapter with the given cells."""

    def write(*cells):
        pictures = Pictures("01_planted", tmp_path)
        opening = new_markdown_cell("# 01 · Planted\n\n## A section")
        return chapter_text("01", new_notebook(cells=[opening, *cells]), pictures)

    return write


def body(text):
    return "".join(text.parts)


def test_the_book_is_short_and_small(pdf, content):
    assert len(pdf.pages) <= 60
    assert len(content) <= 5 * MEGABYTE


def test_equal_chapters_give_equal_bytes(source, content, tmp_path):
    book.write_source("full", tmp_path)
    book.put_in_order(tmp_path / "book.typ")
    names = sorted(path.name for path in source.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert all((source / n).read_bytes() == (tmp_path / n).read_bytes() for n in names)
    assert book.compile_book(tmp_path / "book.typ") == content


def test_every_chapter_is_in_the_outline(pdf):
    titles = [entry.title for entry in pdf.outline if not isinstance(entry, list)]
    numbers = [title[:2] for title in titles if re.match(r"\d\d ", title)]
    assert numbers == [name[:2] for name in scales.chapters()]
    ends = ["A The claims, one by one", "B Answers", "C The training loop"]
    assert titles[-4:] == [*ends, "References"]


def test_the_pdf_is_tagged_and_every_figure_is_described(pdf, source):
    assert pdf.trailer["/Root"]["/MarkInfo"]["/Marked"]
    figures = [e for e in elements(pdf) if e.get("/S") == "/Figure"]
    shown = (source / "book.typ").read_text("utf-8").count("#picture(")
    assert len(figures) == shown > 70
    assert all(len(figure["/Alt"]) > 10 for figure in figures)


def elements(pdf):
    """All structure elements of a PDF."""
    waiting = [pdf.trailer["/Root"]["/StructTreeRoot"]]
    while waiting:
        element = waiting.pop()
        if isinstance(element, pypdf.generic.IndirectObject):
            element = element.get_object()
        if isinstance(element, list):
            waiting += element
        elif isinstance(element, dict):
            yield element
            waiting.append(element.get("/K", []))


def test_no_code_that_plots_is_shown(source):
    chapters = (source / "book.typ").read_text("utf-8").split("#show: appendix")[0]
    shown = re.findall(r"^```python\n(.*?)^```", chapters, re.MULTILINE | re.DOTALL)
    assert len(shown) > 20
    assert not [code for code in shown if re.search(r"\b(plt|plots|chapter)\.", code)]


def test_every_folded_text_stands_in_the_appendix(source):
    """But those of sections that are not printed, and each is linked once."""
    typst = (source / "book.typ").read_text("utf-8")
    chapters, appendix = typst.split("#show: appendix")
    labels = re.findall(r'#answer\(label\("a(.+?)"\)', appendix)
    assert labels == re.findall(r"#answers?-at\(<a(.+?)>", chapters)
    folded = [text for name in scales.chapters() for text in printed_folds(name)]
    assert len(labels) == len(folded) > 30


def test_every_claim_stands_in_the_appendix(source, text):
    """With its outcome and what was found, as chapter 07 stored them."""
    path = scales.folder("reports", "full") / "07_five_reports_revisited_all.csv"
    stored = pd.read_csv(path, dtype=str).fillna("")
    typst = (source / "book.typ").read_text("utf-8")
    listed = [
        json.loads(f"[{row}]") for row in re.findall(r"^#claim\((.*)\)$", typst, re.M)
    ]
    assert [row[0] for row in listed] == stored["id"].tolist()
    assert all(
        row[3].startswith(outcome)
        and row[4].replace("\N{NO-BREAK SPACE}", " ") == found
        for row, outcome, found in zip(
            listed, stored["outcome"], stored["regenerated"], strict=True
        )
    )
    assert all(name in text for name in stored["id"])


def test_no_figure_stands_below_a_later_one(pdf, source):
    """So their numbers rise from page to page, and down each page."""
    order = re.findall(
        r'^#picture\((?:floats: false, )?"(.+?)"',
        (source / "book.typ").read_text(),
        re.M,
    )
    found = typst.query(
        str(source / "book.typ"), "<placed>", field="value", ignore_system_fonts=True
    )
    place = {file: (page, y) for file, page, y in json.loads(found)}
    assert [place[file] for file in order] == sorted(place.values())


def test_the_labels_of_a_figure_can_be_read(source):
    """They have 9 points in a notebook, and 5 or more in print.

    Only the four matrices of chapter 06, two rows of two, have smaller ones.
    """
    typst = (source / "book.typ").read_text("utf-8")
    drawn = re.findall(
        r'^#picture\((?:floats: false, )?"(.+?\.svg)".* share: (\d+)%', typst, re.M
    )
    points = {}
    for file, share in drawn:
        svg = (source / file).read_text("utf-8")
        if 'id="xtick_1"' in svg:
            width = float(re.search(r'width="([\d.]+)pt"', svg)[1])
            points[file] = 9 * PAGE_WIDTH * int(share) / 100 / width
    assert len(points) > 60
    small = [file for file, size in points.items() if size < 5]
    assert small == ["06_confusion_matrix_analysis_matrices.svg"]
    assert points[small[0]] > 4


def printed_folds(name):
    """The folded texts of a chapter in sections that are printed."""
    cells = book.read_executed(name, "full").cells
    text = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    parts = re.split(r"^#{2,3} (?=\S)", text, flags=re.MULTILINE)
    printed = [part for part in parts if not NOT_IN_PRINT.match(part)]
    folds = [fold for part in printed for _, fold in FOLDED.findall(part)]
    return folds


def test_the_findings_open_the_book(pdf):
    opening = " ".join(pdf.pages[0].extract_text().split())
    assert "What was found Five student reports" in opening
    assert "1. A printed log can be checked." in opening
    assert "All in all, of " in opening


def test_every_citation_has_a_reference(source):
    entries = re.findall(r"^@\w+\{(\w+),", (source / "book.bib").read_text(), re.M)
    cited = re.findall(r"#cite\(<(\w+)>\)", (source / "book.typ").read_text("utf-8"))
    assert set(cited) <= set(entries) == set(book.CITED.values())
    assert len(entries) == len(set(entries)) and len(set(cited)) > 20


def test_sections_for_a_live_notebook_are_left_out(written):
    text = written(
        new_markdown_cell("Stays.\n\n## Try it: change one word\n\nGoes."),
        new_markdown_cell("### Deeper\n\nGoes too."),
        new_markdown_cell("## Next\n\nStays as well.\n\n**Try it.** Goes."),
    )
    assert "Stays." in body(text) and "Stays as well." in body(text)
    assert "Go" not in body(text) and "Deeper" not in body(text)


def test_a_sentence_that_asks_to_run_a_cell_is_left_out(written):
    asks = "Read the table. Change a rate and run the\ncells again. It has 1.5 rows."
    assert "Read the table. It has 1.5 rows." in body(written(new_markdown_cell(asks)))


def test_a_section_that_leads_to_a_widget_is_left_out(written):
    """Even if a cell without an output stands between."""
    png = base64.b64encode(b"no saved figure").decode()
    widget = new_output("display_data", data={"image/png": png})
    text = written(
        new_markdown_cell("Stays.\n\n### A slider\n\nGoes."),
        new_code_cell("model = make()"),
        new_code_cell("Widget(model)", outputs=[widget]),
    )
    assert "Stays." in body(text) and "Goes." not in body(text)


def test_a_link_to_a_chapter_that_is_not_in_the_book_is_its_text():
    links = "[this](02_model_zoo.ipynb), [that](06_confusion.ipynb)"
    made = book.to_typst(f"# 02 · Model zoo\n\nSee {links}.")
    assert "#link(<ch02>)[this], that." in made
    assert "ch06" not in made


def test_no_line_ends_before_a_percent_sign(written):
    made = book.to_typst("A share of 95\n% and 5 %, *7* %, or 100 points.")
    assert "95~% and 5~%," in made and "100 points" in made


def test_code_is_shown_in_sections_by_hand_only(written):
    define = new_code_cell("def f(x):\n    return x")
    call = new_code_cell("print(f(1))")
    assert "```python" not in body(written(define))
    by_hand = written(new_markdown_cell("## A rule, by hand"), define, call)
    assert "def f(x)" in body(by_hand) and "print" not in body(by_hand)


def test_code_that_plots_is_not_shown_even_by_hand(written):
    plot = "import matplotlib.pyplot as plt\n\ndef draw(x):\n    plt.plot(x)"
    text = written(new_markdown_cell("## By hand: by hand"), new_code_cell(plot))
    assert "```python" not in body(text)


def test_an_answer_is_linked_from_its_question(written):
    question = "## Quick questions\n\n**1.** Why?\n\n"
    folded = "<details><summary>Answer</summary>\n\nBecause.\n</details>"
    text = written(new_markdown_cell(question + folded))
    [answer] = text.answers
    assert (answer.question, answer.text) == ("Quick questions, 1", "Because.")
    assert "Because" not in body(text)
    assert f"**1.** Why?`#answer-at(<a{answer.label}>" in body(text)


def test_a_table_keeps_its_numbers_and_its_alignment():
    page = (
        '<style></style><table id="T_01_planted_two_rows"><caption>3 seeds</caption>'
        "<thead><tr><th>name</th><th>value</th></tr></thead>"
        "<tbody><tr><td>a &lt; b</td><td>−1,234.50</td></tr></tbody></table>"
    )
    typst = table(page, "01_planted", ["How `many`?"], [])
    assert 'cells: ("a < b", "−1,234.50",)' in typst
    assert 'caption: "How many? (3 seeds)."' in typst
    assert "align: (right, right,)" in typst


def test_a_second_table_of_a_section_is_called_by_its_name():
    head = "<thead><tr><th>n</th></tr></thead>"
    body = "<tbody><tr><td>1</td></tr></tbody>"
    page = f'<table id="T_01_planted_r2_rows">{head}{body}</table>'
    assert 'caption: "By digit: R2 rows."' in table(
        page, "01_planted", ["By digit"], ["By digit"]
    )


def test_a_long_title_of_a_column_is_wrapped():
    titles = [f"the error of network {i} in percent" for i in range(6)]
    made = rows_table(titles, [["1.0"] * 6], "Errors.")
    assert "columns: (auto, auto, auto, auto, auto, auto,)" in made
    assert '"the error of\\nnetwork 0 in\\npercent"' in made


def test_a_figure_ends_above_its_footer():
    svg = (
        '<svg width="90pt" height="60pt" viewBox="0 0 90 60">\n <g id="a"/>\n'
        ' <g id="footer">\n  <!-- 3 seeds -->\n'
        '  <g transform="translate(7.2 50) scale(0.07 -0.07)">\n'
        '   <defs><path id="x"/></defs>\n   <use xlink:href="#x"/>\n  </g>\n'
        " </g>\n</svg>"
    )
    bare, note = without_footer(svg)
    assert note == "3 seeds"
    assert 'height="42.00pt"' in bare and 'viewBox="0 0 90 42.00"' in bare
    assert "<use" not in bare and '<path id="x"/>' in bare


def test_a_small_report_makes_a_book_of_what_can_be_read(project):
    """Here two chapters were executed, and the file of one is damaged."""
    for name in ("01_good", "02_damaged"):
        copy = project.folder / "reports" / "smoke" / f"{name}.ipynb"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(project.plant(name).read_bytes())
    copy.write_text("{")
    pdf = pypdf.PdfReader(book.build_book("smoke"))
    text = "\n".join(page.extract_text() for page in pdf.pages)
    assert "01_good" in text and "02_damaged" not in text
    assert "smoke scale" in pdf.pages[0].extract_text()
