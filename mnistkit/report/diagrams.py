"""Networks drawn as boxes and arrows."""

import re
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from mnistkit.plots import GREY

# Lengths in the drawing are in columns and rows: a box with its arrow is one column.
BOX_WIDTH, BOX_HEIGHT = 0.62, 0.54
INCHES = 1.1  # of a column, and of a row
ARROW = dict(arrowstyle="->", color=GREY, shrinkA=0, shrinkB=0)
CENTRED: dict[str, Any] = dict(ha="center", va="center")
# A layer of one of these names opens a box, filled with this colour; so does any other
# layer that computes with parameters of its own, in grey.
FILLS = {
    "input": "white",
    "conv": "#D6ECFA",
    "transposed\nconv": "#D6ECFA",
    "linear": "#D3EEE5",
    "max pool": "#FBE8C4",
    "avg pool": "#FBE8C4",
    "add": "#EEEEEE",
}
NAMES = {
    "Conv": "conv",
    "ConvTranspose": "transposed\nconv",
    "BatchNorm": "batch norm",
    "LayerNorm": "layer norm",
    "GroupNorm": "group norm",
    "MaxPool": "max pool",
    "AdaptiveMaxPool": "max pool",
    "AvgPool": "avg pool",
    "AdaptiveAvgPool": "avg pool",
    "MultiheadAttention": "attention",
    "Linear": "linear",
    "Flatten": "flatten",
    "Dropout": "dropout",
    "Add": "add",
}


@dataclass
class Box:
    """Layers that are drawn together, such as a convolution and its batch norm."""

    kind: str  # a key of FILLS, or another name
    names: list[str] = field(default_factory=list)
    output: tuple[int, ...] = ()  # shape of the last layer's output for one image
    parameters: int = 0
    block_size: int = 1  # in the first box of a residual block: its boxes, "add" too
    # The box "add" of a residual block has the index of the block's first box, and the
    # layers on the shortcut: name and number of parameters.
    block_start: int | None = None
    shortcut: list[tuple[str, int]] = field(default_factory=list)


def draw_network(ax: Axes, layers: list[dict[str, Any]]) -> Axes:
    """Draw boxes in the order of execution, for the rows of models.layer_table().

    Norms, activations, dropout and flattening share the box of the layer before them.
    On the arrow that leaves a box is the shape of its output (channels above, height x
    width below); below the box is its number of parameters. The shortcut of a residual
    block is an arc from the block's input to its addition, with the names of the layers
    on it; all boxes of a block are in one row. An axes alone in its figure makes the
    figure as high as the rows of boxes need; otherwise give it 1.1 inches a row.
    """
    figure, boxes = ax.get_figure(root=True), _join_layers(layers)
    assert figure is not None
    ax.set_axis_off()
    # Settle the layout first: it decides how wide the axes is.
    figure.draw_without_rendering()
    columns = max(1, int(ax.bbox.width / figure.dpi / INCHES))
    places = _place(boxes, columns)
    rows = places[-1][1] + 1
    if len(figure.axes) == 1:
        figure.set_figheight(INCHES * rows + 0.4)
    for box, (x, y), following in zip(boxes, places, [*places[1:], None], strict=True):
        _draw_box(ax, box, x, y)
        edge = x + BOX_WIDTH
        if following and following[1] > y:  # a line leads on to the next row
            path = [(edge, y), (x + 1, y), (x + 1, y + 0.48), (-0.2, y + 0.48)]
            ax.plot(*zip(*path, (-0.2, y + 1), strict=True), color=GREY, lw=1, ls="-")
            ax.annotate("", (0, y + 1), (-0.2, y + 1), arrowprops=ARROW)
        else:
            ax.annotate("", (x + 1, y), (edge, y), arrowprops=ARROW)
        if box.block_start is not None:
            start = places[box.block_start][0] - 0.06
            _draw_shortcut(ax, start, x + BOX_WIDTH / 2, y, box.shortcut)
    ax.set(xlim=(-0.25, columns + 0.02), ylim=(rows - 0.5, -0.45))
    parameters = sum(row["parameters"] for row in layers)
    macs = sum(row["macs"] for row in layers) / 1e6
    title = f"{parameters:,} parameters, {macs:,.2f} million multiply-adds per image"
    ax.set_title(title, fontsize=10, loc="left")
    return ax


