"""The ledger of the five reports' claims, the list of their errors, and the verdicts.

A claim has an id such as R4-28, an error in a report one such as R4-E3. Chapters and
checks cite both.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

# Each of these modules enters its checks in CHECKS when it is imported.
from mnistkit.claims import (  # noqa: F401
    r1,
    r2,
    r2_trainings,
    r3,
    r3_trainings,
    r4,
    r5,
)
from mnistkit.claims.rules import (
    CHECKS,
    Check,
    Evidence,
    Finding,
    NotRun,
    decide,
    unchecked,
)

__all__ = ["CHECKS", "judge", "read_errata", "read_ledger"]

FOLDER = Path(__file__).parent


def read_ledger() -> pd.DataFrame:
    """The claims, a row each, all columns text.

    - id, report: such as R4-28 and R4.
    - kind: arch (a network's layers), proto (a protocol), num (a number), rank (an
      order), def (a definition), fig (a figure), feat (a feature), code (printed code).
    - claim: what the report says. reported: the values that it prints for it, if any.
    - chapter: the number of the chapter that shows the matter, such as 02.
    - no_check: why no computation can judge the claim; empty if one does.
    """
    return _read_table("ledger.csv")


def read_errata() -> pd.DataFrame:
    """The errors found in the reports, a row each: id, report, error (a sentence)."""
    return _read_table("errata.csv")


def judge(
    ledger: pd.DataFrame, checks: Mapping[str, Check], evidence: Evidence
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The verdict on each claim of a ledger, and the numbers behind the verdicts.

    `checks` has the computation of each claim that has one, by the claim's id. A claim
    without one cannot be checked, for the reason in the ledger; neither can a claim
    whose check says that its evidence was not run.

    Returns two frames. The first has a row per claim: the ledger without no_check, then
    regenerated (what we found), verdict, reason. The second has a row per measured
    number: id, label, reported, mean, low, high, n, inside, as `rules.numbers` gives
    them.

    KeyError for a check whose claim is not in the ledger.
    """
    unknown = sorted(set(checks) - set(ledger["id"]))
    if unknown:
        raise KeyError(f"checks of unknown claims: {', '.join(unknown)}")

    found: dict[str, Finding] = {}
    for claim, no_check in zip(ledger["id"], ledger["no_check"], strict=True):
        if claim not in checks:
            found[claim] = unchecked(no_check)
            continue
        try:
            found[claim] = checks[claim](evidence)
        except NotRun as missing:
            found[claim] = unchecked(str(missing))
    # Tests are corrected for their number within a report, not over all reports.
    for _, claims in ledger.groupby("report", sort=False)["id"]:
        decide([found[claim] for claim in claims])

    table = ledger.drop(columns="no_check").assign(
        regenerated=[finding.regenerated for finding in found.values()],
        verdict=[finding.verdict for finding in found.values()],
        reason=[finding.reason for finding in found.values()],
    )
    points = [
        {"id": claim, **point}
        for claim, finding in found.items()
        for point in finding.points
    ]
    columns = ["id", "label", "reported", "mean", "low", "high", "n", "inside"]
    return table, pd.DataFrame(points, columns=columns)


def _read_table(name: str) -> pd.DataFrame:
    """A CSV file beside this module, all columns text, an empty cell as ""."""
    return pd.read_csv(FOLDER / name, dtype=str, keep_default_na=False)
