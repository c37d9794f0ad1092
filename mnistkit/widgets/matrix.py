"""Read the matrix: a confusion matrix whose cells show the images that they count."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure

from mnistkit.data import load_mnist
from mnistkit.plots import confusion_heatmap, image_grid
from mnistkit.runs import Record
from mnistkit.stats import confusion
from mnistkit.widgets.base import Widget
from mnistkit.widgets.parts import joined, outline

SHOWN = 24  # images of a cell at most
SETTINGS = ("model", "optimizer", "seed")


class ReadTheMatrix(Widget):
    """A confusion matrix to click on: which images lie in a cell, and how sure is it?

    `records` are of runs that differ in network, optimizer or seed. ValueError if there
    is none, if two are alike in all three, if they were tested on different numbers of
    images, or for a run that diverged.

    A cell in row i and column j counts the test images of digit i that are read as j.
    Below are at most 24 of them, each with the probability of the digit that was read
    and that of the label: the surest errors first, or, of right answers, the least sure
    first. `model`, `optimizer`, `seed` and `cell` are what is chosen, `indices` are the
    positions of all images of the cell in the test set, in the order described.
    """

    title = "click a cell of the confusion matrix to see its images"
    _esm = joined("js", "matrix")
    _css = joined("css", "matrix")

    runs: traitlets.List = traitlets.List().tag(sync=True)  # model, optimizer, seed
    model = traitlets.Unicode().tag(sync=True)
    optimizer = traitlets.Unicode().tag(sync=True)
    seed = traitlets.Int().tag(sync=True)
    cell = traitlets.List(traitlets.Int(), [4, 9]).tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)  # what `read` returned for the choice
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, records: Sequence[Record], cell: tuple[int, int] | None = None
    ) -> None:
        self._mnist = load_mnist()
        self._records: dict[tuple, Record] = {}
        for record in records:
            key = tuple(getattr(record.run, setting) for setting in SETTINGS)
            if key in self._records:
                raise ValueError(f"two records are of {key}: take one of them")
            if record.summary["status"] != "ok":
                raise ValueError(f"{record.run.name} diverged: it read nothing")
            self._records[key] = record
        if not self._records:
            raise ValueError("records are needed: sweep(runs)")
        if len({len(record.predictions) for record in records}) > 1:
            raise ValueError("all records have to be tested on the same images")
        self._labels = records[0].labels(self._mnist)
        self._index = records[0].test_index(self._mnist).numpy()
        model, optimizer, seed = next(iter(self._records))
        super().__init__(
            runs=[list(key) for key in self._records],
            model=model,
            optimizer=optimizer,
            seed=seed,
        )
        self.cell = list(cell or self._largest_error())
        self._read({})

    def _largest_error(self) -> tuple[int, int]:
        """Return the true and the read digit of the most frequent error."""
        errors = confusion(self._labels, self.record.predictions)
        np.fill_diagonal(errors, 0)
        true, predicted = divmod(int(errors.argmax()), 10)
        return true, predicted

    @property
    def record(self) -> Record:
        """The record that is chosen. ValueError if there is no such run."""
        key = (self.model, self.optimizer, self.seed)
        if key not in self._records:
            raise ValueError("no run of {}, {}, seed {}".format(*key))
        return self._records[key]

    @property
    def indices(self) -> np.ndarray:
        """The positions in the test set of all images of the cell, int64 [n]."""
        return self._index[self._in_cell()]

    def _in_cell(self) -> np.ndarray:
        """Return the positions among the tested images, in the order of showing."""
        true, predicted = self.cell
        record = self.record
        inside = (self._labels == true) & (record.predictions == predicted)
        found = np.flatnonzero(inside)
        confidence = record.confidence[found].astype(float)
        order = confidence if true == predicted else -confidence
        return found[np.argsort(order, kind="stable")]

    @traitlets.observe(*SETTINGS, "cell")
    def _read(self, change: dict[str, Any]) -> None:
        if not self.runs:  # the traits are still being set
            return
        problem = ""
        shown: dict[str, Any] = {"matrix": None, "images": [], "count": 0}
        try:
            shown = self.read()
        except Exception as error:
            # Jupyter writes an error of a callback into a log that no one looks at.
            problem = f"{type(error).__name__}: {error}"
        with self.hold_sync():
            self.problem = problem
            key = [self.model, self.optimizer, self.seed]
            self.shown = shown | {"run": key, "cell": self.cell}

    def read(self) -> dict[str, Any]:
        """Return the chosen network's `matrix`, and the first `images` of the cell.

        `count` is how many images the cell has. Of an image there are its `index` in
        the test set, its 784 `pixels`, and the probabilities of the digit that was
        read (`confidence`) and of the label (`p_true`).
        """
        record = self.record
        found = self._in_cell()
        images = self._mnist.test_images[self._index[found[:SHOWN]]].numpy()
        return {
            "matrix": confusion(self._labels, record.predictions).tolist(),
            "count": len(found),
            "images": [
                {
                    "index": int(self._index[position]),
                    "pixels": image.tobytes(),
                    "confidence": float(record.confidence[position]),
                    "p_true": float(record.p_true[position]),
                }
                for position, image in zip(found, images, strict=False)
            ],
        }

    def words(self) -> str:
        """Return what the chosen cell counts as a sentence."""
        true, predicted = self.cell
        who = f"{self.model} trained by {self.optimizer}, seed {self.seed},"
        return f"{who} reads {self.shown['count']:,} images of a {true} as {predicted}"

    def picture(self) -> tuple[Figure, str]:
        """Return the matrix, and the first images of the chosen cell."""
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=[1.2, 1])
        ax = left.subplots()
        confusion_heatmap(ax, self.shown["matrix"])
        true, predicted = self.cell
        ax.add_patch(outline(predicted, true, 1))
        axes = right.subplots(3, 4)
        first = self.shown["images"][: axes.size]
        pixels = [np.frombuffer(image["pixels"], np.uint8) for image in first]
        titles = [f"{100 * image['confidence']:.0f} %" for image in first]
        image_grid(axes, [image.reshape(28, 28) for image in pixels], titles)
        right.suptitle(
            f"{true} read as {predicted}, {self.shown['count']:,} images;\n"
            f"the probability of {predicted}",
            fontsize=9,
        )
        return figure, self.words()
