"""Checks of R5: the residual network of R1, trained with SGD."""

import copy

import torch
import torch.nn.functional as F
from torch import nn, tensor
from torch.func import jacrev

from mnistkit.claims.rules import exact, holds, numbers
from mnistkit.claims.tiny_training import (
    KINDS,
    LAYERS,
    NETWORK,
    X,
    agrees,
    deeper_is_worse,
    learns,
    path,
    printed_loop,
    steps,
    trained,
    two_valleys,
)
from mnistkit.data import normalize
from mnistkit.models import build_model, count_params
from mnistkit.tables import run_table
from mnistkit.train import OPTIMIZERS, evaluate


def nll(outputs, labels):
    return F.nll_loss(F.log_softmax(outputs, 1), labels)


def units(x, f):
    """x_L after five units x = f(x + F(x)), and the sum of the F on the way."""
    total = 0
    for _ in range(5):
        total = total + torch.sin(3 * x.flip(0))
        x = f(x + torch.sin(3 * x.flip(0)))
    return x, total


def r5_03(e):
    (network, _), found = trained(e, final_relu=False), []
    for shift in (0, 2, 4):
        images = e.mnist.test_images[:500].roll(shift, 2)
        score = evaluate(network, images, e.mnist.test_labels[:500])
        found.append(round(score["accuracy"], 2))
    reason = "of images moved by 0, 2, 4 pixels: pools forgive small shifts only"
    return holds(min(found) > found[0] - 0.05, f"accuracies {found}", reason)


def r5_04(e):
    x, pieces = torch.linspace(0, 1, 1025), []
    for _ in range(5):
        x = 2 * F.relu(x) - 4 * F.relu(x - 0.5)
        pieces.append(1 + int((x.diff().sign().diff() != 0).sum()))
    reason = "linear pieces that two ReLUs per layer can make, for 1 to 5 layers"
    return holds(pieces == sorted(set(pieces)), pieces, reason)


def r5_05(e):
    (a, b), gaps = normalize(e.mnist.test_images[:2]).double()[:, None], []
    for layers in ([NETWORK[0], NETWORK[4]], [NETWORK[0], nn.ReLU(), NETWORK[4]]):
        f = copy.deepcopy(nn.Sequential(*layers)).double()
        gaps.append((f(a + b) + f(0 * a) - f(a) - f(b)).abs().max().item())
    text = f"off by {gaps[0]:.0e}, with a ReLU by {gaps[1]:.2g}"
    return holds(gaps[0] < 1e-9 < gaps[1], text, "with biases, an affine map")


def r5_06(e):
    body, images = build_model("small_resnet")[3].body, e.mnist.train_images[:64]
    out = body[:2](NETWORK[:3](normalize(images)))
    found = [*KINDS[3:6], round(abs(out.mean().item()), 2), round(out.var().item(), 2)]
    reason = "then it learns a scale and a shift of its own"
    return exact(["Conv2d", "BatchNorm2d", "ReLU", 0.0, 1.0], found, reason)


def r5_07(e):
    unpooled = [v for v in NETWORK[:-1] if not isinstance(v, nn.MaxPool2d)]
    inputs = nn.Sequential(*unpooled)(torch.zeros(1, 1, 28, 28)).shape[1]
    text = (
        f"{NETWORK[-1].in_features} inputs to the last layer, {inputs:,} without pools"
    )
    reason = "only the last layer has fewer parameters for it"
    smaller = "MaxPool2d" in KINDS and NETWORK[-1].in_features < inputs
    return holds(smaller, text, reason)


def r5_11(e):
    block = build_model("small_resnet", final_relu=False).eval()[3]
    nn.init.zeros_(block.body[-1].weight)  # F = 0
    x = NETWORK[:3](normalize(e.mnist.test_images[:2]))
    gap = (block(x) - x).abs().max().item()
    return holds(gap == 0, f"off by {gap:g}")


def r5_13(e):
    gaps = []
    for f in (F.relu, nn.Identity()):
        end, total = units(X[0], f)
        gaps.append((end - X[0] - total).abs().max().item())
    text = f"off by {gaps[0]:.2g}; by {gaps[1]:.1g} if f is the identity"
    return holds(gaps[0] < 1e-5, text, "the sum needs f = identity, not a ReLU (R5-E2)")


