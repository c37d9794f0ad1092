"""The ledger of claims and the list of errors."""

import re

import pytest

from mnistkit.claims.ledger import CHECKS, read_errata, read_ledger
from mnistkit.report.scales import chapters
from mnistkit.storage.places import ROOT

ID = re.compile(r"\bR\d-E?\d+\b")  # a claim such as R4-28, an error such as R4-E3


@pytest.fixture(scope="module")
def ledger():
    return read_ledger()


@pytest.fixture(scope="module")
def errata():
    return read_errata()


# The ledger


def test_the_ledger_has_all_claims_of_each_report(ledger):
    counts = ledger["report"].value_counts().to_dict()
    assert counts == {"R1": 25, "R2": 33, "R3": 26, "R4": 34, "R5": 12}


def test_the_ledger_has_each_claim_once(ledger):
    assert ledger["id"].is_unique


def test_a_claim_is_named_after_its_report(ledger):
    assert (ledger["id"].str[:2] == ledger["report"]).all()


def test_a_claim_is_judged_by_trainings_formulas_code_or_its_own_report(ledger):
    assert set(ledger["evidence"]) == {"trained", "formula", "code", "own"}


def test_the_chapter_of_a_claim_exists(ledger):
    assert set(ledger["chapter"]) <= {name[:2] for name in chapters()}


def test_a_claim_is_stated_in_words(ledger):
    assert ledger["claim"].str.len().min() > 10


def test_each_claim_has_a_check_and_each_check_a_claim(ledger):
    assert set(CHECKS) == set(ledger["id"])


@pytest.mark.parametrize("claim", sorted(CHECKS))
def test_a_check_says_in_words_what_is_claimed(claim):
    computation = CHECKS[claim]
    assert getattr(computation, "func", computation).__doc__  # R2's log is partial


# The errata


def test_the_errata_have_all_errors_of_each_report(errata):
    counts = errata["report"].value_counts().to_dict()
    assert counts == {"R1": 16, "R2": 19, "R3": 16, "R4": 15, "R5": 10}


def test_the_errata_have_each_error_once(errata):
    assert errata["id"].is_unique


def test_an_error_is_named_after_its_report(errata):
    assert errata["id"].str.fullmatch(r"R\d-E\d+").all()
    assert (errata["id"].str[:2] == errata["report"]).all()


@pytest.mark.parametrize("error", read_errata()["error"])
def test_an_error_is_one_sentence(error):
    assert re.fullmatch(r"[A-Z].{20,}\.", error)


# What is cited


def citing_files():
    """The files of the package and the notebooks that cite a claim or an error."""
    paths = [*ROOT.glob("mnistkit/**/*"), *ROOT.glob("notebooks/*.ipynb")]
    texts = [path for path in paths if path.suffix in (".py", ".csv", ".md", ".ipynb")]
    return sorted(path for path in texts if ID.search(path.read_text("utf-8")))


@pytest.mark.parametrize(
    "path", citing_files(), ids=lambda path: str(path.relative_to(ROOT))
)
def test_what_a_file_cites_is_listed(path, ledger, errata):
    listed = {*ledger["id"], *errata["id"]}
    assert set(ID.findall(path.read_text("utf-8"))) <= listed
