"""Run (one training, fixed completely) and Record (what it left behind)."""

import base64
import hashlib
import inspect
import json
import math
import platform
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

import mnistkit
from mnistkit import definitions
from mnistkit.data import MEAN, MNIST, STD, load_mnist, subset
from mnistkit.models import MODELS, build_model
from mnistkit.storage.documents import check_content, convert, unpack_predictions
from mnistkit.storage.files import DataError
from mnistkit.storage.store import Store
from mnistkit.train import EXTRA_TESTS, evaluate, one_cycle, predict, sgdm

# The fields of a run that name an entry of a table, and the words for messages.
KINDS = {
    "model": "network",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "loss": "loss",
}
PRECISIONS = ("fp32", "bf16")
# What numbers a run may have; None is left alone where its field allows it.
RULES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "lr": ("above 0", lambda value: value > 0),
    "batch_size": ("at least 1", lambda value: value >= 1),
    "epochs": ("at least 1", lambda value: value >= 1),
    "seed": ("in 0..2**63-1", lambda value: 0 <= value < 2**63),
    "dropout": ("in [0, 1)", lambda value: 0 <= value < 1),
    "weight_decay": ("at least 0", lambda value: value >= 0),
    "clip_norm": ("above 0", lambda value: value > 0),
    "patience": ("at least 1", lambda value: value >= 1),
    "train_size": ("at least 1", lambda value: value >= 1),
    "val_fraction": ("in [0, 1)", lambda value: 0 <= value < 1),
    "eval_size": ("at least 1", lambda value: value >= 1),
}


# The parameters of torch's SGD and OneCycleLR that sgdm and one_cycle fill in.
GIVEN = {"params", "optimizer", "max_lr", "total_steps", "epochs", "steps_per_epoch"}


