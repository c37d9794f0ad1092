"""What is drawn is what the frame says."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from mnistkit import plots
from mnistkit.models import build_model, layer_table
from mnistkit.report import diagrams
from mnistkit.report.chapter import use_style
from mnistkit.stats import calibration, summarize


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


def test_curves_draw_means_and_bands(ax):
    frame = history(["sgd", "adam"])
    labels = dict(xlabel="epoch", ylabel="loss")
    assert plots.curves(ax, frame, "epoch", "loss", "name", **labels) is ax
    for line, name in zip(ax.get_lines(), ("sgd", "adam"), strict=True):
        expected = frame[frame["name"] == name].groupby("epoch")["loss"].mean()
        assert line.get_label() == name
        assert line.get_ydata() == pytest.approx(expected.to_numpy())
    assert len(ax.collections) == 2  # the intervals
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["adam", "sgd"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")


def test_curves_without_repetition_have_no_band(ax):
    frame = history(["sgd"], seeds=1)
    plots.curves(ax, frame, "epoch", "loss", "name", xlabel="", ylabel="")
    assert len(ax.collections) == 0


def test_groups_differ_in_more_than_colour(ax):
    names = [f"g{i}" for i in range(8)]
    plots.curves(ax, history(names), "epoch", "loss", "name", xlabel="", ylabel="")
    lines = ax.get_lines()
    assert len({to_hex(line.get_color()) for line in lines}) == 8
    assert len({(line.get_marker(), str(line._dash_pattern)) for line in lines}) == 8
    with pytest.raises(ValueError, match="9 groups"):
        plots.curves(
            ax, history([*names, "g8"]), "epoch", "loss", "name", xlabel="", ylabel=""
        )


def test_order_keeps_a_group_its_style(ax):
    frame, order = history(["adam"]), ["sgd", "adam"]
    plots.curves(ax, frame, "epoch", "loss", "name", xlabel="", ylabel="", order=order)
    (line,) = ax.get_lines()
    assert line.get_marker() == plots.MARKERS[1]


def test_curves_on_a_log_axis(ax):
    frame = history(["sgd", "adam"])
    frame["loss"] -= 0.33  # the lower edges of the bands are below 0
    labels = dict(xlabel="epoch", ylabel="loss")
    plots.curves(ax, frame, "epoch", "loss", "name", log=True, **labels)
    assert ax.get_yscale() == "log"
    low = min(line.get_ydata().min() for line in ax.get_lines())
    for band in ax.collections:
        assert band.get_paths()[0].vertices[:, 1].min() >= 0.1 * low > 0


def test_curves_with_the_last_interval_only(ax):
    frame = history(["sgd", "adam"])
    labels = dict(xlabel="epoch", ylabel="loss")
    plots.curves(ax, frame, "epoch", "loss", "name", ends=True, **labels)
    table = summarize(frame[frame["epoch"] == 3], "name", "loss")
    for bar, row in zip(ax.collections, table.itertuples(), strict=True):
        assert bar.get_segments()[0] == pytest.approx(
            np.array([[3, row.low], [3, row.high]])
        )


def test_dots(ax):
    table = summarize(history(["sgd", "adam"]), "name", "loss")
    plots.dots(ax, table, "name", xlabel="loss")
    assert ax.get_lines()[0].get_xdata() == pytest.approx(table["mean"])
    texts = [text.get_text() for text in ax.texts]
    assert texts[0].startswith(f"{table['mean'][0]:.4g}") and "n = 9" in texts[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["sgd", "adam"]


def test_heatmap_shows_numbers_and_leaves_gaps(ax):
    table = pd.DataFrame([[0.5, np.nan], [0.25, 0.125]], ["a", "b"], [0.01, 0.1])
    plots.heatmap(ax, table, fmt=".3f", label="accuracy")
    assert [text.get_text() for text in ax.texts] == ["0.500", "0.250", "0.125"]


def test_confusion_heatmap_colours_errors_only(ax):
    matrix = np.diag(np.full(10, 980))
    matrix[4, 9] = 7
    plots.confusion_heatmap(ax, matrix)
    assert ax.images[0].get_clim() == (0, 7)
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("980") == 10 and texts.count("7") == 1
    assert "predicted" in ax.get_xlabel() and "true" in ax.get_ylabel()


def test_image_grid():
    fig, axes = plt.subplots(1, 3)
    images = np.zeros((2, 28, 28), np.uint8)
    images[1, 3, 4] = 255
    plots.image_grid(axes, images, ["0", "1"])
    assert [ax.get_title() for ax in axes] == ["0", "1", ""]
    assert (axes[1].images[0].get_array() == images[1]).all()
    with pytest.raises(ValueError, match="4 images"):
        plots.image_grid(axes, np.zeros((4, 28, 28)))
    plt.close(fig)


def test_reliability_skips_empty_bins(ax):
    table = calibration([0.95, 0.95, 0.55], [True, False, True])
    plots.reliability(ax, table)
    assert ax.get_lines()[-1].get_xdata() == pytest.approx([0.55, 0.95])
    assert ax.get_lines()[-1].get_ydata() == pytest.approx([1.0, 0.5])


def test_scatter_names_every_point(ax):
    frame = pd.DataFrame({"x": [1, 10, 11], "y": [1.0, 2.0, 2.0], "name": list("abc")})
    plots.scatter_labelled(ax, frame, "x", "y", "name", xlabel="", ylabel="", logx=True)
    assert ax.get_xscale() == "log"
    assert [t.get_text() for t in ax.texts if t.get_text()] == ["a", "b", "c"]
    boxes = [t.get_window_extent() for t in ax.texts if t.get_text()]
    assert not boxes[1].overlaps(boxes[2])


@pytest.mark.parametrize("name", ["mlp", "lenet", "small_resnet", "resnet18"])
def test_draw_network_shows_every_parameter(ax, name):
    layers = layer_table(build_model(name))
    diagrams.draw_network(ax, layers)
    kinds = [text.get_text() for text in ax.texts]
    counts = [t.get_text() for t in ax.texts if t.get_color() == plots.GREY]
    total = sum(row["parameters"] for row in layers)
    assert sum(int(count.replace(",", "")) for count in counts) == total
    assert f"{total:,} parameters" in ax.get_title(loc="left")
    weighted = sum(row["kind"] in ("Conv2d", "Linear") for row in layers)
    assert sum("conv" in kind or "linear" in kind for kind in kinds) == weighted


@pytest.mark.parametrize(
    "name, blocks, shortcuts",
    [
        ("small_resnet", 2, []),
        ("wrn16_4", 6, ["1×1 conv"] * 3),  # R4-E4: no batch norm there
        ("resnet18", 8, ["1×1 conv, batch norm"] * 3),
    ],
)
def test_draw_network_keeps_shortcuts_off_the_main_path(ax, name, blocks, shortcuts):
    layers = layer_table(build_model(name))
    boxes = diagrams._boxes(layers)
    ends = [number for number, box in enumerate(boxes) if "start" in box]
    assert len(ends) == blocks
    for end in ends:
        path = [box["kind"] for box in boxes[boxes[end]["start"] : end + 1]]
        assert path == ["conv", "conv", "add"]
    diagrams.draw_network(ax, layers)
    texts = [text.get_text() for text in ax.texts]
    assert [text for text in texts if text.startswith("1×1 ")] == shortcuts
