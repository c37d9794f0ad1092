"""The structure of the package: imports go one way, and `import mnistkit` is free."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mnistkit"
# What a file or folder may import stands before it.
ORDER = (
    "storage data layers models steps train definitions runs workers sweeps "
    "stats wording tables plots exercises widgets report claims bench"
)
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(
        path.read_text(encoding="utf-8")
    )
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}
LAZY = "__main__"  # its commands import what they need, so that --help answers at once


def imports(module: str, late: bool = False):
    """(imported module, name) of a file's own imports; `late`: inside functions."""
    tree = MODULES[module]
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or (node in tree.body) == late:
            continue
        home, *rest = node.module.split(".")
        if home == "mnistkit":
            for alias in node.names:
                inner = ".".join([*rest, alias.name])
                yield (inner, "") if inner in MODULES else (".".join(rest), alias.name)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    order = [*ORDER.split(), LAZY]
    own = order.index(module.split(".")[0])
    for imported, _ in [*imports(module), *imports(module, late=True)]:
        assert order.index(imported.split(".")[0]) <= own, f"{module} <- {imported}"


def test_there_is_no_circle():
    graph = {module: {name for name, _ in imports(module)} for module in MODULES}
    assert set(TopologicalSorter(graph).static_order()) == set(MODULES)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {LAZY}))
def test_no_late_import_hides_a_circle(module):
    assert not list(imports(module, late=True))


@pytest.mark.parametrize("module", MODULES)
def test_private_names_stay_in_their_module(module):
    assert not [name for _, name in imports(module) if name.startswith("_")]


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"storage.places"}))
def test_the_environment_is_read_in_one_place(module):
    """Writing it for a child process is no reading; asking for a variable is."""
    source = ast.unparse(MODULES[module])
    for reading in ("environ.get(", "getenv(", "in os.environ", "environ['"):
        assert reading not in source


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import mnistkit", "numpy torch pandas anywidget ipywidgets"),
        ("import mnistkit.__main__", "numpy torch pandas"),
        ("import mnistkit.stats, mnistkit.plots", "torch sklearn seaborn"),
        ("import mnistkit.sweeps", "sklearn seaborn matplotlib torchvision"),
        ("import mnistkit.report.scales", "torch pandas"),
    ],
)
def test_what_is_heavy_is_imported_where_it_is_used(statement, heavy):
    assert not loaded_by(statement) & set(heavy.split())


def test_names_of_the_package_are_found_and_unknown_ones_are_not():
    import mnistkit
    from mnistkit import Run, sweep
    from mnistkit.sweeps import sweep as direct

    assert sweep is direct and Run().model == "lenet"
    assert all(hasattr(mnistkit, name) for name in dir(mnistkit))
    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        _ = mnistkit.swep
