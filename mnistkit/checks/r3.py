"""Checks of R3: two convolutions; schedules, and Adam against NAdam and SGDM."""

import io
from pathlib import PureWindowsPath

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, tensor
from torch.optim import SGD, Adam, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset, random_split

from mnistkit.checks.miniature import agrees, path, two_valleys
from mnistkit.checks.r2 import batch_norm_is_faster
from mnistkit.claims import Finding, exact, holds, numbers, ranking
from mnistkit.data import augment, normalize, split
from mnistkit.files import FILES
from mnistkit.models import build_model, count_params, layer_table
from mnistkit.tables import describe, epoch_table, run_table
from mnistkit.train import SCHEDULES

NETWORK = build_model("two_conv").requires_grad_(False)
WEIGHTS = list(NETWORK.state_dict().values())
KERNEL = tensor([[-1.0, 0, 1]] * 3)[None, None]
EDGE = tensor([[0.0, 1, 1]] * 3)  # rising; then falling, flat, horizontal
EDGES = torch.stack([EDGE, 1 - EDGE, torch.ones(3, 3), EDGE.T])[:, None]
P, Q = tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]])
LOGITS = tensor([[-2.0, 3, 1], [1, 0, 2], [9, -9, 8]])
SURE = (99 * torch.eye(10)[0]).softmax(0)
FOLDER = PureWindowsPath("data\\hw7\\")


def unchanged(tensors):
    """How many tensors come back from a file as they were."""
    file = io.BytesIO()
    torch.save(tensors, file)
    file.seek(0)
    return sum(map(torch.equal, tensors, torch.load(file)))


def printed_loop(accuracies, log_open=True):
    """(tests made, stale epochs counted) with the branches indented as printed."""
    best = tests = stale = 0
    for accuracy in accuracies:
        if accuracy > best:
            best, tests, stale = accuracy, tests + 1, 0
        if not log_open:  # the `else` belongs to the log file's `if`
            stale += 1
    return tests, stale


def rates(schedule, *settings, steps=64):
    """The lr of each step, as a share of the optimizer's."""
    schedule, shares = schedule(SGD([torch.zeros(1)], 1.0), *settings), []
    for _ in range(steps):
        shares += schedule.get_last_lr()
        schedule.optimizer.step()
        schedule.step()
    return np.array(shares)


def r3_04(e):
    """Parameters of the first convolution, and of one that does not share them."""
    shared, separate = count_params(NETWORK[0]), (28 * 28 + 1) * 64 * 28 * 28
    linear = count_params(NETWORK[9:]) / count_params(NETWORK)
    text = f"{shared:,}; if not shared {separate:,}"
    return holds(shared < separate, text, f"yet {linear:.1%} of R3's own are FC")


def r3_07(e):
    """Slopes of MSE and cross-entropy where the sigmoid is almost 1, the label 0."""
    z, label = tensor(9.0, requires_grad=True), tensor(0.0)
    losses = [loss(z.sigmoid(), label) for loss in (F.mse_loss, F.binary_cross_entropy)]
    slopes = [round(torch.autograd.grad(loss, z)[0].item(), 3) for loss in losses]
    return exact([0.0, 1.0], slopes, "but R3's second softmax undoes it (R3-E1)")


def r3_11(e):
    """The shapes of both schedules in 64 epochs, 6 of them our warm-up."""
    steps, warm = (rates(SCHEDULES[name], 1, 64) for name in ("step", "warmup_cosine"))
    exponential = np.allclose(steps[2:] / steps[:-2], 0.9)
    rise, fall = np.diff(warm[:6]), np.diff(warm[6:])
    up_and_down = rise[0] > 0 and np.allclose(rise, rise[0]) and max(fall) < 0
    text = f"at last {steps[-1]:.4f}, {warm[-1]:.4f} of the lr"
    return holds(exponential and up_and_down, text, "the warm-up is ours (R3-E16)")


def r3_12(e):
    """How many different splits three tries give with cuDNN set so."""
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        tries = [random_split(range(99), [83, 16])[1].indices for _ in range(3)]
    return exact(1, len(set(map(tuple, tries))), "splits in 3 tries: no seed (R3-E8)")


def r3_14(e):
    """The test labels as they come from a data loader."""
    data = TensorDataset(e.mnist.test_images, e.mnist.test_labels)
    served = torch.cat([labels for _, labels in DataLoader(data, batch_size=16)])
    return holds(torch.equal(served, e.mnist.test_labels), f"{len(served):,} images")


