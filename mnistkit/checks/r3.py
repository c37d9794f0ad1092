"""Checks of R3: two convolutions; schedules, and Adam against NAdam and SGDM."""

import io
from math import exp, sqrt
from operator import attrgetter
from pathlib import PureWindowsPath

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn, tensor
from torch.func import grad
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset, random_split

from mnistkit.checks.r2 import batch_norm_is_faster
from mnistkit.claims import Finding, exact, holds, numbers, ranking
from mnistkit.data import augment, normalize, split
from mnistkit.models import build_model, count_params, layer_table
from mnistkit.tables import describe
from mnistkit.train import SCHEDULES, predict

four = attrgetter("train_images", "train_labels", "test_images", "test_labels")
EDGE = tensor([0.0, 1, 1]).expand(1, 1, 3, 3)  # vertical, from 0 to 1
KERNEL = tensor([[-1.0, 0, 1]] * 3)[None, None]
NINE, SURE, COIN = tensor(9.0), tensor(0), tensor([0.6, 0.4])
PARTS = ["train", "val", "test"]
P, Q = tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]])


def reloaded(value):
    torch.save(value, file := io.BytesIO())
    return torch.load(io.BytesIO(file.getvalue()))


def moved(optimizer, steps=1, gradient=1.0, clip=np.inf, **options):
    """How far the last of some steps with the same gradient moves a weight."""
    weight = torch.ones(1, dtype=torch.float64)
    update = optimizer([weight], **options)
    for _ in range(steps):
        before, weight.grad = weight.item(), gradient * torch.ones_like(weight)
        nn.utils.clip_grad_norm_(weight, clip)
        update.step()
    return round(before - weight.item(), 9)


def rates(schedule, *settings, steps=64):
    """The lr of each step, as a share of the optimizer's."""
    schedule, path = schedule(SGD([torch.zeros(1)], 1.0), *settings), []
    for _ in range(steps):
        path += schedule.get_last_lr()
        schedule.optimizer.step()
        schedule.step()
    return np.array(path)


def printed_loop(accuracies, log_open=True):
    """R3-31's branches as they are indented: (tests made, stale epochs counted)."""
    best = tests = stale = 0
    for accuracy in accuracies:
        if accuracy > best:
            best, tests, stale = accuracy, tests + 1, 0
        if not log_open:  # the `else` belongs to the log file's `if`
            stale += 1
    return tests, stale


TESTS, STALE = printed_loop([0.90, 0.95, 0.94, 0.93])  # two better, two stale


