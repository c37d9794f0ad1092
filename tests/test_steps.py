"""The training step, plain and captured.

No test needs a GPU: graphs_on_cpu.py stands in for CUDA graphs.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from graphs_on_cpu import CaptureOnCpu
from torch import nn

from mnistkit import steps
from mnistkit.data import Batches
from mnistkit.models import build_model
from mnistkit.steps import WARM_UP, autocast, make_step
from mnistkit.train import OPTIMIZERS, SCHEDULES, fit


@pytest.fixture
def few(mnist):
    return mnist.train_images[:600], mnist.train_labels[:600]


def test_the_step_is_the_plain_loop(few):
    """With clipping and a schedule, bit for bit: the losses and the weights."""
    ours, by_hand = build_model("small_resnet"), build_model("small_resnet")
    adam = torch.optim.Adam(ours.parameters(), lr=0.01)
    schedule = SCHEDULES["warmup_cosine"](adam, 10, 1)
    step = make_step(ours, adam, F.cross_entropy, 0.5, schedule)
    losses = [step(*batch)[0] for batch in Batches(*few, 64)]

    adam = torch.optim.Adam(by_hand.parameters(), lr=0.01)
    schedule = SCHEDULES["warmup_cosine"](adam, 10, 1)
    for (images, labels), ours_loss in zip(Batches(*few, 64), losses, strict=True):
        loss = F.cross_entropy(by_hand(images), labels)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)
        adam.step()
        schedule.step()
        assert loss.item() == ours_loss.item()
    for a, b in zip(ours.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_a_step_returns_has_no_gradients(few):
    model = build_model("mlp")
    step = make_step(model, torch.optim.SGD(model.parameters()))
    loss, logits = step(*next(iter(Batches(*few, 64))))
    assert not loss.requires_grad and not logits.requires_grad


def test_bf16_computes_in_bfloat16_and_keeps_the_weights(few):
    model = build_model("mlp")
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    loss, logits = make_step(model, sgd, precision="bf16")(
        *next(iter(Batches(*few, 64)))
    )
    assert (loss.dtype, logits.dtype) == (torch.float32, torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="'fp32' or 'bf16', not 'fp16'"):
        autocast(torch.device("cpu"), "fp16")


# ------------------------------------------------------------------ the captured step


def network():
    """Dropout and batch norm. No bias: before batch norm its gradient is rounding."""
    convolution = nn.Conv2d(1, 4, 5, stride=2, bias=False)
    body = convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten()
    return nn.Sequential(*body, nn.Linear(576, 10))


def trained(few, optimizer="adam", schedule="warmup_cosine", options=None, **settings):
    """Two epochs of 10 steps, the last of 24 images: history, optimizer and network."""
    torch.manual_seed(0)
    model = network()
    chosen = OPTIMIZERS[optimizer](model.parameters(), lr=0.01)
    CaptureOnCpu.model, CaptureOnCpu.optimizer = model, chosen
    schedule = SCHEDULES[schedule](chosen, 10, 2, **(options or {}))
    rows = list(fit(model, Batches(*few, 64), chosen, schedule, epochs=2, **settings))
    return rows, chosen, model


def same_training(ours, plain):
    """Both histories and networks agree, up to the rounding of fused optimizers."""
    for a, b in zip(ours[0], plain[0], strict=True):
        assert a["lr"] == b["lr"]
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
        assert a["train_accuracy"] == b["train_accuracy"]
    for name, value in ours[2].state_dict().items():
        torch.testing.assert_close(
            value, plain[2].state_dict()[name], atol=1e-4, rtol=1e-3
        )


@pytest.mark.parametrize("optimizer", ["sgd", "sgdm", "adam", "adamw", "nadam"])
def test_a_captured_training_is_the_plain_one(few, graphs, monkeypatch, optimizer):
    """With dropout, batch norm, clipping, a schedule and a smaller last batch."""
    ours = trained(few, optimizer, clip_norm=1.0)
    # Of 20 steps 3 are the warm-up; 2 have a smaller batch.
    assert [graph.replays for graph in graphs] == [20 - WARM_UP - 2]
    monkeypatch.setattr(steps, "can_capture", lambda optimizer: False)
    same_training(ours, trained(few, optimizer, clip_norm=1.0))


def test_adagrad_is_not_captured(few, graphs):
    trained(few, "adagrad")
    assert not graphs


def test_a_replay_takes_the_learning_rate_of_the_schedule(few, graphs):
    """From step 10 on it is 0: the weights stay as they were after the first epoch."""
    torch.manual_seed(0)
    model = build_model("mlp")
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    CaptureOnCpu.model, CaptureOnCpu.optimizer = model, sgd
    until_10 = torch.optim.lr_scheduler.LambdaLR(sgd, lambda done: float(done < 10))
    epochs = fit(model, Batches(*few, 64), sgd, until_10, epochs=2)
    next(epochs)
    before = copy.deepcopy(model.state_dict())
    next(epochs)
    assert graphs[0].replays > 10
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_changed_setting_is_not_replayed(few, graphs, monkeypatch):
    """one_cycle can move the momentum, which a graph would keep."""
    cycle = {"cycle_momentum": True}
    ours = trained(few, "sgdm", "one_cycle", cycle)
    assert [graph.replays for graph in graphs] == [1]
    monkeypatch.setattr(steps, "can_capture", lambda optimizer: False)
    same_training(ours, trained(few, "sgdm", "one_cycle", cycle))


def test_the_losses_of_replays_are_kept_apart(few, graphs):
    rows, *_ = trained(few, options={"warmup": 0.5})
    assert len({loss for row in rows for loss in row["window_losses"]}) == 2
    model = build_model("mlp")
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    CaptureOnCpu.model, CaptureOnCpu.optimizer = model, adam
    step = make_step(model, adam)
    losses = [step(*batch)[0] for batch in Batches(*few, 60)]
    assert len({loss.item() for loss in losses}) == 10


def test_a_step_that_cannot_be_captured_is_plain(few, graphs, monkeypatch):
    """CUDA refuses a network that reads a value in its forward pass."""

    def refuse(graph, stream):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    with pytest.warns(UserWarning, match="not captured: operation not permitted"):
        ours = trained(few)
    monkeypatch.setattr(steps, "can_capture", lambda optimizer: False)
    same_training(ours, trained(few))


def test_an_optimizer_that_has_made_steps_counts_on(few, graphs):
    """As in a training that is resumed: 10 steps before, then 10 of another capture."""
    model = build_model("mlp")
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    CaptureOnCpu.model, CaptureOnCpu.optimizer = model, adam
    list(fit(model, Batches(*few, 64), adam, epochs=1))
    list(fit(model, Batches(*few, 64), adam, epochs=2, done=1))
    assert len(graphs) == 2
    assert {state["step"].item() for state in adam.state.values()} == {20}
