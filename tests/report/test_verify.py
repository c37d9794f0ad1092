"""The check that trains stored runs anew, on tiny runs of a planted project."""

import random
from dataclasses import replace

import numpy as np
import pytest

from mnistkit.__main__ import main
from mnistkit.report import execute
from mnistkit.report.chapter import Chapter
from mnistkit.report.verify import SpotCheck, choose, spot_check
from mnistkit.runs import Run
from mnistkit.storage.places import records_folder
from mnistkit.storage.store import Store
from mnistkit.sweeps import train_run

RUNS = [
    Run(model="mlp", epochs=1, train_size=100, eval_size=50, seed=seed)
    for seed in range(4)
]


@pytest.fixture(scope="module")
def records():
    """The records of RUNS."""
    return [train_run(run, device="cpu") for run in RUNS]


@pytest.fixture
def stored(project, records, mnist, monkeypatch):
    """The store of a project with one chapter, whose experiment has the records."""
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)  # trained in this process
    project.plant("02_other")
    for record in records:
        Store().put(record.run.name, mnist.source, record.to_document())
    Chapter("02_other", "full", "planted data").sweep("seeds", RUNS)
    return project


def files(project):
    """Path and content of each file in the project's folder."""
    paths = [path for path in project.folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in paths}


def draw(records, seed, n=2, seconds=60.0):
    return [r.run.name for r in choose(records, n, seconds, random.Random(seed))]


# ----------------------------------------------------------------------------- the draw


def test_a_seed_draws_the_same_runs_in_whatever_order_they_come(records):
    for seed in range(5):
        assert draw(records, seed) == draw(records[::-1], seed)


def test_seeds_draw_different_runs(records):
    assert len({tuple(draw(records, seed)) for seed in range(20)}) > 3


def test_no_run_is_drawn_twice(records):
    assert sorted(draw(records, 0, n=9)) == sorted(run.name for run in RUNS)


def test_only_runs_within_the_budget_are_drawn(records):
    long, short = (
        replace(record, summary=record.summary | {"seconds": seconds})
        for record, seconds in zip(records, (60.5, 59.5), strict=False)
    )
    for seed in range(5):
        assert draw([long, short], seed) == [short.run.name]


def test_a_network_that_is_not_defined_here_is_not_drawn(records):
    settings = records[0].run.canonical() | {"model": "mine", "code": {"model": "abc"}}
    own = replace(records[0], run=Run.restore(settings))
    assert draw([own, records[1]], 0) == [RUNS[1].name]


# -------------------------------------------------------------------------- the command


def test_verify_finds_the_same_bits_and_succeeds(stored, capsys):
    assert main(["verify", "--runs", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("same bits.") == 2
    assert "2 of 4 stored runs" in out and "seeds (02)" in out


def test_verify_writes_nothing(stored):
    before = files(stored)
    assert main(["verify", "--runs", "1"]) == 0
    assert files(stored) == before


def test_verify_finds_the_records_of_the_archive(stored, mnist):
    names = {run.name for run in RUNS}
    Store().pack(names, records_folder() / "full.zip", mnist.source)
    for path in Store().folder.rglob("*.json"):
        path.unlink()
    assert [row["verdict"] for row in spot_check(4, 60).rows] == ["same bits"] * 4


def test_verify_says_that_a_result_is_different(stored, records, mnist, capsys):
    """The planted record is whole: its accuracy follows from its predictions."""
    record = records[0]
    predictions = (record.predictions + 1) % 10
    right = predictions == record.labels(mnist)
    assert abs(right.mean() - record.summary["test_accuracy"]) > 0.2
    summary = record.summary | {"test_accuracy": float(np.mean(right))}
    wrong = replace(record, predictions=predictions, summary=summary)
    Store().put(record.run.name, mnist.source, wrong.to_document())
    assert main(["verify", "--runs", "4"]) == 1
    out = capsys.readouterr().out
    assert out.count("different.") == 1 and out.count("same bits.") == 3


def test_a_run_that_fails_stops_no_other(stored, monkeypatch, capsys):
    def train(run, *arguments, **options):
        if run.seed == 1:
            raise RuntimeError("planted")
        return train_run(run, *arguments, **options)

    monkeypatch.setattr("mnistkit.report.verify.train_run", train)
    assert main(["verify", "--runs", "4"]) == 1
    out = capsys.readouterr().out
    assert "RuntimeError: planted" in out and out.count("same bits.") == 3


def test_the_printed_seed_repeats_a_draw(stored):
    first, again = spot_check(2, 60), spot_check(2, 60)
    seed = int(first.drawn.partition("--seed ")[2].split()[0])
    repeated = spot_check(2, 60, seed)
    assert first == again == repeated


@pytest.mark.parametrize("arguments", ["--seconds 1e-9", "--runs 0", "--seconds 0"])
def test_nothing_to_verify_is_one_line(stored, arguments, capsys):
    assert main(["verify", *arguments.split()]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


# --------------------------------------------------------------------------- the report


@pytest.fixture
def checks(project, monkeypatch):
    """The arguments of each check that a report makes; no chapter is executed."""
    made = []

    def spot_check(*arguments):
        made.append(arguments)
        return SpotCheck("planted", [{"verdict": "different"}], ["because"])

    project.plant("01_good")
    monkeypatch.setattr(execute, "execute_chapters", lambda *arguments: {})
    monkeypatch.setattr(execute, "spot_check", spot_check)
    return made


def test_a_full_report_ends_with_a_check(checks, project):
    """A result that is different gives the status 1, and the page shows it."""
    assert main(["report", "--scale", "full"]) == 1
    assert len(checks) == 1
    page = (project.folder / "reports" / "index.html").read_text("utf-8")
    assert page.index('id="runs-trained-anew"') > page.index('id="figures-and-tables"')
    assert "<td" in page.partition('id="runs-trained-anew"')[2]
    assert 'href="#runs-trained-anew"' in page.partition("</nav>")[2]


def test_the_check_of_a_report_is_short(checks):
    main(["report", "--scale", "full"])
    [(runs, seconds)] = checks
    assert runs * seconds / 2 <= 16  # on two cores


@pytest.mark.parametrize(
    "options",
    ["--scale smoke", "--scale quick", "--no-verify --scale full", "--only 1"],
)
def test_other_reports_make_no_check(checks, options, full):
    assert main(["report", *options.split()]) == 0
    assert checks == []


def test_a_full_page_without_a_check_says_so(checks, project):
    main(["report", "--scale", "full", "--no-verify"])
    page = (project.folder / "reports" / "index.html").read_text("utf-8")
    assert "no run was trained anew" in " ".join(page.split())
