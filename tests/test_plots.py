"""What is drawn is what the frame says."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from mnistkit import plots
from mnistkit.models import MODELS
from mnistkit.report.chapter import use_style
from mnistkit.stats import calibration, summarize
from mnistkit.train import OPTIMIZERS


@pytest.fixture
def ax():
    with plt.style.context("default"):
        use_style()
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def history(groups, seeds=3):
    rows = [
        dict(epoch=epoch, name=name, seed=seed, loss=(i + 1) / epoch + 0.01 * seed)
        for i, name in enumerate(groups)
        for epoch in (1, 2, 3)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def draw(ax, frame, **options):
    """The curves of the loss, one per name."""
    labels = dict(xlabel="epoch", ylabel="loss")
    return plots.curves(ax, frame, "epoch", "loss", "name", **labels, **options)


def test_curves_draw_the_means(ax):
    frame = history(["sgd", "adam"])
    draw(ax, frame)
    for line, name in zip(ax.get_lines(), ("sgd", "adam"), strict=True):
        expected = frame[frame["name"] == name].groupby("epoch")["loss"].mean()
        assert line.get_label() == name
        assert line.get_ydata() == pytest.approx(expected.to_numpy())


def test_curves_draw_the_intervals(ax):
    frame = history(["sgd", "adam"])
    draw(ax, frame)
    table = summarize(frame, ["name", "epoch"], "loss")
    for band, name in zip(ax.collections, ("sgd", "adam"), strict=True):
        rows = table[table["name"] == name]
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx(
            (rows["low"].min(), rows["high"].max())
        )


def test_curves_without_repetition_have_no_band(ax):
    draw(ax, history(["sgd"], seeds=1))
    assert len(ax.collections) == 0


def test_the_legend_has_the_order_of_the_ends_of_the_lines(ax):
    draw(ax, history(["sgd", "adam"]))  # adam's loss is the larger one
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["adam", "sgd"]


def test_curves_without_labels_have_no_legend(ax):
    draw(ax, history(["sgd", "adam"]), labels=False)
    assert ax.get_legend() is None


def test_curves_name_the_axes_and_return_them(ax):
    assert draw(ax, history(["sgd"])) is ax
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")


EIGHT = [f"g{i}" for i in range(8)]


def test_groups_differ_in_more_than_colour(ax):
    draw(ax, history(EIGHT))
    lines = ax.get_lines()
    assert len({to_hex(line.get_color()) for line in lines}) == 8
    assert len({line.get_marker() for line in lines}) == 8


def test_a_ninth_group_is_refused(ax):
    with pytest.raises(ValueError, match="9 groups"):
        draw(ax, history([*EIGHT, "g8"]))


def test_order_keeps_a_group_its_style(ax):
    draw(ax, history(["high"]), order=["low", "high"])
    (line,) = ax.get_lines()
    assert line.get_marker() == plots.MARKERS[1]


@pytest.mark.parametrize("dtype", [float, object])
def test_a_group_whose_value_is_none_is_drawn(ax, dtype):
    """A frame of runs with clip_norm None and 1.0, say, holds nan and 1.0."""
    frame = history(["sgd", "adam"])
    values = frame["name"].map({"sgd": None, "adam": 1.0}).astype(dtype)
    draw(ax, frame.assign(name=values))
    assert [line.get_label() for line in ax.get_lines()] == ["None", "1"]
    assert ax.get_lines()[0].get_ydata() == pytest.approx([1.01, 0.51, 1 / 3 + 0.01])


def test_curves_over_texts(ax):
    frame = history(["sgd"]).replace({"epoch": {1: "a", 2: "b", 3: "c"}})
    draw(ax, frame)
    assert ax.get_lines()[0].get_ydata() == pytest.approx([1.01, 0.51, 1 / 3 + 0.01])
    ax.figure.draw_without_rendering()
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b", "c"]


def test_bands_stay_positive_on_a_log_axis(ax):
    frame = history(["sgd", "adam"])
    frame["loss"] -= 0.33  # the lower edges of the bands are below 0
    draw(ax, frame, log=True)
    assert ax.get_yscale() == "log"
    low = min(line.get_ydata().min() for line in ax.get_lines())
    for band in ax.collections:
        assert band.get_paths()[0].vertices[:, 1].min() >= 0.1 * low > 0


def test_curves_with_the_last_interval_only(ax):
    frame = history(["sgd", "adam"])
    draw(ax, frame, ends=True)
    table = summarize(frame[frame["epoch"] == 3], "name", "loss")
    for bar, row in zip(ax.collections, table.itertuples(), strict=True):
        assert bar.get_segments()[0] == pytest.approx(
            np.array([[3, row.low], [3, row.high]])
        )


def test_an_optimizer_looks_the_same_in_every_figure(ax):
    draw(ax, history(["nadam", "adam", "sgd"]))
    for line, name in zip(ax.get_lines(), ("nadam", "adam", "sgd"), strict=True):
        color, _, marker = plots.STYLES[name]
        assert (to_hex(line.get_color()).upper(), line.get_marker()) == (color, marker)


def test_an_optimizer_looks_the_same_by_its_name_in_words(ax):
    draw(ax, history(["NAdam", "SGD"]))
    colors = [to_hex(line.get_color()).upper() for line in ax.get_lines()]
    assert colors == [plots.STYLES[name][0] for name in ("nadam", "sgd")]
    assert [line.get_label() for line in ax.get_lines()] == ["NAdam", "SGD"]


def test_an_optimizer_of_ones_own_leaves_the_others_their_colours(ax):
    draw(ax, history(["sign", "adam", "sgd", "mine"]))
    colors = [to_hex(line.get_color()).upper() for line in ax.get_lines()]
    assert colors[1:3] == [plots.STYLES[name][0] for name in ("adam", "sgd")]
    assert len(set(colors)) == 4


def test_lines_are_drawn_in_matplotlibs_own_style_too():
    with plt.style.context("default"):
        _, ax = plt.subplots()
        draw(ax, history(["sign", "mine"]))
        assert [line.get_linestyle() for line in ax.get_lines()] == ["-", "-"]


@pytest.mark.parametrize("names", [OPTIMIZERS, MODELS])
def test_no_two_styles_are_alike(names):
    """Nor do two differ in colour alone, which a printer loses."""
    shapes = [plots.STYLES[name][1:] for name in names]
    assert len(set(map(str, shapes))) == len(names)


def test_each_run_is_a_thin_line(ax):
    draw(ax, history(["sgd", "adam"], seeds=2), runs="seed")
    assert not ax.collections
    mean, *runs = ax.get_lines()[:3]
    assert [run.get_ydata()[0] for run in runs] == [1.0, 1.01]
    assert mean.get_ydata()[0] == pytest.approx(1.005)
    assert {run.get_linewidth() for run in runs} == {0.6}


def test_names_at_the_ends_do_not_cover_each_other(ax):
    draw(ax, history(["sgd", "adam", "nadam"], seeds=1), labels="ends")
    assert ax.get_legend() is None
    assert [text.get_text() for text in ax.texts] == ["nadam", "adam", "sgd"]
    boxes = [text.get_window_extent() for text in ax.texts]
    assert boxes[0].y0 > boxes[1].y1 and boxes[1].y0 > boxes[2].y1
    assert all(box.x0 > ax.bbox.x1 for box in boxes)


def test_dots_stand_at_the_means(ax):
    table = summarize(history(["sgd", "adam"]), "name", "loss")
    plots.dots(ax, table, "name", xlabel="loss")
    assert ax.get_lines()[0].get_xdata() == pytest.approx(table["mean"])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["sgd", "adam"]


def test_dots_say_mean_and_n(ax):
    table = summarize(history(["sgd", "adam"]), "name", "loss")
    plots.dots(ax, table, "name", xlabel="loss")
    for text, mean in zip(ax.texts, table["mean"], strict=True):
        assert text.get_text() == f"{mean:#.4g}  n = 9"


def test_dots_without_a_mean_say_so(ax):
    table = summarize(pd.DataFrame({"name": ["bad"], "loss": [np.nan]}), "name", "loss")
    plots.dots(ax, table, "name", xlabel="loss")
    assert [text.get_text() for text in ax.texts] == ["no finite value  n = 0"]


@pytest.mark.parametrize("names", [["sgd", "adam"], ["SGD", "Adam"]])
def test_dots_show_each_run_in_the_colour_of_its_group(ax, names):
    frame = history(names)
    table = summarize(frame, "name", "loss")
    plots.dots(ax, table, "name", xlabel="loss", runs=frame, value="loss")
    runs_and_means = ax.get_lines()
    assert [len(line.get_xdata()) for line in runs_and_means] == [9, 1, 9, 1]
    colors = [line.get_color() for line in runs_and_means]
    assert colors == [plots.STYLES[name][0] for name in ("sgd", "sgd", "adam", "adam")]


def test_dots_on_a_logarithmic_axis_survive_an_interval_below_zero(ax):
    frame = pd.DataFrame({"name": ["sgd"] * 2, "loss": [1.0, 3.0]})
    table = summarize(frame, "name", "loss")
    assert table["low"][0] < 0
    plots.dots(ax, table, "name", xlabel="loss", runs=frame, value="loss", log=True)
    ax.figure.draw_without_rendering()
    left, right = ax.get_xlim()
    assert 0.2 < left < 0.5 and 10 < right < 30


def test_changes_go_from_before_to_after(ax):
    frame = pd.DataFrame({"old": [4.0, 2.0], "new": [1.5, 2.0]}, index=["Adam", "sgd"])
    plots.changes(ax, frame, "old", "new", xlabel="error (%)", notes={"sgd": "lr 0.1"})
    line, filled, hollow = ax.get_lines()[:3]
    assert list(line.get_xdata()) == [4.0, 1.5] and line.get_color() == "#D55E00"
    assert filled.get_xdata() == [1.5] and hollow.get_xdata() == [4.0]
    assert [text.get_text() for text in ax.texts] == ["", "lr 0.1"]


def test_heatmap_shows_numbers_and_leaves_gaps(ax):
    table = pd.DataFrame([[0.5, np.nan], [0.25, 0.125]], ["a", "b"], [0.01, 0.1])
    plots.heatmap(ax, table, fmt=".3f", label="accuracy")
    assert [text.get_text() for text in ax.texts] == ["0.500", "0.250", "0.125"]


def test_a_logarithmic_heatmap_gives_equal_ratios_equal_steps_of_colour(ax):
    plots.heatmap(ax, pd.DataFrame([[1.0, 10.0, 100.0, np.nan]]), log=True)
    scaled = ax.collections[0].norm(np.array([1, 10, 100])).tolist()
    assert scaled == pytest.approx([0, 0.5, 1])


def test_a_logarithmic_heatmap_refuses_a_zero(ax):
    with pytest.raises(ValueError, match="needs numbers above 0"):
        plots.heatmap(ax, pd.DataFrame([[1.0, 0.0]]), log=True)


def test_confusion_heatmap_colours_errors_only(ax):
    matrix = np.diag(np.full(10, 980))
    matrix[4, 9] = 7
    plots.confusion_heatmap(ax, matrix)
    assert ax.images[0].get_clim() == (0, 7)


def test_confusion_heatmap_writes_every_count_that_is_not_zero(ax):
    matrix = np.diag(np.full(10, 980))
    matrix[4, 9] = 7
    plots.confusion_heatmap(ax, matrix)
    texts = sorted(text.get_text() for text in ax.texts if text.get_text())
    assert texts == ["7"] + ["980"] * 10


def test_confusion_heatmap_has_the_true_digits_in_rows(ax):
    plots.confusion_heatmap(ax, np.diag(np.full(10, 980)))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted digit", "true digit")


def test_confusion_heatmaps_share_one_scale():
    large, small = np.diag(np.full(10, 980)), np.diag(np.full(10, 980))
    large[4, 9], small[4, 9] = 7, 3
    fig, axes = plt.subplots(2, 1, squeeze=False)
    plots.confusion_heatmaps(axes, {"large": large, "small": small})
    assert [ax.images[0].get_clim() for ax in axes.flat] == [(0, 7), (0, 7)]
    assert axes[1, 0].get_title() == "small: 3 errors in 9,803 answers"
    assert len(fig.axes) == 3  # two matrices, one colour bar
    plt.close(fig)


def test_by_digit_draws_means_and_runs_side_by_side(ax):
    frame = pd.DataFrame(
        [
            dict(digit=digit, optimizer=name, recall=0.1 * digit + 0.02 * seed)
            for name in ("sgd", "adam")
            for seed in (0, 1)
            for digit in (3, 5)
        ]
    )
    plots.by_digit(ax, frame, "recall", "optimizer", ylabel="recall")
    runs, means, *_ = ax.get_lines()
    assert means.get_ydata() == pytest.approx([0.31, 0.51])
    assert means.get_marker() == plots.STYLES["sgd"][2]
    assert runs.get_ydata() == pytest.approx([0.3, 0.5, 0.32, 0.52])
    assert runs.get_xdata() == pytest.approx([-0.2, 0.8, -0.2, 0.8])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["sgd", "adam"]


def test_a_digit_map_names_a_digit_of_two_groups_in_one_of_them(ax):
    points = np.array([[0, 0], [0, 1], [9, 0], [9, 1], [9, 2]])
    plots.digit_map(ax, points, [5] * 5)
    assert [text.get_position() for text in ax.texts] == [(9, 1)]


def test_a_digit_map_names_each_digit_at_its_median(ax):
    points = np.array([[0, 0], [2, 2], [1, 1], [5, 5]])
    marked = [False, False, False, True]
    plots.digit_map(ax, points, [3, 3, 3, 8], marked)
    assert {text.get_text(): text.get_position() for text in ax.texts} == {
        "3": (1, 1),
        "8": (5, 5),
    }
    assert ax.collections[1].get_offsets().tolist() == [[5, 5]]
    with pytest.raises(ValueError, match="points .N, 2. and digits"):
        plots.digit_map(ax, points, [3])


@pytest.fixture
def three():
    fig, axes = plt.subplots(1, 3)
    yield axes
    plt.close(fig)


def test_image_grid_shows_images_with_titles(three):
    images = np.zeros((3, 28, 28), np.uint8)
    images[1, 3, 4] = 255
    plots.image_grid(three, images, ["0", "1", "2"])
    assert [ax.get_title() for ax in three] == ["0", "1", "2"]
    for ax, image in zip(three, images, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), image)


def test_image_grid_leaves_spare_axes_blank(three):
    plots.image_grid(three, np.zeros((2, 28, 28), np.uint8))
    assert [len(ax.images) for ax in three] == [1, 1, 0]
    assert not three[2].axison


@pytest.mark.parametrize("images", [[], np.zeros((0, 28, 28))])
def test_without_images_all_axes_stay_blank(three, images):
    plots.image_grid(three, images)
    assert not any(ax.axison or ax.images for ax in three)


def test_image_grid_of_bytes_has_one_scale(three):
    """Else a faint image would look as dark as the others."""
    plots.image_grid(three, np.full((1, 28, 28), 9, np.uint8))
    assert three[0].images[0].get_clim() == (0, 255)


def test_more_images_than_axes_are_refused(three):
    with pytest.raises(ValueError, match="4 images"):
        plots.image_grid(three, np.zeros((4, 28, 28)))


def test_image_rows_lie_side_by_side_with_a_rim(ax):
    images = np.zeros((2, 3, 28, 28), np.uint8)
    images[1, 2, 0, 27] = 255
    plots.image_rows(ax, images, ["first", "second"])
    sheet = ax.images[0].get_array()
    assert sheet.shape == (60, 90)
    assert np.argwhere(sheet).tolist() == [[30 + 1, 60 + 28]]
    assert ax.images[0].get_clim() == (0, 255)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["first", "second"]


def test_image_rows_outline_each_column_in_each_row(ax):
    outline = np.zeros((3, 28, 28))
    outline[:, 10:18, 10:18] = 1
    plots.image_rows(ax, np.zeros((2, 3, 28, 28)), ["a", "b"], outline)
    (rims,) = ax.collections
    assert len(rims.get_paths()[0].to_polygons()) == 2 * 3


@pytest.mark.parametrize(
    ("shape", "names", "outline", "message"),
    [
        ((3, 28, 28), ["a"], None, "images .R, C, 28, 28. are needed"),
        ((2, 3, 28, 28), ["a"], None, "1 names for 2 rows"),
        ((1, 3, 28, 28), ["a"], np.zeros((2, 28, 28)), "outlines .3, 28, 28."),
    ],
)
def test_image_rows_refuse_other_shapes(ax, shape, names, outline, message):
    with pytest.raises(ValueError, match=message):
        plots.image_rows(ax, np.zeros(shape), names, outline)


def test_image_map_puts_each_image_at_its_point(ax):
    images = np.zeros((2, 28, 28), np.uint8)
    images[:, 0, 0] = 255
    plots.image_map(ax, [[0, 0], [9, 5]], images, [3, 7], size=(100, 200))
    canvas = np.asarray(ax.images[0].get_array())
    assert np.argwhere((canvas < 1).any(axis=2)).tolist() == [[0, 0], [72, 172]]
    colors = plt.get_cmap("tab10").colors
    assert canvas[0, 0] == pytest.approx(colors[3])
    assert canvas[72, 172] == pytest.approx(colors[7])


def test_strokes_that_cross_in_an_image_map_multiply(ax):
    images = np.full((2, 28, 28), 255, np.uint8)
    plots.image_map(ax, [[1, 1], [1, 1]], images, [0, 0], size=(40, 40))
    once = np.array(plt.get_cmap("tab10").colors[0])
    assert np.asarray(ax.images[0].get_array())[0, 0] == pytest.approx(once**2)


def test_image_map_refuses_points_without_images(ax):
    with pytest.raises(ValueError, match="are needed for digits"):
        plots.image_map(ax, np.zeros((2, 2)), np.zeros((3, 28, 28)), [1, 2])


def test_reliability_skips_empty_bins(ax):
    table = calibration([0.95, 0.95, 0.55], [True, False, True])
    plots.reliability(ax, table)
    assert ax.get_lines()[-1].get_xdata() == pytest.approx([0.55, 0.95])
    assert ax.get_lines()[-1].get_ydata() == pytest.approx([1.0, 0.5])


def test_reliability_of_several_runs_has_their_mean(ax):
    tables = [
        calibration([0.9, 0.9], [True, right]).assign(seed=seed)
        for seed, right in enumerate((True, False))
    ]
    plots.reliability(ax, pd.concat(tables), runs="seed")
    assert len(ax.get_lines()) == 4  # the diagonal, two runs, the mean
    assert ax.get_lines()[-1].get_ydata() == pytest.approx([0.75])


POINTS = pd.DataFrame({"x": [1, 10, 11], "y": [1.0, 2.0, 2.0], "name": list("abc")})


def scatter(ax):
    """The names that are drawn beside three points, of which two lie close together."""
    plots.scatter_labelled(
        ax, POINTS, "x", "y", "name", xlabel="", ylabel="", logx=True
    )
    return [text for text in ax.texts if text.get_text()]


def test_scatter_draws_every_point_on_a_log_axis(ax):
    scatter(ax)
    assert ax.get_xscale() == "log"
    assert ax.get_lines()[0].get_xydata().tolist() == POINTS[["x", "y"]].values.tolist()


def test_scatter_names_every_point(ax):
    assert [text.get_text() for text in scatter(ax)] == ["a", "b", "c"]


def test_scatter_keeps_the_names_apart(ax):
    _, b, c = [text.get_window_extent() for text in scatter(ax)]
    assert not b.overlaps(c)


TABLE = summarize(history(["sgd"]), "name", "loss")
XY = dict(xlabel="", ylabel="")
FRAME_PLOTS = {
    "curves": lambda ax, frame: plots.curves(ax, frame, "epoch", "loss", "name", **XY),
    "dots": lambda ax, frame: plots.dots(ax, frame, "name", xlabel=""),
    "reliability": plots.reliability,
    "scatter_labelled": lambda ax, frame: plots.scatter_labelled(
        ax, frame, "epoch", "loss", "name", **XY
    ),
}
FRAMES = {
    "curves": history(["sgd"]),
    "dots": TABLE,
    "reliability": calibration([0.9], [True]),
    "scatter_labelled": history(["sgd"]),
}


@pytest.mark.parametrize("plot", FRAME_PLOTS)
def test_a_frame_without_rows_is_refused(ax, plot):
    with pytest.raises(ValueError, match="there is no row of '.*' to draw"):
        FRAME_PLOTS[plot](ax, FRAMES[plot].iloc[:0])


@pytest.mark.parametrize("plot", FRAME_PLOTS)
def test_a_column_that_is_missing_is_named(ax, plot):
    last = FRAMES[plot].columns[-1]
    with pytest.raises(ValueError, match=f"no column '{last}' in the frame; it has"):
        FRAME_PLOTS[plot](ax, FRAMES[plot].drop(columns=last))


@pytest.mark.parametrize("value", [np.nan, "high"])
@pytest.mark.parametrize("plot", ["curves", "scatter_labelled"])
def test_a_figure_that_would_show_nothing_is_refused(ax, plot, value):
    frame = FRAMES[plot].assign(loss=value)
    with pytest.raises(ValueError, match="there is no finite value of 'loss' to draw"):
        FRAME_PLOTS[plot](ax, frame)


def test_a_log_axis_without_a_positive_value_is_refused(ax):
    with pytest.raises(ValueError, match="there is no 'loss' above 0 to draw"):
        draw(ax, history(["sgd"]).assign(loss=0.0), log=True)


@pytest.mark.parametrize("table", [[], [[np.nan, np.inf]]])
def test_a_heatmap_without_numbers_is_refused(ax, table):
    with pytest.raises(ValueError, match="there is no finite number"):
        plots.heatmap(ax, pd.DataFrame(table))


def test_a_group_that_the_order_lacks_is_named(ax):
    """It would not be drawn."""
    with pytest.raises(ValueError, match="order lacks 'adam', a value of name"):
        draw(ax, history(["sgd", "adam"]), order=["sgd"])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [(np.eye(10) / 3, "not shares"), (np.eye(3), r"not \[3, 3\]")],
)
def test_a_confusion_matrix_has_ten_rows_of_counts(ax, matrix, message):
    with pytest.raises(ValueError, match=message):
        plots.confusion_heatmap(ax, matrix)


@pytest.mark.parametrize("shape", [(28, 28), (2, 3, 28, 28)])
def test_images_of_another_shape_are_refused(three, shape):
    with pytest.raises(ValueError, match="28, 28. are needed, not"):
        plots.image_grid(three, np.zeros(shape))


def test_an_image_without_a_title_is_refused(three):
    with pytest.raises(ValueError, match="1 titles for 2 images"):
        plots.image_grid(three, np.zeros((2, 28, 28)), ["7"])
