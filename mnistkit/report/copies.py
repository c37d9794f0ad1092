"""Executed copies of the notebooks: kept in reports/, or put back into notebooks/."""

import sys
import time
from pathlib import Path

import nbformat
import torch
from nbformat import NotebookNode
from tqdm import tqdm

from mnistkit.report import scales
from mnistkit.report.one_chapter import ChapterProcess
from mnistkit.runs import environment
from mnistkit.storage.store import write_atomically

WIDGET = "application/vnd.jupyter.widget-view+json"


def keep_copy(chapter: ChapterProcess, out: Path, stamp: dict[str, str]) -> str | None:
    """Put the copy of an executed chapter into `out`; print its seconds or its error.

    Returns the error, None if there was none.
    """
    seconds = time.perf_counter() - chapter.start
    error = chapter.wait()
    failed = out / f"{chapter.name}.failed.ipynb"
    if error is not None:
        if chapter.copy.exists():
            write_atomically(failed, chapter.copy.read_bytes())
        tqdm.write(f"{chapter.name} failed: {error}", sys.stderr)
        return error
    book = nbformat.read(chapter.copy, 4)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clean(book)
    book.metadata["mnistkit"] = stamp | environment(device) | {"seconds": seconds}
    write_atomically(out / f"{chapter.name}.ipynb", nbformat.writes(book).encode())
    failed.unlink(missing_ok=True)
    tqdm.write(f"{chapter.name}  {seconds:.1f} s", sys.stdout)
    return None


def clean(book: NotebookNode) -> None:
    """Drop what changes at every execution, and widgets, which need a live kernel.

    Of a widget that has a picture (`mnistkit.widgets.base`) that picture stays.
    """
    book.metadata.pop("papermill", None)
    book.metadata.pop("widgets", None)
    for cell in book.cells:
        for key in ("papermill", "execution", "tags"):
            if key != "tags" or not cell.metadata.get("tags"):
                cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if is_kept(output)]


def is_kept(output: NotebookNode) -> bool:
    """Whether anything is left of an output once its widget, if it is one, is gone."""
    data = output.get("data", {})
    is_widget = data.pop(WIDGET, None) is not None
    return not is_widget or any(kind.startswith("image/") for kind in data)


def update_notebook(name: str, executed: Path) -> None:
    """Put the outputs of the executed copy into notebooks/, and change nothing else.

    ValueError if the notebook was edited in the meantime.
    """
    book, source = nbformat.read(executed, 4), nbformat.read(scales.notebook(name), 4)
    if [cell.source for cell in book.cells] != [cell.source for cell in source.cells]:
        raise ValueError(f"{name} was edited while it ran; run it again")
    clean(source)
    for cell, done in zip(source.cells, book.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = done.outputs, done.execution_count
    write_atomically(scales.notebook(name), nbformat.writes(source).encode())
