"""Figures: a function takes an axes, draws a frame on it and returns it."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import LogLocator, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from mnistkit.stats import proportion_interval, summarize

MARKERS = "os^Dv<P>"
GREY = "#555555"
ARROW = dict(arrowstyle="->", color=GREY, shrinkA=0, shrinkB=0)
# draw_network: these layers open a box, the others join the box before them.
FILLS = {"conv": "#D6ECFA", "linear": "#D3EEE5", "pool": "#FBE8C4", "input": "white",
         "add": "#EEEEEE"}
NAMES = {"Conv": "conv", "BatchNorm": "batch norm", "MaxPool": "max pool",
         "AvgPool": "avg pool", "AdaptiveAvgPool": "avg pool", "Linear": "linear",
         "Flatten": "flatten", "Dropout": "dropout", "Add": "add"}


def use_style():
    """Apply mnistkit.mplstyle to all figures made from here on."""
    plt.style.use(Path(__file__).with_name("mnistkit.mplstyle"))


def _name(value):
    """A group's value as text: 0.0001 -> "0.0001", 1e-05 -> "1e-05", 64 -> "64"."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def curves(
    ax, frame, x, y, by, *,
    xlabel, ylabel, order=None, labels=True, log=False, ends=False,
):
    """Mean of `y` over `x`, one line per value of `by`, with its 95 % t interval.

    Groups get colour, dash pattern and marker by order of appearance, or by `order`,
    a list of all values of `by`: pass the same list where a group may be missing, and
    its style stays the same. Up to 8 groups; ValueError beyond. The legend right of the
    axes has the order of the lines' ends; labels=False leaves it out. `log` makes the y
    axis logarithmic. It is scaled to the means: with two or three seeds a band may run
    out of the picture. Where many bands would cover each other, `ends` shows only the
    last interval of each line, as a bar beside its end.
    """
    table, bands = summarize(frame, [by, x], y), []
    order = list(table[by].unique() if order is None else order)
    styles = list(plt.rcParams["axes.prop_cycle"])
    if len(order) > len(styles):
        raise ValueError(f"{len(order)} groups of {by}: at most {len(styles)} readable")
    for group, style, marker in zip(order, styles, MARKERS, strict=False):
        rows = table[table[by] == group].sort_values(x)
        if rows.empty:
            continue
        every = max(1, len(rows) // 10)  # about ten markers on a long line
        (line,) = ax.plot(
            rows[x], rows["mean"], label=_name(group), marker=marker, markevery=every
        )
        line.set(**style)
        if (rows["n"] > 1).any():
            bands.append((rows[x], rows["low"], rows["high"], style["color"]))
    limits = ax.dataLim.frozen()
    for number, (place, low, high, color) in enumerate(bands, start=1):
        if log:  # an edge below 0 would be a cliff; this one is out of the picture
            low = low.clip(lower=limits.y0 / 10)
        if ends:
            aside = ScaledTranslation(number / 24, 0, ax.figure.dpi_scale_trans)
            ax.vlines(place.iloc[-1], low.iloc[-1], high.iloc[-1], color,
                      transform=ax.transData + aside)
        else:
            ax.fill_between(place, low, high, color=color, alpha=0.15, linewidth=0)
    ax.dataLim.set(limits)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:  # with plain numbers
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")
    if np.issubdtype(table[x].dtype, np.integer):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.margins(x=0.02 + 0.02 * len(bands) * ends, y=0.1)
    if labels:  # beside the axes, in the order in which the lines end
        lines = [line for line in ax.lines if not line.get_label().startswith("_")]
        lines.sort(key=lambda line: np.nan_to_num(-line.get_ydata()[-1], nan=np.inf))
        ax.legend(handles=lines, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def dots(ax, frame, label, *, xlabel, fmt="#.4g"):
    """A row per group from summarize(): dot at the mean, 95 % interval, n.

    Rows keep the frame's order from the top down; mean and n stand at the right.
    """
    rows = np.arange(len(frame))
    mean, low, high = (frame[c].to_numpy(float) for c in ("mean", "low", "high"))
    ax.hlines(rows, low, high, color="#0072B2", linewidth=2.2)
    ax.plot(mean, rows, "o", color="black", markersize=6.5)
    for row, value, n in zip(rows, mean, frame["n"], strict=True):
        text = f"{value:{fmt}}" if np.isfinite(value) else "no finite value"
        place = dict(transform=ax.get_yaxis_transform(), va="center", fontsize=9)
        ax.text(1.02, row, f"{text}  n = {n}", color=GREY, **place)
    ax.set_yticks(rows, [_name(value) for value in frame[label]])
    ax.set_ylim(len(frame) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    return ax


def heatmap(ax, table, *, fmt=".3f", label=""):
    """A frame's numbers as colours and as text; missing values stay grey and empty.

    Row and column names are the frame's; `label` names the colour bar.
    """
    names = [[_name(value) for value in axis] for axis in (table.columns, table.index)]
    bar = dict(label=label)
    sns.heatmap(table, ax=ax, annot=True, fmt=fmt, cmap="viridis", linewidths=1,
                xticklabels=names[0], yticklabels=names[1], cbar_kws=bar)
    ax.set_facecolor("#DDDDDD")
    ax.grid(False)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    return ax


def confusion_heatmap(ax, matrix):
    """Counts [10, 10], rows true; colour shows errors only, the diagonal is grey.

    On one scale for all cells the ~980 right answers of each digit would make every
    error look like none.
    """
    matrix = np.asarray(matrix)
    right = np.eye(len(matrix), dtype=bool)
    errors = np.ma.masked_array(matrix, right)
    most = max(1, errors.max())
    image = ax.imshow(errors, cmap="Oranges", vmin=0, vmax=most)
    ax.figure.colorbar(image, ax=ax, label="errors", shrink=0.8)
    for (true, predicted), count in np.ndenumerate(matrix):
        color, size = "white" if count > 0.6 * most else "black", 8
        if right[true, predicted]:
            color, size = GREY, 7
        place = dict(ha="center", va="center", color=color, size=size)
        ax.text(predicted, true, count or "", **place)
    ax.set_facecolor("#E4E4E4")
    ax.grid(False)
    ax.set(xticks=range(len(matrix)), yticks=range(len(matrix)))
    ax.tick_params(length=0)
    ax.set(xlabel="predicted digit", ylabel="true digit")
    return ax


def image_grid(axes, images, titles=None):
    """One image [28, 28] (or [1, 28, 28]) per axes, ink dark; spare axes stay blank.

    uint8 images share the scale 0..255, others each their own minimum..maximum.
    """
    axes, images = np.asarray(axes), np.asarray(images)
    if len(images) > axes.size:
        raise ValueError(f"{len(images)} images do not fit into {axes.size} axes")
    limits = dict(vmin=0, vmax=255) if images.dtype == np.uint8 else {}
    for ax in axes.flat:
        ax.set_axis_off()
    for index, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        ax.imshow(image.reshape(image.shape[-2:]), cmap="gray_r", **limits)
        if titles is not None:
            ax.set_title(titles[index], fontsize=9)
    return axes


def reliability(ax, table):
    """Accuracy against confidence from calibration(), with n and Wilson intervals."""
    table = table[table["n"] > 0]
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    ax.text(0.04, 0.06, "calibrated", color=GREY, rotation=45, rotation_mode="anchor",
            transform_rotates_text=True, fontsize=9)
    for row in table.itertuples():
        low, high = proportion_interval(round(row.accuracy * row.n), row.n)
        ax.vlines(row.confidence, low, high, color="#0072B2", linewidth=2)
        ax.annotate(f"{row.n:,}", (row.confidence, low), (4, -4), ha="left", va="top",
                    textcoords="offset points", fontsize=8, color=GREY)
    ax.plot(table["confidence"], table["accuracy"], "o", color="black")
    ax.set(xlabel="confidence (mean in the bin)", ylabel="accuracy in the bin",
           xlim=(0, 1.1), ylim=(-0.08, 1.03), aspect="equal")
    return ax


def scatter_labelled(ax, frame, x, y, label, *, xlabel, ylabel, logx=False):
    """A named point per row; 95 % bars from columns low and high.

    The names keep off each other and off all points, those drawn before as well.
    """
    from adjustText import adjust_text

    if logx:
        ax.set_xscale("log")
    if {"low", "high"} <= set(frame.columns):
        ax.vlines(frame[x], frame["low"], frame["high"], color="#56B4E9", linewidth=2)
    ax.plot(frame[x], frame[y], "o", color="black")
    ax.margins(0.12)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.figure.draw_without_rendering()  # settles the layout: names have an extent now
    columns = (frame[x], frame[y], frame[label].map(_name))
    names = [ax.text(*row, fontsize=9) for row in zip(*columns, strict=True)]
    leader = dict(arrowstyle="-", linewidth=0.7, color=GREY)
    # A limit in steps: the default, in seconds, places names by the machine's load.
    points = np.concatenate([line.get_xydata() for line in ax.lines]).T
    adjust_text(names, *points, ax=ax, expand=(1.2, 2), arrowprops=leader, iter_lim=100)
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
        ax.add_patch(FancyBboxPatch((x, y - 0.27), 0.62, 0.54, boxstyle=shape,
                                    facecolor=fill, edgecolor=GREY))
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
