"""Figures: a function takes an axes, draws a frame on it and returns the axes."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import LogNorm, to_hex
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from mnistkit.stats import as_counts, check_columns, proportion_interval, summarize
from mnistkit.wording import with_minus

MARKERS = "os^Dv<P>"

# Colour, dash pattern and marker of each optimizer and each network, the same in all
# figures. A variant of a network has its colour and another pattern. Lower case finds
# the style of a name in words, such as SGD.
STYLES: dict[str, tuple[str, Any, str]] = {
    "sgd": ("#000000", "-", "o"),
    "sgdm": ("#E69F00", "--", "s"),
    "adagrad": ("#56B4E9", "-.", "^"),
    "adam": ("#D55E00", "-", "D"),
    "adamw": ("#CC79A7", ":", "v"),
    "nadam": ("#009E73", (0, (5, 1, 1, 1, 1, 1)), "<"),
    "mlp": ("#7F7F7F", ":", "o"),
    "lenet": ("#000000", "-", "s"),
    "small_resnet": ("#D55E00", "-", "^"),
    "four_conv": ("#0072B2", "--", "D"),
    "two_conv": ("#009E73", "-.", "v"),
    "alexnet": ("#E69F00", "-", "<"),
    "alexnet_text": ("#E69F00", "--", "<"),
    "vgg11": ("#CC79A7", "-", "P"),
    "vgg13": ("#CC79A7", "--", "P"),
    "resnet18": ("#56B4E9", "-", ">"),
    "wrn16_4": ("#0072B2", "-", "o"),
}
GREY = "#555555"
BLUE = "#0072B2"
LIGHT_BLUE = "#56B4E9"


def _as_text(value: Any) -> str:
    """Return a group's value as text, such as "0.0001", "1e-05" or "64".

    A frame holds nan where a number of a run is None.
    """
    if value is None or value != value:
        return "None"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_drawable(frame: pd.DataFrame, *columns: str, value: str) -> None:
    """Raise ValueError for a frame of which nothing would be seen.

    It lacks one of the columns, has no rows, or has no finite number in `value`.
    """
    check_columns(frame, *columns, value)
    numbers = pd.to_numeric(frame[value], errors="coerce")
    if not np.isfinite(numbers.astype(float)).any():
        reason = "finite value" if len(frame) > 0 else "row"
        raise ValueError(f"there is no {reason} of {value!r} to draw")


def curves(
    ax: plt.Axes,
    frame: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    *,
    xlabel: str,
    ylabel: str,
    order: Sequence | None = None,
    labels: bool | str = True,
    log: bool = False,
    ends: bool = False,
    runs: str | None = None,
) -> plt.Axes:
    """Draw the mean of `y` over `x` with its 95 % t interval, a line per value of `by`.

    Optimizers and networks have their own colour, dash pattern and marker, see STYLES.
    Other groups get what these leave over, by order of appearance, or by `order`, a
    list of all values of `by`: a group that is missing in one figure then leaves the
    styles of the others alone. There may be up to 8 colours. ValueError for more, for a
    group that `order` lacks, and for a frame without the columns or a finite `y`, or
    without a `y` above 0 if `log`.

    The legend stands right of the axes, in the order in which the lines end; with
    `labels="ends"` each name stands at the end of its line instead, and `labels=False`
    leaves them out. `log` makes the y axis logarithmic. `ends` shows only the last
    interval of each line, as a bar beside its end, for lines whose bands would cover
    each other; `runs`, a column such as "seed", shows each run as a thin line instead
    of the interval, as is better with five runs or fewer. The y limits come from the
    means only; wide intervals of few seeds are clipped.
    """
    _check_drawable(frame, x, by, value=y)
    table = summarize(frame, [by, x], y)
    if log and not (table["mean"] > 0).any():
        raise ValueError(f"there is no {y!r} above 0 to draw on a logarithmic axis")
    groups = list(table[by].unique())
    order = groups if order is None else list(order)
    lost = [group for group in groups if group not in order]
    if lost:
        raise ValueError(f"order lacks {lost[0]!r}, a value of {by}")
    with_interval = []
    for group, (color, dashes, marker) in _styles(order, by).items():
        rows = table[table[by].isin([group])].sort_values(x)  # nan equals nan here
        if rows.empty:
            continue
        # A long line has about ten markers.
        every = max(1, len(rows) // 10)
        ax.plot(
            rows[x],
            rows["mean"],
            label=_as_text(group),
            color=color,
            linestyle=dashes,
            marker=marker,
            markevery=every,
        )
        if runs is not None:
            _draw_each_run(ax, frame[frame[by].isin([group])], x, y, runs, color)
        elif (rows["n"] > 1).any():
            with_interval.append((rows, color))
    limits = ax.dataLim.frozen()
    for number, (rows, color) in enumerate(with_interval, start=1):
        low, high = rows["low"], rows["high"]
        if log:
            # A log axis cannot show an edge below 0: move it to a tenth of the lowest
            # mean, which lies outside the figure.
            low = low.clip(lower=limits.y0 / 10)
        if ends:
            # The bars of the groups stand side by side, 1/24 inch apart.
            aside = ScaledTranslation(number / 24, 0, ax.figure.dpi_scale_trans)
            last = (rows[x].iloc[-1], low.iloc[-1], high.iloc[-1])
            ax.vlines(*last, color, transform=ax.transData + aside)
        else:
            ax.fill_between(rows[x], low, high, color=color, alpha=0.15, linewidth=0)
    ax.dataLim.set(limits)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        _use_log_axis_with_plain_numbers(ax)
    if pd.api.types.is_integer_dtype(table[x]):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    room_for_bars = 0.02 * len(with_interval) if ends else 0
    ax.margins(x=0.02 + room_for_bars, y=0.1)
    if labels == "ends":
        name_ends(ax)
    elif labels:
        _add_legend_beside(ax)
    return ax


def _styles(groups: Sequence, by: str) -> dict[Any, tuple[str, Any, str]]:
    """Return colour, dash pattern and marker of each group, see `curves`."""
    known = {group: STYLES.get(_as_text(group).lower()) for group in groups}
    styles = {group: style for group, style in known.items() if style is not None}
    used = {color for color, _, _ in styles.values()}
    others = [group for group in groups if group not in styles]
    cycle = [_to_style(style) for style in plt.rcParams["axes.prop_cycle"]]
    free = [(color, dashes) for color, dashes in cycle if color not in used]
    if len(others) > len(free):
        raise ValueError(f"{len(groups)} groups of {by}: at most {len(cycle)} readable")
    for group, style, marker in zip(others, free, MARKERS, strict=False):
        styles[group] = (*style, marker)
    return {group: styles[group] for group in groups}


def _to_style(style: dict[str, Any]) -> tuple[str, Any]:
    """Return colour and dash pattern of a style; matplotlib's own has no patterns."""
    return to_hex(style["color"]).upper(), style.get("linestyle", "-")


