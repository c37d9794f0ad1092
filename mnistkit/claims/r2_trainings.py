"""Checks of R2's trainings: losses, accuracies, learning rates and batch sizes."""

import numpy as np
import torch
import torch.nn.functional as F

from mnistkit.claims.rules import Missing, exact, holds, numbers, ranking
from mnistkit.data import normalize
from mnistkit.models import build_model
from mnistkit.tables import describe, epoch_table, run_table, step_table

# claim: learning rate, {epoch: mean losses of each 100 batches, in thousandths}
LOSSES = {
    "R2-28": (
        0.01,
        {
            1: [613, 119, 83, 67, 64, 54, 50, 50, 51],
            2: [36, 37, 26, 36, 29, 35, 20, 36, 41],
        },
    ),
    "R2-30": (
        0.01,
        {
            3: [17, 22, 18, 21, 23, 26, 26, 21, 22],
            4: [15, 16, 17, 16, 16, 20, 17, 20, 17],
        },
    ),
    "R2-31": (0.01, {5: [11, 6, 9, 12, 13, 9, 14, 22, 15]}),
    "R2-32": (0.001, {1: [1830, 611, 275, 176, 148, 127, 106, 103, 92]}),
    "R2-33": (0.001, {2: [74, 74, 69, 71, 63, 60, 60, 60, 55]}),
    "R2-34": (0.001, {3: [45, 46, 45, 47, 48, 45, 46, 44, 44]}),
    "R2-35": (0.001, {4: [40, 37, 37, 35, 38, 32, 36, 35, 32]}),
    "R2-36": (0.001, {5: [31, 25, 33, 24, 30, 32, 32, 31, 27]}),
    "R2-37": (0.0001, {1: [2270, 2177, 2063, 1928, 1771, 1579, 1387, 1192, 1007]}),
    "R2-38": (0.0001, {2: [810, 707, 614, 539, 473, 432, 397, 377, 344]}),
    "R2-39": (0.0001, {3: [311, 286, 276, 259, 249, 246, 227, 227, 204]}),
    "R2-40": (0.0001, {4: [200, 196, 182, 189, 179, 178, 167, 164, 164]}),
    "R2-41": (0.0001, {5: [152, 153, 155, 141, 145, 141, 136, 135, 139]}),
}
# percent after epochs 1 to 5, cut off: 98 means 98 to 99
LOG = {
    0.01: [98, 98, 99, 99, 99],
    0.001: [97, 98, 98, 98, 99],
    0.0001: [88, 94, 95, 96, 96],
}
TABLE = {
    0.01: [98, 99, 99, 99, 99],
    0.001: [97, 98, 98, 99, 99],
    0.0001: [88, 94, 95, 96, 96],
}
SIZES = {32: [98, 99, 99, 99, 99], 64: [97, 98, 98, 99, 99], 128: [96, 97, 98, 99, 98]}


def at(records, lrs):
    """The records at some learning rates, or Missing if one has none."""
    lacking = set(lrs) - {record.run.lr for record in records}
    if lacking:
        raise Missing(f"not run: lr {', '.join(f'{lr:g}' for lr in sorted(lacking))}")
    return [record for record in records if record.run.lr in lrs]


def losses(e, claim):
    """The losses and accuracies of a claim against those of our runs."""
    lr, reported = LOSSES[claim]
    records = at(e.runs("learning_rates"), [lr])
    if records[0].data["train_size"] < 60_000:
        if 1 not in reported:
            raise Missing(f"run at a smaller scale only: {describe(records)}")
        return first_windows(e, [lr])
    by_step, by_epoch = step_table(records), epoch_table(records)
    steps = by_step.pivot(index="seed", columns=["epoch", "step"], values="loss")
    scores = by_epoch.pivot(index="seed", columns="epoch", values="test_accuracy")
    cells = [(epoch, 100 * i) for epoch, row in reported.items() for i in range(1, 10)]
    percent = [LOG[lr][epoch - 1] + 0.5 for epoch in reported]
    units = [0.001] * len(cells) + [1] * len(percent)
    values = np.hstack([steps[cells], 100 * scores[[*reported]]])
    labels = [f"epoch {epoch}, step {step}" for epoch, step in cells]
    labels += [f"epoch {epoch}, accuracy (%)" for epoch in reported]
    thousandths = np.concatenate(list(reported.values()))
    told = [*thousandths / 1000, *percent]
    reason = "R2 took its accuracies without eval() (R2-E8), we with it"
    return numbers(told, values, np.array(units), labels, reason)


def first_windows(e, lrs):
    """The mean loss of the first 100 steps at some learning rates."""
    steps = step_table(at(e.runs("learning_rates"), lrs))
    first = steps.query("epoch == 1 and step == 100")
    if first.empty:
        raise Missing("fewer than 100 steps were run")
    reported = {lr: rows[1][0] / 1000 for lr, rows in LOSSES.values() if 1 in rows}
    wide = first.pivot(index="seed", columns="lr", values="loss")[lrs].dropna()
    labels = [f"lr {lr:g}, step 100" for lr in lrs]
    return numbers([reported[lr] for lr in lrs], wide, 0.001, labels, "first 100 steps")


