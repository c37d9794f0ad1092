"""The notebooks that become pages: executed copies, with what readers shall see."""

import ast
import copy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from mnistkit.report import scales

# What the first page shows of the metadata of an executed copy.
STAMP: dict[str, type | tuple[type, ...]] = {
    "data": str,
    "device": str,
    "cores": int,
    "finished": str,
    "seconds": (int, float),
}
VARIES = "nbval-ignore-output"  # the tag of a cell whose output is never twice the same


def read_books(scale: str) -> tuple[dict[str, NotebookNode], set[str]]:
    """Return the executed copies of a scale by chapter, and the unreadable chapters.

    At the full scale a chapter without a copy is the committed notebook, which stores
    what was found.
    """
    out = scales.folder("reports", scale)
    books, unreadable = {}, set()
    for name in scales.chapters():
        stored = read_stored(name) if scale == "full" else None
        try:
            book = read_copy(out / f"{name}.ipynb")
        except FileNotFoundError:
            if stored is not None:
                books[name] = stored
            continue
        except Exception:  # Whatever is wrong in a file, the site can do without it.
            unreadable.add(name)
            continue
        if stored is not None:
            take_stored_outputs(book, stored)
        books[name] = book
    return books, unreadable


def read_stored(name: str) -> NotebookNode | None:
    """Return the committed notebook of a chapter, None if it cannot be read."""
    try:
        book = nbformat.read(scales.notebook(name), 4)
        nbformat.validate(book)
    except Exception:  # The report names such a file, and goes on.
        return None
    return book


def read_copy(path: Path) -> NotebookNode:
    """Return an executed copy. Some exception for a file that the report did not leave.

    FileNotFoundError if there is no file.
    """
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    stamp = book.metadata["mnistkit"]
    if not book.cells or not all(isinstance(stamp[k], STAMP[k]) for k in STAMP):
        raise ValueError(f"{path} is no executed chapter")
    return book


def take_stored_outputs(book: NotebookNode, stored: NotebookNode) -> None:
    """Give cells whose output varies the output that the committed notebook stores.

    At the full scale the others are a function of the records, and so is the page. A
    cell that was edited since keeps what it showed.
    """
    outputs = {(cell.id, cell.source): cell.get("outputs") for cell in stored.cells}
    for cell in book.cells:
        known = outputs.get((cell.id, cell.source))
        if varies(cell) and known is not None:
            cell.outputs = known


def varies(cell: NotebookNode) -> bool:
    """Return whether a cell shows a live demonstration or a measured time."""
    return VARIES in cell.metadata.get("tags", [])


def lesson_cells(book: NotebookNode) -> list[NotebookNode]:
    """Return the cells of a chapter, with its parameters once, as they were used.

    papermill adds a cell with other values below the cell of parameters.
    """
    injected = [cell for cell in book.cells if _is_tagged(cell, "injected-parameters")]
    cells = []
    for cell in book.cells:
        if _is_tagged(cell, "injected-parameters"):
            continue
        if _is_tagged(cell, "parameters"):
            cell = copy.copy(cell)
            for other in injected:
                cell.source = with_values(cell.source, other.source)
        cells.append(cell)
    return cells


def with_values(declared: str, injected: str) -> str:
    """Return the source `declared`, in which the values are those of `injected`.

    Comments stay. Both are sources of assignments, one a line or more.
    """
    new = {
        target.id: ast.get_source_segment(injected, node.value)
        for node in ast.parse(injected).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    lines = [line.encode() for line in declared.splitlines(keepends=True)]
    for node in reversed(ast.parse(declared).body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            value, text = node.value, new.get(node.target.id)
            if value is None or text is None:
                continue
            first, last = value.lineno - 1, (value.end_lineno or value.lineno) - 1
            before = lines[first][: value.col_offset]
            after = lines[last][value.end_col_offset :]
            lines[first : last + 1] = [before + text.encode() + after]
    return b"".join(lines).decode()


def _is_tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])
