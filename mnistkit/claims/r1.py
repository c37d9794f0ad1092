"""Checks of R1: a small residual network, four optimizers, precision and recall.

The docstring of a check says what the report claims, not what is true.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import gmean
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, Optimizer

from mnistkit.claims.curves import curve
from mnistkit.claims.names import name_of
from mnistkit.claims.reported import (
    R1_ACCURACY,
    R1_ADAM_LR,
    R1_BEST_FIRST,
    R1_BETA_USED,
    R1_LABELS,
    R1_SCORES,
)
from mnistkit.claims.rules import (
    AGREES,
    Evidence,
    Finding,
    NotRun,
    check,
    exact,
    fairest,
    holds,
    numbers,
    ranking,
)
from mnistkit.claims.toys import (
    agrees,
    beyond,
    layers,
    need_full_mnist,
    network,
    path,
    ranking_by_loss,
    ravine,
    steps_per_epoch,
    two_valleys,
)
from mnistkit.models import count_params
from mnistkit.runs import Record
from mnistkit.stats import class_table
from mnistkit.tables import describe, epoch_table, run_table
from mnistkit.wording import change, number, percent

SCORES = ["precision", "recall", "f1"]
# R1 prints its scores with two decimals and tells no smaller difference.
SCORE_MARGIN = 0.01
TEN_EPOCHS = "R1 states no number of epochs, ours are ten"

# The data


@check("R1-02")
def r1_02(evidence: Evidence) -> Finding:
    """MNIST has 60,000 training and 10,000 test images of ten digits, 28 x 28 = 784."""
    need_full_mnist(evidence)
    mnist = evidence.mnist
    digits = len(mnist.test_labels.unique())
    shape, test_shape = tuple(mnist.train_images.shape), tuple(mnist.test_images.shape)
    as_claimed = shape == (60_000, 28, 28) and test_shape == (10_000, 28, 28)
    text = (
        f"{shape[0]:,} training and {test_shape[0]:,} test images of "
        f"{' x '.join(map(str, shape[1:]))} pixels, {digits} digits"
    )
    return holds(as_claimed and digits == 10, text)


@check("R1-03")
def r1_03(evidence: Evidence) -> Finding:
    """MNIST holds its 60,000 training images as vectors of 28 x 28 = 784 numbers."""
    need_full_mnist(evidence)
    shape = tuple(evidence.mnist.train_images.shape)
    text = f"the file holds {' x '.join(f'{size:,}' for size in shape)} numbers"
    reason = "vectors were the view of TensorFlow's old loader, 55,000 of them (R1-E1)"
    return holds(shape == (60_000, 784), text, reason)


# The networks


@check("R1-04")
def r1_04(evidence: Evidence) -> Finding:
    """The deeper a convolution lies, the larger is the part of the image it sees."""
    side = 1
    distance = 1  # pixels of the image between two neighbouring units
    sides = []
    for layer in network().modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            side += (int(np.max(layer.kernel_size)) - 1) * distance
            distance *= int(np.max(layer.stride))
            if isinstance(layer, nn.Conv2d):
                sides.append(side)
    seen = ", ".join(map(str, sides))
    text = f"R1's convolutions see squares with a side of {seen} pixels"
    return holds(sides == sorted(set(sides)), text)


def tuned_depths(records: list[Record]) -> pd.DataFrame:
    """Each kind of network at its best learning rate, by the last training loss.

    The kinds are the pairs of `depth` and `shortcuts`, options of the network. A run
    that diverged has an infinite loss here. `layers` names the depth, and `halfway` is
    the training loss after half of the epochs.
    """
    runs = run_table(records)
    runs["train_loss"] = runs["train_loss"].fillna(np.inf)
    runs["layers"] = runs["depth"].astype(str) + " layers"
    losses = [[row["train_loss"] for row in record.history] for record in records]
    # A run that diverged in its first epoch has no history.
    runs["halfway"] = [run[(len(run) - 1) // 2] if run else np.inf for run in losses]
    chosen = []
    for _kind, same_kind in runs.groupby(["depth", "shortcuts"]):
        mean_loss = np.log(same_kind["train_loss"]).groupby(same_kind["lr"]).mean()
        chosen.append(same_kind[same_kind["lr"] == mean_loss.idxmin()])
    return pd.concat(chosen)


@check("R1-06")
def r1_06(evidence: Evidence) -> Finding:
    """A plain network that is made deeper ends with a higher training loss.

    Compared are plain networks of 8, 20 and 44 layers, each at its own learning rate.
    Our trainings are short and their losses still fall, so that they show a slower
    training for certain, and a higher loss at its end only if it ends there.
    """
    records = evidence.runs("depth")
    runs = tuned_depths(records)
    plain = runs[~runs["shortcuts"].astype(bool)]
    order = [f"{depth} layers" for depth in (8, 20, 44)]
    finding = ranking_by_loss(plain, "layers", order, paired=False)
    deepest = plain[plain["layers"] == order[-1]]
    falls = change(
        np.exp(np.log(deepest["train_loss"] / deepest["halfway"]).mean()) - 1
    )
    finding.reading = "a training ends where ours do, while its loss still falls"
    finding.reason = (
        f"the loss of {order[-1]} changes by {falls} in the second half of the "
        f"epochs; {describe(records)}"
    )
    return finding


@check("R1-09")
def r1_09(evidence: Evidence) -> Finding:
    """ResNets are thin, their maps grow, they stride, have batch norm and no dropout.

    They also have few pools, and a global average pooling. Looked at is torchvision's
    resnet18; thin means fewer parameters than VGG-11 has.
    """
    from torchvision import models

    with torch.device("meta"):  # without memory and random numbers
        resnet, vgg = models.resnet18(), models.vgg11()
    parts = list(resnet.modules())
    kinds = Counter(type(part).__name__ for part in parts)
    convolutions = [part for part in parts if isinstance(part, nn.Conv2d)]
    widths = [convolution.out_channels for convolution in convolutions]
    strided = sum(convolution.stride == (2, 2) for convolution in convolutions)
    as_claimed = (
        count_params(resnet) < count_params(vgg)
        and widths == sorted(widths)
        and strided > kinds["MaxPool2d"]
        and kinds["BatchNorm2d"] > 0
        and kinds["AdaptiveAvgPool2d"] == 1
        and kinds["Dropout"] == 0
    )
    text = (
        f"ResNet-18 has {percent(count_params(resnet) / count_params(vgg), 0)} of "
        f"VGG-11's parameters, {widths[0]} maps at first and {widths[-1]} at last, "
        f"{strided} strided convolutions, {kinds['MaxPool2d']} max pool, "
        f"{kinds['AdaptiveAvgPool2d']} global average pool, {kinds['BatchNorm2d']} "
        f"batch norms and {kinds['Dropout']} dropouts"
    )
    reason = "R1's own network is another: it has two max pools and never strides"
    return holds(as_claimed, text, reason)


@check("R1-10")
def r1_10(evidence: Evidence) -> Finding:
    """The maps are 16x12x12, 32x8x8 and 32x4x4; the last layer turns 512 into 10.

    Each shape counts once. R1 does not mention the first one, 16x24x24.
    """
    shapes = ["x".join(map(str, layer["output"])) for layer in layers()]
    _first, *found = dict.fromkeys(shapes)
    return exact(["16x12x12", "32x8x8", "32x4x4", "512", "10"], found)


@check("R1-13")
def r1_13(evidence: Evidence) -> Finding:
    """Batches of 64 give about 1,000 updates in an epoch."""
    steps = steps_per_epoch(evidence)
    return holds(round(steps, -3) == 1000, f"{steps} updates")


# The formulas of the optimizers


def descend_ravine(optimizer: Callable[..., Optimizer]) -> tuple[Tensor, Tensor]:
    """30 steps of an optimizer down the ravine, from (1, 1) with lr 0.01.

    Returns the gradients [30, 2] that it met, and what it subtracted [30, 2].
    """
    points = path(optimizer, ravine, [1.0, 1.0], 30, lr=0.01)
    return torch.tensor([100, 1]) * points[:-1], -points.diff(dim=0)


def moving_average(values: Tensor, beta: float) -> Tensor:
    """The last m of m = beta m + (1 - beta) value, which starts from m = 0."""
    m = torch.zeros_like(values[0])
    for value in values:
        m = beta * m + (1 - beta) * value
    return m


def step_on_slope(optimizer: Callable[..., Optimizer], count: int) -> float:
    """The last of `count` steps down a slope where each gradient is 1, with lr 0.01."""
    points = path(optimizer, torch.sum, [0.0], count, lr=0.01)
    return (points[-2] - points[-1]).item()


@check("R1-16")
def r1_16(evidence: Evidence) -> Finding:
    """Gradient descent is slow, swings across ravines and stops in a local optimum.

    It swings if x changes its sign in most steps down the ravine, and is slow if y has
    not come half of its way. The local optimum is the upper one of two valleys.
    """
    x, y = path(SGD, ravine, [1.0, 1.0], 30, lr=0.019).T
    swings = int((x[1:] * x[:-1] < 0).sum())
    end = path(SGD, two_valleys, [1.5], 300, lr=0.01)[-1].item()
    valley = "higher" if end > 0 else "lower"
    far = percent(1 - y[-1].item(), 0)
    text = (
        f"30 steps down a ravine bring {swings} swings and {far} of the way; of two "
        f"valleys the {valley} one is the end"
    )
    reason = "so it can, in these examples"
    return holds(swings > 20 and y[-1].item() > 0.5 and end > 0, text, reason)


@check("R1-17")
def r1_17(evidence: Evidence) -> Finding:
    """SGDM steps by the learning rate times the average m = b m + (1 - b) g.

    Computed is the 50th step down a slope where each gradient is 1.
    """
    claimed = 0.01 * moving_average(torch.ones(50), R1_BETA_USED)
    damped = partial(SGD, momentum=R1_BETA_USED, dampening=R1_BETA_USED)
    default = step_on_slope(partial(SGD, momentum=R1_BETA_USED), 50)
    reason = f"by default torch leaves out 1 - b, and its step is {default:.3g}"
    as_written = agrees(claimed, default, "a step", reason)
    dampened = agrees(claimed, step_on_slope(damped, 50), "a step", reason)
    return fairest(as_written, {"the dampening of torch's SGD is set to b": dampened})


@check("R1-18")
def r1_18(evidence: Evidence) -> Finding:
    """Adagrad divides the gradient by the root of the sum of all squared gradients."""
    gradients, steps = descend_ravine(Adagrad)
    root = (gradients**2).cumsum(dim=0).sqrt()
    reason = "torch adds 1e-10 to the root, lest a gradient of 0 give 0 / 0"
    return agrees(0.01 * gradients / root, steps, "the 30th step in a ravine", reason)


@check("R1-19")
def r1_19(evidence: Evidence) -> Finding:
    """Adam keeps moving averages m of the gradient and V of its square.

    Computed are both, and what torch's Adam has kept after the same 30 gradients.
    """
    gradients, _ = descend_ravine(Adam)
    weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = Adam([weight])
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    kept = optimizer.state[weight]
    m, v = moving_average(gradients, 0.9), moving_average(gradients**2, 0.999)
    claimed, right = [*m, *v], [*kept["exp_avg"], *kept["exp_avg_sq"]]
    reason = "R1 leaves out the step made of them, and its correction (R1-E7)"
    return agrees(claimed, right, "V after 30 steps", reason)


@check("R1-41")
def r1_41(evidence: Evidence) -> Finding:
    """The moving averages of Adam keep its training from ending early.

    Computed is the step after an epoch of 938 gradients of 1, as a share of the first
    step: Adam's should not shrink, as Adagrad's does.
    """
    adam, adagrad = (
        step_on_slope(optimizer, 938) / step_on_slope(optimizer, 1)
        for optimizer in (Adam, Adagrad)
    )
    text = (
        f"after an epoch of equal gradients Adam's steps have {percent(adam, 0)} "
        f"of their first length, Adagrad's {percent(adagrad, 0)}"
    )
    reason = "yet R1 also suspects that Adam's rate gets too low in the end (R1-E19)"
    return holds(adam > 0.99 and adagrad < 0.5, text, reason)


@check("R1-43")
def r1_43(evidence: Evidence) -> Finding:
    """Momentum damps the swings of gradient descent.

    Computed is the way to and fro across the ravine, without momentum and with R1's, at
    a rate at which plain descent swings.
    """

    def way(momentum: float) -> float:
        points = path(SGD, ravine, [1.0, 1.0], 30, lr=0.019, momentum=momentum)
        return points[:, 0].diff().abs().sum().item()

    plain, with_momentum = way(0.0), way(R1_BETA_USED)
    text = (
        f"the way to and fro across a ravine is {number(plain)} long, and "
        f"{number(with_momentum)} with a momentum of {R1_BETA_USED}"
    )
    reason = "where plain descent does not swing, momentum may bring swings"
    return holds(with_momentum < plain / 2, text, reason)


# The trainings with four optimizers


def over_betas(
    evidence: Evidence, compare: Callable[[list[Record]], Finding]
) -> Finding:
    """The fairest finding on R1's Adam, for which R1 states one beta of 0.9.

    `compare` gives the finding from runs. The betas of these are 0.9 and 0.999, as in
    torch, or both 0.9 if there are such runs.
    """
    usual = compare(evidence.full("shared_lr", optimizer="adam"))
    try:
        options = {"betas": [0.9, 0.9]}
        equal = evidence.full("adam_betas", lr=R1_ADAM_LR, optimizer_options=options)
    except NotRun:
        return usual
    return fairest(usual, {"both betas of Adam are 0.9": compare(equal)})


@check("R1-26")
def r1_26(evidence: Evidence) -> Finding:
    """Adagrad converges fastest, then SGD, SGDM and Adam.

    Compared is the training loss of all epochs, in the (geometric) mean: it is low if
    the loss falls early.
    """
    epochs = epoch_table(evidence.full("shared_lr", optimizer=R1_BEST_FIRST))
    losses = epochs.pivot(
        index=["seed", "epoch"], columns="optimizer", values="train_loss"
    )
    wins = (losses["sgdm"] < losses["sgd"]).sum()
    last = epochs[epochs["epoch"] == epochs["epoch"].max()]
    at_the_end = ranking_by_loss(last, "optimizer", R1_BEST_FIRST)
    pairs = at_the_end.regenerated.rpartition("; ")[2]
    reason = (
        f"SGDM's loss is below SGD's in {wins} of {len(losses)} pairs of an epoch and "
        f"a seed (R1-E9); by the last epoch alone, {pairs}; {TEN_EPOCHS}"
    )
    means = np.exp(np.log(losses).groupby("seed").mean()).stack()
    frame, order = means.rename("mean_loss").reset_index(), R1_BEST_FIRST
    return ranking_by_loss(frame, "optimizer", order, reason=reason, value="mean_loss")


@check("R1-28")
def r1_28(evidence: Evidence) -> Finding:
    """Adagrad gives the highest accuracy, then SGD, SGDM and Adam."""
    runs = run_table(evidence.full("shared_lr", optimizer=R1_BEST_FIRST))
    order = R1_BEST_FIRST
    return ranking(runs, "optimizer", "test_accuracy", order, 0.001, reason=TEN_EPOCHS)


@check("R1-29")
def r1_29(evidence: Evidence) -> Finding:
    """Adam is behind perhaps because its lr of 0.01 is too low late in training.

    Compared are the last training losses at this rate and at a tenth of it: if 0.01 is
    too low, 0.001 must be worse.
    """
    rates = [R1_ADAM_LR, R1_ADAM_LR / 10]
    records = evidence.runs("adam_betas", lr=rates, optimizer_options={})
    runs = run_table(records)
    runs["rate"] = "lr " + runs["lr"].astype(str)
    reason = f"R1 only suspects it (R1-E10); {describe(records)}"
    order = [f"lr {rate}" for rate in rates]
    return ranking_by_loss(runs, "rate", order, reason=reason)


@check("R1-40")
def r1_40(evidence: Evidence) -> Finding:
    """The training with Adam does not converge, not even in the end.

    A training has converged when its loss has levelled off. So the claim agrees if the
    training loss still falls in the second half of the epochs, and differs if it then
    changes by less than 10 %. By this sense of the word the other optimizers may not
    have converged either: the finding says how far their losses fall.
    """
    finding = over_betas(evidence, loss_still_falls)
    others = [name for name in R1_BEST_FIRST if name != "adam"]
    table = epoch_table(evidence.full("shared_lr", optimizer=others))
    losses = table.pivot_table("train_loss", "epoch", "optimizer", aggfunc=gmean)
    falls = losses.iloc[-1] / losses.loc[losses.index[-1] // 2] - 1
    told = ", ".join(f"{change(falls[name])} ({name_of(name)})" for name in others)
    finding.reason = (
        f"the losses of the others change by {told} over these epochs; "
        f"{TEN_EPOCHS} (R1-E8)"
    )
    if finding.outcome == AGREES:
        readings = [finding.reading, "not to converge is not to have levelled off"]
        finding.reading = ", and ".join(filter(None, readings))
    return finding


def loss_still_falls(records: list[Record]) -> Finding:
    """The finding on R1-40, from runs that have the same number of epochs."""
    epochs = epoch_table(records)
    last = epochs["epoch"].max()
    epochs["state"] = "epoch " + epochs["epoch"].astype(str)
    order = [f"epoch {last}", f"epoch {last // 2}"]
    return ranking_by_loss(epochs, "state", order)


# The definitions of precision, recall and F1


class Threes(NamedTuple):
    """The 3s among the test images, those that an example calls so, and the scores.

    In the example every tenth test image is taken for the next digit. The scores are by
    the usual formulas.
    """

    is_three: np.ndarray  # bool [10,000]
    called_three: np.ndarray  # bool [10,000]
    precision: float
    recall: float
    f1: float


def threes(evidence: Evidence) -> Threes:
    """The example's images of the digit 3."""
    labels = evidence.mnist.test_labels.numpy()
    is_tenth = np.arange(len(labels)) % 10 == 0
    predictions = np.where(is_tenth, (labels + 1) % 10, labels)
    scores = class_table(labels, predictions).set_index("digit").loc["3", SCORES]
    return Threes(labels == 3, predictions == 3, *scores.astype(float))


