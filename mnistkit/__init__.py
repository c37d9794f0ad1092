"""mnistkit: the networks, the training loop and the records of an MNIST course.

Notebooks import from here: `from mnistkit import Run, sweep, load_mnist, plots`. A name
is looked up in its module at its first use, so that `import mnistkit` loads nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "load_mnist": "data",
    "normalize": "data",
    "Batches": "data",
    "MODELS": "models",
    "build_model": "models",
    "OPTIMIZERS": "train",
    "SCHEDULES": "train",
    "fit": "train",
    "predict": "train",
    "evaluate": "train",
    "Run": "runs",
    "Record": "runs",
    "sweep": "sweeps",
    "train_run": "sweeps",
    "Chapter": "report.chapter",
    "use_style": "report.chapter",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mnistkit' has no attribute {name!r}")
    return getattr(import_module(f"mnistkit.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
