"""Checks of R1: a small residual network, four optimizers, precision and recall."""

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import classification_report
from torch import nn, tensor
from torch.optim import SGD, Adagrad, Adam

from mnistkit.claims import tiny_training as shared
from mnistkit.claims.rules import Missing, exact, holds, numbers, ranking
from mnistkit.claims.tiny_training import NETWORK, agrees, path
from mnistkit.data import normalize
from mnistkit.models import build_model
from mnistkit.stats import class_table, confusion
from mnistkit.tables import describe, epoch_table, run_table
from mnistkit.train import predict, sgdm

ORDER = ["adagrad", "sgd", "sgdm", "adam"]  # best first, as R1 has it
SPEED = ["sgd", "sgdm", "adagrad", "adam"]  # fastest first
SCORES = ["precision", "recall", "f1"]
TABLE = [97, 99, 98, 98, 99, 98, 98, 97, 97, 98, 97, 97, 98, 98, 98, 94, 98, 96]
TABLE += [99, 97, 98, 98, 97, 97, 97, 97, 97, 98, 95, 97]  # percent, digit by digit
SUPPORT = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
REPORT = "precision recall f1-score support accuracy macro avg weighted"


def ravine(w):
    return (tensor([50, 0.5]) * w**2).sum()


def in_ravine(optimizer):
    """(gradients, steps) of 30 steps down the ravine, [30, 2] each."""
    points = path(optimizer, ravine, [1.0, 1.0], 30, lr=0.01)
    return tensor([100, 1]) * points[:-1], -points.diff(dim=0)


def average(values, beta):
    """m = beta m + (1 - beta) value, from m = 0."""
    kept = [torch.zeros_like(values[0])]
    for value in values:
        kept.append(beta * kept[-1] + (1 - beta) * value)
    return torch.stack(kept[1:])


def example(e):
    """The test labels, and predictions of which every tenth is off by one digit."""
    labels = e.mnist.test_labels.numpy()
    return labels, np.where(np.arange(len(labels)) % 10, labels, (labels + 1) % 10)


def threes(e):
    """Is it a 3? Is it called a 3? And the right precision, recall, F1, support."""
    labels, predictions = example(e)
    right = class_table(labels, predictions).loc[3, [*SCORES, "support"]]
    return labels == 3, predictions == 3, *right.astype(float)


def records(e):
    found = e.full("shared_lr")
    if not {record.run.optimizer for record in found} >= set(ORDER):
        raise Missing("not all four optimizers were run")
    return found


def runs(e):
    return run_table(records(e))


def scores(e):
    """R1's table, row by row, of each run of Adam: [n, 39]."""
    adam = [r for r in records(e) if r.run.optimizer == "adam"]
    tables = [class_table(r.labels(e.mnist), r.predictions) for r in adam]
    return np.reshape([t[SCORES].astype(float) for t in tables], (len(adam), 39))


def r1_02(e):
    shape, digits = e.mnist.test_images.shape, e.mnist.test_labels.unique()
    found = [shared.steps(e, 1), shape[0], len(digits), *shape[1:], shape[1:].numel()]
    return exact([60_000, 10_000, 10, 28, 28, 784], found)


def r1_04(e):
    field, jump, fields = 1, 1, []
    for layer in NETWORK.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            field += int(np.max(layer.kernel_size) - 1) * jump
            jump *= int(np.max(layer.stride))
            fields += [field] * isinstance(layer, nn.Conv2d)
    return holds(fields == sorted(set(fields)), [f"{f} x {f}" for f in fields])


def r1_07(e):
    block, x = build_model("small_resnet").eval()[3], -torch.ones(3, 16, 4, 4).cumsum(0)
    nn.init.zeros_(block.body[-1].weight)  # F = 0
    before, after = (len(images.unique(dim=0)) for images in (x, block(x)))
    reason = "a layer cannot add information; its ReLU may even lose some (R1-E2)"
    return holds(after > before, f"{before} different inputs, {after} output", reason)


def r1_10(e):
    """The shapes between the layers, each once."""
    shapes = dict.fromkeys(row["output"] for row in shared.LAYERS)
    found = ["x".join(map(str, shape)) for shape in shapes]
    return exact(["16x12x12", "32x8x8", "32x4x4", "512", "10"], found[1:])


def r1_12(e):
    network, right = shared.trained(e)
    _, predicted = torch.max(predict(network, e.mnist.test_images[:500]), dim=1)
    correct = (predicted == e.mnist.test_labels[:500]).sum() / len(predicted)
    return agrees(correct, right, "with eval(), which R1 does not mention (R1-E5)")


def r1_16(e):
    w = path(SGD, ravine, [1.0, 1.0], 30, lr=0.019)
    swings = int((w[1:, 0] * w[:-1, 0] < 0).sum())
    end = path(SGD, shared.two_valleys, [1.5], 300, lr=0.01)[-1].item()
    text = f"{swings} swings in 30 steps; ends in a valley at {end:.2f}"
    reason = "so it can; in this example a lower valley is at -1.04"
    return holds(swings > 20 and w[-1, 1] > 0.5 and end > 0, text, reason)


def r1_19(e):
    """What Adam has kept after 30 gradients."""
    gradients, weight = in_ravine(Adam)[0], nn.Parameter(torch.zeros(2).double())
    optimizer = Adam([weight])
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    m, v = average(gradients, 0.9), average(gradients**2, 0.999)
    kept = [optimizer.state[weight][name] for name in ("exp_avg", "exp_avg_sq")]
    reason = "the step made of them, and its correction, are left out (R1-E7)"
    return agrees(torch.stack([m[-1], v[-1]]), torch.stack(kept), reason)


