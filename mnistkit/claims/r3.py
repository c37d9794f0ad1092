"""Checks of R3: two convolutions; schedules, and Adam against NAdam and SGDM."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, tensor
from torch.optim import SGD, Adam, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset, random_split

from mnistkit.claims.r2 import batch_norm_is_faster
from mnistkit.claims.rules import exact, holds
from mnistkit.claims.tiny_training import agrees, path, two_valleys
from mnistkit.data import augment, normalize, split
from mnistkit.models import build_model, count_params, layer_table
from mnistkit.storage.files import FILES
from mnistkit.train import SCHEDULES

NETWORK = build_model("two_conv").requires_grad_(False)
WEIGHTS = list(NETWORK.state_dict().values())
KERNEL = tensor([[-1.0, 0, 1]] * 3)[None, None]
EDGE = tensor([[0.0, 1, 1]] * 3)  # rising; then falling, flat, horizontal
EDGES = torch.stack([EDGE, 1 - EDGE, torch.ones(3, 3), EDGE.T])[:, None]
P, Q = tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]])
LOGITS = tensor([[-2.0, 3, 1], [1, 0, 2], [9, -9, 8]])
SURE = (99 * torch.eye(10)[0]).softmax(0)


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
    splits = len(set(map(tuple, tries)))
    return exact("1 split", f"{splits} splits in 3 tries", "no seed is set (R3-E8)")


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


def r3_21(e):
    """The loss of an answer that is sure and right, after one more softmax."""
    loss = F.cross_entropy(SURE, SURE).item()
    return holds(loss < 0.01, f"loss {loss:.3f}", "softmax applied twice (R3-E1)")


def r3_24(e):
    """Predictions with 70 % on the right digit: argmax is always right."""
    drawn = P.multinomial(9999, True, generator=torch.Generator()) == 0
    text = f"{drawn.double().mean():.2f} of the draws are right"
    return holds(drawn.all(), text, "argmax has all of them right (R3-E2)")


def r3_25(e):
    """How far eval() changes an image after batch norm."""
    norm, image = nn.BatchNorm2d(1), normalize(e.mnist.test_images[:1])
    change = (norm(image) - norm.eval()(image)).abs().max().item()
    return exact("off by 0", f"off by {change:.2g}", "eval() is missing (R3-E3)")


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


TESTS, STALE = printed_loop([0.90, 0.95, 0.94, 0.93])  # two better, two stale
STEP_LR = rates(lr_scheduler.StepLR, 2, 0.9)  # as printed, a step per epoch
ADAM = path(Adam, torch.sum, [0.0], 1, lr=0.001)[-1]  # its first step
END = path(SGD, two_valleys, [1.5], 300, lr=0.01, momentum=0.9)[-1].item()
HALVED = F.conv2d(torch.ones(1, 28, 28), KERNEL, stride=2, padding=1).shape[-1]
CHECKS = {
    "R3-01": lambda e: exact(4, unchanged([getattr(e.mnist, part) for part in FILES])),
    "R3-02": lambda e: exact(len(WEIGHTS), unchanged(WEIGHTS), "tensors reloaded"),
    "R3-03": lambda e: exact(1, TESTS, "one per improvement, 2 in 4 epochs (R3-E5)"),
    "R3-04": r3_04,
    "R3-05": lambda e: exact([3, -3, 0, 0], F.conv2d(EDGES, KERNEL).flatten().tolist()),
    "R3-06": lambda e: agrees(-(P * Q.log()).sum(), F.cross_entropy(Q.log(), P)),
    "R3-07": r3_07,
    "R3-08": lambda e: agrees(-0.001 * 0.1 / 0.001**0.5, ADAM, "first step (R3-E9)"),
    "R3-09": lambda e: holds(END < 0, f"stops at {END:.2f}", "the minimum: -1.04"),
    "R3-11": r3_11,
    "R3-12": r3_12,
    "R3-14": r3_14,
    "R3-15": lambda e: exact(0, TESTS, "in 4 epochs, and used to choose (R3-E5)"),
    "R3-16": r3_16,
    "R3-17": lambda e: agrees(1 + (28 + 2 - 3) / 2, HALVED, "round down (R3-E14)"),
    "R3-18": batch_norm_is_faster,
    "R3-19": r3_19,
    "R3-20": lambda e: exact([1, 10], list(NETWORK(torch.ones(1, 28, 28)[None]).shape)),
    "R3-21": r3_21,
    "R3-22": lambda e: exact(48, printed_loop([0.9] * 49)[1], "not counted (R3-E6)"),
    "R3-24": r3_24,
    "R3-25": r3_25,
    "R3-27": r3_27,
    "R3-28": lambda e: agrees(0.9 ** (np.arange(64) // 2), STEP_LR, "in epoch 64"),
    "R3-29": r3_29,
    "R3-30": lambda e: exact([1, 2, 0], LOGITS.softmax(1).argmax(1).tolist()),
    "R3-31": lambda e: exact(2, STALE, "`else` belongs to another `if` (R3-E6)"),
    "R3-32": lambda e: agrees(STEP_LR, rates(SCHEDULES["step"], 5, 64, steps=320)[::5]),
    "R3-34": r3_34,
}
