"""Run (one training, fixed completely) and Record (what it left behind)."""

import base64
import hashlib
import json
import math
import platform
import time
import zlib
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
    epochs: int = 2  # passes over the training images, at most
    seed: int = 0  # of the initial weights, the order of the images and dropout
    dropout: float = 0.0  # share of units that are zeroed in training
    weight_decay: float = 0.0  # the optimizer's; 0 for adamw too, unless it is set
    clip_norm: float | None = None  # largest norm of the gradient; None: any
    patience: int | None = None  # stop after so many epochs without a better accuracy
    best_weights: bool = False  # test the epoch that was best on validation images
    train_size: int | None = None  # training images, a stratified sample; None: all
    val_fraction: float = 1 / 6  # share of the training images held out
    eval_size: int | None = None  # validation images and test images; None: all
    augment: bool = False  # rotate, zoom and shift each training image
    normalize: bool = True  # False: pixels / 255 and no more, as R2 (R2-17)
    drop_last: bool = False  # leave out the last batch of an epoch if it is smaller
    test_every_epoch: bool = False  # adds test scores to the history; chooses nothing
    extra_tests: tuple[str, ...] = ()  # keys of EXTRA_TESTS: test as R2 or R3 did too
    model_options: dict[str, Any] = field(default_factory=dict)  # of the network
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    schedule_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self._convert()
        for name, known, what in (
            ("model", MODELS, "network"),
            ("optimizer", OPTIMIZERS, "optimizer"),
            ("schedule", SCHEDULES, "schedule"),
            ("loss", LOSSES, "loss"),
            ("extra_tests", EXTRA_TESTS, "test"),
        ):
            asked = getattr(self, name)
            for key in [asked] if isinstance(asked, str) else asked:
                if key not in known:
                    known_keys = ", ".join(known)
                    raise ValueError(f"unknown {what} {key!r}; known: {known_keys}")
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

    def _convert(self):
        """Bring equal settings to one form, so that they give one name."""
        for name in ("lr", "dropout", "weight_decay", "val_fraction"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if isinstance(self.extra_tests, str):
            raise ValueError(f"extra_tests must be a list, got {self.extra_tests!r}")
        object.__setattr__(self, "extra_tests", tuple(self.extra_tests))
        for name in ("model_options", "optimizer_options", "schedule_options"):
            plain = json.loads(json.dumps(getattr(self, name)))  # tuples become lists
            object.__setattr__(self, name, plain)

    def canonical(self) -> dict[str, Any]:
        """The fields that differ from their defaults; JSON types only.

        A field that is added later, with a default that changes nothing, keeps the
        names of all earlier runs.
        """
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if getattr(self, item.name)
            != (item.default if item.default is not MISSING else {})
        }

    @property
    def name(self) -> str:
        """Hash of the canonical JSON: the run's name in the store."""
        text = json.dumps(self.canonical(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def settings(self) -> dict[str, Any]:
        """All fields as one flat dict, with a key for each of the options."""
        flat = asdict(self)
        for name in ("model_options", "optimizer_options", "schedule_options"):
            for key, value in flat.pop(name).items():
                flat[key] = tuple(value) if isinstance(value, list) else value
        return flat

    def build_model(self) -> nn.Module:
        """The network as this run starts with it, on the CPU."""
        options = self.model_options
        return build_model(self.model, self.seed, dropout=self.dropout, **options)


@dataclass
class Record:
    """What a run left behind.

    `summary` holds status ("ok" or "diverged": the loss became NaN), scores, parameters
    and seconds (training only); `history` a row per epoch (see `fit`). For each test
    image: `predictions` uint8 [N], `confidence` float16 [N] (probability given to the
    prediction), `p_true` float16 [N] (probability given to the label). `data` names the
    data source, its checksums and the sizes; `environment` the machine and versions.
    `weights` is the state dict where it was asked for.
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
        """The test labels that belong to `predictions`, int64 [N]."""
        return mnist.test_labels[self.test_index(mnist)].cpu().numpy()

    def test_index(self, mnist: MNIST) -> Tensor:
        """Positions of the test images behind `predictions`, int64 [N]."""
        return subset(mnist.test_labels.cpu(), self.run.eval_size)

    def load_model(self) -> nn.Module:
        """The trained network, on the CPU. ValueError if no weights were kept."""
        if self.weights is None:
            raise ValueError(f"{self.run.name} has no weights: sweep with keep_weights")
        model = self.run.build_model()
        model.load_state_dict(self.weights)
        return model.eval()

    def to_document(self) -> dict[str, Any]:
        """Everything of the record in JSON's types, and its weights if it has some."""
        arrays = (self.predictions, self.confidence, self.p_true)
        packed = zlib.compress(b"".join(a.tobytes() for a in arrays), 9)
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
        """The record that `to_document` wrote down. An error if it is damaged."""
        content = dict(document)
        packed = zlib.decompress(base64.b64decode(content.pop("test_predictions")))
        n = len(packed) // 5  # one byte for the prediction, two for each probability
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
    """The record of the run called `name`, trained on `source`, or None.

    A damaged record is set aside, with a warning that names it.
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
    except Exception as error:  # whatever is wrong in it, the run can be repeated
        store.set_aside(name, source, error)
        return None


def environment(device: torch.device) -> dict[str, Any]:
    """Machine, versions and time (UTC) behind a record."""
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
    """The processor's model name where the system tells it."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    names = text.split("model name\t: ")[1:]
    return names[0].split("\n")[0] if names else platform.processor()
