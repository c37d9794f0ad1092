"""Slides of one chapter: python -m mnistkit slides 03.

The deck is one HTML file for offline use, made from what the notebook in notebooks/
holds: its text, its stored figures, tables and findings, and its code, folded away. The
metadata `slideshow` of a cell (JupyterLab: Property Inspector, Slide Type) says whether
the cell opens a slide or is left out; a long text goes on over several slides by itself
(slides.lua). reveal.js shows the slides, with formulas in MathML.
"""

import base64
import html
import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
import pypandoc
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from mnistkit.report import scales
from mnistkit.report.contents import describe, read_opening
from mnistkit.report.execute import choose
from mnistkit.storage import places
from mnistkit.storage.store import write_atomically

HERE = Path(__file__).parent
# A table of more words or rows than these cannot be read from the back of a room.
TABLE_WORDS, TABLE_ROWS = 160, 14
# Answers that a notebook hides until one clicks: (heading, answers).
HIDDEN = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
KINDS = ("slide", "subslide", "fragment", "skip", "notes", "-")


def build_slides(name: str) -> Path:
    """Write reports/slides/<name>.html, the slides of a chapter, and return its path.

    OSError if pandoc fails, ModuleNotFoundError without the package that has reveal.js,
    ValueError for a slide type that is none of KINDS.
    """
    book = nbformat.read(scales.notebook(name), 4)
    merged = new_notebook(cells=list(slide_cells(name, book)))
    merged.metadata["language_info"] = {"name": "python"}
    body = _to_html(nbformat.writes(merged))
    page = HERE.joinpath("slides.html").read_text("utf-8")
    title = describe(read_opening(name))["title"] or name
    reveal = reveal_folder() / "dist"
    parts = {
        "title": html.escape(str(title)),
        "reveal.css": reveal.joinpath("reveal.css").read_text("utf-8"),
        "slides.css": HERE.joinpath("slides.css").read_text("utf-8"),
        # The source map would be a request for another file.
        "reveal.js": re.sub(
            r"//# sourceMappingURL=\S+",
            "",
            reveal.joinpath("reveal.js").read_text("utf-8"),
        ),
        "body": body,
    }
    page = re.sub(r"\{\{(.+?)\}\}", lambda found: parts[found[1]], page)
    path = scales.folder("reports", "full") / "slides" / f"{name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode())
    return path


def reveal_folder() -> Path:
    """Return the folder of reveal.js, which the package sphinx-revealjs ships.

    That package is not imported. ModuleNotFoundError if it is not installed.
    """
    found = importlib.util.find_spec("sphinx_revealjs")
    if found is None or found.origin is None:
        name = "sphinx-revealjs"
        raise ModuleNotFoundError(f"{name} is not installed", name=name)
    return Path(found.origin).parent / "_static" / "revealjs"


def slide_cells(name: str, book: NotebookNode) -> Iterator[NotebookNode]:
    """Yield the cells of a deck. The id of each starts with what slides.lua does to it.

    Hidden answers become cells of the kind `answer`. An output in Markdown, which
    pandoc would leave out, becomes a cell behind its code.
    """
    drawings = {
        path.read_bytes(): path.with_suffix(".svg")
        for path in (places.ROOT / "figures").glob(f"{name}_*.png")
    }
    count = 0
    for cell, kind in zip(book.cells, slide_types(book), strict=True):
        if kind in ("skip", "notes"):
            continue
        kind = "rest" if kind == "-" else kind
        for part, new in _parts(cell, kind, drawings):
            count += 1
            new.id = f"{part}-{count}"
            yield new


def _parts(
    cell: NotebookNode, kind: str, drawings: dict[bytes, Path]
) -> Iterator[tuple[str, NotebookNode]]:
    """Yield the kind and the content of each part of a cell."""
    if cell.cell_type == "markdown":
        before, *answers = HIDDEN.split(cell.source)
        texts = [(kind, before)]
        for heading, answer, after in zip(*[iter(answers)] * 3, strict=True):
            texts += [("answer", f"### {heading}\n\n{answer}"), ("rest", after)]
        for part, text in texts:
            if text.strip():
                yield part, new_markdown_cell(text.strip())
        return
    shown = []
    said = []
    for output in cell.outputs:
        data = output.get("data", {})
        if "text/markdown" not in data:
            _sharpen(output, drawings)
            shown.append(output)
        elif len(cell.outputs) > 1 and not shown:
            yield kind, new_markdown_cell(data["text/markdown"])
            kind = "rest"
        else:
            said.append(data["text/markdown"])
    cell.outputs = shown
    yield kind, cell
    for text in said:
        yield ("fragment" if kind == "fragment" else "finding"), new_markdown_cell(text)


