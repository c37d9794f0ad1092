"""Where the numbers come from: data, records, machines, versions, times, seeds."""

import ast
import hashlib
import html
import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Mapping

from nbformat import NotebookNode

from mnistkit.data import load_mnist
from mnistkit.report.experiments import read_run_lists
from mnistkit.report.site.books import lesson_cells
from mnistkit.report.site.pages import Course
from mnistkit.runs import Record, read_record
from mnistkit.storage import places

SCALE_MEANS = {
    "smoke": "a few seconds per chapter, to see that everything runs; "
    "its numbers mean nothing",
    "quick": "everything is trained anew, in minutes on a laptop",
    "full": "the settings that the notebooks show: the largest runs there are, read "
    "from the records that the project ships",
    "paper": "the reports' own settings, on a GPU",
}
VERSIONS = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "matplotlib")


def provenance(
    scale: str,
    books: Mapping[str, NotebookNode],
    unreadable: set[str],
    course: Course,
    is_checked: bool,
) -> str:
    """Return the one table of a site that names data, machines, versions and times.

    Below the facts that all chapters share it has a row for each chapter. `is_checked`
    says whether a section on runs that were trained anew follows.
    """
    mnist = load_mnist()
    sums = (f"{part} {md5}" for part, md5 in mnist.checksums.items())
    check = ""
    if is_checked:
        check = 'some were <a href="#runs-trained-anew">trained anew</a>, and compared'
    elif scale == "full":
        check = "no run was trained anew to be compared with its record"
    rows = {
        "Scale": html.escape(f"{scale}: {SCALE_MEANS[scale]}"),
        "Data": html.escape(mnist.describe()),
        "Checksums": f"MD5 of the data, decompressed<br>{_code_list(sums)}",
        **about_records(scale, mnist.source),
        "Spot check": check,
        "Versions": ", ".join(
            f"{name} {importlib.metadata.version(name)}" for name in VERSIONS
        ),
    }
    facts = "\n".join(_row(key, text) for key, text in rows.items() if text)
    executed = "\n".join(
        _row(_title(name, course), about_chapter(name, books, unreadable, course))
        for name in course.openings
    )
    return (
        '<div class="scroll"><table class="provenance">\n'
        f"<tbody>\n{facts}\n</tbody>\n<tbody>\n{executed}\n</tbody>\n</table></div>"
    )


def about_records(scale: str, source: str) -> dict[str, str]:
    """Return rows on the stored runs: how many, their machines, their seeds."""
    names = read_run_lists(scale)["run"].drop_duplicates()
    found = [read_record(name, source) for name in names]
    records = [record for record in found if record is not None]
    if not records:
        return {}
    rows = {
        "Records": f"{len(records):,} trained runs. Machines: "
        f"{_count(records, 'device')}; torch: {_count(records, 'torch')}",
        "Seeds of the runs": _seeds(records),
    }
    archive = places.records_folder() / "full.zip"
    if scale == "full" and archive.exists():
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        rows["Records"] += f". SHA-256 of full.zip: <code>{digest}</code>"
    return rows


def about_chapter(
    name: str,
    books: Mapping[str, NotebookNode],
    unreadable: set[str],
    course: Course,
) -> str:
    """Return on what, when and where a chapter was executed, in HTML."""
    if name in unreadable:
        text = f"unreadable: {html.escape(name)}.ipynb is no executed chapter"
    elif name not in books:
        text = "missing at this scale"
    elif "mnistkit" not in books[name].metadata:
        text = "as the committed notebook stores it"
    else:
        stamp = books[name].metadata["mnistkit"]
        when = str(stamp["finished"])[:16].replace("T", " ")
        facts = [
            f"{stamp['data']}",
            f"executed {when} (UTC) in {stamp['seconds']:,.0f} s",
            f"{stamp['device']}, {stamp['cores']} cores",
        ]
        text = html.escape("; ".join(facts))
    if name in books and (seeds := seed_parameters(books[name])):
        text += html.escape(f"; {seeds}")
    failed = course.out / f"{name}.failed.ipynb"
    if failed.exists():
        text += f' (the last execution <a href="{failed.name}">failed</a>)'
    return text


def seed_parameters(book: NotebookNode) -> str:
    """Return the parameters that are numbers of seeds, such as "seeds = 5"."""
    for cell in lesson_cells(book):
        if "parameters" in cell.metadata.get("tags", []):
            return ", ".join(
                f"{ast.unparse(node.target)} = {ast.unparse(node.value)}"
                for node in ast.parse(cell.source).body
                if isinstance(node, ast.AnnAssign) and node.value is not None
                if ast.unparse(node.target).endswith("seeds")
            )
    return ""


def _count(records: list[Record], key: str) -> str:
    counts = Counter(str(record.environment[key]) for record in records)
    named = (f"{what} ({count})" for what, count in sorted(counts.items()))
    return html.escape(", ".join(named))


def _seeds(records: list[Record]) -> str:
    counts = Counter(record.run.seed for record in records)
    return ", ".join(f"{seed} ({count})" for seed, count in sorted(counts.items()))


def _title(name: str, course: Course) -> str:
    title = html.escape(name)
    return f'<a href="{name}.html">{title}</a>' if name in course.present else title


def _code_list(items: Iterable[str]) -> str:
    return "<br>".join(f"<code>{html.escape(item)}</code>" for item in items)


def _row(key: str, text: str) -> str:
    return f'<tr><th scope="row">{key}</th><td>{text}</td></tr>'