def lines(records):
    """A row per run of R3's comparison: its line, scores, and how its curves move."""
    rows = []
    for record in records:
        run, curves = record.run, pd.DataFrame(record.history)
        printed = run.optimizer_options.get("momentum", 1) < 0.01
        row = {"line": "printed" if printed else f"{run.optimizer} {run.schedule}"}
        row |= {k: record.summary[f"{k}_accuracy"] for k in PARTS}
        row |= {"seed": run.seed, "drawn": record.p_true.mean(dtype=float)}
        test, swings = curves["test_accuracy"], curves["val_loss"][:10].diff().fillna(0)
        row |= {"gain": test.iloc[-1] - test[0], "unrest": test[len(test) // 2 :].std()}
        rows.append(row | {"swings": swings.clip(lower=0).mean()})
    return pd.DataFrame(rows, [row["line"] for row in rows])


def compared(e, *higher, same=None, reason=""):
    """(score, line with more, line with less) ...: all, and no difference in `same`."""
    runs = lines(e.runs("r3"))
    parts = [ranking(runs, "line", score, order) for score, *order in higher]
    if same and not any(part.verdict for part in parts):
        parts.append(numbers(0, same(runs), 0.01))
    if undecided := [part for part in parts if part.verdict]:
        return undecided[0]
    names = [score for score, *_ in higher] + ["difference"]
    text = [f"{a} {b.regenerated}" for a, b in zip(names, parts, strict=False)]
    against = min(1.0, len(parts) * min(part.against for part in parts))
    support = max(part.support for part in parts if part.support >= 0)
    printed = runs[runs["line"] == "printed"][["test", "drawn"]].mean()
    reason = reason.format(*printed) + describe(e.runs("r3"))
    return Finding("", "; ".join(text), reason, [], against, support)


def r3_09(e):
    """SGD with momentum 0.9 from 4.5, in a bowl around 0 that has a dip near 3."""
    x, velocity = 4.5, 0.0
    for _ in range(300):
        slope = 0.1 * x + 8 * (x - 3) * exp(-2 * (x - 3) ** 2)
        velocity = 0.9 * velocity + slope
        x -= 0.1 * velocity
    reason = "momentum can carry over small dips; it guarantees nothing"
    return holds(abs(x) < 0.1, f"ends at {x:.2f}; the lowest point is 0", reason)


CHECKS = {
    "R3-01": lambda e: exact(
        4, sum(map(torch.equal, four(e.mnist), reloaded(four(e.mnist)))), "reloaded"),
    "R3-02": lambda e: exact(
        len(w := build_model("two_conv").state_dict()),
        sum(map(torch.equal, w.values(), reloaded(w).values())), "tensors reloaded"),
    "R3-03": lambda e: exact(1, TESTS, "one per improvement, 2 in 4 epochs (R3-E5)"),
    "R3-04": lambda e: holds(
        (a := count_params(nn.Conv2d(1, 64, 3))) < (b := 785 * 64 * 28 * 28),
        f"{a:,}; if not shared {b:,}", "yet {:.1%} of its own parameters are FC".format(
            count_params((n := build_model("two_conv"))[9:]) / count_params(n))),
    "R3-05": lambda e: exact(
        [3.0, -3.0, 0.0, 0.0],
        [F.conv2d(x, KERNEL).item() for x in (EDGE, 1 - EDGE, EDGE**0, EDGE.mT)]),
    "R3-06": lambda e: holds(
        torch.isclose(h := F.cross_entropy(Q.log(), P), -P @ Q.log()), h.item()),
    "R3-07": lambda e: exact(  # slopes of MSE and cross-entropy, sure and wrong
        [0.0, 1.0], [round(grad(lambda z, f=f: f(z.sigmoid(), 0 * z))(NINE).item(), 3)
                     for f in (F.mse_loss, F.binary_cross_entropy)],
        "but the second softmax of R3's code brings the fault back (R3-E1)"),
    "R3-08": lambda e: exact(
        step := round(0.001 * (1 - 0.9) / sqrt(1 - 0.999), 6), moved(Adam, lr=0.001),
        f"first step; without bias correction and epsilon {step:.4f} (R3-E9)"),
    "R3-09": r3_09,
    "R3-11": lambda e: holds(
        np.allclose((x := rates(SCHEDULES["step"], 1, 64))[2:] / x[:-2], 0.9)
        and np.ptp(np.diff((w := rates(SCHEDULES["warmup_cosine"], 1, 64))[:6])) < 1e-9
        and w[0] < w[5] and np.diff(w[6:]).max() < 0, f"{x[-1]:.4f}, {w[-1]:.4f}",
        "of the lr in epoch 64; the warm-up's settings are ours (R3-E16)"),
    "R3-12": lambda e: exact(
        1, len({tuple(random_split(range(999), [833, 166])[1].indices) for _ in "abc"}),
        "different splits in 3 tries: seeds are missing (R3-E8)"),
    "R3-14": lambda e: holds(
        torch.equal(y := e.mnist.test_labels, torch.cat([part for _, part in DataLoader(
            TensorDataset(*reloaded(four(e.mnist)[2:])), 16)])), f"{len(y):,} images"),
    "R3-15": lambda e: exact(0, TESTS, "in 4 epochs, and used to choose (R3-E5)"),
    "R3-16": lambda e: exact(
        0.167, (n := len(split(y := e.mnist.train_labels, 0.167)[1])) / len(y),
        f"{n:,} images; drop_last leaves out {n % 16}, always the same (R3-E7)"),
    "R3-17": lambda e: exact(
        1 + (28 + 2 - 3) / 2, nn.Conv2d(1, 1, 3, 2, 1)(torch.ones(1, 28, 28)).shape[-1],
        "not 14.5, from 28 with k 3, p 1, stride 2: round down (R3-E14)"),
    "R3-18": batch_norm_is_faster,
    "R3-19": lambda e: exact(
        ["64x14x14", "128x7x7", "784", "98", "10"],
        ["x".join(map(str, r["output"])) for r in layer_table(build_model("two_conv"))
         if r["kind"] in ("MaxPool2d", "Linear")]),
    "R3-20": lambda e: exact(
        [1, 10], [*build_model("two_conv")(torch.ones(1, 28, 28)[None]).shape]),
    "R3-21": lambda e: exact(
        0.0, round(F.cross_entropy((99 * torch.eye(10)[0]).softmax(0), SURE).item(), 4),
        "lowest loss after two softmaxes; a network should give logits (R3-E1)"),
    "R3-22": lambda e: holds(
        (n := printed_loop([0.9] * 64)[1]) > 48, f"{n} of 63 stale epochs counted",
        "the count never grows, so no run stops early (R3-E6)"),
    "R3-23": lambda e: exact(
        ("data", "hw7"), PureWindowsPath("data\\hw7\\").parts, "on Windows only"),
    "R3-24": lambda e: exact(  # 9,999 images, right with probability 0.6: argmax has 1
        1.0, round(1 - COIN.multinomial(9999, True, generator=torch.Generator())
                   .double().mean().item(), 2),
        "where argmax scores 1: a draw scores the mean p of the truth (R3-E2)"),
    "R3-25": lambda e: exact(
        0.0, round(((n := nn.BatchNorm2d(1))(x := normalize(e.mnist.test_images[:1]))
                    - n.eval()(x)).abs().max().item(), 2),
        "largest change by batch norm if eval() is missing (R3-E3)"),
    "R3-27": lambda e: holds(
        (x := moved(SGD, 99, lr=1, momentum=1e-5)) > 2, f"{x:.4f} plain steps",
        f"plain SGD; 0.9 makes it {moved(SGD, 99, lr=1, momentum=0.9):.0f} (R3-E10)"),
    "R3-28": lambda e: holds(
        np.allclose(x := rates(StepLR, 2, 0.9), 0.9 ** (np.arange(64) // 2)),
        f"{x[-1]:.4f} of the lr in epoch 64"),
    "R3-29": lambda e: exact(
        [5.0, 10.0], [round(moved(SGD, 1, g, 10, lr=1.0), 3) for g in (5, 100)]),
    "R3-30": lambda e: holds(
        torch.equal(x := (z := predict(build_model("mlp"), e.mnist.test_images))
                    .argmax(1), z.softmax(1).argmax(1)), f"{len(x):,} alike",
        "predictions with and without softmax; the test draws instead (R3-E2)"),
    "R3-31": lambda e: exact(2, STALE, "`else` belongs to another `if` (R3-E6)"),
    "R3-32": lambda e: holds(
        np.allclose(x := rates(StepLR, 2, 0.9),
                    rates(SCHEDULES["step"], 5, 64, steps=320)[::5]),
        f"{x[2]:.1f} of the lr in epoch 3"),
    "R3-34": lambda e: holds(
        torch.equal(x := normalize(e.mnist.test_images[:8], 0, 1),
                    y := augment(x, torch.Generator())),
        f"{(x != y).any(3).any(2).sum()} of 8 rotated", "tensors can be too (R3-E11)"),
    "R3-38": lambda e: compared(
        e, *(("test", "adam step", f"adam {o}") for o in ("constant", "warmup_cosine")),
        *(("unrest", f"adam {o}", "adam step") for o in ("constant", "warmup_cosine"))),
    "R3-40": lambda e: compared(
        e, ("swings", "nadam step", "adam step"), ("val", "nadam step", "adam step"),
        same=lambda t: t.pivot(index="seed", columns="line", values="test").eval(
            "`nadam step` - `adam step`").dropna()),
    "R3-42": lambda e: compared(
        e, ("test", "adam step", "sgdm step"), same=lambda t: t["gain"]["sgdm step"],
        reason="SGD as printed: {:.3f} by argmax, {:.3f} drawn (R3-E12); "),
    "R3-44": lambda e: numbers([0.999, 0.991, 0.989], lines(e.full("r3"))
                               .loc["adam step", PARTS], 0.001, PARTS),
}