@check("R1-32")
def r1_32(evidence: Evidence) -> Finding:
    """Precision is the share of all positive and negative decisions that are right."""
    three = threes(evidence)
    claimed = (three.is_three == three.called_three).mean()
    reason = "this defines accuracy; precision is TP / (TP + FP) (R1-E11)"
    return agrees(claimed, three.precision, "in an example precision", reason)


@check("R1-33")
def r1_33(evidence: Evidence) -> Finding:
    """Recall is the share of the images of a digit that are called this digit."""
    three = threes(evidence)
    claimed = three.called_three[three.is_three].mean()
    return agrees(claimed, three.recall, "in an example recall")


@check("R1-34")
def r1_34(evidence: Evidence) -> Finding:
    """F1 is the sum of the squares of P and R, divided by their geometric mean."""
    three = threes(evidence)
    precision, recall = three.precision, three.recall
    claimed = (precision**2 + recall**2) / (precision * recall) ** 0.5
    reason = "F1 is the harmonic mean 2 PR / (P + R), never above 1 (R1-E12)"
    return agrees(claimed, three.f1, "in an example F1", reason)


# R1's table of Adam's scores


def digit_scores(evidence: Evidence, records: list[Record]) -> np.ndarray:
    """Precision, recall and F1 of the ten digits, of each run: [n, 10, 3]."""
    tables = []
    for record in records:
        table = class_table(record.labels(evidence.mnist), record.predictions)
        tables.append(table[SCORES].to_numpy(float)[:10])
    return np.array(tables)


