"""The report command on small planted chapters."""

import json
import re
from concurrent.futures import wait

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mnistkit.__main__ import main
from mnistkit.report import execute, scales, table
from mnistkit.report.chapter import Chapter
from mnistkit.storage import places

PARAMETERS = 'scale: str = "full"  # which\nn: int = 3  # how many'
DRAW = """
import matplotlib.pyplot as plt
import pandas as pd
from mnistkit.report.chapter import Chapter
chapter = Chapter("{name}", scale, "planted data")
fig, ax = plt.subplots()
ax.plot(range(n))
chapter.save_figure(fig, "line", note=f"n = {{n}}")
chapter.save_table(pd.DataFrame({{"n": [n]}}), "count")
"""


PROGRESS = """
import os
from mnistkit.sweeps import progress
with progress(3, missing=2) as done:
    done()
print(open(os.environ["MNISTKIT_PROGRESS"]).read())
"""


def plant(folder, name, source="print(n)", parameters=PARAMETERS):
    cells = [new_markdown_cell(f"# {name}\n\nA formula: $x^2$")]
    if parameters:
        tags = {"tags": ["parameters"]}
        cells.append(new_code_cell(parameters, metadata=tags))
    cells.append(new_code_cell(source.format(name=name).strip()))
    book = new_notebook(cells=cells)
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    book.metadata["language_info"] = {"name": "python"}
    nbformat.write(book, folder / f"{name}.ipynb")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Chapters 01_good and 02_other in a project of their own; returns its folder."""
    (tmp_path / "notebooks").mkdir()
    plant(tmp_path / "notebooks", "01_good", DRAW)
    plant(tmp_path / "notebooks", "02_other")
    monkeypatch.setattr(places, "ROOT", tmp_path)
    planted = {"smoke": {"01_good": {"n": 2}}, "quick": {}, "full": {}}
    monkeypatch.setattr(scales, "SCALES", planted)
    monkeypatch.setenv("MNISTKIT_OUT", str(tmp_path))
    monkeypatch.setenv("MNISTKIT_STORE", str(tmp_path / "records"))
    return tmp_path


def test_report_leaves_copies_figures_tables_and_the_page(project, capsys):
    plant(project / "notebooks", "02_other", PROGRESS)
    assert main(["report", "--scale", "smoke", "--jobs", "2"]) == 0
    out = project / "reports" / "smoke"
    assert pd.read_csv(out / "01_good_count.csv")["n"].tolist() == [2]  # injected
    assert (project / "figures" / "smoke" / "01_good_line.svg").exists()
    assert (project / "figures" / "smoke" / "01_good_line.png").exists()
    book = nbformat.read(out / "02_other.ipynb", 4)
    events = [json.loads(x) for x in book.cells[-1].outputs[0].text.split("\n") if x]
    assert events == [{"runs": 3, "done": 1}, {"done": 1}]
    page = (out / "index.html").read_text()
    assert "01_good" in page and "02_other" in page
    assert "<math" in page and "data:image/png;base64" in page
    assert not re.search(r'(src|href)="(https?:)?//', page)  # nothing to load
    assert str(out / "index.html") in capsys.readouterr().out


def test_full_injects_nothing_and_can_update_the_notebook(project):
    """The stored notebook keeps its cells and gets the outputs, no more."""
    before = nbformat.read(project / "notebooks" / "01_good.ipynb", 4)
    command = ["report", "--scale", "full", "--only", "1", "--update-notebooks"]
    assert main(command) == 0
    out = project / "reports"
    assert pd.read_csv(out / "01_good_count.csv")["n"].tolist() == [3]
    executed = nbformat.read(out / "01_good.ipynb", 4)
    after = nbformat.read(project / "notebooks" / "01_good.ipynb", 4)
    for book in (executed, after):
        assert [c.source for c in book.cells] == [c.source for c in before.cells]
        assert "papermill" not in json.dumps(book)
    assert after.cells[-1].outputs and after.cells[-1].execution_count == 2
    assert "missing at this scale" in (out / "index.html").read_text()  # 02_other


def test_a_failing_chapter_does_not_stop_the_others(project, capsys):
    plant(project / "notebooks", "01_good", 'raise RuntimeError("planted")')
    assert main(["report", "--scale", "smoke"]) == 1
    out = project / "reports" / "smoke"
    assert "01_good failed: RuntimeError: planted" in capsys.readouterr().err
    assert (out / "01_good.failed.ipynb").exists()
    assert not (out / "01_good.ipynb").exists() and (out / "02_other.ipynb").exists()
    assert "failed" in (out / "index.html").read_text()
    plant(project / "notebooks", "01_good")
    assert main(["report", "--scale", "smoke", "--only", "01"]) == 0
    assert not (out / "01_good.failed.ipynb").exists()
    assert not list(out.glob(".*"))


def test_unknown_parameter_stops_before_anything_runs(project, capsys):
    scales.SCALES["smoke"]["02_other"] = {"epocs": 1}
    assert main(["report", "--scale", "smoke"]) == 2
    assert "02_other: no parameter epocs" in capsys.readouterr().err
    assert not (project / "reports" / "smoke").exists()


def test_missing_parameters_cell(project, capsys):
    plant(project / "notebooks", "02_other", parameters=None)
    assert main(["report", "--scale", "smoke"]) == 2
    assert "02_other: no cell tagged `parameters`" in capsys.readouterr().err


def test_the_page_shows_findings_sections_and_links(project):
    source = """
