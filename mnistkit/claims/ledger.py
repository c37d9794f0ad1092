"""The ledger of the five reports' claims, and the verdict on each of them."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from mnistkit.claims import r1, r2, r2_trainings, r3, r3_trainings, r4, r5
from mnistkit.claims.rules import Evidence, Finding, Missing, decide, unchecked

LEDGER = Path(__file__).with_name("ledger.csv")
PARTS = (r1, r2, r2_trainings, r3, r3_trainings, r4, r5)
CHECKS = {claim: check for part in PARTS for claim, check in part.CHECKS.items()}


def read_ledger() -> pd.DataFrame:
    """A row per claim: id, report, kind, claim, reported, chapter, no_check.

    kind: arch, proto, num, rank, def, fig, feat or code. chapter: the number of the
    chapter that shows the matter. no_check: why there is no computation, else empty.
    """
    return pd.read_csv(LEDGER, dtype=str, keep_default_na=False)


def judge(
    ledger: pd.DataFrame,
    checks: dict[str, Callable[[Evidence], Finding]],
    evidence: Evidence,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a row per claim with its verdict, a row per reported and regenerated number).

    A claim without a check keeps the ledger's reason why it has none. KeyError for a
    check whose claim is not in the ledger.
    """
    unknown = sorted(set(checks) - set(ledger["id"]))
    if unknown:
        raise KeyError(f"checks of unknown claims: {', '.join(unknown)}")
    found = {}
    for row in ledger.itertuples():
        try:
            check = checks.get(row.id)
            found[row.id] = check(evidence) if check else unchecked(row.no_check)
        except Missing as missing:
            found[row.id] = unchecked(str(missing))
    for report in ledger["report"].unique():
        decide([found[id] for id in ledger["id"][ledger["report"] == report]])
    table = ledger.drop(columns="no_check").assign(
        regenerated=[finding.regenerated for finding in found.values()],
        verdict=[finding.verdict for finding in found.values()],
        reason=[finding.reason for finding in found.values()],
    )
    points = [{"id": id} | point for id, f in found.items() for point in f.points]
    columns = ["id", "label", "reported", "mean", "low", "high", "n", "inside"]
    return table, pd.DataFrame(points, columns=columns)
