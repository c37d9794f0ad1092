"""The data behind the ten cases of chapter 07.

A function returns a frame or a few numbers, from the records of the course, a formula
or a count. It raises NotRun where the trainings that a case is about are not there, or
are smaller than the case needs; the chapter then says so in the place of the case.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats as sps

from mnistkit.claims.comparisons import Scale, against_one_more_run
from mnistkit.claims.curves import negative_control
from mnistkit.claims.reported import R1_BEST_FIRST, R1_SCORES, R2_LOSS, R4_BEST
from mnistkit.claims.rules import Evidence, NotRun, ranking
from mnistkit.models import MODELS, build_model, count_macs, count_params
from mnistkit.runs import Record
from mnistkit.stats import mean_interval, proportion_interval
from mnistkit.tables import describe, epoch_table, run_table, step_table
from mnistkit.train import LOSSES

LOSS_UNIT = 0.001  # R2 prints its losses with three decimals
LOSS_MARGIN = 0.1  # a loss that differs by less than 10 % counts as the same
TEST_IMAGES = 10_000
R4_NAMES = {
    "lenet": "LeNet",
    "alexnet": "AlexNet",
    "resnet18": "ResNet-18",
    "vgg11": "VGG",
    "wrn16_4": "wide ResNet",
}
# The lines of R3 that are compared, as chapter 05 trains them with StepLR
R3_LINES: dict[str, dict[str, Any]] = {
    "Adam, lr 0.0003": dict(optimizer="adam"),
    "SGD, momentum 0.9, lr 0.01": dict(optimizer="sgdm", lr=0.01),
    "SGD as R3 prints it": dict(optimizer="sgdm", lr=0.0003),
}


# 1. The log that fits


def printed_log(evidence: Evidence) -> pd.DataFrame:
    """Each loss of R2's log beside those of our runs with the same settings.

    A row per printed loss: lr, epoch, step (of the epoch), at (the step counted from
    the start of training), and the columns of `rules.numbers`, among them reported,
    mean, low, high (the interval for one more run) and inside.
    """
    rows = []
    for (lr, epoch), losses in _losses_by_segment(evidence).items():
        printed = R2_LOSS[lr, epoch]
        points = against_one_more_run(
            printed.to_numpy(), losses, LOSS_UNIT, LOSS_MARGIN, Scale(log=True)
        )
        at = 938 * (epoch - 1) + printed.index
        rows.append(points.assign(lr=lr, epoch=epoch, step=printed.index, at=at))
    return pd.concat(rows, ignore_index=True)


def pairings(evidence: Evidence) -> pd.DataFrame:
    """Each epoch of R2's log set against each of ours, with right or wrong settings.

    A row per pairing: theirs and ours (learning rate and epoch, as text), right (if
    they are the same), inside (how many of the nine losses are inside our intervals),
    of, outcome.
    """
    segments = _losses_by_segment(evidence)
    ours = {f"{lr:g}, {epoch}": losses for (lr, epoch), losses in segments.items()}
    rows = []
    for segment, key in zip(ours, segments, strict=True):
        printed = R2_LOSS[key].to_numpy()
        control = negative_control(printed, ours, LOSS_UNIT, LOSS_MARGIN, log=True)
        control = control.rename(columns={"setting": "ours"})
        rows.append(control.assign(theirs=segment))
    table = pd.concat(rows, ignore_index=True)
    return table.assign(right=table["ours"] == table["theirs"])


def _losses_by_segment(evidence: Evidence) -> dict[tuple[float, int], np.ndarray]:
    """The losses [n, 9] of our runs, by learning rate and epoch, as R2 prints them."""
    rates = list(R2_LOSS.columns.unique("lr"))
    losses = step_table(evidence.full("learning_rates", lr=rates))
    losses = losses[losses["step"].isin(R2_LOSS.index)]
    found = {}
    for lr, epoch in R2_LOSS.columns:
        part = losses[(losses["lr"] == lr) & (losses["epoch"] == epoch)]
        table = part.pivot(index="seed", columns="step", values="loss")
        if table.shape[1] < len(R2_LOSS) or len(table) < 2:
            raise NotRun(f"not run: epoch {epoch} at a learning rate of {lr:g}, twice")
        found[lr, epoch] = table.to_numpy()
    return found


# 2. Softmax twice


def loss_gradients(leads: Sequence[float]) -> pd.DataFrame:
    """The length of the gradient in the ten logits, by how sure a network errs.

    A row per lead of the logit of one wrong digit over all others, which are equal; a
    column per loss, `cross_entropy` and `softmax_twice`.
    """
    label = torch.tensor([0])
    names = ["cross_entropy", "softmax_twice"]
    lengths = pd.DataFrame(index=pd.Index(leads, name="lead"), columns=names)
    for lead in leads:
        for name in names:
            logits = torch.zeros(1, 10, dtype=torch.float64)
            logits[0, 1] = lead
            logits.requires_grad_()
            [gradient] = torch.autograd.grad(LOSSES[name](logits, label), logits)
            lengths.loc[lead, name] = float(gradient.norm())
    return lengths.astype(float)


def least_loss(name: str) -> float:
    """The loss of a network that is sure of the right digit; name: a key of LOSSES."""
    logits = 1e3 * torch.eye(10, dtype=torch.float64)[[0]]
    return float(LOSSES[name](logits, torch.tensor([0])))


# 3 and 4. Tests that mislead


def drawn_scores(evidence: Evidence) -> pd.DataFrame:
    """Accuracy, and the score that is expected if each prediction is drawn, per run.

    Columns: line (a key of R3_LINES), seed, images (of training), accuracy, drawn (the
    mean probability of the right digit), both in % of the test images.
    """
    rows = []
    for line, settings in R3_LINES.items():
        for record in evidence.runs("small_schedules", schedule="step", **settings):
            scores = dict(
                accuracy=100 * record.summary["test_accuracy"],
                drawn=100 * float(record.p_true.mean(dtype=float)),
            )
            images = record.data["train_size"]
            rows.append(dict(line=line, seed=record.run.seed, images=images) | scores)
    return pd.DataFrame(rows)


def tests_without_eval(evidence: Evidence) -> pd.DataFrame:
    """What R2's test adds to the accuracy of a network, in points, per run.

    Columns: test (what was done, in words), seed, images (of training), points (the
    score minus the accuracy that the network had with eval() before).
    """
    columns = {
        "without_eval_shuffled": "no eval(), images shuffled",
        "without_eval_sorted": "no eval(), images sorted by digit",
        "without_eval_afterwards": "with eval(), after such a test",
    }
    records = evidence.runs("without_eval")
    table = run_table(records)
    table["images"] = [record.data["train_size"] for record in records]
    kept = ["seed", "images", "test_accuracy"]
    long = table.melt(kept, list(columns), "test", "score")
    long["points"] = 100 * (long["score"] - long["test_accuracy"])
    columns_kept = ["test", "seed", "images", "points"]
    return long.assign(test=long["test"].map(columns))[columns_kept]


# 5 and 6. Optimizers


def adam_rates(evidence: Evidence) -> pd.DataFrame:
    """R1's Adam at its learning rate of 0.01 and at a tenth of it, per run and epoch.

    The columns are those of `epoch_table`, and images: how many an epoch has.
    """
    records = evidence.runs("adam_betas", lr=[0.01, 0.001], optimizer_options={})
    images = max(record.data["train_size"] for record in records)
    return epoch_table(records).assign(images=images)


def shared_pairs(evidence: Evidence) -> pd.DataFrame:
    """The pairs of R1's ranking by test accuracy: those of `rules.ranking`, in points.

    A row per pair: pair (such as "sgd − sgdm"), difference, low, high, n, outcome. Low
    and high are simultaneous: they hold for all pairs with 95 % (Bonferroni).
    """
    runs = run_table(evidence.runs("shared_lr", optimizer=R1_BEST_FIRST))
    accuracy = 100 * runs.pivot(
        index="seed", columns="optimizer", values="test_accuracy"
    )
    finding = ranking(runs, "optimizer", "test_accuracy", R1_BEST_FIRST, margin=0.001)
    rows = []
    for pair in finding.pairs:
        gaps = accuracy[pair["first"]] - accuracy[pair["second"]]
        estimate = mean_interval(gaps.dropna(), level=1 - 0.05 / len(finding.pairs))
        name = f"{pair['first']} − {pair['second']}"
        rows.append((name, *estimate, pair["n"], pair["outcome"]))
    return pd.DataFrame(
        rows, columns=["pair", "difference", "low", "high", "n", "outcome"]
    )


def epochs_ahead(evidence: Evidence, first: str, second: str) -> tuple[int, int]:
    """In how many epochs one optimizer has the lower training loss, at R1's rate.

    Runs with equal seeds are compared. Returns the number of epochs in which `first`
    has, and the number of all.
    """
    table = epoch_table(evidence.runs("shared_lr", optimizer=[first, second]))
    wide = table.pivot(
        index=["seed", "epoch"], columns="optimizer", values="train_loss"
    )
    lower = wide[first] < wide[second]
    return int(lower.sum()), len(lower)


def steady_step(momentum: float, dampening: float = 0.0) -> float:
    """How long torch's steps get on a steady slope, in units of lr times gradient."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([weight], lr=1.0, momentum=momentum, dampening=dampening)
    for _ in range(300):
        before = weight.item()
        weight.grad = torch.ones_like(weight)
        sgd.step()
    return before - weight.item()


