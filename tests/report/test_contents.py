"""What the map of the course reads in the openings of the notebooks."""

import pytest

from mnistkit.report.contents import course_map, describe
from mnistkit.report.scales import chapters

OPENING = """# 03 · Optimizers

**Question.** Which optimizer
is best? And why? It is an old dispute.

Some words.

**Time:** 60 minutes. **Builds on:** the networks of [chapter 02](02_model_zoo.ipynb)
and the intervals of [chapter 01](01_data_exploration.ipynb).

**Then** 99 more."""


def test_an_opening_is_described():
    assert describe(OPENING) == {
        "title": "Optimizers",
        "question": "Which optimizer is best? And why?",
        "minutes": 60,
        "builds on": "01, 02",
    }


def test_a_range_of_chapters_stays_one():
    assert describe("It builds on chapters 02 to 06.")["builds on"] == "02 to 06"


def test_what_an_opening_does_not_say_is_missing():
    assert describe("# Notes") == {
        "title": "",
        "question": "",
        "minutes": None,
        "builds on": "",
    }


def test_the_opening_ends_at_the_first_code_cell(project):
    project.plant("01_a")
    project.plant("02_b")
    shown = course_map()
    assert list(shown["chapter"]) == ["01_a", "02_b"]
    assert shown["minutes"].isna().all()


@pytest.mark.parametrize("row", course_map().to_dict("records"), ids=chapters())
def test_every_chapter_says_what_the_map_shows(row):
    assert row["title"] and row["question"].endswith("?") and row["minutes"] >= 10
    assert row["builds on"] or row["chapter"] < "02"
