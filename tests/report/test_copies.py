"""What an executed copy keeps, and what of it goes back into notebooks/."""

import nbformat
import pytest
from nbformat.v4 import new_output

from mnistkit.report import scales
from mnistkit.report.copies import clean, update_notebook


def test_a_clean_notebook_has_nothing_that_changes_at_every_execution(project):
    path = project.plant("01_good")
    before, book = nbformat.read(path, 4), nbformat.read(path, 4)
    book.metadata |= {"papermill": {"duration": 1}, "widgets": {}}
    for cell in book.cells:
        cell.metadata |= {"papermill": {}, "execution": {}}
        cell.metadata.setdefault("tags", [])
    clean(book)
    assert book == before


def test_a_clean_notebook_has_no_widgets(project):
    book = nbformat.read(project.plant("01_good"), 4)
    text = new_output("stream", text="kept")
    widget = new_output(
        "display_data", data={"application/vnd.jupyter.widget-view+json": {}}
    )
    book.cells[-1].outputs = [widget, text]
    clean(book)
    assert book.cells[-1].outputs == [text]


def test_the_still_of_a_widget_stays(project):
    book = nbformat.read(project.plant("01_good"), 4)
    still = {"text/plain": "a widget", "image/png": "AAAA"}
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    book.cells[-1].outputs = [new_output("display_data", data=still | widget)]
    clean(book)
    assert book.cells[-1].outputs == [new_output("display_data", data=still)]


@pytest.fixture
def executed(project):
    """The copy of a planted notebook 01_good, with an output."""
    book = nbformat.read(project.plant("01_good"), 4)
    book.metadata["mnistkit"] = {"scale": "full"}
    book.cells[-1].outputs = [new_output("stream", text="3")]
    book.cells[-1].execution_count = 2
    path = project.folder / "executed.ipynb"
    nbformat.write(book, path)
    return path


def test_an_updated_notebook_has_the_outputs_and_nothing_else(executed):
    expected = nbformat.read(scales.notebook("01_good"), 4)
    expected.cells[-1].outputs = [new_output("stream", text="3")]
    expected.cells[-1].execution_count = 2
    update_notebook("01_good", executed)
    assert nbformat.read(scales.notebook("01_good"), 4) == expected


def test_a_notebook_that_was_edited_is_not_updated(executed, project):
    path = project.plant("01_good", "print(n + 1)")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="01_good was edited while it ran"):
        update_notebook("01_good", executed)
    assert path.read_bytes() == before
