"""The data behind the ten cases of chapter 07, on the shipped records and planted."""

import numpy as np
import pytest

from mnistkit.claims import cases, rules
from mnistkit.claims.reported import R1_SCORES, R2_LOSS
from mnistkit.claims.rules import Evidence, NotRun


@pytest.fixture
def evidence(stored):
    return stored


def test_the_printed_log_is_beside_our_runs(evidence):
    log = cases.printed_log(evidence)
    assert len(log) == R2_LOSS.size == 135
    is_between = log["reported"].between(log["low"], log["high"])
    assert (log["inside"] == is_between).all()
    assert log["at"].max() == 4 * 938 + 900


def test_the_right_settings_fit_better_than_wrong_ones(evidence):
    control = cases.pairings(evidence)
    assert len(control) == 15 * 15 and control["right"].sum() == 15
    inside = control.groupby("right")["inside"].mean()
    assert inside[True] > 8 and inside[False] < 2
    log = cases.printed_log(evidence)
    assert control.loc[control["right"], "inside"].sum() == log["inside"].sum()


def test_the_log_needs_all_images(evidence):
    few = Evidence(evidence.mnist, {"learning_rates": evidence.records["lr_sweep"]})
    with pytest.raises(NotRun):
        cases.printed_log(few)


def test_the_second_softmax_shortens_the_gradient():
    lengths = cases.loss_gradients([0, 10])
    ratio = lengths["cross_entropy"] / lengths["softmax_twice"]
    assert ratio[0] == pytest.approx(10) and ratio[10] > 10_000


def test_the_least_losses():
    assert cases.least_loss("cross_entropy") == pytest.approx(0)
    assert cases.least_loss("softmax_twice") == pytest.approx(np.log(1 + 9 / np.e))


def test_drawn_scores_are_the_mean_probabilities(evidence):
    scores = cases.drawn_scores(evidence)
    assert set(scores["line"]) == set(cases.R3_LINES)
    assert not scores.duplicated(["line", "seed"]).any()
    record = evidence.runs("small_schedules", schedule="step", optimizer="adam")[0]
    drawn = scores.loc[scores["line"] == "Adam, lr 0.0003", "drawn"].iloc[0]
    assert drawn == pytest.approx(100 * record.p_true.astype(float).mean())


def test_without_eval_is_a_difference_in_points(evidence):
    effect = cases.tests_without_eval(evidence)
    record = evidence.records["without_eval"][0]
    points = effect.loc[effect["test"] == "no eval(), images shuffled", "points"]
    summary = record.summary
    gap = summary["without_eval_shuffled"] - summary["test_accuracy"]
    assert points.iloc[0] == pytest.approx(100 * gap)
    assert effect.groupby("test")["seed"].nunique().eq(10).all()


def test_the_rates_of_adam_have_the_same_seeds(evidence):
    adam = cases.adam_rates(evidence)
    seeds = adam.groupby("lr")["seed"].unique().map(sorted)
    assert list(seeds.index) == [0.001, 0.01] and seeds[0.001] == seeds[0.01]
    assert not adam.duplicated(["lr", "seed", "epoch"]).any()


def test_one_rate_of_adam_is_not_enough(evidence):
    large = [r for r in evidence.records["shared_lr"] if r.run.optimizer == "adam"]
    with pytest.raises(NotRun, match="0.001"):
        cases.adam_rates(Evidence(evidence.mnist, {"adam_betas": large}))


def test_the_intervals_of_a_ranking_agree_with_its_outcomes(evidence):
    pairs = cases.shared_pairs(evidence)
    assert len(pairs) == 6
    is_open = pairs["outcome"] == rules.OPEN
    assert ((pairs["low"] < 0) & (pairs["high"] > 0))[is_open].all()


def test_epochs_ahead_are_counted_for_equal_seeds(evidence):
    ahead, epochs = cases.epochs_ahead(evidence, "sgdm", "sgd")
    behind, _ = cases.epochs_ahead(evidence, "sgd", "sgdm")
    assert ahead + behind == epochs == 50


@pytest.mark.parametrize(
    ("momentum", "dampening", "length"),
    [(0, 0, 1), (0.5, 0, 2), (0.5, 0.5, 1), (0.9, 0, 10)],
)
def test_the_length_of_a_steady_step(momentum, dampening, length):
    assert cases.steady_step(momentum, dampening) == pytest.approx(length, rel=1e-6)


def test_images_that_networks_get_wrong(evidence):
    wrong = cases.wrong_images(evidence)
    theirs = wrong[~wrong["ours"]].set_index("network")["wrong"]
    assert theirs["ResNet-18"] - theirs["wide ResNet"] == 6
    assert wrong["wrong"].between(wrong["low"], wrong["high"]).all()
    assert wrong["ours"].sum() == len(cases.lenet_at_its_best(evidence)) >= 2


def test_one_lenet_is_not_enough(evidence):
    [one] = evidence.records["r4_best"][:1]
    with pytest.raises(NotRun):
        cases.wrong_images(Evidence(evidence.mnist, {"r4_best": [one]}))


def test_the_interval_of_a_lead():
    lead, low, high = cases.lead_interval(63, 69)
    variance = 10_000 * (0.0063 * 0.9937 + 0.0069 * 0.9931)
    assert lead == 6
    assert high - lead == lead - low == pytest.approx(1.96 * variance**0.5, abs=0.01)


def test_the_count_is_that_of_vgg_11():
    named, eleven, thirteen = cases.vgg_counts()["parameters"]
    assert named == eleven == thirteen - 184_512


def test_time_follows_the_arithmetic():
    rho = cases.time_correlations()
    assert rho["multiply-adds"] > rho["parameters"]


def test_the_printed_f1_is_the_harmonic_mean():
    table = cases.f1_by_formula()
    assert (table["f1"] - table["harmonic"]).abs().max() < 0.01
    assert (table["written"] > 1).all() and list(table.index) == list(R1_SCORES.index)


def test_pictures_are_told_by_the_labels_of_others(evidence):
    six = cases.mixed_up(evidence)
    labels = evidence.mnist.test_labels[six["image"].tolist()]
    assert six["label"].tolist() == labels.tolist()
    assert six["printed_label"].tolist() != six["label"].tolist()


def test_labels_of_two_images_agree_by_chance(evidence):
    assert cases.agreement_of_strangers(evidence) == pytest.approx(0.1, abs=0.01)