# 7. Six images


def wrong_images(evidence: Evidence) -> pd.DataFrame:
    """How many of 10,000 test images a network of R4 gets wrong, and our LeNet.

    A row per training: network, ours, seed (missing for R4's), wrong, low and high (the
    95 % interval for such a network on other images, Wilson).
    """
    rows = []
    for network, accuracy in R4_BEST["test_accuracy"].items():
        name = R4_NAMES[str(network)]
        rows.append(dict(network=name, ours=False, accuracy=accuracy))
    for record in lenet_at_its_best(evidence):
        score = dict(seed=record.run.seed, accuracy=record.summary["test_accuracy"])
        rows.append(dict(network="LeNet", ours=True) | score)
    table = pd.DataFrame(rows)
    table["wrong"] = (TEST_IMAGES * (1 - table["accuracy"])).round().astype(int)
    bounds = [proportion_interval(int(n), TEST_IMAGES) for n in table["wrong"]]
    table["low"] = [TEST_IMAGES * low for low, _ in bounds]
    table["high"] = [TEST_IMAGES * high for _, high in bounds]
    return table.drop(columns="accuracy")


def lenet_at_its_best(evidence: Evidence) -> list[Record]:
    """Our runs of LeNet at the settings of R4's best one, on all images."""
    records = evidence.full("r4_best", model="lenet")
    if len(records) < 2:
        raise NotRun("not run: LeNet at R4's best setting, twice")
    return records


