"""How the outcomes of a ledger are collected, on planted claims."""

from types import SimpleNamespace

import pandas as pd
import pytest

from mnistkit.claims.ledger import judge
from mnistkit.claims.rules import Evidence, NotRun, exact, holds, numbers, ranking


def record(train_size):
    """As much of a record as `judge` and `Evidence` look at."""
    return SimpleNamespace(data=dict(train_size=train_size), run=SimpleNamespace(lr=1))


RECORDS = {"all images": [record(50_000)], "few images": [record(1000)]}
EVIDENCE = Evidence(None, RECORDS)


def ledger_of(**evidence):
    """A ledger of planted claims, which have these kinds of evidence."""
    return pd.DataFrame(
        {
            "id": [name.replace("_", "-") for name in evidence],
            "report": [name[:2] for name in evidence],
            "claim": "A claim.",
            "reported": "1",
            "evidence": list(evidence.values()),
            "chapter": "07",
            "wording": "",
        }
    )


PLANTED = ledger_of(
    R1_01="trained", R1_02="trained", R1_03="trained", R2_01="formula", R2_02="own"
)


def not_run(evidence):
    return numbers(1, evidence.runs("no images"), 0, 0.1)


def on_all_images(evidence):
    evidence.runs("all images")
    return numbers([1, 2], [[1, 2], [1.1, 2.1], [0.9, 1.9]], 0, 0.1, ["one", "two"])


def on_few_images(evidence):
    evidence.runs("few images")
    rows = [(g, s, 10 * g + s % 2 / 9 * g) for g in (1, 2) for s in range(4)]
    return ranking(
        pd.DataFrame(rows, columns=["g", "seed", "x"]), "g", "x", [2, 1], margin=1
    )


def as_read(evidence):
    finding = holds(True, "what was found")
    finding.reading = "its dampening is set"
    return finding


def wrong(evidence):
    return exact(1, 2, "2 is right")


CHECKS = {
    "R1-01": not_run,
    "R1-02": on_all_images,
    "R1-03": on_few_images,
    "R2-01": as_read,
    "R2-02": wrong,
}


@pytest.fixture(scope="module")
def judged():
    return judge(PLANTED, CHECKS, EVIDENCE)


def column(judged, name):
    return judged.table.set_index("id")[name].to_dict()


def test_judge_collects_the_outcomes(judged):
    assert column(judged, "outcome") == {
        "R1-01": "not run",
        "R1-02": "too imprecise to say",
        "R1-03": "agrees",
        "R2-01": "agrees only if",
        "R2-02": "differs",
    }


def test_judge_says_what_an_outcome_rests_on(judged):
    assert column(judged, "evidence") == {
        "R1-01": "",
        "R1-02": "trained at the report's scale",
        "R1-03": "trained smaller",
        "R2-01": "formula or count",
        "R2-02": "the report's own numbers",
    }


def test_a_training_that_left_no_record_was_a_small_one():
    table = judge(ledger_of(R1_01="trained"), {"R1-01": wrong}, EVIDENCE).table
    assert table["evidence"].to_list() == ["trained smaller"]


def test_one_smaller_run_makes_the_evidence_smaller():
    def both(evidence):
        evidence.runs("all images")
        evidence.runs("few images")
        return holds(True, "")

    table = judge(ledger_of(R1_01="trained"), {"R1-01": both}, EVIDENCE).table
    assert table["evidence"].to_list() == ["trained smaller"]


@pytest.mark.parametrize(
    ("claim", "reason"),
    [("R1-01", "to be trained: no images"), ("R2-02", "2 is right")],
)
def test_judge_gives_the_reason(judged, claim, reason):
    assert column(judged, "reason")[claim] == reason


def test_judge_names_the_reading_under_which_a_claim_agrees(judged):
    readings = column(judged, "reading")
    assert readings.pop("R2-01") == "its dampening is set"
    assert set(readings.values()) == {""}


def test_judge_keeps_what_the_ledger_says(judged):
    kept = ["id", "report", "claim", "reported", "chapter", "wording"]
    pd.testing.assert_frame_equal(judged.table[kept], PLANTED[kept])


def test_judge_collects_the_numbers(judged):
    found = judged.points[["id", "label", "reported", "n"]].to_dict("records")
    assert found == [
        {"id": "R1-02", "label": "one", "reported": 1.0, "n": 3},
        {"id": "R1-02", "label": "two", "reported": 2.0, "n": 3},
    ]


def test_judge_collects_the_pairs(judged):
    found = judged.pairs[["id", "first", "second", "outcome"]].to_dict("records")
    assert found == [{"id": "R1-03", "first": 2, "second": 1, "outcome": "as claimed"}]


def test_without_curves_there_are_no_controls(judged):
    assert list(judged.controls) == ["id", "setting", "inside", "of", "outcome"]
    assert judged.controls.empty


def test_other_claims_of_a_report_do_not_change_an_outcome():
    """A number that refutes its claim alone does so among ten, and the rate is told."""

    def far_off(evidence):
        return numbers(1.0, [-0.1, 0.0, 0.1], 0, 0.1)  # p = 0.013

    def close(evidence):
        return numbers(0.05, [-0.1, 0.0, 0.1], 0, 0.01)

    for others in (0, 9):
        names = ["R1_01", *(f"R1_1{i}" for i in range(others))]
        ledger = ledger_of(**dict.fromkeys(names, "formula"))
        checks = dict.fromkeys(ledger["id"], close) | {"R1-01": far_off}
        [first, *rest] = judge(ledger, checks, EVIDENCE).table.to_dict("records")
        assert first["outcome"] == "differs"
        assert first["false_discovery_rate"] == pytest.approx(first["p"] * (1 + others))
        assert {row["outcome"] for row in rest} <= {"too imprecise to say"}


def test_judge_refuses_a_check_without_a_claim():
    with pytest.raises(KeyError, match="R9-99"):
        judge(PLANTED, CHECKS | {"R9-99": wrong}, EVIDENCE)


def test_judge_refuses_a_claim_without_a_check():
    checks = {claim: check for claim, check in CHECKS.items() if claim != "R1-02"}
    with pytest.raises(KeyError, match="R1-02"):
        judge(PLANTED, checks, EVIDENCE)


def test_an_error_in_a_check_is_not_taken_for_a_missing_run():
    def broken(evidence):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        judge(ledger_of(R1_01="code"), {"R1-01": broken}, EVIDENCE)


def test_a_check_sees_only_what_it_asked_for_itself():
    def reads(evidence):
        assert evidence.read == []
        evidence.runs("few images")
        return holds(True, "")

    ledger = ledger_of(R1_01="trained", R1_02="trained")
    judge(ledger, {"R1-01": reads, "R1-02": reads}, EVIDENCE)
    assert EVIDENCE.read == []


def test_not_run_says_what_was_not_run():
    with pytest.raises(NotRun, match="lr 2"):
        Evidence(None, RECORDS).runs("few images", lr=[1, 2])
