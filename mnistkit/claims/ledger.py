"""The ledger of the five reports' claims, the list of their errors, and the outcomes.

A claim has an id such as R4-28, an error in a report one such as R4-E3. Chapters and
checks cite both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

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
    AGREES_IF,
    CHECKS,
    NOT_RUN,
    Check,
    Evidence,
    Finding,
    NotRun,
    decide,
    false_discovery_rates,
    trained_on_all,
)

__all__ = ["CHECKS", "Judgement", "judge", "read_errata", "read_ledger"]

FOLDER = Path(__file__).parent

# What an outcome rests on
EVIDENCE = (
    "trained at the report's scale",
    "trained smaller",
    "formula or count",
    "printed code executed",
    "the report's own numbers",
)
AT_SCALE, SMALLER, FORMULA, CODE, OWN = EVIDENCE

# The columns of the frames of points, pairs and controls
ROW_COLUMNS = {
    "points": (
        "label reported mean low high joint_low joint_high n inside t p within apart "
        "precision margin detectable"
    ),
    "pairs": (
        "first second n difference low high low90 high90 p p_equivalent detectable "
        "outcome"
    ),
    "controls": "setting inside of outcome",
}


class Judgement(NamedTuple):
    """What `judge` returns: frames with a row per claim, number, pair and control."""

    table: pd.DataFrame
    points: pd.DataFrame
    pairs: pd.DataFrame
    controls: pd.DataFrame


def read_ledger() -> pd.DataFrame:
    """The claims, a row each, all columns text.

    - id, report: such as R4-28 and R4.
    - claim: what the author claims, a sentence. reported: the values that the report
      prints for it, if any.
    - evidence: what decides it. "trained": runs of ours; "formula": a formula, a
      definition or a count; "code": the printed code, executed; "own": other numbers
      of the same report.
    - chapter: the number of the chapter that shows the matter, such as 02.
    - wording: the original Chinese words, where the outcome depends on them.
    """
    return _read_table("ledger.csv")


def read_errata() -> pd.DataFrame:
    """The errors found in the reports, a row each: id, report, error (a sentence)."""
    return _read_table("errata.csv")


def judge(
    ledger: pd.DataFrame, checks: Mapping[str, Check], evidence: Evidence
) -> Judgement:
    """The outcome of each claim of a ledger, and what is behind it.

    `checks` has the computation of each claim, by the claim's id. An outcome rests on
    what this computation finds alone. Returns four frames:

    - table has a row per claim: id, report, claim, reported, regenerated (what we
      found), outcome, reason, reading (under which it agrees, if it does so only
      then), evidence (one of EVIDENCE; empty if it was not run), chapter, wording, p
      (of our result if the claim holds; nan without a test) and false_discovery_rate
      (of all claims with a p value as small: `rules.false_discovery_rates`).
    - points has a row per measured number, pairs one per pair of a ranking, controls
      one per wrong setting: id and the columns that `rules.numbers`, `rules.ranking`
      and `curves.negative_control` explain.

    KeyError for a claim without a check, and for a check without a claim.
    """
    unmatched = set(checks) ^ set(ledger["id"])
    if unmatched:
        raise KeyError(f"no check or no claim for {', '.join(sorted(unmatched))}")

    findings = {
        claim: _finding(checks[claim], evidence, kind)
        for claim, kind in zip(ledger["id"], ledger["evidence"], strict=True)
    }
    found = list(findings.values())
    decide(found)
    # Machines may disagree about further digits.
    p_values = [float(f"{finding.p:.3g}") for finding in found]
    table = ledger[["id", "report", "claim", "reported"]].assign(
        regenerated=[finding.regenerated for finding in found],
        outcome=[finding.outcome for finding in found],
        reason=[finding.reason for finding in found],
        reading=[f.reading if f.outcome == AGREES_IF else "" for f in found],
        evidence=[finding.evidence for finding in found],
        chapter=ledger["chapter"],
        wording=ledger["wording"],
        p=p_values,
        false_discovery_rate=false_discovery_rates(p_values).round(6),
    )
    rows = {
        name: _rows(findings, name, columns) for name, columns in ROW_COLUMNS.items()
    }
    return Judgement(table, **rows)


def _finding(computation: Check, evidence: Evidence, kind: str) -> Finding:
    """What a check finds, and what it rests on; `kind` is the ledger's evidence."""
    own = Evidence(evidence.mnist, evidence.records)  # to see what this check reads
    try:
        finding = computation(own)
    except NotRun as missing:
        return Finding(NOT_RUN, reason=str(missing))
    at_scale = bool(own.read) and all(trained_on_all(record) for record in own.read)
    trained = AT_SCALE if at_scale else SMALLER
    kinds = {"trained": trained, "formula": FORMULA, "code": CODE, "own": OWN}
    finding.evidence = kinds[kind]
    return finding


def _rows(findings: Mapping[str, Finding], name: str, columns: str) -> pd.DataFrame:
    """The rows that findings have under a name, such as points, with their claims."""
    rows = [
        {"id": claim, **row}
        for claim, finding in findings.items()
        for row in getattr(finding, name)
    ]
    return pd.DataFrame(rows, columns=["id", *columns.split()])


def _read_table(name: str) -> pd.DataFrame:
    """A CSV file beside this module, all columns text, an empty cell as ""."""
    return pd.read_csv(FOLDER / name, dtype=str, keep_default_na=False)
