"""From English to Chinese: sentences, cells of tables and claims.

chinese.csv has sentences and captions, chinese_tables.csv what stands in the tables and
below the figures: each with its numbers taken out, beside a Chinese sentence with
places for the same numbers, so that the numbers of both editions are the same ones.
chinese_claims.csv has the claims of the ledger by their ids.
"""

import re
from functools import cache
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent
NUMBER = re.compile(r"[+−]?\d+(?:,\d{3})*(?:\.\d+)?")
# What separates the parts of a cell, and what does so in Chinese.
SEPARATORS = {"; ": "；", ". ": "。", " · ": "；"}
SEPARATOR = re.compile(r"(; |\. | · )")
COLUMNS = ["id", "claim", "reported", "found", "outcome"]


def translate(english: str) -> str | None:
    """Return a sentence in Chinese with the same numbers, None if it is unknown."""
    text = " ".join(english.split())
    template = sentences().get(NUMBER.sub("{}", text))
    return None if template is None else template.format(*NUMBER.findall(text))


@cache
def sentences() -> dict[str, str]:
    """Return the Chinese sentence for each English one whose numbers are taken out."""
    files = ("chinese.csv", "chinese_tables.csv")
    frame = pd.concat(pd.read_csv(FOLDER / file, dtype=str) for file in files)
    return dict(zip(frame["english"], frame["chinese"], strict=True))


@cache
def claims() -> dict[str, str]:
    """Return the Chinese words of each claim, by its id."""
    frame = pd.read_csv(FOLDER / "chinese_claims.csv", dtype=str)
    return dict(zip(frame["id"], frame["claim"], strict=True))


def translate_cell(english: str) -> str | None:
    """Return a cell in Chinese, whole or part by part; None if a part is unknown.

    Numbers, formulas and shapes, which have no word of two letters, stay as they are.
    """
    if not re.search("[A-Za-z]{2}", english):
        return english
    if whole := translate(english):
        return whole
    texts = []
    for part in SEPARATOR.split(english):
        text = SEPARATORS.get(part) or translate(part)
        if text is None and re.search("[A-Za-z]{2}", part):
            return None
        texts.append(part if text is None else text)
    return "".join(texts)


def verdict_table(path: Path) -> tuple[pd.DataFrame, int]:
    """Return a report's verdicts in Chinese, and how many cells stay English.

    `path` is the stored table of chapter 07; the columns are those of COLUMNS.
    """
    stored = pd.read_csv(path, dtype=str, keep_default_na=False)[COLUMNS]
    told = stored.map(translate_cell)
    told["id"] = stored["id"]
    told["claim"] = stored["id"].map(claims())
    return told.fillna(stored), int(told.isna().sum().sum())
