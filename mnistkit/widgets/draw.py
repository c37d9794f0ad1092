"""Draw a digit: what the networks see of it, and what they read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn

from mnistkit.data import load_mnist, subset
from mnistkit.plots import BLUE, GREY, image_grid
from mnistkit.runs import Record
from mnistkit.train import predict
from mnistkit.widgets.base import Widget
from mnistkit.widgets.parts import joined
from mnistkit.widgets.prepare import SIDE, prepare

CANVAS = 280  # pixels of each side of the drawing; draw.js has the same number
COMPARED = 10_000  # training images among which the nearest are searched
SHOWN = 6  # of them
INPUTS = {
    "raw": "as drawn",
    "inverted": "light on dark",
    "prepared": "cropped, 20x20, centred",
}


class DrawADigit(Widget):
    """A place to draw a digit, and what networks make of it.

    `networks` are records with weights (`sweep(runs, keep_weights=True)`), or a dict of
    name -> record or trained network; a network is given images normalised by MEAN and
    STD, one of a record as it was in training. ValueError if there is none, or for a
    record without weights.

    A network can be given three images: the drawing made small (`raw`), the same light
    on dark (`inverted`), and `prepared` as MNIST's images were. Beside the ten
    probabilities are the votes of all networks and the nearest of 10,000 training
    images, by the Euclidean distance of the pixels. Mouse, pen and finger draw; so do
    the arrow keys, once the space bar has put the pen down.

    `given` and `network` are what is chosen, `image` is what that network is given:
    uint8 [28, 28], or None before anything is drawn.
    """

    title = "draw a digit, and see what the networks read"
    _esm = joined("js", "draw")
    _css = joined("css", "draw")

    # How much ink is at each pixel of the canvas, row by row. The browser sends a
    # memoryview, which traitlets.Bytes would refuse, and needs no echo of it.
    ink = traitlets.Bytes(b"").tag(
        sync=True, echo_update=False, from_json=lambda value, _: bytes(value)
    )
    asked = traitlets.Int(0).tag(sync=True)  # the number of the drawing
    reading = traitlets.Dict().tag(sync=True)  # what `read` returned for `ink`
    problem = traitlets.Unicode("").tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    inputs = traitlets.Dict(INPUTS).tag(sync=True)
    compared = traitlets.Int(0).tag(sync=True)
    network = traitlets.Unicode().tag(sync=True)
    given = traitlets.Enum(list(INPUTS), "prepared").tag(sync=True)

    def __init__(
        self, networks: Sequence[Record] | Mapping[str, Record | nn.Module]
    ) -> None:
        if not isinstance(networks, Mapping):
            networks = {record.run.model: record for record in networks}
        if not networks:
            raise ValueError("a network is needed: sweep(runs, keep_weights=True)")
        self._networks: dict[str, tuple[nn.Module, dict[str, float]]] = {}
        for name, network in networks.items():
            if isinstance(network, Record):
                self._networks[name] = network.load_model(), network.run.scaling
            else:
                self._networks[name] = network, {}
        mnist = load_mnist()
        chosen = subset(mnist.train_labels, COMPARED)
        self._images = mnist.train_images[chosen]
        self._labels = mnist.train_labels[chosen]
        self._pixels = self._images.flatten(1).float()
        self._norms = self._pixels.square().sum(1)
        super().__init__(
            names=list(self._networks),
            network=list(self._networks)[-1],
            compared=len(chosen),
        )

    @property
    def image(self) -> Tensor | None:
        """What the chosen network is given, uint8 [28, 28]; None before a drawing."""
        if not self.reading.get("inputs"):
            return None
        pixels = bytearray(self.reading["inputs"][self.given])
        return torch.frombuffer(pixels, dtype=torch.uint8).view(SIDE, SIDE)

    @traitlets.observe("asked")
    def _read_drawing(self, change: dict[str, Any]) -> None:
        answer: dict[str, Any] = {}
        problem = ""
        try:
            drawn = np.frombuffer(self.ink, np.uint8).reshape(CANVAS, CANVAS)
            if drawn.any():
                answer = self.read(drawn / 255)
        except Exception as error:
            # Jupyter writes an error of a callback into a log that no one looks at.
            problem = f"{type(error).__name__}: {error}"
        self.problem = problem
        # The number makes each answer another one, so that the browser gets it.
        self.reading = answer | {"asked": change["new"]}

    def read(self, ink: np.ndarray) -> dict[str, Any]:
        """Return what the networks are given and read, for ink [H, W] in 0..1.

        `inputs` has the 784 bytes of each image, `probabilities` ten numbers for each
        network and image, and `nearest` the `pixels` and `label` of the training images
        next to each image, the nearest first.
        """
        small = F.interpolate(
            torch.from_numpy(ink)[None, None].float(), size=[SIDE, SIDE], mode="area"
        )[0, 0]
        inverted = (255 * small).round().to(torch.uint8)
        images = torch.stack([255 - inverted, inverted, prepare(1 - ink)])
        probabilities = {}
        for name, (network, scaling) in self._networks.items():
            rows = predict(network, images, **scaling).softmax(1).tolist()
            probabilities[name] = dict(zip(INPUTS, rows, strict=True))
        # |a - b|² = |a|² - 2ab + |b|², where |b|² is the same for all.
        flat = images.flatten(1).float()
        distances = self._norms[:, None] - self._pixels @ (2 * flat).T
        nearest = distances.topk(min(SHOWN, len(distances)), 0, largest=False).indices
        return {
            "inputs": {
                given: image.numpy().tobytes()
                for given, image in zip(INPUTS, images, strict=True)
            },
            "probabilities": probabilities,
            "nearest": {
                given: [
                    {
                        "label": self._labels[index].item(),
                        "pixels": self._images[index].numpy().tobytes(),
                    }
                    for index in column
                ]
                for given, column in zip(INPUTS, nearest.T, strict=True)
            },
        }

    def picture(self) -> tuple[Figure, str]:
        """Return the still of the drawing, or of a small digit if there is none."""
        ink = np.frombuffer(self.ink, np.uint8) / 255
        ink = ink.reshape(CANVAS, CANVAS) if ink.any() else small_digit()
        answer = self.read(ink)
        probabilities = answer["probabilities"][self.network]
        read = {
            given: f"{int(np.argmax(row))} ({max(row):.0%})"
            for given, row in probabilities.items()
        }
        figure = Figure(figsize=(7.6, 3.3), layout="constrained")
        drawing, inputs, bars = figure.subfigures(1, 3, width_ratios=[3, 1.9, 2.7])
        ax = drawing.subplots()
        ax.imshow(1 - ink, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)  # the paper's edge, in any style
        ax.set_title("drawn", fontsize=10)
        for ax, given in zip(inputs.subplots(3, 1), INPUTS, strict=True):
            pixels = np.frombuffer(answer["inputs"][given], np.uint8)
            ax.imshow(pixels.reshape(SIDE, SIDE), cmap="gray", vmin=0, vmax=255)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(True)
            text = f"{given}\n{self.network} reads\n{read[given]}"
            ax.text(1.12, 0.5, text, transform=ax.transAxes, va="center", fontsize=9)
        upper, lower = bars.subfigures(2, 1, height_ratios=[3.2, 1])
        ax = upper.subplots()
        row = probabilities[self.given]
        colors = [BLUE if p == max(row) else GREY for p in row]
        ax.barh(range(10), row, color=colors)
        ax.set(yticks=range(10), xlim=(0, 1), xticks=[0, 0.5, 1])
        ax.tick_params(labelsize=8)
        ax.invert_yaxis()
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_title(f"probability, given {self.given}", fontsize=10)
        nearest = answer["nearest"][self.given]
        images = [np.frombuffer(n["pixels"], np.uint8) for n in nearest]
        labels = [str(n["label"]) for n in nearest]
        images = [image.reshape(SIDE, SIDE) for image in images]
        axes = lower.subplots(1, SHOWN)
        image_grid(axes, images, labels)
        lower.suptitle("nearest training images and their labels", fontsize=9)
        words = "; ".join(f"given {given}, {said}" for given, said in read.items())
        alt = f"A drawn digit, and what {self.network} reads: {words}"
        return figure, alt


def small_digit() -> np.ndarray:
    """Return a 3 of the test images as ink [280, 280], small, in a corner."""
    mnist = load_mnist()
    three = mnist.test_images[mnist.test_labels == 3][1]
    larger = F.interpolate(
        three[None, None].float() / 255, scale_factor=4, mode="bilinear"
    )
    ink = np.zeros((CANVAS, CANVAS))
    ink[150:262, 10:122] = larger[0, 0].numpy()
    return ink
