"""Every verdict of chapter 07, made again from the shipped records."""

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
        pytest.skip("the stored verdicts are about all of MNIST")
    evidence = Evidence(mnist, read_experiments("full"))
    table, _ = judge(read_ledger(), CHECKS, evidence)
    return table.set_index("id")


def test_the_stored_verdicts_are_about_the_claims_of_the_ledger():
    assert list(STORED.index) == list(read_ledger()["id"])


@pytest.mark.parametrize("claim", STORED.index)
def test_the_verdict_is_the_stored_one(judged, claim):
    assert judged["verdict"][claim] == STORED["verdict"][claim]
