"""How chapter 07 shows outcomes, on planted ones."""

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from mnistkit.claims import rules, telling
from mnistkit.claims.rules import NotRun


def test_outcomes_are_counted_in_their_order():
    assert telling.tally(pd.Series(["differs", "agrees", "agrees"])) == (
        "2 agree, 1 differs"
    )


def test_every_outcome_has_words():
    assert list(telling.WORDS) == list(rules.OUTCOMES)


def test_a_case_without_trainings_is_skipped_with_one_sentence(capsys):
    skipped = telling.Skipped()
    for _ in range(2):
        with skipped():
            raise NotRun("zoo was not run")
    assert skipped.told == {"zoo was not run"}
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError, NameError])
def test_other_errors_of_a_case_are_not_hidden(error):
    with pytest.raises(error), telling.Skipped()():
        raise error


def test_what_needs_a_case_that_is_left_out_is_left_out():
    skipped = telling.Skipped()
    with skipped():
        raise NotRun("zoo was not run")
    with skipped():
        raise NameError
    assert len(skipped.told) == 1


@pytest.mark.parametrize("outcome", rules.OUTCOMES)
def test_every_outcome_has_a_colour(outcome):
    assert outcome in telling.LOOKS
    color = telling.BACKGROUNDS[outcome]
    assert telling.colour(outcome) == f"background-color: {color}; color: black"


def test_a_reading_has_the_colour_of_its_outcome():
    assert telling.colour("agrees only if it is rounded") == telling.colour(
        "agrees only if"
    )
    assert telling.colour("something else") == ""


def test_a_compact_table_tells_the_reading_and_what_limits():
    rows = [
        ("R1-01", "R1", "5", "agrees only if", "", "it is rounded"),
        ("R1-02", "R1", "6", "too imprecise to say", "2 runs are too few", ""),
        ("R2-01", "R2", "8", "agrees", "", ""),
    ]
    columns = ["id", "report", "regenerated", "outcome", "reason", "reading"]
    table = pd.DataFrame(rows, columns=columns)
    table = table.assign(claim="", reported="", chapter="")
    shown = telling.compact(table, "R1")
    assert list(shown["found"]) == ["5", "6"]
    assert list(shown["outcome"])[0] == "agrees only if it is rounded"
    assert list(shown["why / limit"])[1] == "2 runs are too few"
    assert len(shown) == 2 and len(shown.columns) <= 7


def test_counts_are_written_into_bars_but_no_zero():
    fig, ax = plt.subplots()
    bars = ax.barh(["a", "b"], [3, 0])
    telling.write_counts(ax, bars, "differs")
    assert [text.get_text() for text in ax.texts] == ["3", ""]
    plt.close(fig)


def test_seeds_stand_in_the_row_of_their_group():
    fig, ax = plt.subplots()
    ax.set_yticks([0, 1], ["a", "b"])
    frame = pd.DataFrame({"name": ["b", "b", "a"], "score": [1.0, 2.0, 3.0]})
    telling.seeds_below(ax, frame, "name", "score")
    rows = {tuple(line.get_xdata()): int(line.get_ydata()[0]) for line in ax.lines}
    assert rows == {(3.0,): 0, (1.0, 2.0): 1}
    plt.close(fig)
