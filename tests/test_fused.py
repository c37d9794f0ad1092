"""Runs trained together against the same runs one after another."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mnistkit.data import Batches, normalize
from mnistkit.fused import train_fused
from mnistkit.fused_lenet import FusedLeNet
from mnistkit.records import Run
from mnistkit.runs import sweep, train_run
from mnistkit.train import OPTIMIZERS

RUN = Run(train_size=250, eval_size=300, batch_size=32, epochs=2)
RUNS = [  # 124 images in batches of 16 and one of 12: see `order`
    Run(optimizer="sgdm", lr=0.01),
    Run(optimizer="adam", lr=1e-3, dropout=0.3, seed=1),
]


def order(mnist, run):
    data = mnist.train_images[:124], mnist.train_labels[:124]
    return Batches(*data, 16, seed=run.seed)


def train_together(mnist, runs, steps, dtype):
    """Losses [steps, K] and the K networks."""
    net = FusedLeNet(runs).to(dtype)
    net.generators = [torch.Generator().manual_seed(run.seed) for run in runs]
    optimizers = [
        OPTIMIZERS[run.optimizer]([vector], lr=run.lr)
        for run, vector in zip(runs, net.vectors, strict=True)
    ]
    orders, losses = [order(mnist, run) for run in runs], []
    while True:
        for parts in zip(*orders, strict=True):
            logits = net(torch.cat([images for images, _ in parts], 1).to(dtype))
            labels = torch.stack([labels for _, labels in parts], 1)
            pairs = zip(logits.unbind(1), labels.unbind(1), strict=True)
            losses.append(torch.stack([F.cross_entropy(*pair) for pair in pairs]))
            net.zero_grad()
            losses[-1].sum().backward()
            for optimizer in optimizers:
                optimizer.step()
            if len(losses) == steps:
                return torch.stack(losses).detach(), net.split_up()


def train_alone(mnist, run, steps, dtype):
    """Losses [steps] and the network."""
    torch.manual_seed(run.seed)
    model = run.build_model().to(dtype)
    optimizer = OPTIMIZERS[run.optimizer](model.parameters(), lr=run.lr)
    batches, losses = order(mnist, run), []
    while True:
        for images, labels in batches:
            losses.append(F.cross_entropy(model(images.to(dtype)), labels))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
            if len(losses) == steps:
                return torch.stack(losses).detach(), model


def test_200_steps_are_those_of_separate_runs(mnist):
    # In float64, where rounding (1e-16) stays below 1e-10 for 200 steps. In float32
    # it grows from 1e-7 to 0.1 within 100 steps, between two memory formats of one
    # network just as well: training is chaotic, so nothing could be seen there.
    together, models = train_together(mnist, RUNS, 200, torch.float64)
    for k, run in enumerate(RUNS):
        alone, model = train_alone(mnist, run, 200, torch.float64)
        torch.testing.assert_close(together[:, k], alone, rtol=0, atol=1e-10)
        expected = model.state_dict()
        for name, value in models[k].state_dict().items():
            if name in ("0.bias", "4.bias", "8.bias"):
                continue  # before batch norm: only rounding moves them, and Adam scales
            loose = name.endswith("running_mean")  # that up; the means follow them
            atol = 1e-6 if loose else 1e-10
            torch.testing.assert_close(value, expected[name], rtol=0, atol=atol)


def test_first_steps_in_float32(mnist):
    # A few roundings of 6e-8; a wrong image, mask or update would show at 1e-2.
    together, _ = train_together(mnist, RUNS, 3, torch.float32)
    for k, run in enumerate(RUNS):
        alone, _ = train_alone(mnist, run, 3, torch.float32)
        torch.testing.assert_close(together[:, k], alone, rtol=0, atol=1e-4)


def test_negative_scales_and_evaluation(mnist):
    net = FusedLeNet([replace(RUN, seed=seed) for seed in (3, 4)]).double()
    images = normalize(mnist.train_images[:40]).double()
    models = [copy.deepcopy(model) for model in net.split_up()]
    with torch.no_grad():  # the networks that `split_up` gives share their weights
        for model in (net.models[0], models[0]):
            model[1].weight[2], model[5].weight[:4], model[4].bias[0] = -1, -2, 0.5
    logits = net(images)
    logits.square().sum().backward()
    evaluated = net.eval()(images)
    for k, model in enumerate(models):
        expected = model(images)
        expected.square().sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        torch.testing.assert_close(logits[:, k], expected)
        torch.testing.assert_close(net.vectors[k].grad, gradient)
        torch.testing.assert_close(evaluated[:, k], model.eval()(images))


def test_records(mnist):
    runs = [
        replace(RUN, seed=1),
        replace(RUN, lr=3e-3, dropout=0.2, schedule="one_cycle"),
        replace(RUN, optimizer="sgdm", lr=1e30, seed=2),
    ]
    together = train_fused(runs, keep_weights=True)
    for record, run in zip(together[:2], runs, strict=False):
        alone = train_run(run, keep_weights=True)
        assert record.run == run and record.data == alone.data
        assert record.summary.keys() == alone.summary.keys()
        assert record.weights.keys() == alone.weights.keys()
        for row, expected in zip(record.history, alone.history, strict=True):
            assert row.keys() == expected.keys() and row["lr"] == expected["lr"]
            for name in row.keys() - {"seconds", "window_losses"}:
                assert row[name] == pytest.approx(expected[name], abs=0.03), name
            assert row["window_losses"] == pytest.approx([row["train_loss"]])
        assert np.mean(record.predictions == alone.predictions) > 0.95
        assert record.confidence == pytest.approx(alone.confidence, abs=0.2)
        reloaded = type(record).from_json(record.to_json())
        assert reloaded.history == record.history
    assert together[2].summary["status"] == "diverged"
    assert together[2].summary["epochs_done"] == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": "mlp"}, "model"),
        ({"batch_size": 16}, "batch_size"),
        ({"train_size": 100}, "train_size"),
        ({"augment": True}, "augment"),
    ],
)
def test_runs_that_differ_too_much(change, message):
    with pytest.raises(ValueError, match=f"the same {message}"):
        train_fused([RUN, replace(RUN, **change)])


@pytest.mark.parametrize(
    "runs, message",
    [
        ([], "one or more"),
        ([replace(RUN, model="mlp")], "only runs of lenet"),
        ([replace(RUN, clip_norm=1.0)], "clip_norm"),
        ([replace(RUN, patience=2)], "patience"),
        ([replace(RUN, batch_size=83)], "two images"),  # 250 = 3 * 83 + 1
    ],
)
def test_unfit_runs(runs, message):
    with pytest.raises(ValueError, match=message):
        train_fused(runs)


def test_a_sweep_of_fused_runs(store_folder):
    runs = [replace(RUN, seed=seed, epochs=1) for seed in range(3)]
    records = sweep(runs, fused=2)
    assert [record.run for record in records] == runs
    assert [record.run for record in sweep(runs)] == runs  # found in the store
    assert len(list(store_folder.glob("*/*.json"))) == 3


def test_a_fused_sweep_trains_other_networks_alone(store_folder):
    runs = [replace(RUN, seed=seed, epochs=1) for seed in range(2)]
    runs.insert(1, replace(RUN, model="mlp", epochs=1))
    records = sweep(runs, fused=2)
    assert [record.run for record in records] == runs
    alone = train_run(runs[1])
    assert records[1].history[0]["train_loss"] == alone.history[0]["train_loss"]
