"""The published report: the executed chapters as one HTML page, for offline use."""

import base64
import glob
import html
import importlib.metadata
import mimetypes
import os
import re
import urllib.parse
from pathlib import Path

import nbformat
import pypandoc
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from mnistkit.report import scales
from mnistkit.storage import places
from mnistkit.storage.store import write_atomically

SCALE_MEANS = {
    "smoke": "a few seconds per chapter, to see that everything runs; "
    "its numbers mean nothing",
    "quick": "everything is trained anew, in minutes on a laptop",
    "full": "the settings that the notebooks show: the largest runs there are, read "
    "from the records that the project ships",
}
VERSIONS = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "matplotlib")


# What the table of chapters shows of the metadata of an executed copy.
STAMP: dict[str, type | tuple[type, ...]] = {
    "data": str,
    "device": str,
    "cores": int,
    "finished": str,
    "seconds": (int, float),
}
# An image of a text: ![alt](address) or <img ... src="address">.
IMAGE = re.compile(r"""(!\[[^\]]*\]\(|<img\s[^>]*?src=["'])([^)"'\s>]+)""")
# A link to another chapter, with or without a section of it.
CHAPTER_LINK = re.compile(r"\]\((\d\d_\w+)\.ipynb(#[^)\s]*)?\)")


def build_index(scale: str, spot_check: str = "") -> Path:
    """Merge the executed chapters of a scale into reports/[scale]/index.html.

    `spot_check` is the last section, in Markdown: the runs that were trained anew.

    Returns the path of this one file: images and style are embedded, formulas are
    MathML. Its first section says from which data, when and on which machine each
    chapter was executed, and names the chapters that are missing or unreadable. OSError
    if pandoc fails.
    """
    out = scales.folder("reports", scale)
    out.mkdir(parents=True, exist_ok=True)
    executed, unreadable = {}, set()
    for name in scales.chapters():
        try:
            executed[name] = _read_copy(out / f"{name}.ipynb")
        except FileNotFoundError:
            pass
        except Exception:  # Whatever is wrong in a file, the page can do without it.
            unreadable.add(name)
    merged = new_notebook()
    merged.metadata["language_info"] = {"name": "python"}
    about = _about(scale, executed, unreadable, out, bool(spot_check))
    merged.cells.append(new_markdown_cell(about, id="about"))
    for name, book in executed.items():
        for cell in _cells(name, book):
            # report.lua finds the chapter of a heading in the id of its cell.
            cell.id = f"{name[:2]}-cell-{len(merged.cells)}"
            merged.cells.append(cell)
    merged.cells.append(new_markdown_cell(_list_of_files(scale, out), id="files"))
    if spot_check:
        merged.cells.append(new_markdown_cell(spot_check, id="spot-check"))
    text = _to_html(nbformat.writes(merged))
    write_atomically(out / "index.html", text.encode())
    return out / "index.html"


def _read_copy(path: Path) -> NotebookNode:
    """Return an executed copy. Some exception for a file that the report did not leave.

    FileNotFoundError if there is no file.
    """
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    stamp = book.metadata["mnistkit"]
    if not book.cells or not all(isinstance(stamp[k], STAMP[k]) for k in STAMP):
        raise ValueError(f"{path} is no executed chapter")
    return book


def _to_html(notebook: str) -> str:
    """Return a notebook as one HTML page. OSError if pandoc fails.

    pandoc works in a sandbox, where it reads no file but those that are named here, so
    the style sheet is part of the command. The working folder spares it the path of the
    project, which pandoc cannot read in every locale.
    """
    here = Path(__file__).parent
    style = here.joinpath("report.css").read_text("utf-8")
    try:
        return pypandoc.convert_text(
            notebook,
            "html5",
            format="ipynb",
            sandbox=True,
            cworkdir=str(here),
            extra_args=[
                "--standalone",
                "--embed-resources",
                "--mathml",
                "--toc",
                "--toc-depth=2",
                "--ipynb-output=best",
                f"--variable=header-includes:<style>{style}</style>",
                "--lua-filter=report.lua",
                "--metadata=title:MNIST: a course report",
                "--metadata=lang:en",
            ],
        )
    except RuntimeError as error:
        raise OSError(f"pandoc cannot make the page: {error}") from None


