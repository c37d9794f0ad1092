"""Every solution of an exercise runs, once its chapter was executed, and is right."""

import re
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mnistkit.report.scales import SCALES, chapters, notebook
from mnistkit.storage import places

# Chapter 07 tells of runs that the smoke scale does not make.
CHAPTERS = [name for name in chapters() if name < "07"]
FOLDED = re.compile(r"<details>(.*?)</details>", re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def read(name):
    return nbformat.read(notebook(name), 4)


def find_solutions(book):
    """Return the code of every folded solution of a notebook, in their order."""
    markdown = [cell.source for cell in book.cells if cell.cell_type == "markdown"]
    parts = FOLDED.findall("\n".join(markdown))
    codes = ["\n".join(CODE.findall(part)) for part in parts]
    return [code for code in codes if code]


def failing_solutions(book, parameters, folder):
    """Execute a notebook, then its solutions; return what is wrong with these.

    A solution is wrong if it raises an error, or if `check` does not accept its answer.
    """
    go_on = {"tags": ["raises-exception"]}
    cells = [new_code_cell(code, metadata=go_on) for code in find_solutions(book)]
    # Inject the parameters as papermill does.
    lines = [f"{key} = {value!r}" for key, value in parameters.items()]
    tags = [cell.metadata.get("tags", []) for cell in book.cells]
    place = ["parameters" in each for each in tags].index(True) + 1
    book.cells.insert(place, new_code_cell("\n".join(["# Parameters", *lines])))
    book.cells += cells
    environment = places.kernel_environment(folder / "progress", fresh=False)
    environment["MNISTKIT_OUT"] = str(folder)
    environment["MNISTKIT_STORE"] = str(folder / "records")
    # Two kernels keep two cores busy: a sweep starts no processes of its own.
    environment["LOKY_MAX_CPU_COUNT"] = "1"
    client = NotebookClient(book, timeout=300)
    client.execute(cwd=str(folder), env=environment)
    wrong = []
    for number, cell in enumerate(cells, start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                wrong.append(f"solution {number}: {output.ename}: {output.evalue}")
            if "Not yet." in output.get("text", ""):
                wrong.append(f"solution {number} is not accepted by check()")
    return wrong


@pytest.fixture(scope="module")
def executions(tmp_path_factory):
    """A future per chapter: what is wrong with its solutions at the smoke scale.

    Two chapters are executed at a time, with one store, as in a report.
    """
    folder = tmp_path_factory.mktemp("solutions")

    def execute(name):
        parameters = {"scale": "smoke"} | SCALES["smoke"][name]
        return failing_solutions(read(name), parameters, folder)

    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(execute, name) for name in CHAPTERS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAPTERS)
def test_every_solution_runs_and_is_right(executions, name):
    assert executions[name].result() == []


@pytest.mark.parametrize("name", [name for name in CHAPTERS if name >= "01"])
def test_a_chapter_has_three_solutions_or_more(name):
    assert len(find_solutions(read(name))) >= 3


def planted(*solutions):
    """A notebook that defines n, with these solutions."""
    parameters = new_code_cell("n: int = 3  # a", metadata={"tags": ["parameters"]})
    book = new_notebook(cells=[parameters])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    book.metadata["language_info"] = {"name": "python"}
    for solution in solutions:
        fenced = f"```python\n{solution}\n```"
        text = f"<details><summary>Solution</summary>\n\nSo:\n\n{fenced}\n\n</details>"
        book.cells.append(new_markdown_cell(text))
    return book


def test_wrong_solutions_are_reported(tmp_path):
    """The others run, with the parameters that were injected."""
    check = "from mnistkit import check\ncheck({}, 6, 'Multiply.')"
    book = planted("m = 2 * n", "m / 0", check.format("m"), check.format("m + 1"))
    assert failing_solutions(book, {"n": 3}, tmp_path) == [
        "solution 2: ZeroDivisionError: division by zero",
        "solution 4 is not accepted by check()",
    ]


def test_a_folded_text_without_code_is_no_solution():
    answer = new_markdown_cell("<details><summary>Answer</summary>\n\n7\n\n</details>")
    assert find_solutions(new_notebook(cells=[answer])) == []
