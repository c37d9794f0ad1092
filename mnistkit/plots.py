"""Figures of the report: every function takes an axes, draws a frame, returns the axes.

Nothing here trains or computes a result beyond the mean and interval of a group.
"""

from itertools import product
from math import ceil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

from mnistkit.stats import proportion_interval, summarize

MARKERS = "os^Dv<P>"
GREY = "#555555"
# Draws a thin line from a label to what it names.
LEADER = dict(arrowstyle="-", linewidth=0.7, shrinkA=1, shrinkB=2)
# Where a text stands on the side (-1, 0, 1) of a point: horizontally, vertically.
ALIGN = {1: ("left", "bottom"), 0: ("center", "center"), -1: ("right", "top")}
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


def _spread(positions, gap):
    """Positions in 0..1 moved apart to at least `gap`, each as little as possible."""
    order = np.argsort(positions, kind="stable")
    ranks = np.arange(len(order)) * gap
    # Keeping a distance is keeping the order of (position - rank * gap).
    shifted = isotonic_regression(positions[order] - ranks).x
    spread = np.empty(len(order))
    spread[order] = np.clip(shifted, 0, max(0, 1 - ranks[-1])) + ranks
    return spread


def _named_lines(ax):
    return [line for line in ax.lines if not line.get_label().startswith("_")]


def _label_ends(ax):
    """Write each named line's name beside its end, right of the data."""
    ax.get_ylim()  # settles pending autoscaling, whose callback is this function
    for text in [text for text in ax.texts if text.get_gid() == "line-end"]:
        text.remove()
    ends, to_axes = [], ax.transAxes.inverted()
    for line in _named_lines(ax):
        points = line.get_xydata()
        points = points[np.isfinite(points).all(axis=1)]
        if len(points):
            y = to_axes.transform(ax.transData.transform(points[-1]))[1]
            ends.append((line, points[-1][0], np.clip(y, 0, 1)))
    if not ends:
        return
    size = plt.rcParams["legend.fontsize"]
    gap = 1.35 * size / 72 * ax.figure.dpi / ax.bbox.height
    heights = _spread(np.array([y for _, _, y in ends]), gap)
    for (line, x, y), height in zip(ends, heights, strict=True):
        ax.annotate(line.get_label(), (x, y), (1.04, height), va="center",
                    xycoords=("data", "axes fraction"), textcoords="axes fraction",
                    fontsize=size, annotation_clip=False, gid="line-end",
                    arrowprops=dict(LEADER, color=line.get_color()))


def curves(ax, frame, x, y, by, *, xlabel, ylabel, order=None, labels=True):
    """Mean of `y` over `x`, one line per value of `by`, with its 95 % t interval.

    Groups get colour, dash pattern and marker by order of appearance, or by `order`,
    a list of all values of `by`: pass the same list where a group may be missing, and
    its style stays the same. Up to 8 groups; ValueError beyond. Up to 5 lines are named
    at their ends, more in a legend right of the axes; labels=False leaves both out.
    """
    table = summarize(frame, [by, x], y)
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
            low, high, color = rows["low"], rows["high"], style["color"]
            ax.fill_between(rows[x], low, high, color=color, alpha=0.15, linewidth=0)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if np.issubdtype(table[x].dtype, np.integer):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.margins(x=0.02)
    if labels and len(_named_lines(ax)) <= 5:
        for event in ("xlim_changed", "ylim_changed"):
            ax.callbacks.connect(event, _label_ends)
        _label_ends(ax)
    elif labels:
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def dots(ax, frame, label, *, xlabel, fmt=".4g"):
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
    errors = np.where(right, 0, matrix)
    text = np.where(errors > 0, matrix.astype(str), "")
    sns.heatmap(errors, mask=right, ax=ax, annot=text, fmt="", cmap="Oranges", vmin=0,
                vmax=max(1, errors.max()), square=True, linewidths=0.5,
                annot_kws=dict(fontsize=8), cbar_kws=dict(label="errors", shrink=0.8))
    ax.set_facecolor("#E4E4E4")
    for digit, count in enumerate(matrix[right]):
        place = dict(ha="center", va="center", fontsize=7.5, color=GREY)
        ax.text(digit + 0.5, digit + 0.5, count, **place)
    ax.grid(False)
    ax.tick_params(length=0, rotation=0)
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
    ax.text(0.3, 0.32, "calibrated", color=GREY, rotation=45, rotation_mode="anchor",
            transform_rotates_text=True, fontsize=9)
    for row in table.itertuples():
        low, high = proportion_interval(round(row.accuracy * row.n), row.n)
        ax.vlines(row.confidence, low, high, color="#0072B2", linewidth=2)
        ax.annotate(f"{row.n:,}", (row.confidence, low), (0, -3), ha="center", va="top",
                    textcoords="offset points", fontsize=8, color=GREY)
    ax.plot(table["confidence"], table["accuracy"], "o", color="black")
    ax.set(xlabel="confidence (mean in the bin)", ylabel="accuracy in the bin",
           xlim=(0, 1.03), ylim=(-0.08, 1.03), aspect="equal")
    return ax