@check("R1-36")
def r1_36(evidence: Evidence) -> Finding:
    """Adam reaches the printed precision, recall and F1 of each of the ten digits."""
    labels = [f"{digit} {score}" for digit in R1_SCORES.index for score in SCORES]
    printed = R1_SCORES[SCORES].to_numpy().ravel()

    def compare(records: list[Record]) -> Finding:
        ours = digit_scores(evidence, records).reshape(-1, 30)
        below = (printed < ours.mean(axis=0)).sum()
        reason = f"{below} of the 30 scores are below our mean"
        unit, margin = 0.01, SCORE_MARGIN
        return curve(printed, ours, unit, margin, labels, share=True, reason=reason)

    return over_betas(evidence, compare)


@check("R1-37")
def r1_37(evidence: Evidence) -> Finding:
    """Adam's test accuracy is 0.97, and so are the averages of its scores.

    Compared is the accuracy: the averages are nearly the same number.
    """

    def compare(records: list[Record]) -> Finding:
        ours = run_table(records)["test_accuracy"]
        name = ["test accuracy"]
        return numbers(R1_ACCURACY, ours, 0.01, SCORE_MARGIN, name, share=True)

    return over_betas(evidence, compare)


@check("R1-38")
def r1_38(evidence: Evidence) -> Finding:
    """Adam predicts every digit very well.

    What R1 calls very well is an F1 of 0.96, the lowest of its table, which may have
    been 0.955 before it was rounded. So the lowest F1 of our runs must be above that.
    """
    very_well = R1_SCORES["f1"].min() - 0.005

    def compare(records: list[Record]) -> Finding:
        ours = digit_scores(evidence, records)[:, :, 2].min(axis=1)
        reason = "yet R1 ranks Adam last (R1-E14)"
        return beyond(ours, very_well, True, "the lowest F1 of a digit is", reason)

    return over_betas(evidence, compare)


