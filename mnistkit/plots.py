"""Figures: a function takes an axes, draws a frame on it and returns it."""

from math import ceil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from mnistkit.stats import proportion_interval, summarize

MARKERS = "os^Dv<P>"
GREY = "#555555"
# draw_network: these layers open a box, the others join the box before them.
FILLS = {"conv": "#D6ECFA", "linear": "#D3EEE5", "pool": "#FBE8C4", "input": "white"}
NAMES = {"Conv": "conv", "BatchNorm": "batch norm", "MaxPool": "max pool",
         "AvgPool": "avg pool", "AdaptiveAvgPool": "avg pool", "Linear": "linear",
         "Flatten": "flatten", "Dropout": "dropout", "Add": "add"}


def use_style():
    """Apply mnistkit.mplstyle to all figures made from here on."""
    plt.style.use(Path(__file__).with_name("mnistkit.mplstyle"))


def _name(value):
    """A group's value as text: 0.0001 -> "0.0001", 1e-05 -> "1e-05", 64 -> "64"."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def curves(ax, frame, x, y, by, *, xlabel, ylabel, order=None, labels=True):
    """Mean of `y` over `x`, one line per value of `by`, with its 95 % t interval.

    Groups get colour, dash pattern and marker by order of appearance, or by `order`,
    a list of all values of `by`: pass the same list where a group may be missing, and
    its style stays the same. Up to 8 groups; ValueError beyond. The legend right of the
    axes has the order of the lines' ends; labels=False leaves it out. The y axis is
    scaled to the means: with two or three seeds a band may run out of the picture.
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
    for *edges, color in bands:
        ax.fill_between(*edges, color=color, alpha=0.15, linewidth=0)
    ax.dataLim.set(limits)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if np.issubdtype(table[x].dtype, np.integer):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.margins(x=0.02, y=0.1)
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
    """A named point per row, names kept apart; 95 % bars from columns low and high."""
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
    adjust_text(names, frame[x], frame[y], ax=ax, expand=(1.2, 2), arrowprops=leader,
                iter_lim=100)
    return ax


def _boxes(layers):
    """layer_table() rows joined into boxes: dicts names, kind, output, parameters."""
    boxes = [dict(names=["input"], kind="input", output=(1, 28, 28), parameters=0)]
    for layer in layers:
        kind = layer["kind"].removesuffix("2d")
        name = NAMES.get(kind, kind)
        main = next((key for key in FILLS if key in name), None)
        if main or boxes[-1]["kind"] == "input":
            boxes.append(dict(names=[], kind=main or "other", parameters=0))
        shortcut = ["(shortcut)"] * (main == "conv" and "shortcut" in layer["layer"])
        box = boxes[-1]
        box["names"] += [name, *shortcut]
        box["output"] = tuple(layer["output"])
        box["parameters"] += layer["parameters"]
    return boxes


def draw_network(ax, layers):
    """Boxes in the order of execution, from models.layer_table().

    Norms, activations, dropout and flattening share the box of the layer before them;
    a box's output shape is on the arrow that leaves it (channels above, height x width
    below), its number of parameters below it. An axes alone in its figure makes the
    figure as high as the rows of boxes need; otherwise give it 1.1 inches a row.
    """
    ax.set_axis_off()
    figure, boxes = ax.figure, _boxes(layers)
    figure.draw_without_rendering()  # settles the layout: how wide is the axes?
    columns = max(1, int(ax.bbox.width / figure.dpi / 1.1))
    rows = ceil(len(boxes) / columns)
    if len(figure.axes) == 1:
        figure.set_figheight(1.1 * rows + 0.4)
    for index, box in enumerate(boxes):
        y, x = divmod(index, columns)
        edge = x + 0.62  # a box is 0.62 of a column wide, the arrow has the rest
        fill = FILLS.get(box["kind"], "#EEEEEE")
        shape = "round,pad=0,rounding_size=0.05"
        ax.add_patch(FancyBboxPatch((x, y - 0.32), 0.62, 0.64, boxstyle=shape,
                                    facecolor=fill, edgecolor=GREY))
        middle = dict(ha="center", va="center")
        names = "\n".join(box["names"])
        ax.text(x + 0.31, y, names, fontsize=7.5, linespacing=1.1, **middle)
        if box["parameters"]:
            count = f"{box['parameters']:,}"
            ax.text(x + 0.31, y + 0.42, count, fontsize=7.5, color=GREY, **middle)
        above, *below = box["output"]
        ax.text(edge + 0.19, y - 0.1, f"{above:,}", fontsize=7, **middle)
        ax.text(edge + 0.19, y + 0.1, "×".join(map(str, below)), fontsize=7, **middle)
        arrow = dict(arrowstyle="->", color=GREY, shrinkA=0, shrinkB=0)
        if x == columns - 1 and index < len(boxes) - 1:  # on to the next row
            path = [(edge, y), (x + 1, y), (x + 1, y + 0.55), (-0.2, y + 0.55)]
            ax.plot(*zip(*path, (-0.2, y + 1), strict=True), color=GREY, lw=1, ls="-")
            ax.annotate("", (0, y + 1), (-0.2, y + 1), arrowprops=arrow)
        else:
            ax.annotate("", (x + 1, y), (edge, y), arrowprops=arrow)
    ax.set(xlim=(-0.25, columns + 0.02), ylim=(rows - 0.45, -0.4))
    parameters = sum(row["parameters"] for row in layers)
    macs = sum(row["macs"] for row in layers) / 1e6
    title = f"{parameters:,} parameters, {macs:,.2f} million multiply-adds per image"
    ax.set_title(title, fontsize=10, loc="left")
    return ax