def _draw_each_run(
    ax: plt.Axes, frame: pd.DataFrame, x: str, y: str, runs: str, color: str
) -> None:
    check_columns(frame, runs)
    for _, rows in frame.groupby(runs):
        rows = rows.sort_values(x)
        ax.plot(rows[x], rows[y], "-", color=color, linewidth=0.6, alpha=0.6)


def _named_lines(ax: plt.Axes) -> list[Line2D]:
    """Return the lines that have a label, those that end highest first."""
    # matplotlib itself names the lines that have no label, with a leading "_".
    lines = [line for line in ax.lines if not str(line.get_label()).startswith("_")]

    def height_of_end(line: Line2D) -> float:
        # A line that ends in nan stands below all others.
        return np.nan_to_num(np.asarray(line.get_ydata())[-1], nan=-np.inf)

    return sorted(lines, key=height_of_end, reverse=True)


def name_ends(ax: plt.Axes) -> None:
    """Write each line's name right of the axes, beside its end or below another."""
    # Settle the layout first: only then do points have a share of the axes' height.
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]
    line_height = 1.25 * 9 * ax.figure.dpi / 72 / ax.bbox.height
    below = np.inf
    for line in _named_lines(ax):
        ends_at = np.asarray(line.get_xydata())[-1]
        _, height = ax.transAxes.inverted().transform(ax.transData.transform(ends_at))
        below = min(np.nan_to_num(height), below - line_height)
        ax.text(
            1.02,
            below,
            str(line.get_label()),
            transform=ax.transAxes,
            color=line.get_color(),
            fontsize=9,
            va="center",
        )


