"""Every outcome of chapter 07, found again from the shipped records."""

import pandas as pd
import pytest

from mnistkit.claims.ledger import CHECKS, judge, read_ledger
from mnistkit.claims.rules import Evidence, NotRun
from mnistkit.storage.places import ROOT

STORED = pd.read_csv(
    ROOT / "reports" / "07_five_reports_revisited_all.csv",
    index_col="id",
    keep_default_na=False,
)


@pytest.fixture(scope="module")
def judged(stored):
    return judge(read_ledger(), CHECKS, stored).table.set_index("id")


def test_the_stored_outcomes_are_about_the_claims_of_the_ledger():
    assert list(STORED.index) == list(read_ledger()["id"])


@pytest.mark.parametrize("claim", STORED.index)
def test_the_outcome_is_the_stored_one(judged, claim):
    assert judged["outcome"][claim] == STORED["outcome"][claim]
    assert judged["evidence"][claim] == STORED["evidence"][claim]


def test_what_was_found_is_told_and_so_is_what_limits_it(judged):
    decided = judged["outcome"].isin(["agrees", "agrees only if", "differs"])
    assert (judged.loc[decided, "regenerated"] != "").all()
    assert (judged.loc[~decided, "reason"] != "").all()


def test_no_accuracy_is_above_100_percent(judged):
    shares = judged["regenerated"].str.findall(r"[\d.]+(?= %| to)").explode().dropna()
    accuracies = judged["regenerated"].str.findall(r"to ([\d.]+), \d+ runs").explode()
    assert len(shares) > 20
    assert (accuracies.dropna().astype(float) <= 100).all()


def test_a_claim_rests_on_records_if_it_is_said_to(stored):
    """Only R5-03 trains a network itself."""
    for claim, kind in read_ledger().set_index("id")["evidence"].items():
        own = Evidence(stored.mnist, stored.records)
        try:
            CHECKS[claim](own)
        except NotRun:
            continue
        assert (kind == "trained") == (bool(own.read) or claim == "R5-03"), claim
