"""What the project ships of the full scale: records, figures, tables."""

import json
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
