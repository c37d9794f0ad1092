"""What the project ships of the full scale: records, figures, tables."""

import json
import os
import re
import subprocess
import sys
import zipfile

import pandas as pd
import pytest

from mnistkit.report.experiments import read_run_lists
from mnistkit.report.scales import chapters
from mnistkit.runs import Record
from mnistkit.storage.places import ROOT, records_folder
from mnistkit.storage.store import packed

ARCHIVE = records_folder() / "full.zip"
TABLES = sorted(path.name for path in (ROOT / "reports").glob("[0-9][0-9]_*.csv"))
# Chapter 07 runs printed code in small, anew each time: where the last digits depend on
# the processor, a number may differ by this share, or by what rounding leaves.
SHARE, ROUNDING = 0.05, 1e-9
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def test_the_archive_is_small():
    assert ARCHIVE.stat().st_size < 15_000_000


def test_the_archive_has_the_runs_of_the_chapters_and_no_others():
    assert packed(ARCHIVE) == set(read_run_lists("full")["run"])


def test_shipped_records_are_whole():
    with zipfile.ZipFile(ARCHIVE) as file:
        names = [name for name in file.namelist() if name.endswith(".json")]
        for name in names[::8]:
            record = Record.from_document(json.loads(file.read(name)))
            assert name == f"mnist/{record.run.name}.json"
            assert record.data["source"] == "mnist"
            assert len(record.predictions) == record.data["test_size"]


@pytest.mark.parametrize("name", chapters())
def test_every_chapter_has_its_figures_twice(name):
    figures = {path.stem for path in (ROOT / "figures").glob(f"{name}_*.svg")}
    assert figures
    assert figures == {path.stem for path in (ROOT / "figures").glob(f"{name}_*.png")}


@pytest.mark.parametrize("table", [name for name in TABLES if "_runs" not in name])
def test_every_table_states_its_data_and_scale(table):
    stated = pd.read_csv(ROOT / "reports" / table)["data"]
    assert stated.str.contains("full scale").all()


@pytest.fixture(scope="session")
def rebuilt(mnist, tmp_path_factory):
    """The folder of a full report that was made from the shipped records alone."""
    if mnist.source != "mnist":
        pytest.skip("the stored tables are about all of MNIST")
    folder = tmp_path_factory.mktemp("rebuilt")
    settings = {"MNISTKIT_OUT": str(folder), "MNISTKIT_STORE": str(folder / "records")}
    done = subprocess.run(
        [sys.executable, "-m", "mnistkit", "report", "--scale", "full"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.rglob("*.json")), "a record was missing and trained anew"
    return folder / "reports"


@pytest.mark.slow
def test_the_report_makes_these_tables_and_no_others(rebuilt):
    assert sorted(path.name for path in rebuilt.glob("*.csv")) == TABLES


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_table_comes_out_of_the_records_as_it_is_stored(rebuilt, table):
    stored = pd.read_csv(ROOT / "reports" / table)
    made = pd.read_csv(rebuilt / table)
    assert list(made.columns) == list(stored.columns)
    for column in stored:
        if table.startswith("07_") and column == "regenerated":
            for ours, theirs in zip(made[column], stored[column], strict=True):
                assert_alike(str(ours), str(theirs))
        else:
            pd.testing.assert_series_equal(made[column], stored[column], rtol=1e-6)


def assert_alike(made: str, stored: str):
    """The same words, and numbers that differ by no more than rounding may do."""
    assert NUMBER.sub("#", made) == NUMBER.sub("#", stored)
    for ours, theirs in zip(NUMBER.findall(made), NUMBER.findall(stored), strict=True):
        assert float(ours) == pytest.approx(float(theirs), rel=SHARE, abs=ROUNDING)
