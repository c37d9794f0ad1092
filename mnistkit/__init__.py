"""mnistkit: the networks, the training loop and the records of an MNIST course.

The lesson plan, in the order in which the files build on each other:

    data         What is MNIST, and how does it become batches?
    layers       What does a network cost, layer by layer?
    models       Which networks are there?
    steps        What happens to a network in one training step?
    train        How does a loop of steps train a network?
    definitions  How does a network of your own become part of a run?
    runs         What fixes a training, and what does it leave behind?
    sweeps       How are many trainings made, each of them only once?
    stats        How sure can we be of a difference?
    tables       How do records become frames?
    plots        How do frames become figures?
    wording      How does a sentence state a number?

Below them lie storage/ (files and places), workers/ (processes and progress), widgets/
(what a reader touches), report/ (chapters and their page), claims/ (what chapter 07
judges) and bench/ (speed).

Notebooks import from here: `from mnistkit import Run, sweep, load_mnist, plots`. A name
is looked up in its module at its first use, so that `import mnistkit` loads nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_MODULES = (
    "data layers models steps train definitions runs sweeps stats wording tables plots "
    "exercises"
).split()
_MODULE_OF_NAME = {
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
    "check": "exercises",
    "live": "widgets.live",
    "Ravine": "widgets.ravine",
    "LookInside": "widgets.look",
    "ReadTheMatrix": "widgets.matrix",
    "ScrubTime": "widgets.scrub",
    "snapshot": "widgets.scrub",
    "DrawADigit": "widgets.draw",
    "prepare": "widgets.prepare",
    "read_image": "widgets.prepare",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"mnistkit.{name}")
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'mnistkit' has no attribute {name!r}")
    return getattr(import_module(f"mnistkit.{_MODULE_OF_NAME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_MODULE_OF_NAME})
