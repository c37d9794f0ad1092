"""A long training writes its state to a file, so that it goes on after a crash."""

import os
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mnistkit.data import Batches

EVERY = 60.0  # seconds of training between two checkpoints


@dataclass
class Training:
    """A training between two epochs: all that decides how it goes on."""

    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    batches: Batches
    history: list[dict[str, Any]] = field(default_factory=list)
    best_weights: dict[str, Tensor] | None = None

    def state(self) -> dict[str, Any]:
        """Return the state, with that of every generator, as tensors and plain values.

        Dropout draws from torch's own generators, whose states are included.
        """
        on_cuda = self.batches.images.is_cuda
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "order": self.batches.order_generator.get_state(),
            "augment": self.batches.augment_generator.get_state(),
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if on_cuda else None,
            "history": self.history,
            "best_weights": self.best_weights,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned. An error if it is that of another run."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.batches.order_generator.set_state(state["order"])
        self.batches.augment_generator.set_state(state["augment"])
        torch.set_rng_state(state["cpu"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"])
        self.history = state["history"]
        self.best_weights = state["best_weights"]


@dataclass
class Checkpoint:
    """The file of a training's state. `origin` names the run, the data, the machine.

    The state is of use where `origin` is the same: elsewhere a training rounds in
    another way.
    """

    path: Path
    origin: dict[str, str]
    written: float = field(default_factory=time.monotonic)

    def resume(self, training: Training) -> bool:
        """Bring `training` to the state in the file and return True.

        False if the file is damaged or of another origin. What `training` is then, is
        not defined.
        """
        try:
            with zipfile.ZipFile(self.path) as parts:
                # torch itself does not compare the checksums of the tensors.
                if parts.testzip() is not None:
                    return False
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            if content["origin"] != self.origin:
                return False
            training.load_state(content["state"])
            return True
        except Exception:
            # Whatever is wrong with the file, the run can be trained from its start.
            return False

    def write_if_due(self, training: Training) -> None:
        """Write the file, as a whole or not at all, if the last one is a minute old."""
        if time.monotonic() - self.written < EVERY:
            return
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"origin": self.origin, "state": training.state()}, part)
            os.replace(part, self.path)
        except (OSError, RuntimeError):
            # The disk is full: the training goes on without, and its record will tell.
            part.unlink(missing_ok=True)
        self.written = time.monotonic()
