"""Slides of a chapter: what each cell becomes, and the decks of the chapters."""

import base64
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mnistkit.report import scales
from mnistkit.report.slides import (
    build_slides,
    proposed,
    run_slides,
    slide_types,
    write_slide_types,
)

# 1 x 1 pixel
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8A"
    "AAAASUVORK5CYII="
)
QUESTION = """## Predict first

Is 2 more than 1?

<details><summary>Answers</summary>

Yes, $2 > 1$.
</details>

Now look."""


def output(**data):
    kinds = {"png": "image/png", "html": "text/html", "markdown": "text/markdown"}
    return new_output(
        "display_data", {kinds[kind]: text for kind, text in data.items()}
    )


def code(source, *outputs):
    return new_code_cell(source, outputs=list(outputs))


@pytest.fixture
def deck(project):
    """Make the slides of cells: for each stack, its slides as (text, HTML)."""

    def make(*cells):
        path = project.folder / "notebooks" / "01_planted.ipynb"
        nbformat.write(new_notebook(cells=list(cells)), path)
        page = build_slides("01_planted").read_text("utf-8")
        body = page[page.index('<div class="slides">') : page.index("<script>")]
        stacks = re.split(r"(?<=</section>)\s*</section>", body)[:-1]
        found = [re.split(r"<section>", stack)[2:] for stack in stacks]
        plain = r"<details.*?</details>|<[^>]*>"
        return [
            [
                (" ".join(re.sub(plain, " ", html, flags=re.DOTALL).split()), html)
                for html in slides
            ]
            for slides in found
        ]

    return make


def texts(stacks):
    return [[text for text, _ in slides] for slides in stacks]


def test_answers_follow_their_question_on_a_slide_of_their_own(deck):
    [[question, answer, after]] = texts(deck(new_markdown_cell(QUESTION)))
    assert question == "Predict first Is 2 more than 1?"
    assert answer.startswith("Predict first Is 2 more than 1? Answers Yes, 2 &gt; 1")
    assert after == "Predict first Now look."


def test_formulas_are_mathml(deck):
    [[_, (_, html), _]] = deck(new_markdown_cell(QUESTION))
    assert "<math" in html


def test_a_section_is_a_stack_and_code_is_folded_away(deck):
    setup, first = code("import torch"), new_markdown_cell("## One\n\nA sentence.")
    stacks = deck(setup, first, code("print(1)"), new_markdown_cell("## Two\n\nMore."))
    assert texts(stacks) == [["One A sentence."], ["Two More."]]
    [[(_, html)], _] = stacks
    assert re.search(r"<details><summary>code</summary>.*print", html, re.DOTALL)
    assert "torch" not in html


def test_a_finding_stays_with_its_figure_and_the_text_behind_leads_on(deck):
    figure = code("plot()", output(png=PNG))
    said = code("say()", output(markdown="It is so."))
    stacks = deck(new_markdown_cell("## One"), figure, said, new_markdown_cell("Why?"))
    assert texts(stacks) == [["One It is so.", "One Why?"]]
    assert stacks[0][0][1].count("<img") == 1


def test_a_long_text_goes_on_over_several_slides(deck):
    [slides] = deck(new_markdown_cell("## Long\n\n" + "\n\n".join(["word " * 60] * 5)))
    assert [text.count("word") for text, _ in slides] == [120, 120, 60]
    assert all(text.startswith("Long") for text, _ in slides)


def test_a_figure_of_the_chapter_is_shown_as_a_drawing(deck, project):
    figures = project.folder / "figures"
    figures.mkdir()
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="7"/></svg>'
    (figures / "01_planted_a.svg").write_text(drawing)

    (figures / "01_planted_a.png").write_bytes(base64.b64decode(PNG))
    [[(_, html)]] = deck(new_markdown_cell("## One"), code("", output(png=PNG)))
    assert PNG not in html and ("svg+xml" in html or "<circle" in html)


def test_metadata_decides_what_a_cell_is():
    book = new_notebook(cells=[new_markdown_cell("## One"), new_markdown_cell("b")])
    assert slide_types(book) == ["slide", "-"]
    book.cells[1].metadata["slideshow"] = {"slide_type": "skip"}
    assert slide_types(book) == ["-", "skip"]
    book.cells[1].metadata["slideshow"] = {"slide_type": "slyde"}
    with pytest.raises(ValueError, match="'slyde'; known: slide, subslide"):
        slide_types(book)


def test_large_tables_and_exercises_are_proposed_to_be_left_out():
    row = "<tr><td>1</td></tr>"
    cells = [
        new_markdown_cell("## One"),
        code("small", output(html=f"<table>{14 * row}</table>")),
        code("long", output(html=f"<table>{15 * row}</table>")),
        code("wordy", output(html=f"<table><tr><td>{'word ' * 161}</table>")),
        new_markdown_cell("## Exercises"),
        code("answer"),
    ]
    expected = ["slide", "-", "skip", "skip", "skip", "skip"]
    assert proposed(new_notebook(cells=cells)) == expected


def test_marking_writes_types_once_and_keeps_the_rest(project):
    path = project.plant("01_planted", "1 + 1")
    write_slide_types("01_planted")
    book = nbformat.read(path, 4)
    kinds = [cell.metadata.get("slideshow") for cell in book.cells]
    assert kinds == [{"slide_type": kind} for kind in ("slide", "skip", "skip")]
    assert book.cells[1].metadata["tags"] == ["parameters"]
    before = path.read_bytes()
    write_slide_types("01_planted")
    assert path.read_bytes() == before


def test_an_unknown_chapter_is_refused(project):
    project.plant("01_planted")
    with pytest.raises(ValueError, match="unknown chapter '9'"):
        run_slides(["9"])


@pytest.mark.parametrize("name", scales.chapters())
def test_the_deck_of_every_chapter_asks_for_no_other_file(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MNISTKIT_OUT", str(tmp_path))
    page = build_slides(name).read_text("utf-8")
    assert page.count("<section>") > 20
    without_scripts = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(?:src|data)=["'](?!data:)""", without_scripts)
    assert not re.search(r"<link|@import|url\((?![\"']?(?:data:|#))", without_scripts)
    assert "sourceMappingURL" not in page


@pytest.mark.parametrize("name", scales.chapters())
def test_every_chapter_says_which_cells_open_a_slide(name):
    book = nbformat.read(scales.notebook(name), 4)
    kinds = [
        cell.metadata.get("slideshow", {}).get("slide_type") for cell in book.cells
    ]
    assert kinds[0] == "slide" and kinds.count("slide") >= 4
    assert kinds[-1] == "skip"