@check("R1-44")
def r1_44(evidence: Evidence) -> Finding:
    """The scores, supports, averages and accuracy belong to one test of 10,000 images.

    A printed score may be off by 0.005. Checked is whether the ranges that this leaves
    overlap: for each F1, for the accuracy, the averages and the number of predictions.
    """
    precision, recall, f1, support = R1_SCORES.to_numpy().T
    half = 0.005 + 1e-9  # a printed 0.97 is a score from 0.965 to 0.975

    def harmonic(p: np.ndarray, r: np.ndarray) -> np.ndarray:
        return 2 * p * r / (p + r)

    f1_fits = (harmonic(precision - half, recall - half) <= f1 + half) & (
        harmonic(precision + half, recall + half) >= f1 - half
    )
    means = [scores.mean() for scores in (precision, recall, f1)]
    means += [np.average(s, weights=support) for s in (precision, recall, f1)]
    averages_fit = np.abs(np.array(means) - R1_ACCURACY) <= 2 * half
    accuracy = np.average(recall, weights=support)
    fewest = (support * (recall - half) / (precision + half)).sum()
    most = (support * (recall + half) / (precision - half)).sum()
    as_claimed = (
        f1_fits.all()
        and averages_fit.all()
        and abs(accuracy - R1_ACCURACY) <= 2 * half
        and support.sum() == 10_000
        and fewest <= 10_000 <= most
    )
    text = (
        f"{f1_fits.sum()} of 10 F1 and {averages_fit.sum()} of 6 averages fit; the "
        f"recalls give an accuracy of {accuracy - half:.3f} to {accuracy + half:.3f}, "
        f"the supports {support.sum():,.0f} images"
    )
    return holds(bool(as_claimed), text)


@check("R1-45")
def r1_45(evidence: Evidence) -> Finding:
    """The rows of the table are the classes 1 to 10, with supports of 980 to 1009."""
    need_full_mnist(evidence)
    counts = evidence.mnist.test_labels.bincount(minlength=max(R1_LABELS) + 1)
    supports = R1_SCORES["support"].to_list()
    of_label = counts[list(R1_LABELS)].tolist()
    of_digit_before = [int(counts[label - 1]) for label in R1_LABELS]
    text = f"the test set has {counts[0]} images of a 0, {counts[9]:,} of a 9"
    reason = "the classes are the digits 0 to 9 (R1-E13)"
    return fairest(
        holds(supports == of_label, text, reason),
        {"row k is the digit k - 1": holds(supports == of_digit_before, text, reason)},
    )
