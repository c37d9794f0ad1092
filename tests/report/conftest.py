"""A project with planted chapters, and a chapter that saves into a test's folder."""

import contextlib
import time

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mnistkit.report import scales
from mnistkit.report.chapter import Chapter
from mnistkit.storage import places

PARAMETERS = 'scale: str = "full"  # which\nn: int = 3  # how many'


class Project:
    """A folder with notebooks/, to which figures, reports and records go as well."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        (folder / "notebooks").mkdir()
        monkeypatch.setattr(places, "ROOT", folder)
        planted = {"smoke": {"01_good": {"n": 2}}, "quick": {}, "full": {}}
        monkeypatch.setattr(scales, "SCALES", planted)
        monkeypatch.setenv("MNISTKIT_OUT", str(folder))
        monkeypatch.setenv("MNISTKIT_STORE", str(folder / "records"))

    def plant(self, name, source="print(n)", parameters=PARAMETERS):
        """Write a notebook: a title, a cell of parameters (None: without), a cell."""
        cells = [new_markdown_cell(f"# {name}\n\nA formula: $x^2$")]
        if parameters:
            tags = {"tags": ["parameters"]}
            cells.append(new_code_cell(parameters, metadata=tags))
        cells.append(new_code_cell(source.strip()))
        book = new_notebook(cells=cells)
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        book.metadata["language_info"] = {"name": "python"}
        path = self.folder / "notebooks" / f"{name}.ipynb"
        nbformat.write(book, path)
        return path

    def executed(self, name, scale="smoke"):
        """The executed copy of a chapter."""
        return nbformat.read(self.folder / "reports" / scale / f"{name}.ipynb", 4)

    def kernel(self):
        """The kernel, once it has written its process id to notebooks/kernel."""
        path = self.folder / "notebooks" / "kernel"
        wait_until(lambda: path.exists() and path.read_text())
        return psutil.Process(int(path.read_text()))


def wait_until(condition):
    """Look again and again; AssertionError if it is not true after two minutes."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="session", name="wait_until")
def wait_until_fixture():
    return wait_until


@pytest.fixture(scope="session")
def has_ended():
    """A function that says whether a process has ended, waited for or not."""

    def has_ended(process):
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return has_ended


@pytest.fixture(scope="session")
def temporary_project(tmp_path_factory):
    """A context in which the project is another one, without chapters."""

    @contextlib.contextmanager
    def temporary_project():
        with pytest.MonkeyPatch.context() as monkeypatch:
            yield Project(tmp_path_factory.mktemp("project"), monkeypatch)

    return temporary_project


@pytest.fixture
def project(temporary_project):
    """A project of this test's own, without chapters."""
    with temporary_project() as project:
        yield project


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A chapter of the quick scale that saves into tmp_path."""
    monkeypatch.setenv("MNISTKIT_OUT", str(tmp_path))
    return Chapter("01_planted", "quick", "planted data")