def r1_26(e):
    adam = epoch_table(records(e)).query("optimizer == 'adam'")
    losses = adam.groupby("epoch")["train_loss"].mean().map("{:.3f}".format)
    reason = f"Adam's loss, epoch by epoch: {' '.join(losses)} (R1-E9)"
    return ranking(runs(e), "optimizer", "train_loss", ORDER, False, reason)


def r1_29(e):
    """Adam at lr 0.01 against a tenth of it: if 0.01 is too low, it loses less."""
    found = e.runs("own_lr") + e.runs("adam_betas")
    adam = [r for r in found if r.run.optimizer == "adam" and r.run.lr in (0.01, 0.001)]
    adam = {r.run.name: r for r in adam if not r.run.optimizer_options}.values()
    reason = f"training loss by lr (R1-E10); {describe(list(adam))}"
    table = run_table(list(adam))
    return ranking(table, "lr", "train_loss", [0.01, 0.001], False, reason)


def r1_36(e):
    digits, support = e.mnist.test_labels.unique(return_counts=True)
    found = f"{digits.min()} to {digits.max()}"
    held = "the supports hold" if support.tolist() == SUPPORT else "supports differ"
    finding = exact("1 to 10", found, f"row k is digit k - 1 (R1-E13); {held}")
    if e.records.get("shared_lr"):
        names = [f"{digit} {score}" for digit in range(10) for score in SCORES]
        measured = numbers(np.divide(TABLE, 100), scores(e)[:, :30], 0.01, names)
        finding.points = measured.points
        finding.reason += f"; scores: {measured.regenerated or measured.reason}"
    return finding


CHECKS = {
    "R1-01": shared.learns,
    "R1-02": r1_02,
    "R1-03": lambda e: holds(
        e.mnist.train_images[0].dim() == 1,
        "each " + " x ".join(map(str, e.mnist.train_images[0].shape)),
        "the images are arrays, and the network takes them so (R1-E1)",
    ),
    "R1-04": r1_04,
    "R1-06": lambda e: shared.deeper_is_worse(e, "train_loss", False),
    "R1-07": r1_07,
    "R1-08": lambda e: agrees(
        (
            NETWORK[3].body(x := NETWORK[:3](normalize(e.mnist.test_images[:2]))) + x
        ).relu(),
        NETWORK[3](x),
    ),
    "R1-09": lambda e: holds(
        (strided := sum(getattr(v, "stride", 1) == (2, 2) for v in NETWORK.modules()))
        and "AdaptiveAvgPool2d" in shared.KINDS,
        f"{strided} strided convolutions; "
        + ", ".join(k for k in shared.KINDS if "Pool" in k),
        "these are not traits of the network used (R1-E4)",
    ),
    "R1-10": r1_10,
    "R1-11": shared.printed_loop,
    "R1-12": r1_12,
    "R1-13": lambda e: holds(round(shared.steps(e), -3) == 1000, shared.steps(e)),
    "R1-14": lambda e: agrees(0.01 * in_ravine(SGD)[0], in_ravine(SGD)[1]),
    "R1-16": r1_16,
    "R1-17": lambda e: agrees(
        0.01 * average(torch.ones(50), 0.5)[-1],
        -path(sgdm, torch.sum, [0.0], 50, lr=0.01, momentum=0.5).diff(dim=0)[-1],
        "torch's SGD has v = mu v + g, without the factor 1 - mu (R1-E6)",
    ),
    "R1-18": lambda e: agrees(
        0.01 * (g := in_ravine(Adagrad)[0]) / (g**2).cumsum(0).sqrt(),
        in_ravine(Adagrad)[1],
        "torch adds 1e-10 to the root, lest a gradient of 0 give 0 / 0",
    ),
    "R1-19": r1_19,
    "R1-24": lambda e: ranking(
        runs(e), "optimizer", "seconds", SPEED, False, "depends on the machine"
    ),
    "R1-26": r1_26,
    "R1-28": lambda e: ranking(runs(e), "optimizer", "test_accuracy", ORDER),
    "R1-29": r1_29,
    "R1-30": lambda e: holds(
        (confusion(*example(e)) == pd.crosstab(*example(e))).all(axis=None),
        f"shape {confusion(*example(e)).shape}, rows are the true digits",
    ),
    "R1-32": lambda e: agrees(
        (threes(e)[0] == threes(e)[1]).mean(),
        threes(e)[2],
        "the formula is that of accuracy; precision is TP / (TP + FP) (R1-E11)",
    ),
    "R1-33": lambda e: agrees(threes(e)[1][threes(e)[0]].mean(), threes(e)[3]),
    "R1-34": lambda e: agrees(
        ((t := threes(e))[2] ** 2 + t[3] ** 2) / (t[2] * t[3]) ** 0.5,
        t[4],
        "F1 is the harmonic mean 2 PR / (P + R), never above 1 (R1-E12)",
    ),
    "R1-35": lambda e: agrees(threes(e)[0].sum(), threes(e)[5]),
    "R1-36": r1_36,
    "R1-37": lambda e: numbers(
        [0.97] * 7,
        scores(e)[:, 32:],
        0.01,
        ["accuracy"]
        + [f"{mean} {s}" for mean in ("macro", "weighted") for s in SCORES],
    ),
    "R1-38": lambda e: numbers(
        min(TABLE[2::3]) / 100,
        scores(e)[:, 2:30:3].min(axis=1),
        0.01,
        reason="the lowest F1 of a digit; yet R1 ranks Adam last (R1-E14)",
    ),
    "R1-39": lambda e: exact(
        REPORT,
        " ".join(w for w in REPORT.split() if w in classification_report(*example(e))),
    ),
}
