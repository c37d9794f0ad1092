"""Run (one training, fixed completely) and Record (what it left behind)."""

import base64
import hashlib
import json
import math
import zlib
from dataclasses import MISSING, dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from mnistkit.data import MNIST, subset
from mnistkit.models import MODELS, build_model
from mnistkit.store import Store
from mnistkit.train import EXTRA_TESTS, LOSSES, OPTIMIZERS, SCHEDULES


@dataclass(frozen=True)
class Run:
    """Everything that fixes one training. Two equal runs give the same record.

    `train_size` caps the training images (a stratified sample), `eval_size` both the
    validation and the test images; None takes all. `test_every_epoch` adds test scores
    to the history, as R2 printed them; nothing is chosen by them. `weight_decay` is 0
    for adamw too unless it is set. ValueError, naming the value and what is allowed,
    for what cannot be trained.
    """

    model: str = "lenet"
    optimizer: str = "adam"
    schedule: str = "constant"
    loss: str = "cross_entropy"
    lr: float = 1e-3
    batch_size: int = 64
    epochs: int = 2
    seed: int = 0
    dropout: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    patience: int | None = None  # epochs without a better validation accuracy
    best_weights: bool = False  # test the epoch that was best on validation
    train_size: int | None = None
    val_fraction: float = 1 / 6
    eval_size: int | None = None
    augment: bool = False
    normalize: bool = True  # False: pixels / 255 only, as R2 (R2-17)
    drop_last: bool = False
    test_every_epoch: bool = False
    extra_tests: tuple[str, ...] = ()  # also test as R2 and R3 did (EXTRA_TESTS)
    model_options: dict = field(default_factory=dict)
    optimizer_options: dict = field(default_factory=dict)
    schedule_options: dict = field(default_factory=dict)

    def __post_init__(self):
        for kind, known in (
            ("model", MODELS),
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("loss", LOSSES),
            ("extra_tests", EXTRA_TESTS),
        ):
            asked = getattr(self, kind)
            for name in [asked] if isinstance(asked, str) else asked:
                if name not in known:
                    what = {"model": "network", "extra_tests": "test"}.get(kind, kind)
                    raise ValueError(
                        f"unknown {what} {name!r}; known: {', '.join(known)}"
                    )
        for name in ("lr", "dropout", "weight_decay", "val_fraction"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if isinstance(self.extra_tests, str):
            raise ValueError(f"extra_tests must be a list, got {self.extra_tests!r}")
        object.__setattr__(self, "extra_tests", tuple(self.extra_tests))
        for name in ("model_options", "optimizer_options", "schedule_options"):
            plain = json.loads(json.dumps(getattr(self, name)))  # tuples become lists
            object.__setattr__(self, name, plain)
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

    def canonical(self) -> dict:
        """The fields that differ from their defaults; JSON types only."""
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if getattr(self, item.name)
            != (item.default if item.default is not MISSING else {})
        }

    def build_model(self) -> torch.nn.Module:
        """The network as this run starts with it, on the CPU."""
        return build_model(
            self.model, self.seed, dropout=self.dropout, **self.model_options
        )

    @property
    def name(self) -> str:
        """Hash of the canonical JSON: the run's name in the store."""
        text = json.dumps(self.canonical(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Record:
    """What a run left behind.

    `summary` holds status ("ok" or "diverged": the loss became NaN), scores, parameters
    and seconds (training only); `history` a row per epoch (see `fit`). For each test
    image: `predictions` uint8 [N], `confidence` float16 [N] (probability given to the
    prediction), `p_true` float16 [N] (probability given to the label). `weights` is
    the state dict where it was asked for.
    """

    run: Run
    summary: dict
    history: list[dict]
    predictions: np.ndarray
    confidence: np.ndarray
    p_true: np.ndarray
    data: dict
    environment: dict
    weights: dict[str, Tensor] | None = None

    def labels(self, mnist: MNIST) -> np.ndarray:
        """The test labels that belong to `predictions`, int64 [N]."""
        return mnist.test_labels[self.test_index(mnist)].cpu().numpy()

    def test_index(self, mnist: MNIST) -> Tensor:
        """Which test images `predictions` speaks of, int64 [N]."""
        return subset(mnist.test_labels.cpu(), self.run.eval_size)

    def load_model(self) -> torch.nn.Module:
        """The trained network, on the CPU. ValueError if no weights were kept."""
        if self.weights is None:
            raise ValueError(f"{self.run.name} has no weights: sweep with keep_weights")
        model = self.run.build_model()
        model.load_state_dict(self.weights)
        return model.eval()

    def to_document(self) -> dict:
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
    def from_document(cls, document: dict) -> "Record":
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
    """The record of the run called `name`, or None; a damaged one is set aside."""
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
