"""What a document may hold: settings in plain types, and a record's checked content."""

import base64
import math
import operator
import zlib
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, get_args, get_origin

import numpy as np

MOST_IMAGES = 1_000_000  # more predictions than this are damage
# The summary's keys that every record has; its other entries are numbers.
COUNTS = ("best_epoch", "epochs_done", "parameters")
SCORES = ("seconds", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
# The numbers in its data.
SIZES = ("train_size", "val_size", "test_size", "steps_per_epoch")


def convert(name: str, value: Any, kind: Any) -> Any:
    """Return the setting `name` as the type `kind` of its annotation.

    numpy's numbers, integral floats for integers and numeric texts (YAML reads 1e-3 as
    one) are converted; a bool is no number. ValueError names the setting and the value.
    """
    if isinstance(kind, UnionType):
        if value is None:
            return None
        kind = get_args(kind)[0]
    kind = get_origin(kind) or kind
    reader, rule = {
        int: (_whole_number, "a whole number"),
        float: (_number, "a number"),
        bool: (_truth, "True or False"),
        str: (_text, "a text"),
        tuple: (_texts, "a list"),
        dict: (_options, "a dict"),
    }[kind]
    try:
        return reader(value)
    except _NotPlain as error:
        raise ValueError(f"{name}: {error}") from None
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be {rule}, got {value!r:.80}") from None


class _NotPlain(ValueError):
    """A value within the options that JSON cannot hold; the text names it."""


def _number(value: Any) -> float:
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        raise TypeError
    if isinstance(value, np.floating):
        # The shortest text: float32's 0.1 is meant as 0.1, not as 0.10000000149.
        value = str(value)
    return float(value) + 0.0  # -0.0 becomes 0.0


def _whole_number(value: Any) -> int:
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    if isinstance(value, str | float | np.floating):
        number = _number(value)
        if not number.is_integer():
            raise TypeError
        return int(number)
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        raise TypeError
    return operator.index(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return str(value)


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str | Mapping):
        raise TypeError
    return tuple(_text(part) for part in value)


def _options(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError
    for key in value:
        if not isinstance(key, str):
            raise _NotPlain(f"the name {key!r:.80} is no text")
    return {str(key): _plain(part, key) for key, part in value.items()}


def _plain(value: Any, place: str) -> Any:
    """Return a value of the options in the types that JSON reads back."""
    if value is None or isinstance(value, str | bool | np.bool_):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, Mapping):
        return {str(key): _plain(part, f"{place}.{key}") for key, part in value.items()}
    if isinstance(value, Sequence) or getattr(value, "ndim", 0) > 0:
        # A record is read back from JSON, where a tuple has become a list.
        return [_plain(part, f"{place}[{i}]") for i, part in enumerate(value)]
    try:
        number = _number(value)
        if number.is_integer():
            return _whole_number(value)  # 1 and 1.0 are equal: one name for both
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _NotPlain(
            f"{place} = {value!r:.80} is no text, finite number, list or dict"
        )
    return number


def unpack_predictions(text: str, test_size: int) -> tuple[np.ndarray, ...]:
    """Return predictions uint8, confidence float16 and p_true float16, each [N].

    ValueError unless there are as many as `test_size`.
    """
    if not _is_count(test_size) or not 1 <= test_size <= MOST_IMAGES:
        raise ValueError(f"test_size is {test_size!r}")
    # An image takes 5 bytes: one for its prediction, two for each probability.
    n, stream = test_size, zlib.decompressobj()
    packed = stream.decompress(base64.b64decode(text), 5 * n + 1)
    if len(packed) != 5 * n or not stream.eof:
        raise ValueError(f"it does not hold {n:,} predictions")
    return (
        np.frombuffer(packed, np.uint8, n),
        np.frombuffer(packed, np.float16, n, offset=n),
        np.frombuffer(packed, np.float16, n, offset=3 * n),
    )


def check_content(document: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
    """Raise ValueError, naming what is wrong, unless a record's content is possible."""
    summary, history, data = (document[key] for key in ("summary", "history", "data"))
    if not isinstance(summary, dict) or not isinstance(data, dict):
        raise ValueError("its summary or data is no dict")
    if not isinstance(history, list) or not all(isinstance(r, dict) for r in history):
        raise ValueError("its history is no list of rows")
    status = summary.get("status")
    if status not in ("ok", "diverged"):
        raise ValueError(f"its status is {status!r}")
    counts = {key: summary.get(key) for key in COUNTS}
    counts |= {key: data.get(key) for key in SIZES}
    for key, value in counts.items():
        if not _is_count(value) or (key == "train_size" and value == 0):
            raise ValueError(f"{key} is {value!r}")
    machine = document["environment"]
    if not isinstance(machine, dict) or not isinstance(machine.get("device"), str):
        raise ValueError("its environment names no device")
    scores = {key: summary.get(key) for key in SCORES} | summary
    for row in history:
        scores |= {f"{key} of an epoch": value for key, value in row.items()}
        for key, value in scores.items():
            _check_score(key, value, status)
        scores = {}
    epochs = [row.get("epoch") for row in history]
    if epochs != list(range(1, summary["epochs_done"] + 1)) or not epochs:
        raise ValueError(f"its history does not have {summary['epochs_done']} epochs")
    if not 1 <= summary["best_epoch"] <= len(epochs):
        raise ValueError(f"best_epoch is {summary['best_epoch']}")
    predictions, *probabilities = arrays
    if predictions.max() > 9:
        raise ValueError(f"it predicts the digit {predictions.max()}")
    for array in probabilities:
        possible = (array >= 0) & (array <= 1)
        if status == "diverged":
            possible |= np.isnan(array)
        if not possible.all():
            raise ValueError("a probability lies outside 0..1")


def _check_score(name: str, value: Any, status: str) -> None:
    if name == "status":
        return
    if name.startswith("window_losses"):
        if not isinstance(value, list) or not all(_is_number(part) for part in value):
            raise ValueError(f"{name} is no list of numbers")
        return
    if not _is_number(value):
        raise ValueError(f"{name} is {value!r}")
    share = "accuracy" in name
    if (share and not 0 <= value <= 1) or (name == "seconds" and not value >= 0):
        raise ValueError(f"{name} is {value}")
    if status == "ok" and name == "train_loss" and math.isnan(value):
        raise ValueError("train_loss is nan although the status is ok")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