def _use_log_axis_with_plain_numbers(ax: plt.Axes) -> None:
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")


def _add_legend_beside(ax: plt.Axes) -> None:
    """Add a legend right of the axes, in the order in which the lines end."""
    lines = _named_lines(ax)
    ax.legend(handles=lines, loc="center left", bbox_to_anchor=(1.01, 0.5))


def dots(
    ax: plt.Axes,
    frame: pd.DataFrame,
    label: str,
    *,
    xlabel: str,
    fmt: str = "#.4g",
    runs: pd.DataFrame | None = None,
    value: str = "",
    log: bool = False,
) -> plt.Axes:
    """Draw a row per group of summarize(): a dot at the mean and the 95 % interval.

    Rows keep the frame's order from the top down. The column `label` names them; mean
    and n stand at the right. `runs` has a row per run with the columns `label` and
    `value`: each run is a small dot below the mean, and optimizers and networks have
    the colours of STYLES. `log` makes the x axis logarithmic. ValueError for a frame
    without rows or one of the columns.
    """
    check_columns(frame, label, "mean", "low", "high", "n")
    if frame.empty:
        raise ValueError("there is no row of 'mean' to draw")
    heights = np.arange(len(frame))
    means = frame["mean"].to_numpy(float)
    low = frame["low"].to_numpy(float)
    high = frame["high"].to_numpy(float)
    if log:
        # A log axis cannot show an edge below 0: move it left of all runs.
        smallest = np.nanmin(means if runs is None else runs[value])
        low = np.where(low > 0, low, smallest / 2)
    if runs is None:
        ax.hlines(heights, low, high, color=BLUE, linewidth=2.2)
        ax.plot(means, heights, "o", color="black", markersize=6.5)
    else:
        check_columns(runs, label, value)
        for height, name in enumerate(frame[label]):
            color = STYLES.get(_as_text(name).lower(), (BLUE,))[0]
            each = runs.loc[runs[label] == name, value]
            below = np.full(len(each), height + 0.28)
            ax.plot(each, below, ".", color=color, alpha=0.8, markersize=9)
            ax.plot(means[height], height, "o", color=color, markersize=6.5)
            ax.hlines(height, low[height], high[height], color=color, linewidth=2.2)
    for height, (mean, n) in enumerate(zip(means, frame["n"], strict=True)):
        text = with_minus(f"{mean:{fmt}}") if np.isfinite(mean) else "no finite value"
        ax.text(
            1.02,
            height,
            f"{text}  n = {n}",
            color=GREY,
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=9,
        )
    if log:
        _use_log_x_axis_with_plain_numbers(ax)
    ax.set_yticks(heights, [_as_text(name) for name in frame[label]])
    ax.set_ylim(len(frame) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    return ax


def _use_log_x_axis_with_plain_numbers(ax: plt.Axes) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    ax.margins(x=0.1)


def changes(
    ax: plt.Axes,
    frame: pd.DataFrame,
    before: str,
    after: str,
    *,
    xlabel: str,
    notes: Mapping[str, str] | None = None,
) -> plt.Axes:
    """Draw a row per group of the index: a line from `before` to `after`, log axis.

    The value of the column `before` is a hollow dot, that of `after` a filled one;
    optimizers and networks have the colours of STYLES. `notes` gives a text for the
    right of each row. ValueError for a frame without rows or one of the columns.
    """
    check_columns(frame, before, after)
    if frame.empty:
        raise ValueError(f"there is no row of {before!r} to draw")
    for height, (name, row) in enumerate(frame.iterrows()):
        color = STYLES.get(str(name).lower(), (BLUE,))[0]
        ax.plot([row[before], row[after]], [height, height], "-", color=color)
        ax.plot(row[after], height, "o", color=color, markersize=8)
        # The hollow dot comes last, a ring around the filled one if nothing changed.
        (ring,) = ax.plot(row[before], height, "o", markersize=11)
        ring.set(markerfacecolor="none", markeredgecolor=color, markeredgewidth=1.5)
        ax.text(
            1.02,
            height,
            (notes or {}).get(str(name), ""),
            color=color,
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=9,
        )
    _use_log_x_axis_with_plain_numbers(ax)
    ax.set_yticks(range(len(frame)), [_as_text(name) for name in frame.index])
    ax.set_ylim(len(frame) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    return ax


def heatmap(
    ax: plt.Axes,
    table: pd.DataFrame,
    *,
    fmt: str = ".3f",
    label: str = "",
    log: bool = False,
) -> plt.Axes:
    """Draw the numbers of a frame as colours and as text.

    Missing numbers stay grey and empty. Row and column names are those of the frame;
    `label` names the colour bar. `log` makes the scale of the colours logarithmic, so
    that one large number does not give all others the same colour. ValueError if no
    number is finite, or, with `log`, if one is not above 0.
    """
    import seaborn as sns

    if not np.isfinite(table.astype(float)).any(axis=None):
        raise ValueError(f"there is no finite number in a table {list(table.shape)}")
    if log and (table <= 0).any(axis=None):
        raise ValueError("a logarithmic scale of colours needs numbers above 0")
    bar: dict[str, Any] = {"label": label}
    if log:
        bar |= {"ticks": LogLocator(subs=(1, 2, 5)), "format": "{x:g}"}
    sns.heatmap(
        table,
        ax=ax,
        annot=True,
        fmt=fmt,
        cmap="viridis",
        norm=LogNorm() if log else None,
        linewidths=1,
        xticklabels=[_as_text(value) for value in table.columns],
        yticklabels=[_as_text(value) for value in table.index],
        cbar_kws=bar,
    )
    if log:
        ax.collections[0].colorbar.ax.minorticks_off()  # type: ignore[union-attr]
    ax.set_facecolor("#DDDDDD")
    ax.grid(False)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    return ax


def confusion_heatmap(
    ax: plt.Axes, matrix: npt.ArrayLike, most: int | None = None
) -> plt.Axes:
    """Draw counts [10, 10], a row per true digit; colour shows the errors only.

    The diagonal is grey: on one scale for all cells, the 980 or so right answers of
    each digit would make every error look like none. The colours end at the count
    `most`, at the largest error by default. ValueError for shares, which do not fit
    into the cells, and for another shape.
    """
    matrix = as_counts(matrix)
    if most is None:
        most = _most_errors(matrix)
    image = ax.imshow(_errors_only(matrix), cmap="Oranges", vmin=0, vmax=most)
    ticks = MaxNLocator(integer=True)
    ax.figure.colorbar(image, ax=ax, label="errors", shrink=0.8, ticks=ticks)
    return _write_counts(ax, matrix, most)


def confusion_heatmaps(
    axes: npt.ArrayLike, matrices: Mapping[str, npt.ArrayLike]
) -> np.ndarray:
    """Draw several matrices as `confusion_heatmap` does, with the colours of all alike.

    There is one colour bar, so equal colours are equal counts. Each axes [A] has the
    name of its matrix and the number of its errors as title. Returns the axes.
    """
    axes = np.asarray(axes)
    counts = {name: as_counts(matrix) for name, matrix in matrices.items()}
    most = max(_most_errors(matrix) for matrix in counts.values())
    for ax, (name, matrix) in zip(axes.flat, counts.items(), strict=True):
        image = ax.imshow(_errors_only(matrix), cmap="Oranges", vmin=0, vmax=most)
        _write_counts(ax, matrix, most)
        total = matrix.sum()
        ax.set_title(f"{name}: {total - matrix.trace():,} errors in {total:,} answers")
        ax.label_outer()
    figure = axes.flat[0].figure
    figure.colorbar(image, ax=list(axes.flat), label="errors", shrink=0.5, aspect=30)
    return axes


def _errors_only(matrix: np.ndarray) -> np.ma.MaskedArray:
    return np.ma.masked_array(matrix, np.eye(len(matrix), dtype=bool))


def _most_errors(matrix: np.ndarray) -> int:
    return max(1, int(_errors_only(matrix).max()))


def _write_counts(ax: plt.Axes, matrix: np.ndarray, most: int) -> plt.Axes:
    """Write the counts into the cells of a matrix whose colours end at `most`."""
    for (true, predicted), count in np.ndenumerate(matrix):
        if true == predicted:
            color, size = GREY, 7
        elif count > 0.6 * most:
            color, size = "white", 8
        else:
            color, size = "black", 8
        # A zero stays an empty cell.
        text = str(count) if count else ""
        ax.text(predicted, true, text, ha="center", va="center", color=color, size=size)
    ax.set_facecolor("#E4E4E4")
    ax.grid(False)
    ax.set(xticks=range(len(matrix)), yticks=range(len(matrix)))
    ax.tick_params(length=0)
    ax.set(xlabel="predicted digit", ylabel="true digit")
    return ax


def by_digit(
    ax: plt.Axes, frame: pd.DataFrame, value: str, by: str, *, ylabel: str
) -> plt.Axes:
    """Draw `value` for each digit: a large mark at the mean, a small dot for each run.

    The frame has a column `digit` and a row per run and digit. The groups of `by`, such
    as optimizers, stand side by side at each digit, in the order of the frame, with the
    colours and markers of STYLES. ValueError for a frame without the columns or a
    finite value, and for more than 8 groups that STYLES lacks.
    """
    _check_drawable(frame, "digit", by, value=value)
    digits = list(frame["digit"].unique())
    groups = list(frame[by].unique())
    for number, (group, (color, _, marker)) in enumerate(_styles(groups, by).items()):
        rows = frame[frame[by] == group]
        aside = 0.8 * ((number + 0.5) / len(groups) - 0.5)
        means = rows.groupby("digit", sort=False)[value].mean().reindex(digits)
        runs = rows["digit"].map(digits.index) + aside
        ax.plot(
            runs,
            rows[value],
            ".",
            color=color,
            alpha=0.6,
            markersize=7,
            markeredgewidth=0,
        )
        places = np.arange(len(digits)) + aside
        ax.plot(places, means, marker, color=color, markersize=8, label=_as_text(group))
    for between in range(1, len(digits)):
        ax.axvline(between - 0.5, color="#DDDDDD", linewidth=0.8, zorder=0)
    ax.set_xticks(range(len(digits)), [_as_text(digit) for digit in digits])
    ax.tick_params(axis="x", length=0)
    ax.grid(False, axis="x")
    ax.set(xlabel="digit", ylabel=ylabel, xlim=(-0.5, len(digits) - 0.5))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(groups))
    return ax


def digit_map(
    ax: plt.Axes,
    points: npt.ArrayLike,
    digits: npt.ArrayLike,
    marked: npt.ArrayLike | None = None,
) -> plt.Axes:
    """Draw points [N, 2], coloured by their digits [N], each digit named once.

    The name stands on the point of the digit that is nearest to the median of them all.
    `marked`, bool [N], puts a black cross on some of the points. Without axes, because
    the coordinates of such a map have no meaning. ValueError if the shapes differ.
    """
    points, digits = np.asarray(points), np.asarray(digits)
    if points.shape != (len(digits), 2):
        raise ValueError(f"points [N, 2] and digits [N] are needed: {points.shape}")
    colors = plt.get_cmap("tab10")
    x, y = points[:, 0], points[:, 1]
    ax.scatter(x, y, c=colors(digits), s=7, alpha=0.7, linewidths=0)
    if marked is not None:
        crossed = np.asarray(marked, dtype=bool)
        ax.scatter(x[crossed], y[crossed], c="black", marker="x", s=26, linewidths=1.2)
    for digit in np.unique(digits):
        group = points[digits == digit]
        distances = np.square(group - np.median(group, axis=0)).sum(axis=1)
        across, up = group[distances.argmin()]
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "alpha": 0.8}
        box["edgecolor"] = colors(digit)
        ax.text(
            across, up, str(digit), ha="center", va="center", weight="bold", bbox=box
        )
    ax.set_axis_off()
    return ax


