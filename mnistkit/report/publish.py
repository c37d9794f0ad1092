"""The published report: the executed chapters as one HTML page, for offline use."""

import html
import importlib.metadata
import os
import re
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


def build_index(scale: str) -> Path:
    """Merge the executed chapters of a scale into reports/[scale]/index.html.

    Returns the path of this one file: images and style are embedded, formulas are
    MathML. Its first section says from which data, when and on which machine each
    chapter was executed, and names the chapters that are missing.
    """
    out = scales.folder("reports", scale)
    out.mkdir(parents=True, exist_ok=True)
    executed = {
        name: nbformat.read(out / f"{name}.ipynb", 4)
        for name in scales.chapters()
        if (out / f"{name}.ipynb").exists()
    }
    merged = new_notebook()
    merged.metadata["language_info"] = {"name": "python"}
    merged.cells.append(new_markdown_cell(_about(scale, executed, out)))
    for name, book in executed.items():
        merged.cells += _cells(name, book)
    merged.cells.append(new_markdown_cell(_list_of_files(scale, out)))
    text = pypandoc.convert_text(
        nbformat.writes(merged),
        "html5",
        format="ipynb",
        extra_args=[
            "--standalone",
            "--embed-resources",
            "--mathml",
            "--toc",
            "--toc-depth=2",
            "--ipynb-output=best",
            f"--css={Path(__file__).with_name('report.css')}",
            f"--lua-filter={Path(__file__).with_name('report.lua')}",
            f"--resource-path={places.ROOT / 'notebooks'}",
            "--metadata=title:MNIST: a course report",
            "--metadata=lang:en",
        ],
    )
    write_atomically(out / "index.html", text.encode())
    return out / "index.html"


def _cells(name: str, book: NotebookNode) -> list[NotebookNode]:
    """Return the cells of one chapter, ready to stand beside those of the others.

    Links to other notebooks become links within the page. pandoc leaves out an output
    that is Markdown, so each of these becomes a cell of its own after its code.
    """
    first = book.cells[0]
    has_title = first.cell_type == "markdown" and first.source.startswith("# ")
    title = "" if has_title else f"# {name}\n\n"
    cells = [new_markdown_cell(f'{title}<a id="{name}"></a>')]
    for cell in book.cells:
        cell.id = f"{name[:2]}-{cell.id}"  # ids must differ in the whole page
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\d\d_\w+)\.ipynb", r"](#\1", cell.source)
        elif cell.cell_type == "code":
            outputs, cell.outputs = cell.outputs, []
            for output in outputs:
                data = output.get("data", {})
                if "text/markdown" in data:
                    cells.append(new_markdown_cell(data["text/markdown"]))
                    continue
                if "text/html" in data:
                    data["text/html"] = re.sub(
                        r'"(\d\d_\w+)\.ipynb"', r'"#\1"', data["text/html"]
                    )
                cell.outputs.append(output)
    return cells


def _about(scale: str, executed: dict[str, NotebookNode], out: Path) -> str:
    """Return the first section, as Markdown: the scale, and a table of the chapters."""
    rows = []
    for name in scales.chapters():
        stamp = executed[name].metadata["mnistkit"] if name in executed else {}
        data = stamp.get("data", "missing at this scale")
        if (out / f"{name}.failed.ipynb").exists():
            data += f" (the last execution [failed]({name}.failed.ipynb))"
        machine = f"{stamp['device']}, {stamp['cores']} cores" if stamp else ""
        finished = stamp.get("finished", "")[:16].replace("T", " ")
        seconds = f"{stamp['seconds']:,.0f}" if stamp else ""
        link = f"[{name}](#{name})" if name in executed else name
        rows.append(f"| {link} | {data} | {finished} | {seconds} | {machine} |")
    versions = (f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    return f"""# About this report

Every number, figure, table and finding below comes out of the numbered notebooks, which
were executed from top to bottom to make this page. Nothing was written by hand but the
questions and the explanations.

**Scale**: {scale}, {SCALE_MEANS[scale]}. **Versions**: {", ".join(versions)}.

| Chapter | Data | Executed (UTC) | Seconds | Machine |
|-----|---------|-----|--:|-----|
{chr(10).join(rows)}

The [list of figures and tables](#figures-and-tables) leads to their files.
"""


def _list_of_files(scale: str, out: Path) -> str:
    """Return the last section, as Markdown: a link to every figure and table."""
    figures = scales.folder("figures", scale)
    lines = []
    for name in scales.chapters():
        found = {*figures.glob(f"{name}_*.svg"), *out.glob(f"{name}_*.csv")}
        for path in sorted(found):
            link = html.escape(os.path.relpath(path, out).replace(os.sep, "/"))
            png = link.removesuffix(".svg") + ".png"
            extra = f", [png]({png})" if link.endswith(".svg") else ""
            lines.append(f"- [{path.stem}]({link}){extra}")
    return "# Figures and tables\n\n" + ("\n".join(lines) or "None at this scale.")
