"""The book: what stands in it, and that it is the same book each time."""

import re

import pypdf
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mnistkit.report import book, scales
from mnistkit.report.book_cells import CHECKED, FOLDED, NOT_IN_PRINT, chapter_text
from mnistkit.report.book_floats import Pictures, table, without_footer

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
    names = sorted(path.name for path in source.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert all((source / n).read_bytes() == (tmp_path / n).read_bytes() for n in names)
    assert book.compile_book(tmp_path / "book.typ") == content


def test_every_chapter_is_in_the_outline(pdf):
    titles = [entry.title for entry in pdf.outline if not isinstance(entry, list)]
    numbers = [title[:2] for title in titles if re.match(r"\d\d ", title)]
    assert numbers == [name[:2] for name in scales.chapters()]
    ends = ["A Answers and solutions", "B The training loop", "References"]
    assert titles[-3:] == ends


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
    assert labels == re.findall(r"#answer-at\(<a(.+?)>", chapters)
    folded = [text for name in scales.chapters() for text in printed_folds(name)]
    assert len(labels) == len(folded) > 60
    codes = re.findall(r"^```python\n(.*?)^```", "\n".join(folded), re.M | re.S)
    assert len(codes) > 20 and all(code in appendix for code in codes)


def printed_folds(name):
    """The folded texts of a chapter in sections that are printed."""
    cells = book.read_executed(name, "full").cells
    text = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    parts = re.split(r"^#{2,3} (?=\S)", text, flags=re.MULTILINE)
    printed = [part for part in parts if not NOT_IN_PRINT.match(part)]
    folds = [fold for part in printed for _, fold in FOLDED.findall(part)]
    return [CHECKED.sub("", fold) for fold in folds]


def test_the_findings_open_the_book(pdf):
    opening = " ".join(pdf.pages[1].extract_text().split())
    assert opening.startswith("What was found 1. A printed log can be checked.")
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
    typst = table(page, "01_planted", [])
    assert 'cells: ("a < b", "−1,234.50",)' in typst
    assert 'caption: "Two rows. 3 seeds."' in typst
    assert "align: (right, right,)" in typst


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
