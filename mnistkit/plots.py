"""Figures: a function takes an axes, draws a frame on it and returns it."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from mnistkit.stats import proportion_interval, summarize

MARKERS = "os^Dv<P>"
GREY = "#555555"


def _name(value):
    """A group's value as text: 0.0001 -> "0.0001", 1e-05 -> "1e-05", 64 -> "64"."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def curves(
    ax,
    frame,
    x,
    y,
    by,
    *,
    xlabel,
    ylabel,
    order=None,
    labels=True,
    log=False,
    ends=False,
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
            ax.vlines(
                place.iloc[-1],
                low.iloc[-1],
                high.iloc[-1],
                color,
                transform=ax.transData + aside,
            )
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
    import seaborn as sns

    names = [[_name(value) for value in axis] for axis in (table.columns, table.index)]
    bar = dict(label=label)
    sns.heatmap(
        table,
        ax=ax,
        annot=True,
        fmt=fmt,
        cmap="viridis",
        linewidths=1,
        xticklabels=names[0],
        yticklabels=names[1],
        cbar_kws=bar,
    )
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
    ax.text(
        0.04,
        0.06,
        "calibrated",
        color=GREY,
        rotation=45,
        rotation_mode="anchor",
        transform_rotates_text=True,
        fontsize=9,
    )
    for row in table.itertuples():
        low, high = proportion_interval(round(row.accuracy * row.n), row.n)
        ax.vlines(row.confidence, low, high, color="#0072B2", linewidth=2)
        ax.annotate(
            f"{row.n:,}",
            (row.confidence, low),
            (4, -4),
            ha="left",
            va="top",
            textcoords="offset points",
            fontsize=8,
            color=GREY,
        )
    ax.plot(table["confidence"], table["accuracy"], "o", color="black")
    ax.set(
        xlabel="confidence (mean in the bin)",
        ylabel="accuracy in the bin",
        xlim=(0, 1.1),
        ylim=(-0.08, 1.03),
        aspect="equal",
    )
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