def scatter_labelled(ax, frame, x, y, label, *, xlabel, ylabel, logx=False):
    """A named point per row, names kept apart; 95 % bars from columns low and high.

    Fix scales and limits of the axes first: names are placed for what is visible now.
    """
    if logx:
        ax.set_xscale("log")
    if {"low", "high"} <= set(frame.columns):
        ax.vlines(frame[x], frame["low"], frame["high"], color="#56B4E9", linewidth=2)
    ax.plot(frame[x], frame[y], "o", color="black")
    ax.margins(0.08)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.figure.draw_without_rendering()  # settles the layout, so that texts have extents
    points = frame[[x, y]].to_numpy(float)
    pixels = ax.transData.transform(points)
    taken = [Bbox([at - 6, at + 6]) for at in pixels]  # what a name must not cover
    steps = [(h, v) for h in (1, -1, 0) for v in (0, 1, -1) if h or v]
    for name, point in zip(frame[label], points, strict=True):
        text = ax.annotate(_name(name), point, textcoords="offset points", fontsize=9)
        tried = []
        for distance, (h, v) in product((7, 14, 22, 32), steps):
            text.xyann = offset = (h * distance, v * distance)
            align = dict(ha=ALIGN[h][0], va=ALIGN[v][1])
            text.set(**align)
            box = text.get_window_extent()
            outside = box.x0 < ax.bbox.x0 or not ax.bbox.y0 < box.y0 < box.y1 < ax.bbox.y1
            tried.append((box.count_overlaps(taken) + outside, offset, align, box))
        _, text.xyann, align, box = min(tried, key=lambda place: place[0])
        text.set(**align)
        taken.append(box)
        if max(np.abs(text.xyann)) > 14:
            arrow = dict(LEADER, color=GREY)
            ax.annotate("", point, text.xyann, textcoords="offset points",
                        arrowprops=arrow)
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
        edge = x + 0.7  # a box is 0.7 of a column wide, the arrow has the rest
        fill = FILLS.get(box["kind"], "#EEEEEE")
        ax.add_patch(FancyBboxPatch((x, y - 0.3), 0.7, 0.6, facecolor=fill,
                                    edgecolor=GREY, boxstyle="round,pad=0,rounding_size=0.05"))
        middle = dict(ha="center", va="center")
        ax.text(x + 0.35, y, "\n".join(box["names"]), fontsize=8, **middle)
        if box["parameters"]:
            count = f"{box['parameters']:,}"
            ax.text(x + 0.35, y + 0.41, count, fontsize=7.5, color=GREY, **middle)
        above, *below = box["output"]
        ax.text(edge + 0.14, y - 0.1, f"{above:,}", fontsize=7.5, **middle)
        ax.text(edge + 0.14, y + 0.1, "×".join(map(str, below)), fontsize=7.5, **middle)
        arrow = dict(arrowstyle="->", color=GREY, shrinkA=0, shrinkB=0)
        if x == columns - 1 and index < len(boxes) - 1:  # on to the next row
            path = [(edge, y), (x + 1, y), (x + 1, y + 0.55), (-0.2, y + 0.55)]
            ax.plot(*zip(*path, (-0.2, y + 1), strict=True), color=GREY, lw=1, ls="-")
            ax.annotate("", (0, y + 1), (-0.2, y + 1), arrowprops=arrow)
        else:
            ax.annotate("", (x + 1, y), (edge, y), arrowprops=arrow)
    ax.set(xlim=(-0.25, columns + 0.02), ylim=(rows - 0.45, -0.4))
    parameters, macs = (sum(row[key] for row in layers) for key in ("parameters", "macs"))
    ax.set_title(f"{parameters:,} parameters, {macs / 1e6:,.2f} million multiply-adds"
                 " per image", fontsize=10, loc="left")
    return ax
