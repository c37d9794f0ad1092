"""The quick questions that close a chapter: six of them, with as many answers."""

import re

import nbformat
import pytest

from mnistkit.report.scales import chapters, notebook

SECTION = re.compile(
    r"^## (?:Six )?quick questions$(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE | re.I
)
FOLDED = re.compile(r"<details>.*?</summary>(.*?)</details>", re.DOTALL)
NUMBER = re.compile(r"^\**(\d+)\.", re.MULTILINE)


def read_prose(name):
    book = nbformat.read(notebook(name), 4)
    return "\n".join(c.source for c in book.cells if c.cell_type == "markdown")


def count_questions(prose):
    """Return the numbers of quick questions and of their answers.

    Either each question is followed by its own folded answer, or one folded text has
    a numbered answer to each.
    """
    [section] = SECTION.findall(prose)
    answers = FOLDED.findall(section)
    questions = NUMBER.findall(FOLDED.sub("", section))
    assert questions == [str(n) for n in range(1, len(questions) + 1)]
    if len(answers) == 1:
        answers = NUMBER.findall(answers[0])
    return len(questions), len([answer for answer in answers if answer.strip()])


@pytest.mark.parametrize("name", [n for n in chapters() if "01" <= n < "07"])
def test_a_chapter_has_six_quick_questions_with_answers(name):
    assert count_questions(read_prose(name)) == (6, 6)


TOGETHER = """
## Six quick questions

1. How many?
2. Which
   ones?

<details><summary>Answers</summary>

1. Two.
{}
</details>

## Exercises

**1** A task.
"""
ALONE = """
## Quick questions

**1.** How many?

<details><summary>Answer</summary>

{}
</details>

**2.** Which ones?

<details><summary>Answer</summary>

Both.
</details>
"""


@pytest.mark.parametrize(
    ("prose", "answer", "count"),
    [(TOGETHER, "2. Both.", 2), (TOGETHER, "", 1), (ALONE, "Two.", 2), (ALONE, "", 1)],
)
def test_a_missing_answer_is_counted_as_missing(prose, answer, count):
    assert count_questions(prose.format(answer)) == (2, count)
