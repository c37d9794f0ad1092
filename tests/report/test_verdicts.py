"""What a new result of a run is called, on planted records."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats as sps

from mnistkit.report.experiments import read_run_lists
from mnistkit.report.verdicts import (
    DIFFERENT,
    ROUNDING,
    SAME,
    SPREAD,
    START,
    UNKNOWN,
    find_siblings,
    first_loss,
    interval_for_one_more,
    judge,
)
from mnistkit.runs import Record, Run, read_record

IMAGES = 1000


def planted(seed=0, losses=(1.0, 0.5), wrong=20, shift=0, seconds=5.0, **settings):
    """A record with these losses; all labels are 0, and `wrong` images are called 1."""
    predictions = np.zeros(IMAGES, np.uint8)
    predictions[shift : shift + wrong] = 1
    summary = {"test_accuracy": 1 - wrong / IMAGES, "seconds": seconds}
    history = [
        {"epoch": epoch, "train_loss": x, "window_losses": [x], "seconds": seconds}
        for epoch, x in enumerate(losses, start=1)
    ]
    half = np.zeros(IMAGES, np.float16)
    run = Run(seed=seed, **settings)
    return Record(run, summary, history, predictions, half, half, {}, {})


SIBLINGS = [planted(seed=seed, wrong=18 + seed) for seed in (1, 2, 3, 4)]


def verdict(stored, new, siblings=()):
    return judge(stored, new, siblings)[0]


@pytest.mark.parametrize("losses", [(1.0, 0.5), (float("nan"),)])
def test_only_the_time_may_differ_in_the_same_bits(losses):
    assert verdict(planted(losses=losses), planted(losses=losses, seconds=9)) == SAME


def test_a_loss_that_differs_in_the_seventh_digit_is_rounding():
    assert verdict(planted(), planted(losses=(1.0000001, 0.5))) == ROUNDING


def test_a_prediction_that_differs_is_not_the_same_bits():
    assert verdict(planted(), planted(wrong=20, shift=1)) == ROUNDING


@pytest.mark.parametrize("precision", START)
def test_the_first_losses_must_agree_to_the_stated_limit(precision):
    stored = planted(precision=precision)
    for factor, expected in ((0.99, ROUNDING), (1.01, UNKNOWN)):
        loss = 1 + factor * START[precision]
        assert verdict(stored, planted(losses=(loss, 0.5))) == expected


def test_bfloat16_rounds_more():
    assert START["bf16"] > START["fp32"]


def test_the_losses_of_later_epochs_must_be_alike():
    assert verdict(planted(), planted(losses=(1.0, 0.59))) == ROUNDING
    assert verdict(planted(), planted(losses=(1.0, 0.61))) == UNKNOWN


def test_an_epoch_that_only_one_of_them_has_plays_no_part():
    """With `patience` a rounding decides when a training ends."""
    assert verdict(planted(), planted(losses=(1.0, 0.5, 0.4))) == ROUNDING


@pytest.mark.parametrize(("wrong", "expected"), [(45, ROUNDING), (46, UNKNOWN)])
def test_the_accuracy_may_differ_by_chance(wrong, expected):
    """Here 25 and 26 images; 3 sqrt(65) + 1.5 = 25.7 and 3 sqrt(66) + 1.5 = 25.9."""
    new = planted(losses=(1.001, 0.5), wrong=wrong, shift=500)
    assert verdict(planted(), new) == expected


def test_another_seed_lies_within_the_spread_of_the_seeds():
    new = planted(losses=(1.1, 0.4), wrong=23)
    assert verdict(planted(), new, SIBLINGS) == SPREAD


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_wrong_accuracy_is_different(is_stored):
    sound, wrong = planted(losses=(1.1, 0.4)), planted(wrong=100)
    pair = (wrong, sound) if is_stored else (sound, wrong)
    found, reason = judge(*pair, SIBLINGS)
    assert found == DIFFERENT
    assert "90.00 %" in reason and "n = 4" in reason


def test_a_wrong_accuracy_beside_equal_losses_is_different_without_other_seeds():
    assert verdict(planted(), planted(wrong=100)) == DIFFERENT


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_other_seeds_cannot_judge(n):
    found, reason = judge(planted(), planted(losses=(1.1, 0.4)), SIBLINGS[:n])
    assert found == UNKNOWN
    assert f"n = {n} other seeds" in reason


def test_a_run_that_cannot_be_trained_is_different():
    found, reason = judge(planted(), RuntimeError("out of\nluck"), SIBLINGS)
    assert found == DIFFERENT
    assert "RuntimeError: out of luck" in reason


def test_siblings_differ_in_their_seed_only():
    others = [planted(), planted(seed=1), planted(seed=2, lr=0.1)]
    assert find_siblings(planted(), others) == [others[1]]


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize("accuracies", [[0.98, 0.95], [0.97, 0.98, 0.95, 0.99]])
def test_the_interval_has_the_edge_where_the_t_test_decides(accuracies, level):
    low, _ = interval_for_one_more(np.array(accuracies) / 2, 10**9, level)
    result = sps.ttest_ind([low], np.array(accuracies) / 2)
    assert low == 0 or result.pvalue == pytest.approx(1 - level)


def test_of_sound_runs_judged_together_one_in_twenty_reports_is_called_different():
    """Three runs, each beside four other seeds; judged alone, one in seven would be."""
    accuracies = np.random.default_rng(0).normal(0.97, 0.005, (2000, 3, 5))
    reports = [
        [interval_for_one_more(run[1:], 10**9, 1 - 0.05 / 3) for run in report]
        for report in accuracies
    ]
    inside = [
        all(low <= run[0] <= high for run, (low, high) in zip(*pair, strict=True))
        for pair in zip(accuracies, reports, strict=True)
    ]
    assert 0.035 < 1 - np.mean(inside) < 0.065


def test_several_runs_are_judged_by_wider_intervals():
    """40 wrong images are too many for one run alone, and not for one of three."""
    new = planted(losses=(1.1, 0.4), wrong=40)
    assert judge(planted(), new, SIBLINGS)[0] == DIFFERENT
    found, reason = judge(planted(), new, SIBLINGS, runs=3)
    assert found == SPREAD
    assert "98.3 % interval" in reason


def test_seeds_that_agree_by_chance_leave_the_error_of_a_count():
    low, high = interval_for_one_more([0.9, 0.9, 0.9], 100)
    half_width = sps.t.ppf(0.975, 2) * 0.03 * (4 / 3) ** 0.5
    assert (low, high) == pytest.approx((0.9 - half_width, 1.0))


def test_few_trainings_with_another_seed_start_alike(full):
    """The limits tell rounding from another seed: they are too wide if many pass."""
    names = read_run_lists("full")["run"].unique()
    records = [read_record(name, full.source) for name in names]
    starts = {}
    for record in records:
        settings = str(sorted((record.run.canonical() | {"seed": 0}).items(), key=str))
        starts.setdefault(settings, []).append(record)
    gaps = [
        abs(first_loss(a) / first_loss(b) - 1) / START[a.run.precision]
        for group in starts.values()
        for a, b in combinations(group, 2)
    ]
    assert len(gaps) > 100
    assert np.mean(np.array(gaps) <= 1) < 1 / 8
