"""How chapter 07 shows outcomes: in colours, in tables, and where a case is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import BarContainer

from mnistkit.claims.rules import (
    AGREES,
    AGREES_IF,
    DIFFERS,
    IMPRECISE,
    NOT_RUN,
    OUTCOMES,
    NotRun,
)

# How each outcome looks in a bar, also in black and white
LOOKS: dict[str, dict[str, str]] = {
    AGREES: dict(color="#0072B2", edgecolor="#333333"),
    AGREES_IF: dict(color="#9DCBE8", edgecolor="#333333"),
    DIFFERS: dict(color="#E69F00", edgecolor="#333333", hatch="///"),
    IMPRECISE: dict(color="#DDDDDD", edgecolor="#333333"),
    NOT_RUN: dict(color="#FFFFFF", edgecolor="#333333", hatch="..."),
}
# What one claim of an outcome does, and what several do
WORDS = {
    AGREES: ("agrees", "agree"),
    AGREES_IF: ("agrees in one reading", "agree in one reading"),
    DIFFERS: ("differs", "differ"),
    IMPRECISE: ("our runs cannot decide", "our runs cannot decide"),
    NOT_RUN: ("was not run", "were not run"),
}
# The background of each outcome in a table; the text on it is black.
BACKGROUNDS = {
    AGREES: "#BBDDF2",
    AGREES_IF: "#E3F1FA",
    DIFFERS: "#FADFA8",
    IMPRECISE: "#E6E6E6",
    NOT_RUN: "#FFFFFF",
}


class Skipped:
    """What a notebook does where the trainings of a case are missing: it says so.

    `with skipped():` around a cell displays the message of a NotRun in one sentence and
    goes on. A message is displayed once, however many cells it concerns; once a cell
    was left out, others that lack a name are left out without a word.
    """

    def __init__(self) -> None:
        self.told: set[str] = set()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        from IPython.display import Markdown, display

        try:
            yield
        except NotRun as missing:
            if str(missing) not in self.told:
                self.told.add(str(missing))
                sentence = str(missing)[:1].upper() + str(missing)[1:]
                display(Markdown(f"*This case is left out at this scale. {sentence}.*"))
        except NameError:
            if not self.told:
                raise


def colour(outcome: str) -> str:
    """The CSS of an outcome's cell in a table; the outcome may name a reading."""
    for known in (AGREES_IF, *OUTCOMES):
        if outcome.startswith(known):
            return f"background-color: {BACKGROUNDS[known]}; color: black"
    return ""


def compact(table: pd.DataFrame, report: str) -> pd.DataFrame:
    """The claims of a report for reading: seven columns of `Judgement.table`.

    The outcome is followed by the reading that it needs.
    """
    part = table[table["report"] == report].reset_index(drop=True)
    needs = part["outcome"].where(part["reading"] == "", AGREES_IF + " ")
    return pd.DataFrame(
        {
            "id": part["id"],
            "claim": part["claim"],
            "reported": part["reported"],
            "found": part["regenerated"],
            "outcome": needs + part["reading"],
            "why / limit": part["reason"],
            "chapter": part["chapter"],
        }
    )


def write_counts(ax: Axes, bars: BarContainer, outcome: str) -> None:
    """Write the length of each bar of an outcome into it, if it is not 0."""
    counts = [round(float(bar.get_width())) for bar in bars]
    texts = [str(count) if count > 0 else "" for count in counts]
    labels = ax.bar_label(bars, texts, label_type="center", weight="bold")
    for label in labels:
        label.set_color("white" if outcome == AGREES else "black")
        if "hatch" in LOOKS[outcome] and label.get_text():
            face = LOOKS[outcome]["color"]
            label.set_bbox(dict(facecolor=face, edgecolor="none", pad=1))


def seeds_below(ax: Axes, frame: pd.DataFrame, by: str, value: str) -> None:
    """Add a grey dot per run below the means that `plots.dots` has drawn."""
    rows = {text.get_text(): row for row, text in enumerate(ax.get_yticklabels())}
    for group, values in frame.groupby(by)[value]:
        heights = np.full(len(values), rows[str(group)] + 0.27)
        ax.plot(values, heights, ".", color="0.5", markersize=6, markeredgewidth=0)


def tally(outcomes: pd.Series) -> str:
    """How many claims have each outcome, in words: "60 agree, 31 differ"."""
    counts = outcomes.value_counts().reindex(OUTCOMES, fill_value=0)
    words = [f"{n} {WORDS[outcome][n != 1]}" for outcome, n in counts.items() if n > 0]
    return ", ".join(words)
