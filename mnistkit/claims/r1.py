"""Checks of R1: a small residual network, four optimizers, precision and recall.

The docstring of a check says what the report claims, not what is true.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import classification_report
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, Optimizer

from mnistkit.claims.reported import (
    R1_ACCURACY,
    R1_BEST_FIRST,
    R1_SCORES,
    R1_SECONDS,
)
from mnistkit.claims.rules import (
    Evidence,
    Finding,
    NotRun,
    check,
    exact,
    holds,
    numbers,
    ranking,
)
from mnistkit.claims.tiny_training import (
    agrees,
    block_with_zero_residual,
    first_block,
    first_test_images,
    input_of_first_block,
    layer_kinds,
    layers,
    learns,
    need_full_mnist,
    network,
    path,
    printed_loop_trains_like_fit,
    shallow_network_is_better,
    steps_per_epoch,
    trained_network,
    two_valleys,
)
from mnistkit.runs import Record
from mnistkit.stats import class_table, confusion
from mnistkit.tables import describe, epoch_table, run_table
from mnistkit.train import evaluate, predict, sgdm

SCORES = ["precision", "recall", "f1"]
R1_HEADINGS = "precision recall f1-score support accuracy macro avg weighted"


# The data


@check("R1-02")
def r1_02(evidence: Evidence) -> Finding:
    """MNIST has 60,000 training and 10,000 test images of ten digits, 28 x 28 = 784."""
    need_full_mnist(evidence)
    test_images = evidence.mnist.test_images
    height, width = test_images.shape[1:]
    found = [
        len(evidence.mnist.train_images),
        len(test_images),
        len(evidence.mnist.test_labels.unique()),
        height,
        width,
        height * width,
    ]
    return exact([60_000, 10_000, 10, 28, 28, 784], found)


@check("R1-03")
def r1_03(evidence: Evidence) -> Finding:
    """The training images come as vectors."""
    image = evidence.mnist.train_images[0]
    text = "each " + " x ".join(map(str, image.shape))
    reason = "the images are arrays, and the network takes them so (R1-E1)"
    return holds(image.dim() == 1, text, reason)


# The network


def receptive_fields() -> list[int]:
    """The side, in pixels of the image, of what a unit of each convolution sees."""
    side = 1
    distance = 1  # pixels of the image between two neighbouring units
    sides = []
    for layer in network().modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel = int(np.max(layer.kernel_size))
            side += (kernel - 1) * distance
            distance *= int(np.max(layer.stride))
            if isinstance(layer, nn.Conv2d):
                sides.append(side)
    return sides


@check("R1-04")
def r1_04(evidence: Evidence) -> Finding:
    """Deeper convolutions see a larger part of the image."""
    sides = receptive_fields()
    grows = sides == sorted(set(sides))
    return holds(grows, [f"{side} x {side}" for side in sides])


@check("R1-06")
def r1_06(evidence: Evidence) -> Finding:
    """In degradation a deeper network has a higher loss on the training images."""
    return shallow_network_is_better(evidence, "train_loss", higher_is_better=False)


@check("R1-07")
def r1_07(evidence: Evidence) -> Finding:
    """With a shortcut the next layer holds more information about the image.

    Counted are the different outputs of a block with F(x) = 0, for three different
    inputs whose numbers are all negative.
    """
    inputs = -torch.arange(1.0, 4.0).view(3, 1, 1, 1).expand(3, 16, 4, 4)
    outputs = block_with_zero_residual()(inputs)
    before, after = len(inputs.unique(dim=0)), len(outputs.unique(dim=0))
    text = f"{before} different inputs, {after} output"
    reason = "a layer cannot add information; its ReLU may even lose some (R1-E2)"
    return holds(after > before, text, reason)


@check("R1-08")
def r1_08(evidence: Evidence) -> Finding:
    """A residual block returns ReLU(F(x) + x), in the shape of x."""
    block = first_block(network())
    x = input_of_first_block(evidence.mnist.test_images[:2])
    return agrees((block.body(x) + x).relu(), block(x))


@check("R1-09")
def r1_09(evidence: Evidence) -> Finding:
    """The ResNet has strided convolutions, no pools, and ends in average pooling."""
    convolutions = [v for v in network().modules() if isinstance(v, nn.Conv2d)]
    strided = sum(convolution.stride == (2, 2) for convolution in convolutions)
    pools = [kind for kind in layer_kinds() if "Pool" in kind]
    as_claimed = strided > 0 and "AdaptiveAvgPool2d" in pools
    text = f"{strided} strided convolutions; {', '.join(pools)}"
    return holds(as_claimed, text, "these are not traits of the network used (R1-E4)")


@check("R1-10")
def r1_10(evidence: Evidence) -> Finding:
    """The maps are 16x12x12, 32x8x8, 32x4x4; the last layer turns 512 into 10.

    Each shape counts once. R1 does not mention the first one, 16x24x24.
    """
    shapes = ["x".join(map(str, layer["output"])) for layer in layers()]
    _first, *found = dict.fromkeys(shapes)
    return exact(["16x12x12", "32x8x8", "32x4x4", "512", "10"], found)


# Training and testing


@check("R1-01")
def r1_01(evidence: Evidence) -> Finding:
    """A residual CNN is trained and tested on MNIST."""
    return learns(evidence)


@check("R1-11")
def r1_11(evidence: Evidence) -> Finding:
    """Training adds up the losses over: zero gradients, forward, loss, backward, step.

    Computed is the mean loss of the printed loop, beside that of `fit`.
    """
    return printed_loop_trains_like_fit(evidence)


@check("R1-12")
def r1_12(evidence: Evidence) -> Finding:
    """Testing takes the index that torch.max gives and counts the hits."""
    images, labels = first_test_images(evidence)
    model = trained_network(evidence)
    _values, predicted = torch.max(predict(model, images), dim=1)
    share = (predicted == labels).sum() / len(labels)
    right = evaluate(model, images, labels)["accuracy"]
    return agrees(share, right, "with eval(), which R1 does not mention (R1-E5)")


@check("R1-13")
def r1_13(evidence: Evidence) -> Finding:
    """Batches of 64 give about 1,000 updates an epoch."""
    steps = steps_per_epoch(evidence)
    return holds(round(steps, -3) == 1000, steps)


# The formulas of the optimizers


class Descent(NamedTuple):
    """The gradients [30, 2] that an optimizer met, and what it subtracted [30, 2]."""

    gradients: Tensor
    steps: Tensor


def ravine(point: Tensor) -> Tensor:
    """50 x^2 + y^2 / 2 of a point (x, y): steep along x, flat along y."""
    return (torch.tensor([50, 0.5]) * point**2).sum()


def descend_ravine(optimizer: Callable[..., Optimizer]) -> Descent:
    """30 steps of an optimizer down the ravine, from (1, 1) with lr 0.01."""
    points = path(optimizer, ravine, [1.0, 1.0], 30, lr=0.01)
    gradients = torch.tensor([100, 1]) * points[:-1]
    return Descent(gradients, steps=-points.diff(dim=0))


def moving_average(values: Tensor, beta: float) -> Tensor:
    """The last m of m = beta m + (1 - beta) value, which starts from m = 0."""
    m = torch.zeros_like(values[0])
    for value in values:
        m = beta * m + (1 - beta) * value
    return m


@check("R1-14")
def r1_14(evidence: Evidence) -> Finding:
    """SGD subtracts the learning rate times the gradient."""
    descent = descend_ravine(SGD)
    return agrees(0.01 * descent.gradients, descent.steps)


@check("R1-16")
def r1_16(evidence: Evidence) -> Finding:
    """Gradient descent is slow, swings across ravines and stops in a local optimum.

    It swings if x changes its sign in most steps down the ravine, and is slow if y has
    not come half of its way. The local optimum is the upper one of two valleys.
    """
    x, y = path(SGD, ravine, [1.0, 1.0], 30, lr=0.019).T
    swings = int((x[1:] * x[:-1] < 0).sum())
    end = path(SGD, two_valleys, [1.5], 300, lr=0.01)[-1].item()
    is_slow = y[-1].item() > 0.5
    text = f"{swings} swings in 30 steps; ends in a valley at {end:.2f}"
    reason = "so it can; in this example a lower valley is at -1.04"
    return holds(swings > 20 and is_slow and end > 0, text, reason)


@check("R1-17")
def r1_17(evidence: Evidence) -> Finding:
    """SGDM steps by the moving average m = b m + (1 - b) g.

    Computed is the 50th step down a slope where each gradient is 1.
    """
    claimed = 0.01 * moving_average(torch.ones(50), beta=0.5)
    points = path(sgdm, torch.sum, [0.0], 50, lr=0.01, momentum=0.5)
    last_step = points[-2] - points[-1]
    reason = "torch's SGD has v = mu v + g, without the factor 1 - mu (R1-E6)"
    return agrees(claimed, last_step, reason)


@check("R1-18")
def r1_18(evidence: Evidence) -> Finding:
    """Adagrad divides the gradient by the root of the sum of its squares."""
    descent = descend_ravine(Adagrad)
    root = (descent.gradients**2).cumsum(dim=0).sqrt()
    reason = "torch adds 1e-10 to the root, lest a gradient of 0 give 0 / 0"
    return agrees(0.01 * descent.gradients / root, descent.steps, reason)


@check("R1-19")
def r1_19(evidence: Evidence) -> Finding:
    """Adam keeps moving averages m of the gradient and V of its square.

    Computed are both, and what torch's Adam has kept after the same 30 gradients.
    """
    gradients = descend_ravine(Adam).gradients
    weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = Adam([weight])
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    kept = optimizer.state[weight]
    m = moving_average(gradients, beta=0.9)
    v = moving_average(gradients**2, beta=0.999)
    reason = "the step made of them, and its correction, are left out (R1-E7)"
    return agrees(
        torch.stack([m, v]), torch.stack([kept["exp_avg"], kept["exp_avg_sq"]]), reason
    )


# The trainings with four optimizers


def shared_lr_records(evidence: Evidence) -> list[Record]:
    """The trainings of R1's four optimizers at one learning rate, or NotRun."""
    records = evidence.full("shared_lr")
    if not {record.run.optimizer for record in records} >= set(R1_BEST_FIRST):
        raise NotRun("not all four optimizers were run")
    return records


