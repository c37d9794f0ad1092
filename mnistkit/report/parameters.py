"""What papermill injects into a notebook, compared with what the notebook declares.

papermill itself only warns of a misspelt name, and takes every value as it is. A
chapter therefore compares the cell that papermill added with the parameters cell.
"""

import ast
import math
import re
import sys
from collections.abc import Sequence
from typing import Any

# The types of a value that a parameter of each annotation may have.
TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "list": (list,),
}
# Parameters that count something: below 1, there is nothing to compute.
COUNTS = re.compile("(.*_)?(seeds|epochs|size|draws)")


def executed_cells() -> Sequence[str]:
    """The sources of the cells of this kernel so far; none outside IPython."""
    if "IPython" not in sys.modules:
        return []
    from IPython import get_ipython

    shell = get_ipython()
    return [] if shell is None else shell.user_ns.get("In", [])


def check_parameters(chapter: str, cells: Sequence[str]) -> None:
    """Compare the parameters of a chapter with its parameters cell, both in `cells`.

    `cells` are sources in the order of execution. The parameters cell is the last one
    that declares `scale: str`; papermill's cell, if there is one, comes after it and
    starts with "# Parameters". Nothing is checked without a parameters cell, or if that
    cell is more than Python, such as a magic command.

    ValueError, in one line, for names that are not declared, for values of another type
    than the declared one (an int for a float is accepted) and for counts below 1.
    """
    places = [i for i, cell in enumerate(cells) if re.search("(?m)^scale: str", cell)]
    if not places:
        return
    try:
        declared = _assignments(cells[places[-1]])
    except SyntaxError:
        return
    injected: dict[str, tuple[str | None, Any]] = {}
    for cell in cells[places[-1] + 1 :]:
        if cell.startswith("# Parameters\n"):
            injected |= _assignments(cell)
    unknown = [name for name in injected if name not in declared]
    faults = [f"{name} is no parameter of the notebook" for name in unknown]
    for name, (kind, value) in declared.items():
        value = injected.get(name, (None, value))[1]
        if value is ...:  # calculated
            continue
        if kind in TYPES and type(value) not in TYPES[kind]:
            faults.append(f"{name} = {value!r} is no {kind}")
        elif kind == "int" and COUNTS.fullmatch(name) and value < 1:
            faults.append(f"{name} = {value!r} must be at least 1")
    if unknown:
        faults.append(f"the parameters are {', '.join(declared)}")
    if faults:
        raise ValueError(f"{chapter}: {'; '.join(faults)}")


def _assignments(source: str) -> dict[str, tuple[str | None, Any]]:
    """The annotation (None without one) and the value of each name that is assigned."""
    found: dict[str, tuple[str | None, Any]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            kind = ast.unparse(node.annotation).partition("[")[0]
            found[ast.unparse(node.target)] = kind, _value(node.value)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                found[ast.unparse(target)] = None, _value(node.value)
    return found


def _value(node: ast.expr) -> Any:
    """The value of a literal, or ... of what is calculated."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        # papermill writes float('nan') and float('inf'), which are no literals.
        return math.nan if ast.unparse(node).startswith("float(") else ...
