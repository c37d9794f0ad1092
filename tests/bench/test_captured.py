"""A captured step that trains wrongly stops the benchmark. No GPU is needed."""

import pytest
import torch
from graphs_on_cpu import CaptureOnCpu

from mnistkit import steps
from mnistkit.bench import captured, rows
from mnistkit.steps import CapturedUpdate


@pytest.fixture
def captures(graphs, monkeypatch):
    """Tell the stand-in which network is captured; the graphs that were."""

    def make_step(model, optimizer, capture, **options):
        if capture:
            CaptureOnCpu.model, CaptureOnCpu.optimizer = model, optimizer
        return steps.make_step(model, optimizer, capture=capture, **options)

    monkeypatch.setattr(captured, "make_step", make_step)
    return graphs


def test_a_right_step_gives_a_row(mnist, captures):
    row = captured.checked_row(mnist, "lenet")
    assert [graph.replays for graph in captures] == [6 * captured.STEPS - 3]
    assert row["row"] == "captured step, lenet"
    assert row["pairs"] == 5
    assert row["low"] <= row["ratio"] <= row["high"]


class FirstBatchOnly(CapturedUpdate):
    """The batch is not copied to where the graph reads it."""

    def __call__(self, images, labels):
        if self.graph is not None:
            images, labels = self.images.clone(), self.labels.clone()
        return super().__call__(images, labels)


class RateOfTheCapture(CapturedUpdate):
    """The graph does not see that the learning rate has changed."""

    def _capture(self):
        super()._capture()
        self.rates = [torch.zeros(()) for _ in self.rates]


@pytest.mark.parametrize("wrong", [FirstBatchOnly, RateOfTheCapture])
@pytest.mark.parametrize("name", ["mlp", "lenet", "small_resnet"])
def test_a_wrong_step_stops_the_benchmark(mnist, captures, monkeypatch, name, wrong):
    monkeypatch.setattr(steps, "CapturedUpdate", wrong)
    with pytest.raises(RuntimeError, match=f"trains {name} wrongly"):
        captured.checked_row(mnist, name)


def test_without_a_gpu_nothing_is_captured(mnist):
    with pytest.raises(ValueError, match="on a CUDA GPU only"):
        next(captured.captured_steps(mnist))


def test_unknown_rows_are_refused():
    with pytest.raises(ValueError, match="unknown rows 'epoch'; known: captured_steps"):
        rows.run_bench(only=["epoch"])