@check("R1-24")
def r1_24(evidence: Evidence) -> Finding:
    """SGD is the fastest in seconds, then SGDM, Adagrad and Adam."""
    fastest_first = pd.Series(R1_SECONDS).sort_values().index.to_list()
    return ranking(
        run_table(shared_lr_records(evidence)),
        by="optimizer",
        value="seconds",
        order=fastest_first,
        higher_is_better=False,
        reason="depends on the machine",
    )


@check("R1-26")
def r1_26(evidence: Evidence) -> Finding:
    """Adagrad converges best, then SGD, SGDM and Adam, which never does.

    Compared are the training losses of the last epoch.
    """
    records = shared_lr_records(evidence)
    adam = epoch_table(records).query("optimizer == 'adam'")
    mean_losses = adam.groupby("epoch")["train_loss"].mean()
    losses = " ".join(f"{loss:.3f}" for loss in mean_losses)
    return ranking(
        run_table(records),
        by="optimizer",
        value="train_loss",
        order=R1_BEST_FIRST,
        higher_is_better=False,
        reason=f"Adam's loss, epoch by epoch: {losses} (R1-E9)",
    )


@check("R1-28")
def r1_28(evidence: Evidence) -> Finding:
    """Adagrad is the most accurate on the test images, then SGD, SGDM and Adam."""
    runs = run_table(shared_lr_records(evidence))
    return ranking(runs, "optimizer", "test_accuracy", R1_BEST_FIRST)


