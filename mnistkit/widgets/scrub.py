"""Scrub time: what a network was after each epoch, under a slider."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn

from mnistkit.data import load_mnist, subset
from mnistkit.plots import BLUE, GREY, confusion_heatmap, image_grid
from mnistkit.stats import confusion
from mnistkit.train import predict
from mnistkit.widgets.base import Widget
from mnistkit.widgets.parts import as_bytes, joined, signed

TESTED = 2000  # test images behind a confusion matrix
FOLLOWED = 8  # of them, whose probabilities are shown
FILTERS = 16  # of the first layer, at most


class ScrubTime(Widget):
    """The confusion matrix, the first filters and an image's reading, by epoch.

    `model` is a network, `snapshots` are its state dicts: that before the training and
    one after each epoch, each a copy, because training changes the tensors in place.
    ValueError for fewer than two, and for a network whose first layer with weights is
    neither a convolution of one channel nor a linear layer of 784 inputs.

    The matrix counts 2,000 test images, as many of each digit as the test set has in
    proportion. Eight of them can be followed: those whose answer changes most often.
    `epoch` and `index` are what is chosen; `accuracies` are those of the snapshots.
    """

    title = "move through the epochs of a training"
    _esm = joined("js", "scrub")
    _css = joined("css", "scrub")

    epoch = traitlets.Int(0).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)  # of the images that are followed
    matrices: traitlets.List = traitlets.List().tag(sync=True)
    accuracies: traitlets.List = traitlets.List().tag(sync=True)
    filters = traitlets.Dict().tag(sync=True)  # the shape and float32 values
    images: traitlets.List = traitlets.List().tag(sync=True)

    def __init__(
        self, model: nn.Module, snapshots: Sequence[Mapping[str, Tensor]]
    ) -> None:
        if len(snapshots) < 2:
            raise ValueError("snapshots are needed: of the start and of each epoch")
        model = copy.deepcopy(model).cpu()
        mnist = load_mnist()
        index = subset(mnist.test_labels, TESTED)
        tested, labels = mnist.test_images[index], mnist.test_labels[index]
        filters, probabilities = [], []
        for snapshot in snapshots:
            model.load_state_dict(snapshot)
            filters.append(first_filters(model).clone())
            probabilities.append(predict(model, tested).softmax(1))
        self._filters = torch.stack(filters)  # [epochs + 1, filters, k, k]
        shares = torch.stack(probabilities)  # [epochs + 1, N, 10]
        answers = shares.argmax(2)
        is_right = answers == labels
        changes = (answers[1:] != answers[:-1]).sum(0)
        followed = changes.argsort(descending=True, stable=True)[:FOLLOWED]
        super().__init__(
            epoch=len(snapshots) - 1,
            matrices=[confusion(labels, answer).tolist() for answer in answers],
            accuracies=is_right.double().mean(1).tolist(),
            filters={
                "shape": list(self._filters.shape),
                "values": as_bytes(self._filters),
            },
            images=[
                {
                    "index": int(index[i]),
                    "label": int(labels[i]),
                    "pixels": tested[i].numpy().tobytes(),
                    "probabilities": shares[:, i].tolist(),
                }
                for i in followed
            ],
        )

    def words(self) -> str:
        """Return what the chosen epoch is like as a sentence."""
        image = self.images[self.index]
        row = image["probabilities"][self.epoch]
        when = f"After epoch {self.epoch}" if self.epoch else "Before the training"
        return (
            f"{when} {100 * self.accuracies[self.epoch]:.1f} % of the test images are "
            f"right, and the {image['label']} is read as {int(np.argmax(row))} "
            f"({100 * max(row):.0f} %)"
        )

    def picture(self) -> tuple[Figure, str]:
        """Return the chosen epoch."""
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=[1.2, 1])
        ax = left.subplots()
        confusion_heatmap(ax, np.array(self.matrices[self.epoch]))
        ax.set_title(f"epoch {self.epoch}: {100 * self.accuracies[self.epoch]:.1f} %")
        shown = self._filters[self.epoch]
        upper, lower = right.subfigures(2, 1)
        axes = upper.subplots(-(-len(shown) // 8), 8, squeeze=False)
        for ax, values in zip(axes.flat, shown, strict=False):
            signed(ax, values, self._filters.abs().max().item())
        for ax in axes.flat:
            ax.set_axis_off()
        upper.suptitle("filters of the first layer", fontsize=9)
        picture, bars = lower.subplots(1, 2, width_ratios=[1, 1.4])
        image = self.images[self.index]
        pixels = np.frombuffer(image["pixels"], np.uint8).reshape(1, 28, 28)
        image_grid([picture], pixels, [f"a {image['label']}"])
        row = image["probabilities"][self.epoch]
        bars.bar(range(10), row, color=[BLUE if p == max(row) else GREY for p in row])
        bars.set(xticks=range(10), ylim=(0, 1), yticks=[0, 1])
        bars.set_title("probability", fontsize=9)
        return figure, self.words()


def first_filters(model: nn.Module) -> Tensor:
    """Return at most 16 filters of the first layer, float32 [n, k, k]."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 1:
            return module.weight.detach()[:FILTERS, 0].float()
        if isinstance(module, nn.Linear) and module.in_features == 784:
            return module.weight.detach()[:FILTERS].view(-1, 28, 28).float()
        if any(True for _ in module.parameters(recurse=False)):
            break
    raise ValueError("the first layer has to take an image of one channel")


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Return a copy of the network's state dict, which later training leaves alone."""
    return copy.deepcopy(model.state_dict())
