"""Look inside: what each kernel makes of each patch, and all feature maps."""

import copy
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn

from mnistkit.data import load_mnist, normalize
from mnistkit.runs import Record
from mnistkit.widgets.base import Widget
from mnistkit.widgets.parts import as_bytes, joined, outline, signed
from mnistkit.wording import with_minus


class LookInside(Widget):
    """What a network makes of an image: the first convolution by hand, then all maps.

    `network` is a record with weights (`sweep(runs, keep_weights=True)`) or a network
    that is an `nn.Sequential` and begins with an `nn.Conv2d`; ValueError for another.
    It is copied, so a later training changes nothing. `images` are uint8 [N, 28, 28],
    by default the first test image of each digit. They are normalised as in the
    training of the record, or by MEAN and STD.

    A click on a pixel of the map, or the arrow keys, choose the patch of the image that
    lies behind it: its values times the kernel's, added up, plus the bias, are the
    value of the pixel. `index` is the chosen image, `kernel` the kernel and `place` the
    row and the column of the pixel; `arithmetic()` returns the numbers.
    """

    title = "look inside a network: patch times kernel, and the feature maps"
    _esm = joined("js", "look")
    _css = joined("css", "look")

    index = traitlets.Int(0).tag(sync=True)
    kernel = traitlets.Int(0).tag(sync=True)
    place = traitlets.List(traitlets.Int(), [0, 0]).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)  # of which the maps are shown
    thumbnails = traitlets.Bytes(b"").tag(sync=True)  # all images
    convolution = traitlets.Dict().tag(sync=True)
    layers: traitlets.List = traitlets.List().tag(
        sync=True
    )  # the name and the shape of each
    looked = traitlets.Dict().tag(sync=True)  # what `look` returned for `index`
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, network: Record | nn.Module, images: Tensor | None = None
    ) -> None:
        self._scaling: dict[str, float] = {}
        if isinstance(network, Record):
            self._scaling = network.run.scaling
            network = network.load_model()
        if not isinstance(network, nn.Sequential):
            raise ValueError("the network has to be an nn.Sequential")
        self._network = copy.deepcopy(network).cpu().eval()
        self._first = first_convolution(self._network)
        if images is None:
            mnist = load_mnist()
            firsts = [(mnist.test_labels == d).nonzero()[0, 0] for d in range(10)]
            images = mnist.test_images[torch.stack(firsts)]
        self._images = images
        _, maps, _ = self._forward(0)
        height, width = maps[0].shape[-2:]
        weight, bias = self._first.weight.detach(), self._first.bias
        zeros = torch.zeros(len(weight))
        # Where most ink is, there is something to see.
        ink = nn.functional.interpolate(
            images[:1, None].float(), size=(height, width), mode="area"
        )
        row, column = divmod(int(ink.flatten().argmax()), width)
        super().__init__(
            place=[row, column],
            thumbnails=images.numpy().tobytes(),
            convolution={
                "kernels": as_bytes(weight),
                "biases": (zeros if bias is None else bias.detach()).tolist(),
                "side": self._first.kernel_size[0],
                "stride": self._first.stride[0],
                "padding": int(self._first.padding[0]),
            },
            layers=[
                {"name": type(layer).__name__, "shape": list(out.shape)}
                for layer, out in zip(self._network, maps, strict=False)
            ],
            looked=self.look(0),
        )

    def _forward(self, index: int) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return the image [28, 28] as given, the maps [C, H, W] and the logits [10].

        There are maps of each layer down to the first whose output is no map.
        """
        x = image = normalize(self._images[index : index + 1], **self._scaling)
        maps = []
        with torch.no_grad():
            for layer in self._network:
                x = layer(x)
                if x.ndim == 4:
                    maps.append(x[0])
        return image[0, 0], maps, x[0]

    @traitlets.observe("index")
    def _look_again(self, change: dict[str, Any]) -> None:
        if not self.convolution:  # the traits are still being set
            return
        problem, looked = "", self.looked
        try:
            looked = self.look(self.index)
        except Exception as error:
            # Jupyter writes an error of a callback into a log that no one looks at.
            problem = f"{type(error).__name__}: {error}"
        with self.hold_sync():
            self.problem = problem
            self.looked = looked

    def look(self, index: int) -> dict[str, Any]:
        """Return what the network is given and makes of it, for one image.

        `image` and each of `maps`, one per layer, are bytes of float32 [28, 28] and
        [C, H, W]. `probabilities` are ten numbers.
        """
        image, maps, logits = self._forward(index)
        return {
            "index": index,
            "image": as_bytes(image),
            "maps": [as_bytes(each) for each in maps],
            "probabilities": logits.softmax(0).tolist(),
        }

    def arithmetic(self) -> dict[str, Any]:
        """Return the chosen `patch` and `kernel`, both [k, k], `bias` and `value`.

        The value is what the network has in its map: sum(patch * kernel) + bias.
        """
        conv = self._first
        image, maps, _ = self._forward(self.index)
        padded = nn.functional.pad(image, [int(conv.padding[0])] * 4)
        top, left = (conv.stride[0] * at for at in self.place)
        side = conv.kernel_size[0]
        row, column = self.place
        return {
            "patch": padded[top : top + side, left : left + side],
            "kernel": conv.weight[self.kernel, 0].detach(),
            "bias": self.convolution["biases"][self.kernel],
            "value": maps[0][self.kernel, row, column].item(),
        }

    def words(self) -> str:
        """Return the chosen sum as a sentence."""
        numbers = self.arithmetic()
        # The sum of the rounded numbers, so that a reader who adds them finds it.
        total = round((numbers["patch"] * numbers["kernel"]).sum().item(), 3)
        bias = round(numbers["bias"], 3)
        row, column = self.place
        shown = [with_minus(f"{value:.3f}") for value in (total, bias, total + bias)]
        return (
            f"Kernel {self.kernel + 1}, row {row}, column {column}: the products add "
            f"up to {shown[0]}; with the bias of {shown[1]} that is {shown[2]}."
        )

    def picture(self) -> tuple[Figure, str]:
        """Return the chosen patch, kernel and map, and the maps of the chosen layer."""
        numbers = self.arithmetic()
        _, maps, _ = self._forward(self.index)
        shown = maps[self.layer][:16]
        figure = Figure(figsize=(7.6, 3.5), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=[1.5, 1])
        image, patch, kernel, products, result = upper.subplots(1, 5)
        image.imshow(self._images[self.index].numpy(), cmap="gray_r")
        image.set_title("image", fontsize=9)
        side, stride = self.convolution["side"], self.convolution["stride"]
        top, left = (stride * at - self.convolution["padding"] for at in self.place)
        image.add_patch(outline(left, top, side))
        signed(patch, numbers["patch"])
        patch.set_title("patch", fontsize=9)
        signed(kernel, numbers["kernel"])
        kernel.set_title("× kernel", fontsize=9)
        signed(products, numbers["patch"] * numbers["kernel"])
        products.set_title("= products", fontsize=9)
        signed(result, maps[0][self.kernel])
        result.set_title(f"the map: {numbers['value']:.2f}", fontsize=9)
        result.add_patch(outline(self.place[1], self.place[0], 1))
        for ax in upper.axes:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(True)  # the paper's edge, in any style
        for ax, one in zip(lower.subplots(2, 8).flat, shown, strict=False):
            signed(ax, one)
        for ax in lower.axes:
            ax.set_axis_off()
        name = self.layers[self.layer]["name"]
        lower.suptitle(f"maps after layer {self.layer + 1}, {name}", fontsize=9)
        return figure, self.words()


def first_convolution(network: nn.Sequential) -> nn.Conv2d:
    """Return the first layer. ValueError unless it is a square convolution."""
    first = network[0] if len(network) else None
    if not isinstance(first, nn.Conv2d) or first.in_channels != 1:
        raise ValueError(f"the first layer has to be an nn.Conv2d, not {first}")
    if len(set(first.kernel_size)) > 1 or isinstance(first.padding, str):
        raise ValueError(f"a square kernel and a padding in pixels are needed: {first}")
    return first
