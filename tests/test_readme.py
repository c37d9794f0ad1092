"""README and CONTRIBUTING say what is there: numbers, links, commands, code."""

import ast
import csv
import importlib
import re
import shlex
import tomllib

import pytest

import mnistkit
from mnistkit.__main__ import build_parser
from mnistkit.claims.ledger import read_ledger
from mnistkit.report.scales import chapters
from mnistkit.storage.places import ROOT

README = ROOT / "README.md"
CONTRIBUTING = ROOT / ".github" / "CONTRIBUTING.md"
TEXT = README.read_text(encoding="utf-8")
GUIDE = CONTRIBUTING.read_text(encoding="utf-8")
REPORTS = ROOT / "reports"

LINK = re.compile(r"\]\(([^)#]+)\)")
LINKS = [
    (page, target)
    for page, text in ((README, TEXT), (CONTRIBUTING, GUIDE))
    for target in LINK.findall(text)
    if "://" not in target
]
COMMANDS = re.findall(r"python -m mnistkit ([^`\n#&|]+)", TEXT + GUIDE)
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
BENCHMARK = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.partition("## How fast")[2].partition("\n## ")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| what |")
]


def read(name):
    with open(REPORTS / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def words(text):
    return " ".join(text.split())


def test_the_readme_is_short():
    assert len(TEXT.splitlines()) <= 100


def test_the_findings_are_those_of_chapter_07():
    """Between the markers stands every finding, in order, and nothing else."""
    start, end = "<!-- findings: written by chapter 07 -->", "<!-- end of findings -->"
    quoted = TEXT.partition(start)[2].partition(end)[0]
    unnumbered = re.sub(r"^\d+\. ", "", quoted, flags=re.MULTILINE)
    findings = [
        row["finding"] for row in read("07_five_reports_revisited_findings.csv")
    ]
    assert words(unnumbered) == words(" ".join(findings))


def test_the_benchmark_has_at_most_six_rows():
    assert 1 <= len(BENCHMARK) <= 6


@pytest.mark.parametrize("shown", BENCHMARK, ids=lambda shown: shown[0])
def test_a_row_of_the_benchmark_is_the_measured_one(shown):
    """The note may be a part of what was noted; the numbers are rounded."""
    name, *numbers, note = shown
    [row] = [row for row in read("benchmark.csv") if row["row"] == name]
    other = ratio = ""
    if row["other"]:
        other = f"{row['other']}: {float(row['other_s']):.4g} s"
        low, middle, high = (float(row[key]) for key in ("low", "ratio", "high"))
        ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    assert numbers == [f"{float(row['ours_s']):.4g} s", other, ratio]
    assert note in row["note"]


def test_the_readme_names_the_machine_of_the_benchmark():
    [machine] = {row["machine"] for row in read("benchmark.csv")}
    assert machine in words(TEXT)


@pytest.mark.parametrize(("page", "target"), LINKS, ids=[link for _, link in LINKS])
def test_what_is_linked_is_there(page, target):
    assert (page.parent / target).exists()


def test_every_chapter_is_linked_once_and_in_order():
    linked = re.findall(r"\]\(notebooks/(\w+)\.ipynb\)", TEXT)
    assert linked == chapters()


def test_the_layout_names_what_is_there():
    layout = GUIDE.partition("## What lies where")[2].partition("\n## ")[0]
    paths = re.findall(r"^    (\S+/)", layout, re.MULTILINE)
    rooms = [path.parent for path in (ROOT / "mnistkit").glob("*/__init__.py")]
    assert {f"mnistkit/{room.name}/" for room in rooms} <= set(paths)
    assert all((ROOT / path).is_dir() for path in paths)


def test_both_pages_show_commands():
    assert "python -m mnistkit" in TEXT and "python -m mnistkit" in GUIDE


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_the_program_takes(command):
    build_parser(with_run=True).parse_args(shlex.split(command))


def test_there_are_snippets():
    assert SNIPPETS


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_compiles_and_what_it_imports_is_there(snippet):
    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def pins(name):
    """Version by package, of the lines `package==version` in a file of the project."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if "==" in line]
    return {package.lower().replace("_", "-"): version for package, version in found}


def test_the_constraints_agree_with_the_requirements():
    assert pins("requirements.txt").items() <= pins("constraints.txt").items()


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert project["project"]["version"] == mnistkit.__version__
    assert f"\nversion: {mnistkit.__version__}\n" in citation


@pytest.mark.parametrize("name", ["README.md", "CITATION.cff"])
def test_the_number_of_claims_is_that_of_the_ledger(name):
    stated = re.findall(r"(\d+) of their claims", (ROOT / name).read_text("utf-8"))
    assert stated == [str(len(read_ledger()))]
