"""Comparison of the tables that a chapter makes with those that the project ships."""

import re
from pathlib import Path

import pandas as pd
import pytest

from mnistkit.storage.places import ROOT

# Chapter 07 runs printed code on few images, anew each time. Where the last digits
# depend on the processor, a number may differ by SHARE, or by what rounding leaves.
SHARE, ROUNDING = 0.05, 1e-9
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def assert_tables_are_stored(chapter: str, folder: Path) -> None:
    """Compare all tables of a chapter in `folder` with those in reports/."""
    made = {path.name for path in folder.glob(f"{chapter}_*.csv")}
    assert made == {path.name for path in (ROOT / "reports").glob(f"{chapter}_*.csv")}
    for table in sorted(made):
        assert_table_is_stored(table, folder)


def assert_table_is_stored(table: str, folder: Path) -> None:
    """Compare one table, its numbers up to rounding."""
    stored = pd.read_csv(ROOT / "reports" / table)
    made = pd.read_csv(folder / table)
    assert list(made.columns) == list(stored.columns), table
    for column in stored:
        if table.startswith("07_") and column == "regenerated":
            for ours, theirs in zip(made[column], stored[column], strict=True):
                assert_alike(str(ours), str(theirs))
        else:
            pd.testing.assert_series_equal(
                made[column], stored[column], rtol=1e-6, obj=f"{table}: {column}"
            )


def assert_alike(made: str, stored: str) -> None:
    """Compare words exactly, and the numbers among them up to SHARE or ROUNDING."""
    assert NUMBER.sub("#", made) == NUMBER.sub("#", stored)
    for ours, theirs in zip(NUMBER.findall(made), NUMBER.findall(stored), strict=True):
        assert float(ours) == pytest.approx(float(theirs), rel=SHARE, abs=ROUNDING)