from IPython.display import HTML, Markdown, display
display(Markdown("**Finding** of the {name}"))
display(HTML("<table><tr><td>cell</td></tr></table>"))
"""
    path = project / "notebooks" / "01_good.ipynb"
    plant(path.parent, "01_good", source)
    book = nbformat.read(path, 4)
    solution = "<details><summary>Solution</summary>\n\n$a$\n\n</details>"
    text = f"## Section\n\n[next](02_other.ipynb)\n\n{solution}"
    book.cells.insert(2, new_markdown_cell(text))
    nbformat.write(book, path)
    assert main(["report", "--only", "01"]) == 0
    page = (project / "reports" / "quick" / "index.html").read_text()
    assert "<strong>Finding</strong> of the 01_good" in page
    assert "<td>cell</td>" in page and "<summary>" in page
    assert 'href="#02_other"' in page and 'id="01_good"' in page
    contents = re.search("<nav.*?</nav>", page, re.DOTALL)[0]
    assert re.search(r"01_good</a>\s*<ul>\s*<li><a href=\"#section\"", contents)


def test_interrupt_leaves_nothing_that_looks_finished(project, monkeypatch, capsys):
    """Ctrl-C while a kernel works: the kernel dies and no file of it stays."""
    source = """
import os, pathlib, time
pathlib.Path("started").write_text(str(os.getpid()))
time.sleep(60)
"""
    plant(project / "notebooks", "01_good", source)
    started = project / "notebooks" / "started"

    def interrupt(futures, log):
        while not (started.exists() and started.read_text()):
            wait(futures, 0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "watch", interrupt)
    assert main(["report", "--only", "01"]) == 130
    assert not psutil.pid_exists(int(started.read_text()))
    assert not list((project / "reports" / "quick").iterdir())
    assert "interrupted" in capsys.readouterr().err


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    monkeypatch.setenv("MNISTKIT_OUT", str(tmp_path))
    return Chapter("01_planted", "quick", "planted data")


def test_figure_states_its_data_and_is_reproducible(chapter, tmp_path):
    def save():
        fig, ax = plt.subplots()
        ax.plot([1, 2])
        chapter.save_figure(fig, "line", note="n = 2")
        (footer,) = [text.get_text() for text in fig.texts]
        plt.close(fig)
        names = sorted((tmp_path / "figures" / "quick").iterdir())
        expected = ["01_planted_line.png", "01_planted_line.svg"]
        assert [path.name for path in names] == expected
        return footer, [path.read_bytes() for path in names]

    assert save() == save()
    assert save()[0] == "planted data · quick scale · n = 2"


def test_a_long_footer_is_wrapped(chapter):
    fig, ax = plt.subplots(figsize=(4, 3))
    chapter.save_figure(fig, "line", note="word " * 60)
    (footer,) = fig.texts
    assert "\n" in footer.get_text()
    assert footer.get_window_extent().width < 1.1 * fig.bbox.width
    plt.close(fig)


def test_table_states_its_data(chapter, tmp_path):
    frame = pd.DataFrame({"network": ["<b>"], "share": [0.51234]})
    options = dict(note="n = 2", formats={"share": "{:.1%}"})
    shown = chapter.save_table(frame, "shares", **options)
    saved = pd.read_csv(tmp_path / "reports" / "quick" / "01_planted_shares.csv")
    assert saved["data"].tolist() == ["planted data · quick scale · n = 2"]
    assert saved["share"].tolist() == [0.51234]
    html = shown.to_html()
    assert "51.2%" in html and "n = 2" in html and "&lt;b&gt;" in html
    assert chapter.save_table(frame, "shares", **options).to_html() == html
    with pytest.raises(ValueError, match="no column"):
        chapter.save_table(frame, "shares", formats={"shrae": "{}"})


@pytest.mark.parametrize("name", ["Line", "a line", "../line", ""])
def test_names_are_plain(chapter, name):
    with pytest.raises(ValueError, match="lower case"):
        chapter.save_table(pd.DataFrame({"a": [1]}), name)


def test_full_goes_to_the_folders_themselves(chapter, tmp_path):
    full = Chapter("01_planted", "full", "planted data")
    table = tmp_path / "reports" / "01_planted_a.csv"
    assert full.path("reports", "a", ".csv") == table
    smoke = Chapter("01_planted", "smoke", "planted data").path("figures", "a", ".svg")
    assert smoke == tmp_path / "figures" / "smoke" / "01_planted_a.svg"


def test_unknown_scale(chapter):
    with pytest.raises(ValueError, match="unknown scale 'huge'"):
        Chapter("01_planted", "huge", "planted data").path("figures", "line", ".svg")


def test_numbers_in_tables():
    values = [41706, 41706.0, 0.98712345, 1e-12, float("inf"), True, "sgd", np.int64(3)]
    expected = ["41,706", "41,706", "0.9871", "1e-12", "inf", "True", "sgd", "3"]
    assert [table.show(value) for value in values] == expected


def test_text_form_of_a_table_is_the_table(chapter):
    frame = pd.DataFrame({"a": [1.5]}, index=pd.Index(["x"], name="key"))
    shown = chapter.save_table(frame, "keyed")  # its index becomes a column
    assert repr(shown).split() == ["key", "a", "x", "1.5"]


def test_floats_of_like_size_get_the_same_decimals():
    floats = pd.Series([0.5, -60.166667, 0.0, 1.0])
    assert [table.number_format(floats).format(x) for x in floats] == [
        "0.50",
        "-60.17",
        "0.00",
        "1.00",
    ]
    assert table.number_format(pd.Series([0.005, 0.0005])).format(0.005) == "0.0050"
    assert table.number_format(pd.Series([3.0, None])).format(3.0) == "3"
    for column in (pd.Series([1e-7, 2.0]), pd.Series([1e-7]), pd.Series(["a"])):
        assert table.number_format(column) is table.show


def test_tables_align_text_to_the_left(monkeypatch, tmp_path):
    monkeypatch.setenv("MNISTKIT_OUT", str(tmp_path))
    chapter = Chapter("01_data_exploration", "smoke", "no data")
    frame = pd.DataFrame({"name": ["R2-36"], "loss": [0.5]})
    page = chapter.save_table(frame, "words").to_html()
    assert ".col0 {\n  text-align: left" in page and ".col1 {" not in page
