"""Captions of tables, and text that does not break, in the book and on the site."""

import re

PERCENT = re.compile(r"(?<=\d)\s+(?=%)")
REPORT = re.compile(r"\br(\d)\b")
MARKUP = re.compile(r"^\d+ · |[`*]")  # the number of a case, and signs of Markdown


def unbroken(text: str) -> str:
    """Return a text in which no line ends between a number and its percent sign."""
    return PERCENT.sub("\N{NO-BREAK SPACE}", text)


def table_caption(section: str, name: str, note: str, known: list[str]) -> str:
    """Return what stands below a table: the title of its section, and the note.

    `section` is Markdown. If it is the title of a table in `known`, the `name` under
    which the table was saved, if any, follows, as does that of a report. The new title
    is added to `known`.
    """
    title = MARKUP.sub("", section)
    if name and (title in known or REPORT.fullmatch(name)):
        more = REPORT.sub(r"R\1", name.replace("_", " "))
        title += f" {more.capitalize()}" if title[-1] in "?!" else f": {more}"
    known.append(title)
    note = " ".join(note.split()).rstrip(".")
    caption = f"{title} ({note})" if note else title
    return caption if caption[-1] in "?!" else f"{caption}."
