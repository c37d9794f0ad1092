"""Every chapter in JupyterLab, as it is: open it, run all, save it, open it again."""

import csv
import shutil
import time

import nbformat
import pytest
from lab_server import Lab, run_all, save

from mnistkit.report import scales

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Lab draws an output when it comes into view: come by all of them.
SCROLL = """
async () => {
  const panel = document.querySelector(".jp-WindowedPanel-outer");
  for (let y = 0; y < panel.scrollHeight; y += panel.clientHeight) {
    panel.scrollTop = y;
    await new Promise((resolve) => setTimeout(resolve, 80));
  }
}
"""


@pytest.fixture(scope="module")
def lab(full_mnist, chromium, tmp_path_factory):
    """JupyterLab whose kernels find no records but those of the archive."""
    folder = tmp_path_factory.mktemp("lab")
    places = {"MNISTKIT_OUT": str(folder / "out")}
    places["MNISTKIT_STORE"] = str(folder / "records")
    server = Lab(folder, {}, **places)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def full_mnist(mnist):
    if mnist.source != "mnist":
        pytest.skip("the chapters show records of all of MNIST: set MNISTKIT_DATA")


@pytest.fixture(scope="module")
def seconds(tmp_path_factory):
    """A table that is written, and printed, after the last chapter."""
    rows = []
    yield rows
    path = tmp_path_factory.getbasetemp() / "chapters_in_lab.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["chapter", "open", "run all", "reopen"], *rows])
    print(f"\n{path}\n{path.read_text('utf-8')}")


def look_at_all(page):
    """Scroll through the notebook; no output may say that it cannot be shown."""
    page.evaluate(SCROLL)
    assert page.get_by_text("Error displaying widget").count() == 0
    assert page.get_by_text("Traceback").count() == 0


@pytest.mark.parametrize("name", scales.chapters())
def test_a_chapter_runs_without_an_error_and_can_be_opened_again(
    name, lab, seconds, new_page
):
    path = lab.folder / f"{name}.ipynb"
    shutil.copy(scales.notebook(name), path)
    times = [time.perf_counter()]
    page = new_page(viewport={"width": 1366, "height": 1000})
    lab.open(page, path.name)
    times.append(time.perf_counter())
    run_all(page, seconds=400)
    times.append(time.perf_counter())
    look_at_all(page)
    save(page, path)
    page.close()
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [o.evalue for o in outputs if o.output_type == "error"] == []
    assert all(cell.execution_count for cell in cells if cell.source.strip())
    assert len(outputs) >= 10
    again = new_page(viewport={"width": 1366, "height": 1000})
    start = time.perf_counter()
    lab.open(again, path.name)
    reopened = time.perf_counter() - start
    look_at_all(again)
    lab.end_kernels()
    opened, ran = times[1] - times[0], times[2] - times[1]
    seconds.append([name, *(f"{value:.1f}" for value in (opened, ran, reopened))])
