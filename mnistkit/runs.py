"""Run (one training, fixed completely) and Record (what it left behind)."""

import base64
import hashlib
import json
import math
import platform
import time
import zlib
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor, nn

import mnistkit
from mnistkit.data import MNIST, subset
from mnistkit.models import MODELS, build_model
from mnistkit.storage.store import Store
from mnistkit.train import EXTRA_TESTS, LOSSES, OPTIMIZERS, SCHEDULES


@dataclass(frozen=True)
class Run:
    """Everything that fixes one training. Two equal runs give the same record.

    ValueError, naming the value and what is allowed, for what cannot be trained.
    """

    model: str = "lenet"  # a key of MODELS
    optimizer: str = "adam"  # a key of OPTIMIZERS
    schedule: str = "constant"  # a key of SCHEDULES; stepped after every batch
    loss: str = "cross_entropy"  # a key of LOSSES
    lr: float = 1e-3  # learning rate at the start, or at the peak of a one-cycle
    batch_size: int = 64  # images per step
    epochs: int = 2  # largest number of passes over the training images
    seed: int = 0  # fixes initial weights, order of the images and dropout
    dropout: float = 0.0  # share of units that are zeroed in training
    weight_decay: float = 0.0  # also for adamw, whose own default is not used
    clip_norm: float | None = None  # largest norm of the gradient; None: no limit
    patience: int | None = None  # stop after so many epochs without improvement
    best_weights: bool = False  # test the epoch with the best validation accuracy
    train_size: int | None = None  # training images, a stratified sample; None: all
    val_fraction: float = 1 / 6  # share of the training images held out
    eval_size: int | None = None  # validation images and test images; None: all
    augment: bool = False  # rotate, zoom and shift each training image
    normalize: bool = True  # False: only scale the pixels to 0..1, as R2 does
    drop_last: bool = False  # leave out the last batch of an epoch if it is smaller
    test_every_epoch: bool = False  # add test scores to the history, to be shown only
    extra_tests: tuple[str, ...] = ()  # keys of EXTRA_TESTS, the tests of R2 and R3
    model_options: dict[str, Any] = field(default_factory=dict)  # of the network
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    schedule_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._convert()
        self._check_names()
        self._check_numbers()

    def _convert(self) -> None:
        """Bring equal settings to one form, so that they give one name."""
        for name in ("lr", "dropout", "weight_decay", "val_fraction"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if isinstance(self.extra_tests, str):
            raise ValueError(f"extra_tests must be a list, got {self.extra_tests!r}")
        object.__setattr__(self, "extra_tests", tuple(self.extra_tests))
        for name in ("model_options", "optimizer_options", "schedule_options"):
            # A record is read back from JSON, where a tuple has become a list.
            plain = json.loads(json.dumps(getattr(self, name)))
            object.__setattr__(self, name, plain)

    def _check_names(self) -> None:
        choices: list[tuple[str, Sequence[str], dict[str, Any]]] = [
            ("network", [self.model], MODELS),
            ("optimizer", [self.optimizer], OPTIMIZERS),
            ("schedule", [self.schedule], SCHEDULES),
            ("loss", [self.loss], LOSSES),
            ("test", self.extra_tests, EXTRA_TESTS),
        ]
        for what, chosen, known in choices:
            for key in chosen:
                if key not in known:
                    known_keys = ", ".join(known)
                    raise ValueError(f"unknown {what} {key!r}; known: {known_keys}")

    def _check_numbers(self) -> None:
        rules = {
            "lr": (self.lr > 0 and math.isfinite(self.lr), "above 0"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "epochs": (self.epochs >= 1, "at least 1"),
            "dropout": (0 <= self.dropout < 1, "in [0, 1)"),
            "val_fraction": (0 <= self.val_fraction < 1, "in [0, 1)"),
            "patience": (self.patience is None or self.patience >= 1, "at least 1"),
        }
        for name, (valid, rule) in rules.items():
            if not valid:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)}")
        if self.val_fraction == 0 and (self.best_weights or self.patience):
            raise ValueError("best_weights and patience need val_fraction above 0")

    def canonical(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, in types JSON can write.

        A field that is added later, with a default that changes nothing, keeps the
        names of all earlier runs.
        """
        changed = {}
        for item in fields(self):
            value = getattr(self, item.name)
            # Fields without a plain default are the options: theirs is an empty dict.
            default = {} if item.default is MISSING else item.default
            if value != default:
                changed[item.name] = value
        return changed

    @property
    def name(self) -> str:
        """The run's name in the store: a hash of `canonical`, 16 hexadecimal digits."""
        text = json.dumps(self.canonical(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def settings(self) -> dict[str, Any]:
        """Return all fields as one flat dict, with a key for each single option."""
        flat = asdict(self)
        for name in ("model_options", "optimizer_options", "schedule_options"):
            for key, value in flat.pop(name).items():
                # A frame can be grouped by tuples but not by lists.
                flat[key] = tuple(value) if isinstance(value, list) else value
        return flat

    def build_model(self) -> nn.Module:
        """Return the network as this run starts with it, on the CPU."""
        options = self.model_options
        return build_model(self.model, self.seed, dropout=self.dropout, **options)


@dataclass
class Record:
    """What a run left behind.

    `summary` has the status ("ok", or "diverged" if the loss became NaN), the scores,
    the number of parameters and the seconds of the training; `history` has a row per
    epoch (see `fit`). Three arrays have an entry for each of N test images:
    `predictions` uint8, `confidence` float16 (probability of the predicted digit) and
    `p_true` float16 (probability of the true digit). `data` names the data source, its
    checksums and the sizes, `environment` the machine and the versions. `weights` is
    the state dict of the network, or None if it was not asked for.
    """

    run: Run
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    predictions: np.ndarray
    confidence: np.ndarray
    p_true: np.ndarray
    data: dict[str, Any]
    environment: dict[str, Any]
    weights: dict[str, Tensor] | None = None

    def labels(self, mnist: MNIST) -> np.ndarray:
        """Return the test labels that belong to `predictions`, int64 [N]."""
        return mnist.test_labels[self.test_index(mnist)].cpu().numpy()

    def test_index(self, mnist: MNIST) -> Tensor:
        """Return the positions of the test images behind `predictions`, int64 [N]."""
        return subset(mnist.test_labels.cpu(), self.run.eval_size)

    def load_model(self) -> nn.Module:
        """Return the trained network, on the CPU. ValueError without its weights."""
        if self.weights is None:
            raise ValueError(f"{self.run.name} has no weights: sweep with keep_weights")
        model = self.run.build_model()
        model.load_state_dict(self.weights)
        return model.eval()

    def to_document(self) -> dict[str, Any]:
        """Return the record as JSON types, with its weights as tensors if it has any.

        `test_predictions` is the base64 text of the three arrays, one after the other,
        compressed by zlib.
        """
        arrays = (self.predictions, self.confidence, self.p_true)
        packed = zlib.compress(b"".join(array.tobytes() for array in arrays), 9)
        document = {
            "run": self.run.canonical(),
            "summary": self.summary,
            "history": self.history,
            "data": self.data,
            "environment": self.environment,
            "test_predictions": base64.b64encode(packed).decode(),
        }
        if self.weights is not None:
            document["weights"] = self.weights
        return document

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Record":
        """Return the record that `to_document` wrote. An error if it is damaged."""
        content = dict(document)
        packed = zlib.decompress(base64.b64decode(content.pop("test_predictions")))
        # An image takes 5 bytes: one for its prediction, two for each probability.
        n = len(packed) // 5
        return cls(
            run=Run(**content.pop("run")),
            predictions=np.frombuffer(packed, np.uint8, n),
            confidence=np.frombuffer(packed, np.float16, n, offset=n),
            p_true=np.frombuffer(packed, np.float16, n, offset=3 * n),
            **content,
        )


def read_record(
    name: str, source: str, store: Store | None = None, with_weights: bool = False
) -> Record | None:
    """Return the record of the run called `name`, trained on `source`, or None.

    `with_weights` also reads the weights; without them the record counts as absent. A
    damaged record is set aside, with a warning that names it.
    """
    store = store or Store()
    document = store.get(name, source, with_weights)
    if document is None:
        return None
    try:
        record = Record.from_document(document)
        if record.run.name != name:
            raise ValueError(f"it holds run {record.run.name}")
        return record
    except Exception as error:
        # Whatever is wrong in the document, the run can be trained again.
        store.set_aside(name, source, error)
        return None


def environment(device: torch.device) -> dict[str, Any]:
    """Return the machine, the versions and the time (UTC) behind a record."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else cpu_name(),
        "cores": joblib.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mnistkit": mnistkit.__version__,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def cpu_name() -> str:
    """Return the processor's model name, or what else the system says of it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor()
