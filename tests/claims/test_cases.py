"""The data behind the ten cases of chapter 07, on the shipped records and planted."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from mnistkit.claims import cases, rules
from mnistkit.claims.reported import R1_SCORES, R2_LOSS
from mnistkit.claims.rules import Evidence, NotRun
from mnistkit.report.experiments import read_experiments
from mnistkit.stats import mean_interval

read_records = cache(read_experiments)


@pytest.fixture
def evidence(full):
    """All of MNIST and the records of the full scale."""
    return Evidence(full, read_records("full"))


def test_a_number_is_told_with_its_interval():
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    told = f"{mean:.1f} points (95 % interval −{-low:.1f} to {high:.1f}, n = 3)"
    assert cases.told([1, 2, 3], "points", 1) == told


def test_the_mean_of_ratios_is_geometric():
    assert cases.told([1, 4, 16], "times", 1, log=True).startswith("4.0 times (95 %")


def test_one_value_has_no_interval():
    assert cases.told([0.5], "%") == "0.50 % (n = 1)"


def test_no_number_is_told_as_minus_zero():
    assert cases.told_interval(-0.001, -2, 2, digits=1).startswith("0.0 (")


def test_outcomes_are_counted_in_their_order():
    assert cases.tally(pd.Series(["differs", "agrees", "agrees"])) == (
        "agrees 2, differs 1"
    )


def test_a_case_without_trainings_is_skipped_with_one_sentence(capsys):
    skipped = cases.Skipped()
    for _ in range(2):
        with skipped():
            raise NotRun("zoo was not run")
    assert skipped.told == {"zoo was not run"}
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError, NameError])
def test_other_errors_of_a_case_are_not_hidden(error):
    with pytest.raises(error), cases.Skipped()():
        raise error


def test_what_needs_a_case_that_is_left_out_is_left_out():
    skipped = cases.Skipped()
    with skipped():
        raise NotRun("zoo was not run")
    with skipped():
        raise NameError
    assert len(skipped.told) == 1


@pytest.mark.parametrize("outcome", rules.OUTCOMES)
def test_every_outcome_has_a_colour(outcome):
    assert outcome in cases.LOOKS
    color = cases.BACKGROUNDS[outcome]
    assert cases.colour(outcome) == f"background-color: {color}; color: black"


def test_a_reading_has_the_colour_of_its_outcome():
    assert cases.colour("agrees only if it is rounded") == cases.colour(
        "agrees only if"
    )
    assert cases.colour("something else") == ""


def test_a_compact_table_tells_the_reading_and_what_limits():
    rows = [
        ("R1-01", "R1", "5", "agrees only if", "", "it is rounded"),
        ("R1-02", "R1", "6", "too imprecise to say", "known to ±1; more", ""),
        ("R1-03", "R1", "7", "agrees", "a note", ""),
        ("R1-04", "R1", "", "not run", "zoo was not run", ""),
        ("R2-01", "R2", "8", "agrees", "", ""),
    ]
    columns = ["id", "report", "regenerated", "outcome", "reason", "reading"]
    table = pd.DataFrame(rows, columns=columns)
    table = table.assign(claim="", reported="", chapter="")
    shown = cases.compact(table, "R1")
    assert list(shown["found"]) == ["5", "6; known to ±1", "7", "zoo was not run"]
    assert list(shown["outcome"])[0] == "agrees only if it is rounded"
    assert len(shown) == 4 and len(shown.columns) <= 7


def test_counts_are_written_into_bars_but_no_zero():
    fig, ax = plt.subplots()
    bars = ax.barh(["a", "b"], [3, 0])
    cases.write_counts(ax, bars, "differs")
    assert [text.get_text() for text in ax.texts] == ["3", ""]
    plt.close(fig)


def test_seeds_stand_in_the_row_of_their_group():
    fig, ax = plt.subplots()
    ax.set_yticks([0, 1], ["a", "b"])
    frame = pd.DataFrame({"name": ["b", "b", "a"], "score": [1.0, 2.0, 3.0]})
    cases.seeds_below(ax, frame, "name", "score")
    rows = {tuple(line.get_xdata()): int(line.get_ydata()[0]) for line in ax.lines}
    assert rows == {(3.0,): 0, (1.0, 2.0): 1}
    plt.close(fig)


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
    record = evidence.runs("schedules", schedule="step", optimizer="adam")[0]
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


def test_adam_on_all_images_goes_first(evidence):
    large = [r for r in evidence.records["shared_lr"] if r.run.optimizer == "adam"]
    with pytest.raises(NotRun, match="0.001"):
        cases.adam_rates(Evidence(evidence.mnist, {"adam_tenth": large}))


def test_the_intervals_of_a_ranking_agree_with_its_outcomes(evidence):
    pairs = cases.shared_pairs(evidence.records["shared_lr"])
    assert len(pairs) == 6
    is_open = pairs["outcome"] == rules.OPEN
    assert ((pairs["low"] < 0) & (pairs["high"] > 0))[is_open].all()


def test_epochs_ahead_are_counted_for_equal_seeds(evidence):
    records = evidence.records["shared_lr"]
    ahead, epochs = cases.epochs_ahead(records, "sgdm", "sgd")
    behind, _ = cases.epochs_ahead(records, "sgd", "sgdm")
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
    [one] = evidence.records["r4_lenet"][:1]
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