def _cells(name: str, book: NotebookNode) -> list[NotebookNode]:
    """Return the cells of one chapter, ready to stand beside those of the others.

    Links to other notebooks become links within the page, and images of the project
    become part of their cell. pandoc leaves out an output that is Markdown, so each of
    these becomes a cell of its own after its code.
    """
    first = book.cells[0]
    has_title = first.cell_type == "markdown" and first.source.startswith("# ")
    title = "" if has_title else f"# {_plain(name)}\n\n"
    anchor = f'<a id="{html.escape(name)}"></a>'
    cells = [new_markdown_cell(title + anchor)]
    for cell in book.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = IMAGE.sub(_embedded, CHAPTER_LINK.sub(r"](#\1)", cell.source))
        elif cell.cell_type == "code":
            outputs, cell.outputs = cell.outputs, []
            for output in outputs:
                data = output.get("data", {})
                if "text/markdown" in data:
                    source = CHAPTER_LINK.sub(r"](#\1)", data["text/markdown"])
                    cells.append(new_markdown_cell(source))
                    continue
                if "text/html" in data:
                    data["text/html"] = re.sub(
                        r'"(\d\d_\w+)\.ipynb"', r'"#\1"', data["text/html"]
                    )
                cell.outputs.append(output)
    return cells


def _embedded(image: re.Match[str]) -> str:
    """Return an IMAGE with the file in place of its address.

    Any other address stays as it is: of the Web, or of a file that does not lie in
    notebooks/ or figures/ of the project.
    """
    path = (places.ROOT / "notebooks" / urllib.parse.unquote(image[2])).resolve()
    folders = [(places.ROOT / kind).resolve() for kind in ("notebooks", "figures")]
    kind = mimetypes.guess_type(path.name)[0] or ""
    is_inside = any(path.is_relative_to(folder) for folder in folders)
    if not (is_inside and kind.startswith("image/") and path.is_file()):
        return image[0]
    content = base64.b64encode(path.read_bytes()).decode()
    return f"{image[1]}data:{kind};base64,{content}"


def _plain(text: object) -> str:
    """Return Markdown that shows a text as it is, in one line."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))


def _link(text: str, address: str) -> str:
    """Return a link in Markdown to a file, or after "#" to a chapter of the page."""
    is_chapter = address.startswith("#")
    path = urllib.parse.quote(address.removeprefix("#"))
    return f"[{_plain(text)}]({'#' if is_chapter else ''}{path})"


def _about(
    scale: str,
    executed: dict[str, NotebookNode],
    unreadable: set[str],
    out: Path,
    is_checked: bool,
) -> str:
    """Return the first section, as Markdown: the scale, and a table of the chapters."""
    rows = []
    for name in scales.chapters():
        stamp = executed[name].metadata["mnistkit"] if name in executed else {}
        missing = "missing at this scale"
        if name in unreadable:
            missing = f"unreadable: {name}.ipynb is no executed chapter"
        data = _plain(stamp.get("data", missing))
        if (out / f"{name}.failed.ipynb").exists():
            data += f" (the last execution {_link('failed', f'{name}.failed.ipynb')})"
        machine = f"{_plain(stamp['device'])}, {stamp['cores']} cores" if stamp else ""
        finished = _plain(stamp.get("finished", "")[:16].replace("T", " "))
        seconds = f"{stamp['seconds']:,.0f}" if stamp else ""
        link = _link(name, f"#{name}") if name in executed else _plain(name)
        rows.append(f"| {link} | {data} | {finished} | {seconds} | {machine} |")
    check = ""
    if is_checked:
        check = " Some runs were [trained anew](#runs-trained-anew), and compared."
    elif scale == "full":
        check = " For this page no run was trained anew to be compared."
    versions = (f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    return f"""# About this report

Every number, figure, table and finding below comes out of the numbered notebooks, which
were executed from top to bottom to make this page. Nothing was written by hand but the
questions and the explanations.

**Scale**: {scale}, {SCALE_MEANS[scale]}. **Versions**: {", ".join(versions)}.

| Chapter | Data | Executed (UTC) | Seconds | Machine |
|-----|---------|-----|--:|-----|
{chr(10).join(rows)}

The [list of figures and tables](#figures-and-tables) leads to their files.{check}
"""


def _list_of_files(scale: str, out: Path) -> str:
    """Return the last section, as Markdown: a link to every figure and table."""
    figures = scales.folder("figures", scale)
    lines = []
    for name in scales.chapters():
        prefix = glob.escape(name)
        found = {*figures.glob(f"{prefix}_*.svg"), *out.glob(f"{prefix}_*.csv")}
        for path in sorted(found):
            address = os.path.relpath(path, out).replace(os.sep, "/")
            line = f"- {_link(path.stem, address)}"
            if path.suffix == ".svg":
                line += f", {_link('png', address.removesuffix('.svg') + '.png')}"
            lines.append(line)
    return "# Figures and tables\n\n" + ("\n".join(lines) or "None at this scale.")
