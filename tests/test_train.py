"""The loop, the optimizers and the schedules against rules written by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnistkit.data import Batches
from mnistkit.models import build_model
from mnistkit.train import OPTIMIZERS, SCHEDULES, evaluate, fit, predict


@pytest.fixture
def few(mnist):
    return mnist.train_images[:256], mnist.train_labels[:256]


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def train(model, batches, name, lr, schedule=None, epochs=1, **options):
    optimizer = OPTIMIZERS[name](model.parameters(), lr=lr)
    if schedule:
        schedule = SCHEDULES[schedule](optimizer, len(batches), epochs)
    return list(fit(model, batches, optimizer, schedule, epochs=epochs, **options))


def test_fit_is_the_plain_loop(few):
    """One epoch of SGD written out by hand leaves the same weights and losses."""
    model, by_hand = linear(), linear()
    (row,) = train(model, Batches(*few, 64, seed=3), "sgd", 0.1)
    losses, correct = [], 0
    for images, labels in Batches(*few, 64, seed=3):
        logits = by_hand(images)
        loss = F.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(by_hand.parameters(), gradients, strict=True):
                weight -= 0.1 * gradient
        losses.append(loss.item())
        correct += (logits.argmax(1) == labels).sum().item()
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert row["train_loss"] == pytest.approx(sum(losses) / 4, rel=1e-6)
    assert row["train_accuracy"] == pytest.approx(correct / 256)
    assert row["window_losses"] == pytest.approx([sum(losses) / 4], rel=1e-6)


def test_window_losses_cover_every_step(few):
    (row,) = train(linear(), Batches(*few, 1), "sgd", 0.001)
    first, second, rest = row["window_losses"]
    mean = (100 * first + 100 * second + 56 * rest) / 256
    assert row["train_loss"] == pytest.approx(mean, rel=1e-5)


def test_overfits_one_batch(few):
    images, labels = few[0][:32], few[1][:32]
    model = build_model("lenet")
    rows = train(model, Batches(images, labels, 32), "adam", 0.01, epochs=40)
    assert rows[-1]["train_loss"] < 0.01
    assert evaluate(model, images, labels)["accuracy"] == 1.0


def test_fit_stops_when_the_reader_stops(few):
    model = linear()
    optimizer = OPTIMIZERS["sgd"](model.parameters(), lr=0.1)
    epochs = fit(model, Batches(*few, 64), optimizer, epochs=100)
    assert [next(epochs)["epoch"], next(epochs)["epoch"]] == [1, 2]


def test_validation_changes_nothing(few):
    with_scores, without = build_model("lenet"), build_model("lenet")
    a = train(with_scores, Batches(*few, 64), "adam", 0.01, epochs=2, validation=few)
    b = train(without, Batches(*few, 64), "adam", 0.01, epochs=2)
    assert [row["train_loss"] for row in a] == [row["train_loss"] for row in b]
    assert a[-1]["val_accuracy"] == evaluate(with_scores, *few)["accuracy"]


def test_clip_norm_bounds_the_step(few):
    model = linear()
    before = [weight.detach().clone() for weight in model.parameters()]
    batches = Batches(few[0][:64], few[1][:64], 64)
    train(model, batches, "sgd", 1.0, clip_norm=0.01)
    moved = [w.detach() - b for w, b in zip(model.parameters(), before, strict=True)]
    length = math.sqrt(sum((m**2).sum().item() for m in moved))
    assert length == pytest.approx(0.01, rel=1e-3)


def test_predict_is_in_evaluation_mode_and_leaves_no_trace(few):
    model = build_model("small_resnet").train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    together = predict(model, few[0])
    in_parts = predict(model, few[0], batch_size=7)
    assert model.training and not together.requires_grad
    torch.testing.assert_close(together, in_parts, atol=1e-4, rtol=1e-4)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_evaluate_counts(few):
    class Always(nn.Module):
        def forward(self, images):
            return F.one_hot(torch.full((len(images),), 7), 10) * 5.0

    images, labels = few
    score = evaluate(Always(), images, labels)
    share = (labels == 7).float().mean().item()
    right, wrong = math.log(1 + 9 * math.exp(-5)), math.log(math.exp(5) + 9)
    assert score["accuracy"] == pytest.approx(share)
    assert score["loss"] == pytest.approx(share * right + (1 - share) * wrong, rel=1e-5)


GRADIENTS = [1.0, -0.5, 0.25, 2.0]


def path(name, lr, **options):
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = OPTIMIZERS[name]([weight], lr=lr, **options)
    places = []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        places.append(weight.item())
    return places


def test_sgd_rule():
    w, expected = 0.0, []
    for g in GRADIENTS:
        w -= 0.1 * g
        expected.append(w)
    assert path("sgd", 0.1) == pytest.approx(expected)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_sgdm_rule(momentum):
    w, v, expected = 0.0, 0.0, []
    for g in GRADIENTS:
        v = momentum * v + g
        w -= 0.1 * v
        expected.append(w)
    assert path("sgdm", 0.1, momentum=momentum) == pytest.approx(expected)
    if momentum == 0.9:
        assert path("sgdm", 0.1) == pytest.approx(expected)


def test_adagrad_rule():
    w, total, expected = 0.0, 0.0, []
    for g in GRADIENTS:
        total += g * g
        w -= 0.1 * g / (math.sqrt(total) + 1e-10)
        expected.append(w)
    assert path("adagrad", 0.1) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_rule(name):
    w, m, v, expected = 0.0, 0.0, 0.0, []
    for t, g in enumerate(GRADIENTS, start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        expected.append(w)
    assert path(name, 0.1, weight_decay=0.0) == pytest.approx(expected)


def test_nadam_rule():
    w, m, v, product, expected = 0.0, 0.0, 0.0, 1.0, []
    for t, g in enumerate(GRADIENTS, start=1):
        now = 0.9 * (1 - 0.5 * 0.96 ** (0.004 * t))
        after = 0.9 * (1 - 0.5 * 0.96 ** (0.004 * (t + 1)))
        product *= now
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        spread = math.sqrt(v / (1 - 0.999**t)) + 1e-8
        w -= 0.1 * (1 - now) / (1 - product) * g / spread
        w -= 0.1 * after / (1 - product * after) * m / spread
        expected.append(w)
    assert path("nadam", 0.1) == pytest.approx(expected)


def rates(name, steps_per_epoch=10, epochs=4, **options):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = SCHEDULES[name](optimizer, steps_per_epoch, epochs, **options)
    used = []
    for _ in range(steps_per_epoch * epochs):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return used


def test_constant_schedule():
    assert rates("constant") == [1.0] * 40


def test_step_schedule():
    assert rates("step") == pytest.approx([1.0] * 20 + [0.9] * 20)
    assert rates("step", 1, 64)[63] == pytest.approx(0.9**31)  # R3-28


def test_warmup_cosine_schedule():
    used = rates("warmup_cosine")
    assert used[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert used[4:] == sorted(used[4:], reverse=True)
    assert used[22] == pytest.approx(0.5) and 0 < used[-1] < 0.01


def test_one_cycle_schedule():
    used = rates("one_cycle")
    assert max(used) == pytest.approx(1.0, abs=1e-3)
    assert used[0] == pytest.approx(1 / 25) and used[-1] < 0.01
