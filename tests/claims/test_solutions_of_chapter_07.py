"""The solutions of chapter 07 print what their texts say, on the shipped records."""

import re

import nbformat
import numpy as np
import pytest

from mnistkit import stats, tables
from mnistkit.claims import cases, rules
from mnistkit.report.scales import chapters, notebook

CODE = re.compile(r"^```python\n(.*?)^```\n(.*?)^</details>", re.DOTALL | re.MULTILINE)


def solutions():
    """The code and the text below it, of each solution in their order."""
    [name] = [name for name in chapters() if name.startswith("07")]
    cells = nbformat.read(notebook(name), 4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return CODE.findall(text)


@pytest.fixture(scope="module")
def names(stored):
    """What the cells before the exercises define, as far as the solutions use it."""
    return {
        "np": np,
        "stats": stats,
        "tables": tables,
        "rules": rules,
        "records": stored.records,
        "control": cases.pairings(stored),
    }


def test_the_chapter_has_three_solutions():
    assert len(solutions()) == 3


def test_the_control_shows_neighbours_and_the_other_rate(names):
    code, _ = solutions()[0]
    rows = eval(code, names)
    assert 0 < len(rows) < 20
    assert not rows["right"].any()
    assert not rows["theirs"].str.startswith("0.0001").any()


@pytest.mark.parametrize("number", [1, 2])
def test_a_solution_prints_what_its_text_says(names, capsys, number):
    code, text = solutions()[number]
    exec(code, names)
    printed = capsys.readouterr().out.split()
    [said] = re.findall(r"It prints ([\d., and]+?)\.\s", text.replace("\n", " ") + " ")
    assert printed == re.split(r", | and ", said)