class NewerRecord(ValueError):
    """A record has settings that this version of the package does not know."""


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
    precision: str = "fp32"  # "bf16": autocast to bfloat16
    model_options: dict[str, Any] = field(default_factory=dict)  # of the network
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    schedule_options: dict[str, Any] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)  # fingerprints: definitions.py

    def __post_init__(self) -> None:
        for item in fields(self):
            value = convert(item.name, getattr(self, item.name), item.type)
            object.__setattr__(self, item.name, value)
        self._check_numbers()
        self._check_names()
        own = definitions.foreign(self)
        self._check_options()
        # A part that is not known here keeps the fingerprint it was trained with.
        code = {
            kind: known
            for kind, known in self.code.items()
            if kind in KINDS and not definitions.is_ours(kind, getattr(self, kind))
        }
        for kind, (_, entry) in own.items():
            if kind not in code:
                code[kind] = definitions.fingerprint(entry)
        object.__setattr__(self, "code", code)

    @classmethod
    def restore(cls, settings: dict[str, Any]) -> "Run":
        """Return the run whose `canonical` gave `settings`, with its code of then.

        What is defined in this process plays no part. NewerRecord for an unknown field.
        """
        known = {item.name: item for item in fields(cls)}
        if unknown := set(settings) - set(known):
            raise NewerRecord(f"it has settings unknown here: {', '.join(unknown)}")
        run = object.__new__(cls)
        for name, item in known.items():
            default = {} if item.default is MISSING else item.default
            value = convert(name, settings.get(name, default), item.type)
            object.__setattr__(run, name, value)
        run._check_numbers()
        return run

    def check_code(self) -> None:
        """Raise ValueError if a network or the like was defined anew since.

        The process that made the run can tell; a worker takes what it was sent.
        """
        for kind, word in KINDS.items():
            name = getattr(self, kind)
            known, entry = self.code.get(kind), definitions.TABLES[kind].get(name)
            if entry is None:
                raise ValueError(
                    f"{word} {name!r} is not defined here: define it first"
                )
            if known is None and definitions.is_ours(kind, name):
                continue
            if known is not None and definitions.was_entered(kind, name):
                continue
            if known is None or known != definitions.fingerprint(entry):
                raise ValueError(
                    f"{word} {name!r} was defined anew after this run was made: "
                    "make the run again"
                )

    def _check_names(self) -> None:
        for kind, word in KINDS.items():
            name = getattr(self, kind)
            entry = definitions.TABLES[kind].get(name)
            if entry is None:
                continue
            is_network = kind == "model" and isinstance(entry, nn.Module)
            if not callable(entry) or is_network:
                raise ValueError(
                    f"{word} {name!r} must be a function, not a {type(entry).__name__}"
                )
        choices: list[tuple[str, Sequence[str], Any]] = [
            (word, [getattr(self, kind)], definitions.TABLES[kind])
            for kind, word in KINDS.items()
            if kind not in self.code
        ]
        choices.append(("test", self.extra_tests, EXTRA_TESTS))
        choices.append(("precision", [self.precision], PRECISIONS))
        for what, chosen, known in choices:
            for key in chosen:
                if key not in known:
                    known_keys = ", ".join(known)
                    raise ValueError(f"unknown {what} {key!r}; known: {known_keys}")

    def _check_options(self) -> None:
        """Refuse options that the network, optimizer or schedule does not take."""
        takes_dropout = self._takes_dropout()
        if self.dropout > 0 and not takes_dropout:
            raise ValueError(
                f"dropout must be 0 for network {self.model!r}, which takes none"
            )
        dropout = {"dropout": self.dropout} if takes_dropout else {}
        given: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
            "model": (0, dropout, self.model_options),
            "optimizer": (1, {"lr": 1, "weight_decay": 0}, self.optimizer_options),
            "schedule": (3, {}, self.schedule_options),
        }
        for kind, (arguments, settings, options) in given.items():
            entry = definitions.TABLES[kind].get(getattr(self, kind))
            if entry is not None:
                what = f"{KINDS[kind]} {getattr(self, kind)!r}"
                check_call(what, entry, arguments, settings, options)

    def _takes_dropout(self) -> bool:
        entry = MODELS.get(self.model)
        try:
            known = inspect.signature(entry).parameters.values() if entry else []
        except ValueError:  # a function in C states no parameters
            return True
        return any(
            item.name == "dropout" or item.kind == item.VAR_KEYWORD for item in known
        )

    def _check_numbers(self) -> None:
        for name, (rule, is_valid) in RULES.items():
            value = getattr(self, name)
            if value is None or (is_valid(value) and value != math.inf):
                continue
            raise ValueError(f"{name} must be {rule}, got {value!r:.80}")
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
        """Return all fields but `code` as a flat dict, with a key for each option."""
        flat = asdict(self)
        del flat["code"]
        for name in ("model_options", "optimizer_options", "schedule_options"):
            for key, value in flat.pop(name).items():
                # A frame can be grouped by tuples but not by lists.
                flat[key] = tuple(value) if isinstance(value, list) else value
        return flat

    @property
    def scaling(self) -> dict[str, Any]:
        """The `mean` and `std` by which the images are normalised."""
        return {
            "mean": MEAN if self.normalize else 0.0,
            "std": STD if self.normalize else 1.0,
        }

    def build_model(self) -> nn.Module:
        """Return the network as this run starts with it, on the CPU."""
        self.check_code()
        dropout = {"dropout": self.dropout} if self._takes_dropout() else {}
        return build_model(self.model, self.seed, **dropout, **self.model_options)


