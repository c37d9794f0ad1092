"""What follows the chapters in the book: the claims, the answers, the training loop."""

import ast
import inspect
import re
from collections.abc import Callable

import pandas as pd

from mnistkit import train
from mnistkit.report import scales
from mnistkit.report.book_cells import Text
from mnistkit.report.book_floats import typst_string

REVISITED = "07_five_reports_revisited"
CLAIMS = (
    "These are the claims that a computation can decide, report by report, with the "
    "outcome and what was found; section 7.3 says how they are judged. *One more run* "
    "is the 95 % interval for a single further training of ours. What runs like ours "
    "*would detect* is the smallest true difference that they would show with a chance "
    "of 80 %: where it is larger than what would matter, the runs are too few. An id "
    "with an E names an entry in the list of errors and slips in notebook 07."
)


def claims(scale: str) -> str:
    """Return the appendix of the claims that chapter 07 judged; "" if there is none."""
    path = scales.folder("reports", scale) / f"{REVISITED}_all.csv"
    if not path.exists():
        return ""
    frame = pd.read_csv(path, dtype=str).fillna("")
    reading = " " + frame["reading"]
    frame["outcome"] += reading.where(frame["reading"] != "", "")
    columns = ["id", "claim", "reported", "outcome", "regenerated", "reason"]
    rows = frame[columns].to_numpy().tolist()
    calls = "\n".join(f"#claim({', '.join(map(typst_string, row))})" for row in rows)
    listed = f"```{{=typst}}\n#claims[\n{calls}\n]\n```"
    return f"# The claims, one by one\n\n{CLAIMS}\n\n{listed}"


def answers(texts: dict[str, Text]) -> str:
    """Return the appendix of answers, as Markdown."""
    lines = ["# Answers"]
    for name, text in texts.items():
        if text.answers:
            lines.append(f"## Chapter {name[:2]}")
        for each in text.answers:
            head = (
                f"#answer(label({typst_string('a' + each.label)}), "
                f"<q{each.label}>, {typst_string(each.question)})"
            )
            # The head stands on the line of the first paragraph, if there is one.
            gap = "\n\n" if re.match(r"```|\d+\.|[-*] ", each.text) else " "
            lines.append(f"`{head}`{{=typst}}{gap}{each.text}")
    return "\n\n".join(lines)


def training_loop() -> str:
    """Return the appendix that shows the training loop, as Markdown."""
    return "\n\n".join(
        [
            "# The training loop",
            "All networks of the course are trained by `fit`, in `mnistkit/train.py`. "
            "What one step does (forward, backward, update) stands in "
            "`mnistkit/steps.py`.",
            f"```python\n{_without_docstrings(train.fit)}\n```",
        ]
    )


def _without_docstrings(function: Callable[..., object]) -> str:
    """Return the source of a function, all but its docstring."""
    source = inspect.getsource(function).rstrip()
    first = ast.parse(source).body[0]
    assert isinstance(first, ast.FunctionDef)
    lines = source.split("\n")
    docstring = first.body[0]
    if ast.get_docstring(first):
        del lines[docstring.lineno - 1 : docstring.end_lineno]
    return "\n".join(lines)