def r5_14(e):
    right, slope = jacrev(lambda x: units(x, nn.Identity()))(X[0])
    gaps = [(one + slope - right).abs().max().item() for one in (1, torch.eye(8))]
    text = f"off by {gaps[0]:.2g}; by {gaps[1]:.1g} with the identity matrix"
    return holds(gaps[0] < 1e-3, text, "the 1 must be the identity matrix (R5-E3)")


def r5_16(e):
    ends = {}
    for name in ("sgd", "sgdm", "adagrad", "adam"):
        ends[name] = path(OPTIMIZERS[name], two_valleys, [1.2], 200, lr=0.05)[-1].item()
    text = ", ".join(f"{name} {end:.2f}" for name, end in ends.items())
    reason = "no guarantee: the global minimum is at -1.04 (R5-E8)"
    return holds(max(ends.values()) < 0, text, reason)


def r5_18(e):
    names = {"out": 1, "identity": 1}
    try:
        exec("out += identify", names)
    except NameError as error:
        names["out"] = str(error)
    reason = "identity is meant (R5-E4); no ReLU after the sum, unlike R5-13 (R5-E5)"
    return exact(2, names["out"], reason)


def r5_21(e):
    images, labels = e.mnist.test_images[:500], e.mnist.test_labels[:500]
    network, _ = trained(e, final_relu=False)
    outputs = F.log_softmax(network.eval()(normalize(images)), 1).detach()
    total = F.nll_loss(outputs, labels, reduction="sum")
    claimed = [(outputs.max(1)[1] == labels).sum() / 500, total / 500]
    right = list(evaluate(network, images, labels).values())[::-1]
    reason = "size_average=False is now reduction='sum'; no_grad is missing (R5-E7)"
    return agrees(claimed, right, reason)


def r5_22(e):
    n = steps(e)
    lines = [f"{64 * i} ({100 * i / n:.0f}%)" for i in range(0, n, 10)]
    claimed = [
        "56960 (95%)",
        "57600 (96%)",
        "58240 (97%)",
        "58880 (98%)",
        "59520 (99%)",
    ]
    return exact(claimed, lines[-5:], "the losses printed are of single batches")


CHECKS = {
    "R5-02": lambda e: holds(
        "Conv2d" in KINDS[-1:],
        f"output layer: {KINDS[-1]}",
        "convolutions and pools are hidden layers (R5-E1)",
    ),
    "R5-03": r5_03,
    "R5-04": r5_04,
    "R5-05": r5_05,
    "R5-06": r5_06,
    "R5-07": r5_07,
    "R5-08": lambda e: exact("Linear", KINDS[-1], "but R5-02 places it otherwise"),
    "R5-10": lambda e: deeper_is_worse(e, "train_accuracy", True),
    "R5-11": r5_11,
    "R5-13": r5_13,
    "R5-14": r5_14,
    "R5-15": lambda e: agrees(
        nll(X, labels := tensor([1, 2])), F.cross_entropy(X, labels), "on log-softmax"
    ),
    "R5-16": r5_16,
    "R5-17": lambda e: learns(e, final_relu=False),
    "R5-18": r5_18,
    "R5-19": lambda e: exact(
        [16, 32, 512, 10],
        [v.out_channels for v in NETWORK if isinstance(v, nn.Conv2d)]
        + [*LAYERS[-2]["output"], *LAYERS[-1]["output"]],
        f"{count_params(NETWORK):,} parameters; the Dropout2d is never called (R5-E6)",
    ),
    "R5-20": lambda e: printed_loop(e, nll),
    "R5-21": r5_21,
    "R5-22": r5_22,
    "R5-23": lambda e: numbers(
        [0.9910, 0.0261],
        run_table(e.full("r5"))[["test_accuracy", "test_loss"]],
        0.0001,
        ["accuracy", "loss"],
        "R5 does not say how it scaled the pixels",
    ),
    "R5-25": lambda e: holds(
        "resnet18" in (names := [*dir(torch), *dir(nn)]),
        f"not among {len(names):,} names in torch and torch.nn",
        "it is in torchvision.models, for 3 channels and 1,000 classes (R5-E11)",
    ),
}