def r3_16(e):
    """The share of the training images that is split off."""
    n = len(split(e.mnist.train_labels, 0.167)[1])
    reason = f"{n:,} images; drop_last leaves out {n % 16}, always the same (R3-E7)"
    return exact(0.167, n / len(e.mnist.train_labels), reason)


def r3_19(e):
    """The output shapes of the pooling and the linear layers."""
    rows = [r for r in layer_table(NETWORK) if r["kind"] in ("MaxPool2d", "Linear")]
    shapes = ["x".join(map(str, row["output"])) for row in rows]
    return exact(["64x14x14", "128x7x7", "784", "98", "10"], shapes)


def r3_25(e):
    """How far eval() changes an image after batch norm."""
    norm, image = nn.BatchNorm2d(1), normalize(e.mnist.test_images[:1])
    change = (norm(image) - norm.eval()(image)).abs().max().item()
    return exact(0.0, round(change, 2), "largest change if eval() is missing (R3-E3)")


def r3_27(e):
    """How far 99 steps lead with R3's momentum, with none and with the usual one."""
    ends = [path(SGD, torch.sum, [0.0], 99, momentum=m)[-1] for m in (1e-5, 0, 0.9)]
    printed, usual = (ends[0] / ends[1]).item(), (ends[2] / ends[1]).item()
    reason = f"of plain SGD's way in 99 steps; {usual:.1f} with momentum 0.9 (R3-E10)"
    return holds(printed > 2, f"{printed:.4f}", reason)


def r3_29(e):
    """The norm of a gradient of norm 100 after clipping."""
    weight = torch.zeros(2)
    weight.grad = tensor([60.0, 80.0])
    nn.utils.clip_grad_norm_(weight, 10)
    return exact(10.0, round(weight.grad.norm().item(), 3), "from 100")


def r3_34(e):
    """How many images a rotation changes."""
    images = normalize(e.mnist.test_images[:8], 0, 1)
    rotated = augment(images, torch.Generator(), shift=0, scale=0)
    changed = (images != rotated).flatten(1).any(1).sum().item()
    return holds(changed == 0, f"{changed} of 8 rotated", "tensors can be too (R3-E11)")