@check("R1-29")
def r1_29(evidence: Evidence) -> Finding:
    """Adam does worse because its learning rate is too low in the end.

    Compared are the training losses at R1's lr, 0.01, and at a tenth of it: if 0.01 is
    too low, 0.001 must be worse.
    """
    records = evidence.runs("own_lr") + evidence.runs("adam_betas")
    by_name = {}  # each run once, though both experiments may hold it
    for record in records:
        run = record.run
        at_one_of_both = run.optimizer == "adam" and run.lr in (0.01, 0.001)
        if at_one_of_both and not run.optimizer_options:
            by_name[run.name] = record
    adam = list(by_name.values())
    return ranking(
        run_table(adam),
        by="lr",
        value="train_loss",
        order=[0.01, 0.001],
        higher_is_better=False,
        reason=f"training loss by lr (R1-E10); {describe(adam)}",
    )


# The definitions of precision, recall, F1 and support


class Example(NamedTuple):
    """Digits [10,000]: those of the test images, and those that an example predicts."""

    labels: np.ndarray
    predictions: np.ndarray


class Threes(NamedTuple):
    """The 3s of the example, and their scores by scikit-learn's formulas."""

    is_three: np.ndarray  # bool [10,000]
    called_three: np.ndarray  # bool [10,000]
    precision: float
    recall: float
    f1: float
    support: float


def example(evidence: Evidence) -> Example:
    """The test labels, and predictions of which every tenth is off by one digit."""
    labels = evidence.mnist.test_labels.numpy()
    is_tenth = np.arange(len(labels)) % 10 == 0
    return Example(labels, np.where(is_tenth, (labels + 1) % 10, labels))


def threes(evidence: Evidence) -> Threes:
    """The images of the digit 3 in the example."""
    labels, predictions = example(evidence)
    scores = class_table(labels, predictions).set_index("digit").loc["3"]
    return Threes(
        is_three=labels == 3,
        called_three=predictions == 3,
        precision=float(scores["precision"]),
        recall=float(scores["recall"]),
        f1=float(scores["f1"]),
        support=float(scores["support"]),
    )


@check("R1-30")
def r1_30(evidence: Evidence) -> Finding:
    """Entry (i, j) of the 10 x 10 confusion matrix counts images of i called j.

    Computed are scikit-learn's matrix and the counts of pandas.
    """
    labels, predictions = example(evidence)
    matrix = confusion(labels, predictions)
    counted = pd.crosstab(labels, predictions)
    text = f"shape {matrix.shape}, rows are the true digits"
    return holds(np.array_equal(matrix, counted), text)