def image_grid(
    axes: npt.ArrayLike, images: npt.ArrayLike, titles: Sequence[str] | None = None
) -> np.ndarray:
    """Draw one image [28, 28] or [1, 28, 28] per axes, with dark ink; return the axes.

    uint8 images share the scale 0..255, others each have their own minimum..maximum.
    Spare axes stay blank: all of them, if there are no images. ValueError if there are
    more images than axes or titles, and for images of another shape.
    """
    axes = np.asarray(axes)
    images = np.asarray(images)
    if images.shape == (0,):  # an empty list
        images = images.reshape(0, 28, 28)
    if images.ndim not in (3, 4) or images.ndim == 4 and images.shape[1] != 1:
        raise ValueError(
            f"images [N, 28, 28] or [N, 1, 28, 28] are needed, not {list(images.shape)}"
        )
    if len(images) > axes.size:
        raise ValueError(f"{len(images)} images do not fit into {axes.size} axes")
    if titles is not None and len(titles) < len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images")
    limits = {"vmin": 0, "vmax": 255} if images.dtype == np.uint8 else {}
    for ax in axes.flat:
        ax.set_axis_off()
    for index, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        ax.imshow(image.reshape(image.shape[-2:]), cmap="gray_r", **limits)
        if titles is not None:
            ax.set_title(titles[index], fontsize=9)
    return axes