def runs(records):
    """A row per run of R3's comparison: its line, scores, and how its curves move."""
    table, curves = run_table(records), [epoch_table([r]) for r in records]
    table["line"] = table["optimizer"] + " " + table["schedule"]
    printed = [r.run.optimizer_options.get("momentum") == 1e-5 for r in records]
    table.loc[printed, "line"] = "printed"
    table["drawn"] = [record.p_true.mean(dtype=float) for record in records]
    tests = [c["test_accuracy"] for c in curves]
    table["gain"] = [test.iloc[-1] - test.iloc[0] for test in tests]
    table["unrest"] = [test[len(test) // 2 :].std() for test in tests]
    table["swings"] = [c["val_loss"][:10].diff().clip(lower=0).mean() for c in curves]
    return table


def all_of(e, parts, reason=""):
    """A claim of several (name, finding): one can refute it, all must support it."""
    for _, finding in parts:
        if finding.verdict:  # it cannot be checked
            return finding
    text = "; ".join(f"{name} {finding.regenerated}" for name, finding in parts)
    against = min(1.0, len(parts) * min(finding.against for _, finding in parts))
    support = np.nanmax([finding.support for _, finding in parts])
    return Finding("", text, reason + describe(e.runs("r3")), [], against, support)


def r3_38(e):
    """Adam with StepLR scores more than with other schedules, and wavers less."""
    table, step, parts = runs(e.runs("r3")), "adam step", []
    for other in ("adam constant", "adam warmup_cosine"):
        parts.append(("test", ranking(table, "line", "test_accuracy", [step, other])))
        parts.append(("unrest", ranking(table, "line", "unrest", [other, step])))
    return all_of(e, parts)


def r3_40(e):
    """NAdam has larger swings and a better validation than Adam, the same test."""
    table, order = runs(e.runs("r3")), ["nadam step", "adam step"]
    nadam, adam = (table[table["line"] == line].set_index("seed") for line in order)
    gaps = (nadam["test_accuracy"] - adam["test_accuracy"]).dropna()
    swings = ranking(table, "line", "swings", order)
    val, same = ranking(table, "line", "val_accuracy", order), numbers(0, gaps, 0.01)
    return all_of(e, [("swings", swings), ("val", val), ("test difference", same)])


def r3_42(e):
    """Adam scores more than SGDM, whose test accuracy stays where it started."""
    table, order = runs(e.runs("r3")), ["adam step", "sgdm step"]
    sgdm, printed = (table[table["line"] == line] for line in ("sgdm step", "printed"))
    test = ranking(table, "line", "test_accuracy", order)
    gain = numbers(0, sgdm["gain"], 0.01)
    argmax, drawn = printed[["test_accuracy", "drawn"]].mean()
    reason = f"SGD as printed: {argmax:.3f} by argmax, {drawn:.3f} drawn (R3-E12); "
    return all_of(e, [("test", test), ("gain", gain)], reason)


def r3_44(e):
    """The scores of Adam with StepLR."""
    table, parts = runs(e.full("r3")), ["train", "val", "test"]
    scores = table[table["line"] == "adam step"][[f"{part}_accuracy" for part in parts]]
    return numbers([0.999, 0.991, 0.989], scores, 0.001, parts)


TESTS, STALE = printed_loop([0.90, 0.95, 0.94, 0.93])  # two better, two stale
STEP_LR = rates(lr_scheduler.StepLR, 2, 0.9)  # as printed, a step per epoch
ADAM = path(Adam, torch.sum, [0.0], 1, lr=0.001)[-1]  # its first step
END = path(SGD, two_valleys, [1.5], 300, lr=0.01, momentum=0.9)[-1].item()
HALVED = F.conv2d(torch.ones(1, 28, 28), KERNEL, stride=2, padding=1).shape[-1]
HITS = P.multinomial(9999, True, generator=torch.Generator()) == 0  # argmax: always
CHECKS = {
    "R3-01": lambda e: exact(4, unchanged([getattr(e.mnist, part) for part in FILES])),
    "R3-02": lambda e: exact(len(WEIGHTS), unchanged(WEIGHTS), "tensors reloaded"),
    "R3-03": lambda e: exact(1, TESTS, "one per improvement, 2 in 4 epochs (R3-E5)"),
    "R3-04": r3_04,
    "R3-05": lambda e: exact([3, -3, 0, 0], F.conv2d(EDGES, KERNEL).flatten().tolist()),
    "R3-06": lambda e: agrees(-(P * Q.log()).sum(), F.cross_entropy(Q.log(), P)),
    "R3-07": r3_07,
    "R3-08": lambda e: agrees(-0.001 * 0.1 / 0.001**0.5, ADAM, "first step (R3-E9)"),
    "R3-09": lambda e: holds(END < 0, END, "no guarantee: lowest point at -1.04"),
    "R3-11": r3_11,
    "R3-12": r3_12,
    "R3-14": r3_14,
    "R3-15": lambda e: exact(0, TESTS, "in 4 epochs, and used to choose (R3-E5)"),
    "R3-16": r3_16,
    "R3-17": lambda e: agrees(1 + (28 + 2 - 3) / 2, HALVED, "round down (R3-E14)"),
    "R3-18": batch_norm_is_faster,
    "R3-19": r3_19,
    "R3-20": lambda e: exact([1, 10], list(NETWORK(torch.ones(1, 28, 28)[None]).shape)),
    "R3-21": lambda e: exact(0.0, F.cross_entropy(SURE, SURE).item(), "lowest (R3-E1)"),
    "R3-22": lambda e: exact(48, printed_loop([0.9] * 49)[1], "not counted (R3-E6)"),
    "R3-23": lambda e: exact(("data", "hw7"), FOLDER.parts, "on Windows only"),
    "R3-24": lambda e: exact(1.0, HITS.double().mean().item(), "argmax has 1 (R3-E2)"),
    "R3-25": r3_25,
    "R3-27": r3_27,
    "R3-28": lambda e: agrees(0.9 ** (np.arange(64) // 2), STEP_LR, "in epoch 64"),
    "R3-29": r3_29,
    "R3-30": lambda e: exact([1, 2, 0], LOGITS.softmax(1).argmax(1).tolist()),
    "R3-31": lambda e: exact(2, STALE, "`else` belongs to another `if` (R3-E6)"),
    "R3-32": lambda e: agrees(STEP_LR, rates(SCHEDULES["step"], 5, 64, steps=320)[::5]),
    "R3-34": r3_34,
    "R3-38": r3_38,
    "R3-40": r3_40,
    "R3-42": r3_42,
    "R3-44": r3_44,
}