@check("R1-32")
def r1_32(evidence: Evidence) -> Finding:
    """Precision is the share of all decisions that are right."""
    three = threes(evidence)
    claimed = (three.is_three == three.called_three).mean()
    reason = "the formula is that of accuracy; precision is TP / (TP + FP) (R1-E11)"
    return agrees(claimed, three.precision, reason)


@check("R1-33")
def r1_33(evidence: Evidence) -> Finding:
    """Recall is the share of a digit's images that are called so."""
    three = threes(evidence)
    return agrees(three.called_three[three.is_three].mean(), three.recall)


@check("R1-34")
def r1_34(evidence: Evidence) -> Finding:
    """F1 is the sum of the squares of P and R over their geometric mean."""
    three = threes(evidence)
    precision, recall = three.precision, three.recall
    claimed = (precision**2 + recall**2) / (precision * recall) ** 0.5
    reason = "F1 is the harmonic mean 2 PR / (P + R), never above 1 (R1-E12)"
    return agrees(claimed, three.f1, reason)


@check("R1-35")
def r1_35(evidence: Evidence) -> Finding:
    """Support is the number of images of a digit."""
    three = threes(evidence)
    return agrees(three.is_three.sum(), three.support)


# R1's table of Adam's scores


class ScoreTable(NamedTuple):
    """Precision, recall and F1 of one training, in columns of these names."""

    digits: pd.DataFrame  # ten rows, from 0 to 9
    averages: pd.DataFrame  # rows accuracy, macro, weighted


def adam_tables(evidence: Evidence) -> list[ScoreTable]:
    """The table that R1 prints, of each of our trainings with Adam, or NotRun."""
    tables = []
    for record in shared_lr_records(evidence):
        if record.run.optimizer == "adam":
            table = class_table(record.labels(evidence.mnist), record.predictions)
            scores = table.set_index("digit")[SCORES].astype(float)
            tables.append(ScoreTable(scores.iloc[:10], scores.iloc[10:]))
    return tables


def digit_scores(evidence: Evidence) -> Finding:
    """R1's 30 scores of the digits against those of our trainings with Adam."""
    return numbers(
        R1_SCORES[SCORES].to_numpy().ravel(),
        [table.digits.to_numpy().ravel() for table in adam_tables(evidence)],
        unit=0.01,
        labels=[f"{digit} {score}" for digit in R1_SCORES.index for score in SCORES],
    )


@check("R1-36")
def r1_36(evidence: Evidence) -> Finding:
    """The scores and supports of Adam are those of classes labelled 1 to 10.

    The labels alone decide the verdict. The reason says how many of the scores lie
    within the intervals of our trainings with Adam, where there are such trainings.
    """
    digits, support = evidence.mnist.test_labels.unique(return_counts=True)
    same = support.tolist() == R1_SCORES["support"].to_list()
    supports = "the supports hold" if same else "supports differ"
    reason = f"row k is digit k - 1 (R1-E13); {supports}"
    finding = exact("1 to 10", f"{digits.min()} to {digits.max()}", reason)
    if evidence.records.get("shared_lr"):
        scores = digit_scores(evidence)
        finding.points = scores.points
        finding.reason += f"; scores: {scores.regenerated or scores.reason}"
    return finding


@check("R1-37")
def r1_37(evidence: Evidence) -> Finding:
    """The accuracy and the macro and weighted averages of Adam are all 0.97."""
    values = []
    for table in adam_tables(evidence):
        accuracy = table.averages.loc["accuracy", "f1"]  # equal in all three columns
        macro, weighted = table.averages.loc["macro"], table.averages.loc["weighted"]
        values.append([accuracy, *macro, *weighted])
    averages = [f"{mean} {score}" for mean in ("macro", "weighted") for score in SCORES]
    labels = ["accuracy", *averages]
    return numbers([R1_ACCURACY] * len(labels), values, 0.01, labels)


@check("R1-38")
def r1_38(evidence: Evidence) -> Finding:
    """Adam is very good at every digit: the lowest F1 is 0.96."""
    return numbers(
        R1_SCORES["f1"].min(),
        [table.digits["f1"].min() for table in adam_tables(evidence)],
        unit=0.01,
        reason="the lowest F1 of a digit; yet R1 ranks Adam last (R1-E14)",
    )


@check("R1-39")
def r1_39(evidence: Evidence) -> Finding:
    """The table is laid out as scikit-learn's classification report.

    Computed is which of the headings of R1's table scikit-learn prints for the example.
    """
    labels, predictions = example(evidence)
    text = classification_report(labels, predictions)
    found = [heading for heading in R1_HEADINGS.split() if heading in text]
    return exact(R1_HEADINGS, " ".join(found))