def image_rows(
    ax: plt.Axes,
    images: npt.ArrayLike,
    names: Sequence[Any],
    outline: npt.ArrayLike | None = None,
    **look: Any,
) -> plt.Axes:
    """Draw images [R, C, 28, 28] as a table of R rows, each named at its left.

    Ink is dark; `look` goes to `imshow` and can change that. All images share one scale
    of colours. `outline`, images [C, 28, 28], draws the rim of each as a thin orange
    line over every image of its column. ValueError for images of another shape, and
    unless there is a name for each row and an outline for each column.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[2:] != (28, 28):
        raise ValueError(f"images [R, C, 28, 28] are needed, not {list(images.shape)}")
    rows, columns = images.shape[:2]
    if len(names) != rows:
        raise ValueError(f"{len(names)} names for {rows} rows of images")
    sheet = _as_sheet(images)
    # imshow would draw an image of bytes, as of floats, on a scale of its own.
    limits = {"vmin": 0, "vmax": 255} if images.dtype == np.uint8 else {}
    ax.imshow(sheet, **({"cmap": "gray_r"} | limits | look))
    if outline is not None:
        outline = np.asarray(outline, dtype=float)
        if outline.shape != (columns, 28, 28):
            raise ValueError(
                f"outlines [{columns}, 28, 28] are needed, not {list(outline.shape)}"
            )
        rims = _as_sheet(np.broadcast_to(outline, images.shape))
        ax.contour(rims, [rims.max() / 2], colors="#D55E00", linewidths=0.7)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    ax.set_yticks(30 * np.arange(rows) + 14.5, [_as_text(name) for name in names])
    ax.tick_params(length=0)
    return ax


def _as_sheet(images: np.ndarray) -> np.ndarray:
    """Return images [R, C, 28, 28] side by side [30 R, 30 C], each with a rim of 0."""
    framed = np.pad(images, [(0, 0), (0, 0), (1, 1), (1, 1)])
    rows, columns = images.shape[:2]
    return framed.transpose(0, 2, 1, 3).reshape(30 * rows, 30 * columns)


def image_map(
    ax: plt.Axes,
    points: npt.ArrayLike,
    images: npt.ArrayLike,
    digits: npt.ArrayLike,
    size: tuple[int, int] = (1300, 2000),
) -> plt.Axes:
    """Draw each uint8 image [N, 28, 28] at its point [N, 2], coloured by its digit.

    The canvas has `size` pixels, height and width, and the points are stretched to fill
    it. Where strokes cross, the colours multiply as ink does. Without axes, because the
    coordinates of such a map have no meaning. ValueError if the shapes differ.
    """
    points, images, digits = np.asarray(points), np.asarray(images), np.asarray(digits)
    if points.shape != (len(digits), 2) or images.shape != (len(digits), 28, 28):
        raise ValueError(
            "points [N, 2] and images [N, 28, 28] are needed for digits [N], not "
            f"{list(points.shape)}, {list(images.shape)} and {list(digits.shape)}"
        )
    height, width = size
    span = np.ptp(points, axis=0)
    share = (points - points.min(axis=0)) / np.where(span > 0, span, 1)  # 0..1
    corners = (share * [width - 28, height - 28]).astype(int)
    absorbed = 1 - np.array(plt.get_cmap("tab10").colors)  # type: ignore[attr-defined]
    canvas = np.ones((height, width, 3))
    for (x, y), image, digit in zip(corners, images, digits, strict=True):
        ink = image[:, :, None] / 255  # [28, 28, 1]
        canvas[y : y + 28, x : x + 28] *= 1 - ink * absorbed[digit]
    ax.imshow(canvas)
    ax.set_axis_off()
    return ax


def reliability(
    ax: plt.Axes, table: pd.DataFrame, color: str = BLUE, runs: str | None = None
) -> plt.Axes:
    """Draw accuracy against confidence: a dot per bin of calibration() that has images.

    Of one network, the bars are 95 % Wilson intervals of the accuracy. `runs`, a column
    such as "seed", draws each run as a thin line, and the dots are means over the runs.
    ValueError if the table lacks a column, or has no images.
    """
    check_columns(table, "n")
    table = table[table["n"] > 0]
    _check_drawable(table, "confidence", value="accuracy")
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    if runs is not None:
        _draw_each_run(ax, table, "confidence", "accuracy", runs, color)
        table = table.groupby("bin")[["confidence", "accuracy"]].mean()
    else:
        for row in table.itertuples():
            low, high = proportion_interval(round(row.accuracy * row.n), row.n)
            ax.vlines(row.confidence, low, high, color=color, linewidth=2)
    ax.plot(table["confidence"], table["accuracy"], "o", color=color)
    lowest = min(table["confidence"].min(), table["accuracy"].min())
    start = max(0, lowest - 0.1)
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(start, 1), ylim=(start, 1.02))
    ax.label_outer()
    return ax


def scatter_labelled(
    ax: plt.Axes,
    frame: pd.DataFrame,
    x: str,
    y: str,
    label: str,
    *,
    xlabel: str,
    ylabel: str,
    logx: bool = False,
) -> plt.Axes:
    """Draw a point per row, named by the column `label`.

    Columns low and high, if there are any, become vertical bars. The names keep off
    each other and off all points of the axes, those drawn before as well. ValueError
    for a frame without the columns or a finite `y`.
    """
    from adjustText import adjust_text

    _check_drawable(frame, x, label, value=y)

    if logx:
        ax.set_xscale("log")
    if {"low", "high"} <= set(frame.columns):
        ax.vlines(frame[x], frame["low"], frame["high"], color=LIGHT_BLUE, linewidth=2)
    ax.plot(frame[x], frame[y], "o", color="black")
    ax.margins(0.12)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    # Settle the layout first: only then do the names have an extent. The types allow
    # for a subfigure, which lacks this method; the course draws none.
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]
    names = [
        ax.text(at_x, at_y, _as_text(name), fontsize=9)
        for at_x, at_y, name in zip(frame[x], frame[y], frame[label], strict=True)
    ]
    points = np.concatenate([line.get_xydata() for line in ax.lines])  # [points, 2]
    # Limit the search by steps: the default limit, in seconds, would place the names
    # by the load of the machine.
    adjust_text(
        names,
        x=points[:, 0],
        y=points[:, 1],
        ax=ax,
        expand=(1.2, 2),
        arrowprops={"arrowstyle": "-", "linewidth": 0.7, "color": GREY},
        iter_lim=100,
    )
    return ax
