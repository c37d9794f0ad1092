"""Shared fixtures: one torch thread, the data, and folders that no test shares."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # notebooks' kernels inherit it

import pytest
import torch
from graphs_on_cpu import graphs  # noqa: F401
from stored_tables import assert_tables_are_stored

from mnistkit.data import load_mnist
from mnistkit.report.site.build import build_site
from mnistkit.storage.places import ROOT

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mnist():
    return load_mnist()


@pytest.fixture
def full(mnist):
    """All of MNIST; a test that needs it is skipped where only the subset is found."""
    if mnist.source != "mnist":
        pytest.skip("needs all of MNIST: set MNISTKIT_DATA to its folder")
    return mnist


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """No MNISTKIT_DATA, no network, an empty cache: the folder that would be it."""
    monkeypatch.delenv("MNISTKIT_DATA", raising=False)
    monkeypatch.setenv("MNISTKIT_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mnistkit"


@pytest.fixture
def store_folder(tmp_path, monkeypatch):
    """An empty store of this test's own, also for the processes it starts."""
    monkeypatch.setenv("MNISTKIT_STORE", str(tmp_path / "records"))
    monkeypatch.delenv("MNISTKIT_PROGRESS", raising=False)
    return tmp_path / "records"


@pytest.fixture(scope="session")
def course_site(tmp_path_factory):
    """The folder of the course's site, built from the stored notebooks and figures."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "figures").symlink_to(ROOT / "figures")
    (folder / "reports").mkdir()
    for table in (ROOT / "reports").glob("*.csv"):
        (folder / "reports" / table.name).write_bytes(table.read_bytes())
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MNISTKIT_OUT", str(folder))
        return build_site("full", "# Runs trained anew\n\nplanted").parent


class StoredTables(pytest.Item):
    """The last test of a notebook: it made the stored tables, and trained nothing."""

    def runtest(self) -> None:
        assert_tables_are_stored(self.parent.path.stem, self.folder / "reports")
        trained = list((self.folder / "records").rglob("*.json"))
        assert not trained, "a record was missing in the archive"

    def reportinfo(self):
        return self.path, 0, f"{self.parent.path.name}: stored tables"


def pytest_collection_modifyitems(items):
    """Execute notebooks apart from the project, and compare their tables at the end.

    The kernels find no records but those of the archive. Without all of MNIST the
    notebooks are skipped: their stored outputs are about all of it.
    """
    books = {item.parent: at for at, item in enumerate(items) if is_cell(item)}
    if not books:
        return
    folder = Path(tempfile.mkdtemp(prefix="mnistkit-notebooks-"))
    os.environ["MNISTKIT_OUT"] = str(folder)
    os.environ["MNISTKIT_STORE"] = str(folder / "records")
    for book, last in sorted(books.items(), key=lambda pair: -pair[1]):
        tables = StoredTables.from_parent(book, name="stored tables")
        tables.folder = folder
        items.insert(last + 1, tables)
    if load_mnist().source != "mnist":
        reason = "the stored outputs are about all of MNIST"
        for item in items:
            if item.path.suffix == ".ipynb":
                item.add_marker(pytest.mark.skip(reason=reason))


def is_cell(item: pytest.Item) -> bool:
    return item.path.suffix == ".ipynb"
