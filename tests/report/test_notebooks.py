"""The naming chain and the shape of the notebooks, as stored in the repository."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from mnistkit.report.scales import SCALES, chapters, notebook
from mnistkit.storage.places import ROOT

CHAPTERS = chapters()


def read(name):
    return nbformat.read(notebook(name), 4)


def code(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def parameters(book):
    cells = [c for c in code(book) if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    return cells[0].source


def test_chapters_are_numbered_without_gaps():
    numbers = [int(name[:2]) for name in CHAPTERS]
    assert numbers == list(range(len(CHAPTERS)))
    assert {path.name for path in (ROOT / "notebooks").iterdir() if path.is_file()} == {
        f"{name}.ipynb" for name in CHAPTERS
    }


@pytest.mark.parametrize("name", CHAPTERS)
def test_scales_inject_what_the_notebook_declares(name):
    declared = {}
    for line in parameters(read(name)).splitlines():
        found = re.fullmatch(r"(\w+): [\w\[\]]+ = (.+?)  # \S.*", line)
        assert found, f"not `name: type = literal  # comment`: {line}"
        declared[found[1]] = type(ast.literal_eval(found[2]))
    assert declared["scale"] is str
    for scale in ("smoke", "quick"):
        for key, value in SCALES[scale][name].items():
            assert type(value) is declared[key], f"{scale}: {key}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_name_goes_through_to_figures_and_tables(name):
    source = "\n".join(cell.source for cell in code(read(name)))
    assert f'Chapter("{name}", scale, mnist)' in source
    assert "chapter.save_figure(" in source and "chapter.save_table(" in source
    assert ".savefig(" not in source and ".to_csv(" not in source


@pytest.mark.parametrize("name", CHAPTERS)
def test_shape(name):
    book = read(name)
    sources = [cell.source for cell in code(book)]
    lines = [source.splitlines() for source in sources]
    assert all(source.strip() for source in sources)
    assert len(sources) >= 12 and max(map(len, lines)) <= 20
    assert max(len(line) for cell in lines for line in cell) <= 88
    text = "\n".join(sources)
    assert "sys.path" not in text and not re.search(r"import \*", text)
    assert not any(source.rstrip().endswith(";") for source in sources)
    prose = "\n".join(c.source for c in book.cells if c.cell_type == "markdown")
    assert re.match(rf"# {name[:2]} · \w", book.cells[0].source)
    assert "**Question" in prose and "## Exercises" in prose
    # findings are computed, not typed
    assert "Markdown(" in text or "chapter.say(" in text
    assert 2 <= prose.count("<details>") == prose.count("</details>")


@pytest.mark.parametrize("name", CHAPTERS)
def test_stored_outputs(name):
    """Executed from top to bottom, no errors, no traces of the machine."""
    book = read(name)
    counts = [cell.execution_count for cell in code(book)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in code(book) for output in cell.outputs]
    assert all(output.output_type != "error" for output in outputs)
    assert all(output.get("name") != "stderr" for output in outputs)
    assert "widgets" not in book.metadata and "papermill" not in book.metadata
    text = notebook(name).read_text("utf-8")
    assert str(Path.home()) not in text and "/tmp/" not in text
    assert len(text) < 2_500_000


@pytest.mark.parametrize("name", CHAPTERS)
def test_some_outputs_are_compared(name):
    """A notebook whose every output is ignored would pass nbval with any content."""
    loose = {"nbval-ignore-output", "nbval-skip"}
    cells = code(read(name))
    strict = [cell for cell in cells if not loose & set(cell.metadata.get("tags", []))]
    asserts = sum(cell.source.count("assert ") for cell in cells)
    assert len(strict) >= 0.8 * len(cells) and asserts >= 2


@pytest.mark.parametrize("name", CHAPTERS)
def test_each_picture_is_described_and_shown_once(name):
    """A figure begun in one cell and saved in the next one would appear twice."""
    pictures = [
        (output.data["text/plain"], output.metadata["image/png"].get("alt"))
        for cell in code(read(name))
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert pictures
    assert [text for text, alt in pictures if not alt or text.startswith("<Fig")] == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_code_cell_has_one_idea(name):
    """At most 12 lines, and 6 on average; the cell of the parameters may be longer."""
    sources = [
        cell.source
        for cell in code(read(name))
        if "parameters" not in cell.metadata.get("tags", [])
    ]
    lengths = [len(source.splitlines()) for source in sources]
    assert max(lengths) <= 12
    assert sum(lengths) / len(lengths) <= 6


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_exercise_shows_its_answer(name):
    """What an answer is compared with stands in a folded cell above it."""
    cells = code(read(name))
    folded = "\n".join(
        cell.source
        for cell in cells
        if cell.metadata.get("jupyter", {}).get("source_hidden")
    )
    for cell in cells:
        for expected in re.findall(r"^check\(answer\w*, ([^,]+)", cell.source, re.M):
            name = expected.removesuffix("(answer)")
            assert re.fullmatch(r"expected_\d+", name)
            assert f"{name} = " in folded or f"def {name}(answer)" in folded
