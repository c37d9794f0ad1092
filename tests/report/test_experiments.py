"""The run lists that chapters leave, and the records that are read by them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pandas as pd
import pytest

from mnistkit import Run
from mnistkit.report.chapter import Chapter
from mnistkit.report.experiments import read_experiments, read_run_lists

SMALL = Run(model="mlp", epochs=1, train_size=100, eval_size=50)
RUNS = [SMALL, replace(SMALL, seed=1)]


def sweep(scale, **experiments):
    """Run experiments in a chapter 01_first; returns the records of the last one."""
    chapter = Chapter("01_first", scale, "planted data")
    with ThreadPoolExecutor(1) as executor:
        for name, runs in experiments.items():
            records = chapter.sweep(name, runs, executor=executor)
    return records


def write_list(folder, chapter, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows, columns=["experiment", "run"])
    frame.to_csv(folder / f"{chapter}_runs.csv", index=False)


@pytest.fixture
def project(project):
    """Two chapters, 01_first and 02_second."""
    for name in ("01_first", "02_second"):
        project.plant(name)
    return project


def test_nothing_is_listed_before_a_chapter_was_executed(project):
    lists = read_run_lists("smoke")
    assert list(lists.columns) == ["chapter", "experiment", "run"]
    assert lists.empty


def test_an_experiment_of_a_chapter_is_listed(project):
    sweep("smoke", seeds=RUNS)
    rows = read_run_lists("smoke").to_dict("split")["data"]
    assert rows == [["01_first", "seeds", run.name] for run in RUNS]


def test_all_experiments_of_a_chapter_are_listed(project):
    sweep("smoke", seeds=RUNS, one=RUNS[:1])
    assert read_run_lists("smoke")["experiment"].tolist() == ["seeds", "seeds", "one"]


def test_an_experiment_that_is_made_again_is_listed_once(project):
    for _ in range(2):
        sweep("smoke", one=RUNS[:1])
    assert len(read_run_lists("smoke")) == 1


def test_scales_have_lists_of_their_own(project):
    sweep("smoke", one=RUNS[:1])
    assert read_run_lists("quick").empty


@pytest.mark.parametrize("scale", ["full", "smoke"])
def test_a_chapter_that_was_not_executed_is_listed_by_the_project(
    project, monkeypatch, scale
):
    reports = "reports" if scale == "full" else f"reports/{scale}"
    write_list(project.folder / reports, "01_first", ("old", "a"))
    write_list(project.folder / reports, "02_second", ("kept", "b"))
    monkeypatch.setenv("MNISTKIT_OUT", str(project.folder / "out"))
    write_list(project.folder / "out" / reports, "01_first", ("new", "c"))
    rows = read_run_lists(scale).to_dict("split")["data"]
    assert rows == [["01_first", "new", "c"], ["02_second", "kept", "b"]]


def test_an_experiment_is_read_with_its_records(project):
    written = sweep("smoke", seeds=RUNS)
    [read] = read_experiments("smoke").values()
    assert [r.to_document() for r in read] == [r.to_document() for r in written]


def test_runs_without_a_record_are_left_out(project):
    sweep("smoke", one=RUNS[:1])
    reports = project.folder / "reports" / "smoke"
    write_list(reports, "02_second", *(("two", run.name) for run in RUNS))
    assert [record.run for record in read_experiments("smoke")["two"]] == RUNS[:1]


def test_an_experiment_without_records_is_named(project):
    write_list(project.folder / "reports" / "smoke", "01_first", ("lost", "a"))
    for name in ("lost", "never_run"):
        with pytest.raises(ValueError, match=f"'{name}' has no .* at the smoke scale"):
            read_experiments("smoke")[name]


def test_an_experiment_in_two_chapters_is_refused(project):
    for name in ("01_first", "02_second"):
        write_list(project.folder / "reports" / "smoke", name, ("seeds", "a"))
    with pytest.raises(ValueError, match="experiment 'seeds' is in two chapters"):
        read_experiments("smoke")


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"experiment,name\na,b\n"])
def test_a_file_that_is_no_run_list_is_named(project, content):
    project.plant("01_good")
    path = project.folder / "reports" / "01_good_runs.csv"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ValueError, match="01_good_runs.csv is no run list.*remove"):
        read_run_lists("full")


def test_a_name_of_digits_stays_a_name(project):
    project.plant("01_good")
    path = project.folder / "reports" / "01_good_runs.csv"
    path.parent.mkdir()
    path.write_text("experiment,run\na,0123\n", "utf-8")
    assert read_run_lists("full")["run"].tolist() == ["0123"]