def _join_layers(layers: list[dict[str, Any]]) -> list[Box]:
    """Return the boxes for the rows of layer_table(); a shortcut's layers have none."""
    boxes = [Box("input", ["input"], (1, 28, 28))]
    starts: dict[str, int] = {}  # the first box of each block, by the block's name
    shortcuts: dict[str, list[tuple[str, int]]] = {}  # likewise
    additions = {row["layer"] for row in layers if row["kind"] == "Add"}
    for layer in layers:
        kind = re.sub(r"[123]d$", "", layer["kind"])
        # The lines of a box are short: MyOwnLayer is broken between its words.
        name = NAMES.get(kind) or re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "\n", kind)
        # "3." of "3.body.0" is a block if it ends in the layer "3.add".
        found = re.match(r"(.*?)\b(body|shortcut|add)\b", layer["layer"])
        block, part = found.groups() if found else ("", "")
        if f"{block}add" not in additions:
            block, part = layer["layer"], ""
        if part == "shortcut":
            shortcuts.setdefault(block, []).append((name, layer["parameters"]))
            continue
        opens = name in FILLS or layer["macs"] > 0
        if opens or boxes[-1].kind == "input":
            boxes.append(Box(name if opens else "other"))
        box, last = boxes[-1], len(boxes) - 1
        box.names.append(name)
        box.output = tuple(layer["output"])
        box.parameters += layer["parameters"]
        start = starts.setdefault(block, last)
        if part == "add":
            box.block_start, box.shortcut = start, shortcuts.get(block, [])
            boxes[start].block_size = last + 1 - start
    return boxes


def _place(boxes: list[Box], columns: int) -> list[tuple[int, int]]:
    """Return column and row of each box, with no residual block in two rows."""
    places = [(0, 0)]
    for box in boxes[1:]:
        column, row = places[-1]
        fits = column + box.block_size < columns
        places.append((column + 1, row) if fits else (0, row + 1))
    return places


def _draw_box(ax: Axes, box: Box, x: float, y: float) -> None:
    """Draw a box with its left edge at x, and its numbers. Text is in points."""
    shape = FancyBboxPatch(
        (x, y - BOX_HEIGHT / 2),
        BOX_WIDTH,
        BOX_HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.05",
        facecolor=FILLS.get(box.kind, "#EEEEEE"),
        edgecolor=GREY,
    )
    ax.add_patch(shape)
    middle, arrow = x + BOX_WIDTH / 2, x + BOX_WIDTH + 0.19
    names = "\n".join(box.names)
    ax.text(middle, y, names, fontsize=7.5, linespacing=1.1, **CENTRED)
    if box.parameters:
        count = f"{box.parameters:,}"
        ax.text(middle, y + 0.36, count, fontsize=7.5, color=GREY, **CENTRED)
    if not box.output:  # not a tensor
        return
    channels, *size = box.output
    ax.text(arrow, y - 0.1, f"{channels:,}", fontsize=7, **CENTRED)
    ax.text(arrow, y + 0.1, "×".join(map(str, size)), fontsize=7, **CENTRED)


def _draw_shortcut(
    ax: Axes, start: float, end: float, y: float, layers: list[tuple[str, int]]
) -> None:
    """Draw an arc over the boxes of a residual block, and name the layers on it."""
    top, middle = y - 0.4, (start + end) / 2
    ax.plot((start, start, end), (y, top, top), color=GREY, lw=1, ls="-")
    ax.annotate("", (end, y - BOX_HEIGHT / 2), (end, top), arrowprops=ARROW)
    if layers:  # In models.Residual the convolution on a shortcut is 1x1.
        names, counts = zip(*layers, strict=True)
        place: dict[str, Any] = dict(fontsize=7, va="center", backgroundcolor="white")
        ax.text(middle + 0.1, top, "1×1 " + ", ".join(names), ha="right", **place)
        ax.text(middle + 0.2, top, f"{sum(counts):,}", color=GREY, **place)