def check_call(
    what: str,
    entry: Callable[..., Any],
    arguments: int,
    settings: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Raise ValueError unless `entry` takes the settings and options by name.

    Before them come as many `arguments` that have no name.
    """
    try:
        signature = inspect.signature(entry)
    except ValueError:  # a function in C states no parameters
        return
    known = list(signature.parameters)[arguments:]
    open_ended = any(p.kind == p.VAR_KEYWORD for p in signature.parameters.values())
    for passing, taking in ((sgdm, torch.optim.SGD), (one_cycle, OneCycleLR)):
        if entry is passing:  # it passes on the options that it does not name
            rest = set(inspect.signature(taking).parameters) - GIVEN
            known[-1:] = sorted(rest - set(known))
            open_ended = False
    try:
        if reserved := set(settings) & set(options):
            raise TypeError(f"gets {reserved.pop()!r} from the run itself")
        signature.bind(*[None] * arguments, **settings, **options)
        unknown = set(options) - set(known)
        if unknown and not open_ended:
            raise TypeError(f"got an unexpected keyword argument {unknown.pop()!r}")
    except TypeError as error:
        names = ", ".join(name for name in known if name not in settings) or "none"
        raise ValueError(f"{what} {error}; known: {names}") from None


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
        return tested_labels(mnist, self.run.eval_size).copy()

    def test_index(self, mnist: MNIST) -> Tensor:
        """Return the positions of the test images behind `predictions`, int64 [N]."""
        return subset(mnist.test_labels.cpu(), self.run.eval_size)

    def verify(self, mnist: MNIST) -> None:
        """Raise ValueError unless the accuracy follows from predictions and labels."""
        labels = tested_labels(mnist, self.run.eval_size)
        if len(labels) != len(self.predictions):
            n = len(self.predictions)
            raise ValueError(f"it has {n:,} predictions for {len(labels):,} images")
        hits = int((self.predictions == labels).sum())
        stated = self.summary["test_accuracy"] * len(self.predictions)
        # Two nearly equal logits may have one probability, so one image is in doubt.
        if not abs(stated - hits) < 1.5:
            raise ValueError(
                f"its test_accuracy is {self.summary['test_accuracy']}, but "
                f"{hits / len(self.predictions)} by its predictions"
            )

    def predict(self, images: Tensor) -> Tensor:
        """Return the trained network's logits [N, 10] of uint8 images [N, 28, 28].

        The images are scaled as they were in training.
        """
        return predict(self.load_model(), images, **self.run.scaling)

    def evaluate(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Return the trained network's `loss` and `accuracy`, scaled as in training."""
        return evaluate(self.load_model(), images, labels, **self.run.scaling)

    def load_model(self) -> nn.Module:
        """Return the trained network, on the CPU. ValueError without its weights.

        It expects images that are scaled as in training: pass `**run.scaling` to
        `predict` and `evaluate`, or call those of the record.
        """
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
    def from_document(
        cls, document: dict[str, Any], source: str | None = None
    ) -> "Record":
        """Return the record that `to_document` wrote, trained on `source`.

        ValueError, KeyError or the like if it is damaged; NewerRecord if a later
        version of the package wrote it.
        """
        content = dict(document)
        run = Run.restore(content.pop("run"))
        content.pop("weights_sha256", None)  # the store compares it with the weights
        text = content.pop("test_predictions")
        arrays = unpack_predictions(text, content["data"].get("test_size"))
        check_content(content, arrays)
        found = content["data"].get("source")
        if source is not None and found != source:
            raise ValueError(f"its data is {found!r}, not {source!r}")
        predictions, confidence, p_true = arrays
        return cls(
            run,
            predictions=predictions,
            confidence=confidence,
            p_true=p_true,
            **content,
        )


@lru_cache(maxsize=32)
def tested_labels(mnist: MNIST, eval_size: int | None) -> np.ndarray:
    """Return the test labels of a run with that `eval_size`, int64 [N]."""
    labels = mnist.test_labels.cpu()
    return labels[subset(labels, eval_size)].numpy()


def read_record(
    name: str, source: str, store: Store | None = None, with_weights: bool = False
) -> Record | None:
    """Return the record of the run called `name`, trained on `source`, or None.

    `with_weights` also reads the weights; without them the record counts as absent. A
    damaged record is set aside, with a warning that names it; one that a newer version
    wrote is left alone.
    """
    store = store or Store()
    document = store.get(name, source, with_weights)
    if document is None:
        return None
    try:
        record = Record.from_document(document, source)
        if record.run.name != name:
            raise ValueError(f"it holds run {record.run.name}")
        mnist = _loaded(source)
        if mnist is not None:
            record.verify(mnist)
        return record
    except NewerRecord as error:
        warnings.warn(f"record {name} is of a newer version: {error}", stacklevel=2)
    except Exception as error:
        # Whatever is wrong in the document, the run can be trained again.
        store.set_aside(name, source, error)
    return None


def _loaded(source: str) -> MNIST | None:
    try:
        mnist = load_mnist()
    except DataError:
        return None  # records can be read where there is no data
    return mnist if mnist.source == source else None


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
