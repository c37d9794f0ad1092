"""The training step: a batch forward and backward, and one update of the weights."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

# Takes images [B, 1, 28, 28] and labels [B]; returns the loss and the logits [B, 10].
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

# The settings with which an optimizer reads its learning rate and counts its steps on
# the GPU. Only optimizers of these classes are captured.
CAPTURABLE: dict[type[Optimizer], dict[str, bool]] = {
    torch.optim.SGD: {"fused": True},
    torch.optim.Adam: {"fused": True, "capturable": True},
    torch.optim.AdamW: {"fused": True, "capturable": True},
    torch.optim.NAdam: {"capturable": True},
}

# Steps before the capture, in which libraries and optimizer allocate what they keep.
WARM_UP = 3


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the context in which a network computes with "fp32" or "bf16".

    With "bf16" torch computes in bfloat16 where that is safe; the weights stay float32.
    ValueError for another precision.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision must be 'fp32' or 'bf16', not {precision!r}")
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def check_logits(logits: Tensor, images: Tensor) -> None:
    """Raise ValueError unless a network returned logits [B, 10] for B images."""
    shape = list(getattr(logits, "shape", ()))
    if shape != [len(images), 10]:
        found = shape or f"a {type(logits).__name__}"
        raise ValueError(
            f"the network must return logits [B, 10], but it returns {found} for "
            f"{len(images)} images"
        )


def make_step(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    clip_norm: float | None = None,
    schedule: LRScheduler | None = None,
    precision: str = "fp32",
    capture: bool = True,
) -> Step:
    """Return the function that trains `model` on one batch.

    It takes images [B, 1, 28, 28] and labels [B], and returns the loss and the logits
    [B, 10] without gradients; the next step may overwrite the logits. ValueError if the
    network returns something else. The arguments are those of `fit`. On CUDA, unless
    `capture` is False, the step is captured once and then replayed, if CAPTURABLE has
    the optimizer: see `CapturedUpdate`.
    """
    device = optimizer.param_groups[0]["params"][0].device

    def update(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(device, precision):
            logits = model(images)
            check_logits(logits, images)
            loss = loss_fn(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        return loss.detach(), logits.detach()

    train: Step = update
    if capture and can_capture(optimizer):
        train = CapturedUpdate(update, model, optimizer)

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss, logits = train(images, labels)
        # A schedule computes on the CPU, so it stays outside the captured part.
        if schedule is not None:
            schedule.step()
        return loss, logits

    return step


def can_capture(optimizer: Optimizer) -> bool:
    """Return whether the optimizer is in CAPTURABLE and works on the current GPU."""
    device = optimizer.param_groups[0]["params"][0].device
    if type(optimizer) not in CAPTURABLE or device.type != "cuda":
        return False
    return device.index == torch.cuda.current_device()


class CapturedUpdate:
    """`update` as a CUDA graph: one launch replaces the hundreds of a training step.

    The first WARM_UP steps are ordinary ones; then the graph is captured, which
    computes nothing, and replayed for each batch of the same size. A smaller batch, a
    network in evaluation mode and an optimizer whose settings have changed (apart from
    lr) get the ordinary step. A replay differs from it by the rounding of lr to
    float32. Where the capture fails, a warning says so and all steps are ordinary.

    A graph repeats kernels, not Python: what a network draws or decides on the CPU in
    its forward pass would stay as it was in the capture.

    Tests replay the recorded operations on a CPU. On a GPU this class is untested.
    """

    def __init__(self, update: Step, model: nn.Module, optimizer: Optimizer) -> None:
        self.update = update
        self.model = model
        self.optimizer = optimizer
        self.stream = torch.cuda.Stream()
        self.steps = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.failed = False
        for group in optimizer.param_groups:
            group.update(CAPTURABLE[type(optimizer)])
        # An optimizer that has made steps before may have counted them on the CPU.
        for parameter, state in optimizer.state.items():
            for name in {"step", "mu_product"} & set(state):
                state[name] = state[name].to(parameter.device, torch.float32)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.steps == 0:
            # A graph reads its batch from the same memory each time.
            self.images, self.labels = images.clone(), labels.clone()
        self.steps += 1
        if self.steps <= WARM_UP:
            return self._update_on_side_stream(images, labels)
        if self.failed or images.shape != self.images.shape:
            return self.update(images, labels)
        if self.graph is None:
            self._capture()
        if self.graph is None or self._settings() != self.settings:
            return self.update(images, labels)
        self.images.copy_(images)
        self.labels.copy_(labels)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            rate.fill_(group["lr"])
        self.graph.replay()
        return self.loss.clone(), self.logits

    def _update_on_side_stream(
        self, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = self.update(images, labels)
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def _capture(self) -> None:
        groups = self.optimizer.param_groups
        device = self.images.device
        numbers = [group["lr"] for group in groups]
        self.rates = [torch.tensor(float(lr), device=device) for lr in numbers]
        self.settings = self._settings()
        # The gradients of the graph get memory of their own.
        self.optimizer.zero_grad()
        graph = torch.cuda.CUDAGraph()
        try:
            # The graph takes the learning rate from a tensor. Outside it stays a
            # number, with which the schedule computes.
            for group, rate in zip(groups, self.rates, strict=True):
                group["lr"] = rate
            with torch.cuda.graph(graph, stream=self.stream):
                self.loss, self.logits = self.update(self.images, self.labels)
            self.graph = graph
        except RuntimeError as error:
            self.failed = True
            reason = (str(error) or type(error).__name__).splitlines()[0]
            warnings.warn(
                f"the training step is slower, not captured: {reason}", stacklevel=2
            )
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number

    def _settings(self) -> list[Any]:
        """Return what a graph has fixed: all settings but the learning rate."""
        groups = [dict(group) for group in self.optimizer.param_groups]
        for group in groups:
            del group["params"], group["lr"]
        return [self.model.training, *groups]
