"""How two ways to do the same work are timed and compared."""

import pytest

from mnistkit.bench import timing


@pytest.fixture
def calls(monkeypatch):
    """The order of the calls; each timed one takes a second longer than the last."""
    order = []

    def seconds_of(work):
        work()
        order.append("timed")
        return float(order.count("timed"))

    monkeypatch.setattr(timing, "seconds_of", seconds_of)
    return order


def compare(calls, **options):
    return timing.compare(
        lambda: calls.append("ours"), lambda: calls.append("other"), **options
    )


def test_both_ways_take_turns_after_one_call_that_is_not_timed(calls):
    compare(calls, pairs=2)
    assert calls == ["ours", "other"] + ["ours", "timed", "other", "timed"] * 2


def test_without_a_warm_up_every_call_is_timed(calls):
    compare(calls, pairs=1, warm_up=False)
    assert calls == ["ours", "timed", "other", "timed"]


def test_the_seconds_of_a_pair_belong_together(calls):
    row = compare(calls, pairs=3)  # 1 and 2 seconds, 3 and 4, 5 and 6
    assert (row["ours_s"], row["other_s"], row["pairs"]) == (3.0, 4.0, 3)
    assert (row["low"], row["ratio"], row["high"]) == (6 / 5, 4 / 3, 2.0)


def test_ratios_are_taken_pair_by_pair():
    """The median of the ratios, which is not the ratio of the medians."""
    assert timing.ratios([(1.0, 2.0), (4.0, 4.0), (1.0, 5.0)]) == {
        "ours_s": 1.0,
        "other_s": 4.0,
        "ratio": 2.0,
        "low": 1.0,
        "high": 5.0,
        "pairs": 3,
    }


def test_seconds_run_from_before_the_work_to_after_it(monkeypatch):
    now = [10.0]
    monkeypatch.setattr(timing, "clock", lambda device: now[0])

    def work():
        now[0] += 2.5

    assert timing.seconds_of(work) == 2.5
