"""What R1 and R5 share: their network, trained for a few steps, and toy problems."""

from itertools import product

import pandas as pd
import torch
import torch.nn.functional as F
from numpy import allclose, asarray
from torch import nn, tensor

from mnistkit.claims.rules import Missing, holds, ranking
from mnistkit.data import Batches
from mnistkit.models import build_model, layer_table
from mnistkit.train import evaluate, fit, sgdm

NETWORK = build_model("small_resnet").eval().requires_grad_(False)
LAYERS = layer_table(NETWORK)
KINDS = [row["kind"] for row in LAYERS]
X = torch.linspace(-1, 1, 16, dtype=torch.float64).view(2, 8)


def agrees(claimed, right, reason=""):
    """A formula of the report against the right one, on the same numbers."""
    claimed, right = asarray(claimed, float), asarray(right, float)
    text = f"{right.flat[-1]:.4g}; as stated {claimed.flat[-1]:.4g}"
    return holds(allclose(claimed, right, rtol=1e-4, atol=1e-5), text, reason)


def steps(e, batch_size=64):
    """Steps per epoch of all 60,000 images."""
    if e.mnist.source != "mnist":
        raise Missing("needs full MNIST")
    return len(Batches(e.mnist.train_images, e.mnist.train_labels, batch_size))


def miniature(e, count=5, **options):
    """The network, a few batches of 64 images, and SGD with lr 0.01, momentum 0.5."""
    network, n = build_model("small_resnet", **options), 64 * count
    batches = Batches(e.mnist.train_images[:n], e.mnist.train_labels[:n], 64)
    return network, batches, sgdm(network.parameters(), 0.01, 0.5)


def trained(e, **options):
    """The network after 20 steps, and its accuracy on 500 test images."""
    network, *rest = miniature(e, 20, **options)
    list(fit(network, *rest, epochs=1))
    score = evaluate(network, e.mnist.test_images[:500], e.mnist.test_labels[:500])
    return network, score["accuracy"]


def learns(e, **options):
    accuracy = trained(e, **options)[1]
    return holds(accuracy > 0.5, f"accuracy {accuracy:.2f} after 20 steps")


def printed_loop(e, loss_fn=F.cross_entropy):
    """The mean loss of the loop as the reports print it, against `fit`'s."""
    network, batches, optimizer = miniature(e)
    total, right = 0.0, next(fit(*miniature(e), epochs=1))["train_loss"]
    for images, labels in batches:
        optimizer.zero_grad()
        loss = loss_fn(network(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return agrees(total / len(batches), right)


def deeper_is_worse(e, value, higher_is_better):
    """Networks without shortcuts, 2 and 20 layers deep, on 960 training images.

    With batch norm, so that the gradients do not vanish and the deep one does learn.
    """
    images, labels, rows = e.mnist.train_images[:960], e.mnist.train_labels[:960], []
    for seed, depth in product(range(3), (2, 20)):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            layers = [nn.Flatten(), nn.Linear(784, 32)]
            for _ in range(depth - 2):
                layers += [nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32)]
            layers += [nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)]
            network = nn.Sequential(*layers)
        optimizer = sgdm(network.parameters(), 0.01)
        *_, row = fit(
            network, Batches(images, labels, 64, seed=seed), optimizer, epochs=4
        )
        rows.append({"layers": f"{depth} layers", "seed": seed} | row)
    order, reason = ["2 layers", "20 layers"], "on the training images, with batch norm"
    return ranking(pd.DataFrame(rows), "layers", value, order, higher_is_better, reason)


def path(optimizer, f, start, count, **options):
    """The points [count + 1, d] at which an optimizer arrives on f."""
    w = tensor(start, dtype=torch.float64, requires_grad=True)
    update, points = optimizer([w], **options), [w.detach().clone()]
    for _ in range(count):
        update.zero_grad()
        f(w).backward()
        update.step()
        points.append(w.detach().clone())
    return torch.stack(points)


def two_valleys(w):
    """The lower one is at -1.04, the other at 0.96."""
    return ((w**2 - 1) ** 2 + 0.3 * w).sum()
