"""Networks drawn as boxes and arrows."""

import re

from matplotlib.patches import FancyBboxPatch

from mnistkit.plots import GREY

ARROW = dict(arrowstyle="->", color=GREY, shrinkA=0, shrinkB=0)
# These layers open a box, the others join the box before them.
FILLS = {
    "conv": "#D6ECFA",
    "linear": "#D3EEE5",
    "pool": "#FBE8C4",
    "input": "white",
    "add": "#EEEEEE",
}
NAMES = {
    "Conv": "conv",
    "BatchNorm": "batch norm",
    "MaxPool": "max pool",
    "AvgPool": "avg pool",
    "AdaptiveAvgPool": "avg pool",
    "Linear": "linear",
    "Flatten": "flatten",
    "Dropout": "dropout",
    "Add": "add",
}


def draw_network(ax, layers):
    """Boxes in the order of execution, from models.layer_table().

    Norms, activations, dropout and flattening share the box of the layer before them;
    a box's output shape is on the arrow that leaves it (channels above, height x width
    below), its number of parameters below it. The shortcut of a residual block is an
    arc from its input to its addition, and names the layers on it; a block is not
    broken over two rows. An axes alone in its figure makes the figure as high as the
    rows of boxes need; otherwise give it 1.1 inches a row.
    """
    ax.set_axis_off()
    figure, boxes = ax.figure, _boxes(layers)
    figure.draw_without_rendering()  # settles the layout: how wide is the axes?
    columns = max(1, int(ax.bbox.width / figure.dpi / 1.1))
    places = [(0, 0)]  # column, row
    for box in boxes[1:]:
        x, y = places[-1]
        fits = x + box.get("span", 1) < columns
        places.append((x + 1, y) if fits else (0, y + 1))
    rows = places[-1][1] + 1
    if len(figure.axes) == 1:
        figure.set_figheight(1.1 * rows + 0.4)
    for (x, y), after, box in zip(places, [*places[1:], None], boxes, strict=True):
        edge = x + 0.62  # a box is 0.62 of a column wide, the arrow has the rest
        fill = FILLS.get(box["kind"], "#EEEEEE")
        shape = "round,pad=0,rounding_size=0.05"
        ax.add_patch(
            FancyBboxPatch(
                (x, y - 0.27),
                0.62,
                0.54,
                boxstyle=shape,
                facecolor=fill,
                edgecolor=GREY,
            )
        )
        middle = dict(ha="center", va="center")
        names = "\n".join(box["names"])
        ax.text(x + 0.31, y, names, fontsize=7.5, linespacing=1.1, **middle)
        if box["parameters"]:
            count = f"{box['parameters']:,}"
            ax.text(x + 0.31, y + 0.36, count, fontsize=7.5, color=GREY, **middle)
        above, *below = box["output"]
        ax.text(edge + 0.19, y - 0.1, f"{above:,}", fontsize=7, **middle)
        ax.text(edge + 0.19, y + 0.1, "×".join(map(str, below)), fontsize=7, **middle)
        if after and after[1] > y:  # on to the next row
            path = [(edge, y), (x + 1, y), (x + 1, y + 0.48), (-0.2, y + 0.48)]
            ax.plot(*zip(*path, (-0.2, y + 1), strict=True), color=GREY, lw=1, ls="-")
            ax.annotate("", (0, y + 1), (-0.2, y + 1), arrowprops=ARROW)
        else:
            ax.annotate("", (x + 1, y), (edge, y), arrowprops=ARROW)
        if "start" in box:
            _draw_shortcut(ax, places[box["start"]][0] - 0.06, x + 0.31, y, box["side"])
    ax.set(xlim=(-0.25, columns + 0.02), ylim=(rows - 0.5, -0.45))
    parameters = sum(row["parameters"] for row in layers)
    macs = sum(row["macs"] for row in layers) / 1e6
    title = f"{parameters:,} parameters, {macs:,.2f} million multiply-adds per image"
    ax.set_title(title, fontsize=10, loc="left")
    return ax


def _boxes(layers):
    """layer_table() rows joined into boxes: dicts names, kind, output, parameters.

    Layers on a shortcut have no box: the box where a residual block adds has `start`,
    the index of the block's first box, and `side`, the (name, parameters) between. The
    block's first box has `span`, their number.
    """
    boxes = [dict(names=["input"], kind="input", output=(1, 28, 28), parameters=0)]
    starts, sides = {}, {}  # by the name of the block
    for layer in layers:
        kind = layer["kind"].removesuffix("2d")
        name = NAMES.get(kind, kind)
        block = re.split("body|shortcut|add", layer["layer"])[0]  # "3." of "3.body.0"
        if "shortcut" in layer["layer"]:
            sides.setdefault(block, []).append((name, layer["parameters"]))
            continue
        main = next((key for key in FILLS if key in name), None)
        if main or boxes[-1]["kind"] == "input":
            boxes.append(dict(names=[], kind=main or "other", parameters=0))
        box, last = boxes[-1], len(boxes) - 1
        box["names"].append(name)
        box["output"] = tuple(layer["output"])
        box["parameters"] += layer["parameters"]
        start = starts.setdefault(block, last)
        if main == "add":
            box |= dict(start=start, side=sides.get(block, []))
            boxes[start]["span"] = last + 1 - start
    return boxes


def _draw_shortcut(ax, start, end, y, layers):
    """An arc over the boxes of a residual block; its layers' names and parameters."""
    top, middle = y - 0.4, (start + end) / 2
    ax.plot((start, start, end), (y, top, top), color=GREY, lw=1, ls="-")
    ax.annotate("", (end, y - 0.27), (end, top), arrowprops=ARROW)
    if layers:  # models.Residual: the convolution on a shortcut is 1x1
        names, counts = zip(*layers, strict=True)
        place = dict(fontsize=7, va="center", backgroundcolor="white")
        ax.text(middle + 0.1, top, "1×1 " + ", ".join(names), ha="right", **place)
        ax.text(middle + 0.2, top, f"{sum(counts):,}", color=GREY, **place)
