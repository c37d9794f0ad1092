"""What the repository ships of the full scale: records, figures, tables, findings."""

import json
import zipfile

import pandas as pd
import pytest

from mnistkit.report.experiments import read_run_lists
from mnistkit.report.scales import chapters
from mnistkit.runs import Record
from mnistkit.storage.places import ROOT, records_folder
from mnistkit.storage.store import packed


def test_the_records_are_whole_and_small():
    archive = records_folder() / "full.zip"
    assert archive.stat().st_size < 15_000_000
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if name.endswith(".json")]
        for name in names[::8]:
            record = Record.from_document(json.loads(file.read(name)))
            assert name == f"mnist/{record.run.name}.json"
            assert record.data["source"] == "mnist"
            assert len(record.predictions) == record.data["test_size"]
    assert len(names) > 100


def test_the_archive_has_the_runs_of_the_chapters_and_no_others():
    assert packed(records_folder() / "full.zip") == set(read_run_lists("full")["run"])


@pytest.mark.parametrize("name", chapters())
def test_every_chapter_has_figures_and_tables_at_full_scale(name):
    figures = {path.stem for path in (ROOT / "figures").glob(f"{name}_*.svg")}
    assert figures == {path.stem for path in (ROOT / "figures").glob(f"{name}_*.png")}
    tables = list((ROOT / "reports").glob(f"{name}_*.csv"))
    assert figures and tables
    for path in tables:
        if path.stem == f"{name}_runs":
            continue
        assert pd.read_csv(path)["data"].str.contains("full scale").all()


def test_the_readme_quotes_the_findings_of_chapter_07():
    path = ROOT / "reports" / "07_five_reports_revisited_findings.csv"
    readme = " ".join((ROOT / "README.md").read_text().split())
    for finding in pd.read_csv(path)["finding"]:
        assert finding in readme


def test_the_readme_shows_the_benchmark():
    table = pd.read_csv(ROOT / "reports" / "benchmark.csv")
    lines = (ROOT / "README.md").read_text().splitlines()
    for row in table.itertuples():
        start = f"| {row.row} | {row.ours_s:.4g} s |"
        [line] = [line for line in lines if line.startswith(start)]
        assert row.note in line
        assert pd.isna(row.ratio) or f"{row.ratio:.2f}" in line
    assert len(table) >= 8 and table["machine"].iloc[0] in " ".join(lines)
