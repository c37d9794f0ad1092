"""Every outcome of chapter 07, found again from the shipped records."""

import pandas as pd
import pytest

from mnistkit.claims.ledger import CHECKS, judge, read_ledger
from mnistkit.claims.rules import Evidence
from mnistkit.report.experiments import read_experiments
from mnistkit.storage.places import ROOT

STORED = pd.read_csv(
    ROOT / "reports" / "07_five_reports_revisited_all.csv",
    index_col="id",
    keep_default_na=False,
)


@pytest.fixture(scope="module")
def judged(mnist):
    if mnist.source != "mnist":
        pytest.skip("the stored outcomes are about all of MNIST")
    evidence = Evidence(mnist, read_experiments("full"))
    return judge(read_ledger(), CHECKS, evidence).table.set_index("id")


def test_the_stored_outcomes_are_about_the_claims_of_the_ledger():
    assert list(STORED.index) == list(read_ledger()["id"])


@pytest.mark.parametrize("claim", STORED.index)
def test_the_outcome_is_the_stored_one(judged, claim):
    assert judged["outcome"][claim] == STORED["outcome"][claim]
    assert judged["evidence"][claim] == STORED["evidence"][claim]
