"""LeNets that differ in learning rate, dropout and seed, trained in one step."""

import ctypes
import math
import sys
from collections.abc import Iterator
from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor

from mnistkit.data import Batches, load_mnist
from mnistkit.fused_lenet import FusedLeNet
from mnistkit.records import Record, Run
from mnistkit.runs import TURN, _deterministic, _record, select_data
from mnistkit.train import OPTIMIZERS, SCHEDULES, WINDOW, clock, predict

OWN = ("lr", "dropout", "seed", "weight_decay", "optimizer", "optimizer_options")
OWN += ("schedule", "schedule_options")  # what may differ between the runs
UNFIT = ("augment", "clip_norm", "patience", "best_weights", "test_every_epoch")


def train_fused(runs: list[Run], keep_weights: bool = False) -> list[Record]:
    """The records of `runs`, trained together; as those of `train_run` up to rounding.

    The runs may differ in lr, dropout, seed, weight decay, optimizer and schedule.
    `seconds` is the time of all of them divided by their number. On CUDA the dropout
    masks are not those of separate runs. ValueError for runs that do not go together.
    """
    _check(runs)
    _keep_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mnist = load_mnist(device=device)
    with TURN, _deterministic():
        train, validation, test = select_data(runs[0], mnist)
        rest = 0 if train.drop_last else len(train.labels) % train.batch_size
        if 1 in (rest, train.batch_size):
            raise ValueError("batch norm needs two images or more in every batch")
        net = FusedLeNet(runs).to(device)
        net.generators = [torch.Generator(device).manual_seed(r.seed) for r in runs]
        histories = [[] for _ in runs]
        for rows in _epochs(net, train, validation):
            for history, row in zip(histories, rows, strict=True):
                if not (history and math.isnan(history[-1]["train_loss"])):
                    history.append(row)
        parts = train, validation, test
        return [
            _record(run, model, history, parts, mnist, keep_weights)
            for run, model, history in zip(runs, net.split_up(), histories, strict=True)
        ]


def _check(runs: list[Run]):
    if not runs or runs[0].model != "lenet":
        raise ValueError("only runs of lenet can be trained together, one or more")
    for name in (field.name for field in fields(Run) if field.name not in OWN):
        values = [getattr(run, name) for run in runs]
        if any(value != values[0] for value in values):
            raise ValueError(f"runs trained together need the same {name}: {values}")
        if name in UNFIT and values[0]:
            raise ValueError(f"runs with {name} cannot be trained together")


def _keep_memory():
    """Let the C library keep what a step has freed, for as long as the process lives.
    glibc gives large pieces back, and a third of the time went into fetching them."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        for threshold in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            libc.mallopt(threshold, 1 << 30)


def _optimizer(run: Run, vector: Tensor, steps: int):
    fused = {"fused": True} if run.optimizer in ("sgd", "sgdm", "adam", "adamw") else {}
    options = {"lr": run.lr, "weight_decay": run.weight_decay} | fused
    make = OPTIMIZERS[run.optimizer]
    optimizer = make([vector], **(options | run.optimizer_options))
    schedule = SCHEDULES[run.schedule]
    return optimizer, schedule(optimizer, steps, run.epochs, **run.schedule_options)


def _epochs(net: FusedLeNet, train: Batches, validation) -> Iterator[list[dict]]:
    """As `fit`: after each epoch a list with a row of history for each run."""
    device, runs = train.images.device, net.runs
    data = train.images, train.labels, train.batch_size
    data_options = {"drop_last": train.drop_last, "mean": train.mean, "std": train.std}
    batches = [Batches(*data, seed=run.seed, **data_options) for run in runs]
    optimizers = [
        _optimizer(run, vector, len(train))
        for run, vector in zip(runs, net.vectors, strict=True)
    ]
    for epoch in range(1, runs[0].epochs + 1):
        start = clock(device)
        net.train()
        losses, hits, seen = [], [], 0
        for parts in zip(*batches, strict=True):
            images = torch.cat([images for images, _ in parts], 1)  # [B, K, 28, 28]
            labels = torch.stack([labels for _, labels in parts], 1)  # [B, K]
            logits = net(images)
            loss = _cross_entropy(logits, labels)
            net.zero_grad()
            loss.sum().backward()
            for optimizer, schedule in optimizers:
                optimizer.step()
                schedule.step()
            losses.append(loss.detach())
            hits.append((logits.detach().argmax(2) == labels).sum(0))
            seen += len(labels)
        losses, hits = torch.stack(losses), torch.stack(hits).sum(0)  # [steps, K], [K]
        seconds = (clock(device) - start) / len(runs)
        windows = torch.stack([part.mean(0) for part in losses.split(WINDOW)], 1)
        rows = [
            {
                "epoch": epoch,
                "lr": optimizers[k][0].param_groups[0]["lr"],
                "train_loss": losses[:, k].mean().item(),
                "train_accuracy": hits[k].item() / seen,
                "window_losses": windows[k].tolist(),
                "seconds": seconds,
            }
            for k in range(len(runs))
        ]
        if validation is not None:
            images, labels = validation
            logits = predict(net, images, 100, mean=train.mean, std=train.std)
            losses = _cross_entropy(logits, labels[:, None].expand(-1, len(runs)))
            correct = (logits.argmax(2) == labels[:, None]).sum(0)
            for k, row in enumerate(rows):
                row["val_loss"] = losses[k].item()
                row["val_accuracy"] = correct[k].item() / len(labels)
        yield rows


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Means [K] over a batch, of logits [B, K, 10] and labels [B, K]."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view_as(labels).mean(0)