def _sharpen(output: NotebookNode, drawings: dict[bytes, Path]) -> None:
    """Replace a picture by its drawing, which is sharp on a projector, too."""
    pixels = output.get("data", {}).get("image/png")
    drawing = drawings.get(base64.b64decode(pixels)) if pixels else None
    if drawing is not None and drawing.exists():
        output.data["image/svg+xml"] = drawing.read_text("utf-8")
        output.metadata["image/svg+xml"] = output.metadata.pop("image/png", {})
        del output.data["image/png"]


def slide_types(book: NotebookNode) -> list[str]:
    """Return the slide type of each cell, "-" if a cell has none in its metadata.

    In a notebook without any slide types they are those of `proposed`. ValueError for a
    type that is none of KINDS.
    """
    types = [
        cell.metadata.get("slideshow", {}).get("slide_type", "") for cell in book.cells
    ]
    if not any(types):
        return proposed(book)
    for kind in types:
        if kind not in ("", *KINDS):
            raise ValueError(f"slide type {kind!r}; known: {', '.join(KINDS)}")
    return [kind or "-" for kind in types]


def proposed(book: NotebookNode) -> list[str]:
    """Return the slide type for each cell that fits the chapters of this course.

    A section is a stack of slides. The code above the first section is left out, and
    so are large tables and everything from the exercises on.
    """
    types = []
    is_setup, is_exercise = True, False
    for cell in book.cells:
        kind = "-"
        if cell.cell_type == "markdown":
            heading = re.match(r"(#{1,3}) ", cell.source)
            if heading:
                kind = "subslide" if heading[1] == "###" else "slide"
            is_setup = is_setup and not re.search(r"^## ", cell.source, re.MULTILINE)
            is_exercise |= cell.source.startswith("## Exercises")
        elif is_setup or any(_is_large(output) for output in cell.outputs):
            kind = "skip"
        types.append("skip" if is_exercise else kind)
    return types


def _is_large(output: NotebookNode) -> bool:
    table = output.get("data", {}).get("text/html", "")
    rows = table.count("<tr")
    text = re.sub(r"<style.*?</style>|<[^>]*>", " ", table, flags=re.DOTALL)
    return rows > TABLE_ROWS or len(text.split()) > TABLE_WORDS


def _to_html(notebook: str) -> str:
    """Return the slides as <section> elements, images included."""
    try:
        return pypandoc.convert_text(
            notebook,
            "html5",
            format="ipynb",
            sandbox=True,
            cworkdir=str(HERE),
            extra_args=[
                "--embed-resources",
                "--template=slides_body.html",
                "--mathml",
                "--ipynb-output=best",
                "--lua-filter=slides.lua",
                "--metadata=title:slides",
            ],
        )
    except RuntimeError as error:
        raise OSError(f"pandoc cannot make the slides: {error}") from None


def write_slide_types(name: str) -> None:
    """Write the proposed slide types into a notebook that has none."""
    path = scales.notebook(name)
    book = nbformat.read(path, 4)
    for cell, kind in zip(book.cells, slide_types(book), strict=True):
        if kind != "-":
            cell.metadata["slideshow"] = {"slide_type": kind}
    write_atomically(path, nbformat.writes(book).encode())


def run_slides(only: Sequence[str] = (), mark: bool = False) -> int:
    """Make the slides of chapters, such as 03; of all of them for none.

    `mark` writes the proposed slide types into notebooks that have none, before.
    Returns the exit status 0. ValueError for an unknown chapter.
    """
    for name in choose(only):
        if mark:
            write_slide_types(name)
        print(build_slides(name))
    return 0
