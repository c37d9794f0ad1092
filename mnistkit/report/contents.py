"""The map of the course: what each notebook says above its first code cell."""

import re

import nbformat
import pandas as pd

from mnistkit.report.scales import chapters, notebook


def course_map() -> pd.DataFrame:
    """Return a row per chapter, with its name and what `describe` finds.

    What a chapter does not say is missing (<NA> in `minutes`, "" elsewhere).
    """
    rows = [{"chapter": name} | describe(read_opening(name)) for name in chapters()]
    return pd.DataFrame(rows).astype({"minutes": "Int64"})


def read_opening(name: str) -> str:
    """Return the Markdown of a chapter's notebook above its first code cell."""
    texts = []
    for cell in nbformat.read(notebook(name), 4).cells:
        if cell.cell_type != "markdown":
            break
        texts.append(cell.source)
    return "\n\n".join(texts)


def describe(opening: str) -> dict[str, str | int | None]:
    """Return title, question, minutes and `builds on` of a chapter's opening.

    The title follows "# 03 · ", the question runs from **Question.** to the last
    question mark of its paragraph, and the minutes are the first number before
    "minutes". `builds on` has the chapters named behind these words, such as "01, 02"
    or "02 to 06".
    """
    title = re.search(r"^# \d\d · (.+)$", opening, re.MULTILINE)
    question = re.search(r"\*\*Question\.\*\*((?:.(?!\n\n))+\?)", opening, re.DOTALL)
    minutes = re.search(r"(\d+) minutes", opening)
    basis = re.search(r"builds on(.+?)(?:\n\n|$)", opening, re.DOTALL | re.IGNORECASE)
    # A link names its chapter twice: leave its address out.
    words = re.sub(r"\]\([^)]*\)", "]", basis[1]) if basis else ""
    numbers = re.findall(r"\b\d\d(?: to \d\d)?\b", words)
    return {
        "title": title[1] if title else "",
        "question": " ".join(question[1].split()) if question else "",
        "minutes": int(minutes[1]) if minutes else None,
        "builds on": ", ".join(sorted(numbers)),
    }