def accuracies(e, lr, epochs):
    """Test accuracies in percent at one learning rate."""
    table = epoch_table(at(e.full("learning_rates"), [lr]))
    wide = table.pivot(index="seed", columns="epoch", values="test_accuracy")
    reported = [LOG[lr][epoch - 1] + 0.5 for epoch in epochs]
    labels = [f"epoch {epoch}, accuracy (%)" for epoch in epochs]
    return numbers(reported, 100 * wide[epochs], 1, labels)


def r2_46(e):
    same = sum(a == b for lr in LOG for a, b in zip(LOG[lr], TABLE[lr], strict=True))
    return exact(
        "15 cells as in the log",
        f"{same} cells as in the log",
        "lr 0.01 epoch 2 and lr 0.001 epoch 4 are 98 in the log (R2-E13)",
    )


def r2_49(e):
    """Test accuracies by batch size; their log is left out of the report."""
    table = epoch_table(e.full("batch_sizes"))
    lacking = set(SIZES) - set(table["batch_size"])
    if lacking:
        raise Missing(f"not run: batch size {', '.join(map(str, sorted(lacking)))}")
    wide = table.pivot(
        index="seed", columns=["batch_size", "epoch"], values="test_accuracy"
    )
    cells = [(size, epoch) for size in SIZES for epoch in range(1, 6)]
    reported = [percent + 0.5 for row in SIZES.values() for percent in row]
    labels = [f"batch {size}, epoch {epoch}, accuracy (%)" for size, epoch in cells]
    same = sum(a == b for a, b in zip(LOG[0.001], SIZES[64], strict=True))
    reason = f"{same} of 5 cells of row 64 as in the log of lr 0.001 (R2-E13)"
    return numbers(reported, 100 * wide[cells].dropna(), 1, labels, reason)


def r2_47(e):
    """Where SGD with noisy gradients ends up in a bowl, over 200 starts."""
    noise = torch.Generator().manual_seed(0)
    spread = {}
    for name, factor in (("fixed", 1.0), ("falling", 0.97)):
        w, lr = torch.ones(200), 0.5
        for _ in range(100):
            w = w - lr * (w + torch.randn(200, generator=noise))
            lr *= factor
        spread[name] = w.std().item()
    text = "spread " + ", ".join(
        f"{name} {value:.2f}" for name, value in spread.items()
    )
    return holds(
        spread["falling"] < spread["fixed"],
        text,
        "in a bowl with noise; the report ran no schedule (R2-E14)",
    )


def r2_50(e):
    """R2's own table after one epoch."""
    first = {size: percents[0] for size, percents in SIZES.items()}
    text = ", ".join(f"{percent} % at {size}" for size, percent in first.items())
    reason = "after one epoch, as R2 prints it: more epochs are the price (R2-E15)"
    return holds(first[128] > first[32], text, reason)


def r2_51(e):
    """The variance of the gradient of batches, times m, over that of single images."""
    images, labels = normalize(e.mnist.train_images[:256]), e.mnist.train_labels[:256]
    model = build_model("mlp")

    def gradient(index):
        loss = F.cross_entropy(model(images[index]), labels[index])
        return torch.autograd.grad(loss, model[1].weight)[0].flatten()

    mean, draw = gradient(torch.arange(256)), torch.Generator().manual_seed(0)

    def variance(m, draws=300):
        picks = torch.randint(256, (draws, m), generator=draw)
        return np.mean([(gradient(i) - mean).square().sum().item() for i in picks])

    ratio = variance(1) / variance(16)
    text = f"batches of 16: {ratio:.1f} times smaller"
    return holds(abs(ratio / 16 - 1) < 0.2, text, "of the mean gradient (R2-E16)")


def r2_52(e):
    records = [r for r in e.runs("zoo") if r.run.model in ("mlp", "four_conv")]
    return ranking(
        run_table(records),
        "model",
        "test_accuracy",
        ["four_conv", "mlp"],
        reason=f"the report had no baseline (R2-E17); {describe(records)}",
    )


CHECKS = {
    "R2-16": lambda e: first_windows(e, [0.001]),
    "R2-19": lambda e: first_windows(e, [0.01, 0.001, 0.0001]),
    "R2-29": lambda e: accuracies(e, 0.01, [1, 2]),
    "R2-46": r2_46,
    "R2-47": r2_47,
    "R2-49": r2_49,
    "R2-50": r2_50,
    "R2-51": r2_51,
    "R2-52": r2_52,
} | {claim: lambda e, claim=claim: losses(e, claim) for claim in LOSSES}
