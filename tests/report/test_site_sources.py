"""Which notebooks become pages: copies, stored notebooks, and what cannot be read."""

import json
import os
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from site_pages import PIXEL, STAMP, display, good_cells, write_copy

import mnistkit
from mnistkit.report.site.build import build_site


@pytest.fixture
def full(project):
    """The folder of a full report; chapter 01_good has cells that vary, or do not."""
    project.plant("01_good")
    path = project.folder / "notebooks" / "01_good.ipynb"
    nbformat.write(new_notebook(cells=cells_with("stored")), path)
    (project.folder / "reports").mkdir()
    return project.folder / "reports"


def cells_with(word, source="live()"):
    live = new_code_cell(source, outputs=[display(markdown=f"live: {word}")])
    live.metadata["tags"] = ["nbval-ignore-output"]
    other = new_code_cell("other()", outputs=[display(markdown=f"other: {word}")])
    cells = [new_markdown_cell("# Title"), live, other]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return cells


def page(out):
    build_site("full")
    return (out / "01_good.html").read_text("utf-8")


def test_what_varies_is_shown_as_it_is_stored(full):
    write_copy(full / "01_good.ipynb", cells_with("new"))
    assert "live: stored" in page(full)
    assert "other: new" in page(full)


def test_an_edited_cell_shows_what_it_did(full):
    write_copy(full / "01_good.ipynb", cells_with("new", "edited()"))
    assert "live: new" in page(full)


def test_without_a_copy_the_stored_notebook_is_the_page(full):
    assert "other: stored" in page(full)


def test_a_live_figure_stays_what_the_notebook_stores(full, project):
    """The file of a figure is that of the last execution."""
    [_, live, _] = cells = cells_with("stored")
    live.outputs = [display(png=PIXEL)]
    write_copy(full / "01_good.ipynb", cells)
    nbformat.write(
        new_notebook(cells=cells), project.folder / "notebooks" / "01_good.ipynb"
    )
    figures = project.folder / "figures"
    figures.mkdir()
    (figures / "01_good_a.png").write_bytes(b64decode(PIXEL))
    (figures / "01_good_a.svg").write_text("<svg></svg>", "utf-8")
    assert "svg+xml" not in page(full)
    del live.metadata["tags"]
    write_copy(full / "01_good.ipynb", cells)
    assert "svg+xml" in page(full)


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


@pytest.fixture
def out(project):
    """A smoke report of 01_good; 02_other has no copy yet."""
    for name in ("01_good", "02_other"):
        project.plant(name)
    out = project.folder / "reports" / "smoke"
    out.mkdir(parents=True)
    write_copy(out / "01_good.ipynb", good_cells())
    return out


@pytest.mark.filterwarnings("ignore")  # nbformat says what is wrong as well
@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_copy_that_cannot_be_read_is_listed_and_left_out(out, content):
    content = content if isinstance(content, bytes) else content.encode()
    (out / "02_other.ipynb").write_bytes(content)
    index = build_site("smoke").read_text("utf-8")
    assert "unreadable: 02_other.ipynb is no executed chapter" in index
    assert not (out / "02_other.html").exists()
    assert (out / "01_good.html").exists()


def test_the_site_is_made_in_a_c_locale_below_any_path(out, project):
    """pandoc decodes what it reads, and the names of files, with the locale."""
    folder = project.folder / "Übung 项目"
    folder.mkdir()
    (folder / "mnistkit").symlink_to(Path(mnistkit.__file__).parent)
    script = (
        "from mnistkit.report.site import build\n"
        "from mnistkit.storage import places\n"
        f"places.ROOT = places.Path({ascii(str(project.folder))})\n"
        "print(ascii(build.__file__))\n"
        "build.build_site('smoke')"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = os.environ | locale | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"bung" in done.stdout
    assert "Good title" in (out / "01_good.html").read_text("utf-8")


def test_an_error_of_pandoc_is_an_os_error(out, monkeypatch):
    """The command line shows an OSError in one line."""

    def fail(*arguments, **options):
        raise RuntimeError("planted")

    monkeypatch.setattr("mnistkit.report.site.markdown.pypandoc.convert_text", fail)
    with pytest.raises(OSError, match="pandoc cannot make the page: planted"):
        build_site("smoke")
