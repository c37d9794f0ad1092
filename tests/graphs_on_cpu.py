"""A stand-in for CUDA graphs on the CPU.

It records the operations of a step and repeats them in the same memory, as a graph
does: what Python does between them happens once, in the capture. Streams and the memory
of a GPU are not imitated.
"""

import copy
import importlib
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mnistkit import steps


class Recorder(TorchDispatchMode):
    """Note each operation, with its arguments and results, while it is active."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        results = operation(*args, **(kwargs or {}))
        self.calls.append((operation, args, kwargs or {}, results))
        return results


class GraphOnCpu:
    """Repeats recorded operations, each into the memory of its first results."""

    def __init__(self):
        self.calls, self.replays = [], 0

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for operation, args, kwargs, results in self.calls:
            again = operation(*args, **kwargs)
            for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class CaptureOnCpu:
    """`torch.cuda.graph`: record what runs inside, and undo what it changed."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    graphs: list[GraphOnCpu]

    def __init__(self, graph, stream):
        self.recorder = Recorder(graph.calls)
        self.graphs.append(graph)

    def tensors(self):
        states = [self.model.state_dict(), *self.optimizer.state.values()]
        return [value for state in states for value in state.values()]

    def __enter__(self):
        self.random = torch.get_rng_state()
        self.before = copy.deepcopy(self.tensors())
        self.recorder.__enter__()

    def __exit__(self, *error):
        self.recorder.__exit__(*error)
        torch.set_rng_state(self.random)
        for now, before in zip(self.tensors(), self.before, strict=True):
            if now is not None:
                now.detach().copy_(before)


class Stream:
    def wait_stream(self, other):
        pass


@pytest.fixture
def graphs(monkeypatch):
    """Have steps captured on the CPU; the list of the graphs that were captured."""
    monkeypatch.setattr(steps, "can_capture", lambda o: type(o) in steps.CAPTURABLE)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", GraphOnCpu)
    monkeypatch.setattr(torch.cuda, "graph", CaptureOnCpu)
    nadam = importlib.import_module("torch.optim.nadam")
    monkeypatch.setattr(nadam, "_get_capturable_supported_devices", lambda: ["cpu"])
    monkeypatch.setattr(CaptureOnCpu, "graphs", [], raising=False)
    return CaptureOnCpu.graphs