def sizes(evidence: Evidence) -> str:
    """How large the trainings of `lenet_at_its_best` are, in words."""
    return describe(lenet_at_its_best(evidence))


def lead_interval(first: int, second: int) -> tuple[float, float, float]:
    """By how many of 10,000 images one network leads another, with its 95 % interval.

    From the images that each gets wrong, taken as independent samples.
    """
    shares = np.array([first, second]) / TEST_IMAGES
    deviation = np.sqrt((shares * (1 - shares)).sum() * TEST_IMAGES)
    half_width = sps.norm.ppf(0.975) * deviation
    lead = second - first
    return lead, lead - half_width, lead + half_width


# 8, 9 and 10. Counts, a formula, pictures


def vgg_counts() -> pd.DataFrame:
    """The parameters of R4's "VGG13" and of two networks: network, parameters."""
    rows = [("R4's VGG13", int(R4_BEST.loc["vgg11", "parameters"]))]
    with torch.device("meta"):
        for name in ("vgg11", "vgg13"):
            network = name.upper().replace("VGG", "VGG-")
            rows.append((network, count_params(build_model(name))))
    return pd.DataFrame(rows, columns=["network", "parameters"])


def time_correlations() -> dict[str, float]:
    """Spearman's correlation of R4's training times with what could explain them.

    By parameters and by multiply-adds, over R4's five networks.
    """
    with torch.device("meta"):
        built = {name: MODELS[name]() for name in R4_BEST.index}
    costs = {
        "parameters": R4_BEST["parameters"],
        "multiply-adds": pd.Series({k: count_macs(net) for k, net in built.items()}),
    }
    return {
        name: float(sps.spearmanr(cost, R4_BEST["seconds"]).statistic)
        for name, cost in costs.items()
    }


def f1_by_formula() -> pd.DataFrame:
    """R1's table of digits, with F1 by its definition and by the formula R1 writes.

    Columns: precision, recall, f1 (as printed), harmonic (2PR / (P + R)) and written
    (the sum of the squares of P and R over their geometric mean).
    """
    table = R1_SCORES.drop(columns="support")
    p, r = table["precision"], table["recall"]
    return table.assign(
        harmonic=2 * p * r / (p + r), written=(p**2 + r**2) / np.sqrt(p * r)
    )


def mixed_up(evidence: Evidence) -> pd.DataFrame:
    """Pictures, labels and predictions as R2 puts them together, for six test images.

    R2 draws the first test images, with the predictions for the last 16 of the test
    images and with the labels of a shuffled batch of training images. Columns: image
    (its place in the test set), label and prediction (its own), printed_label and
    printed_prediction.
    """
    record = evidence.runs("shared_lr", optimizer="adam")[0]
    mnist = evidence.mnist
    order = torch.Generator().manual_seed(0)
    batch = torch.randperm(len(mnist.train_labels), generator=order)[:16]
    return pd.DataFrame(
        {
            "image": record.test_index(mnist)[:6].numpy(),
            "label": record.labels(mnist)[:6],
            "prediction": record.predictions[:6],
            "printed_label": mnist.train_labels.cpu()[batch][:6].numpy(),
            "printed_prediction": record.predictions[-16:][:6],
        }
    )


def agreement_of_strangers(evidence: Evidence) -> float:
    """How often the labels of a test and of a training image agree, drawn at random.

    This is the share that R2's comparison calls right for a network without an error.
    """
    shares = [
        np.bincount(labels.cpu().numpy(), minlength=10) / len(labels)
        for labels in (evidence.mnist.test_labels, evidence.mnist.train_labels)
    ]
    return float(shares[0] @ shares[1])
