"""What a network's diagram shows is what its layer table says."""

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_hex
from torch import nn
from torch.nn.functional import linear

from mnistkit.models import build_model, layer_table
from mnistkit.plots import GREY
from mnistkit.report.chapter import use_style
from mnistkit.report.diagrams import FILLS, draw_network


@pytest.fixture
def ax():
    with plt.style.context("default"):
        use_style()
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def texts(ax):
    return [text.get_text() for text in ax.texts]


every_network = pytest.mark.parametrize(
    "name", ["mlp", "lenet", "small_resnet", "resnet18"]
)
residual_networks = pytest.mark.parametrize(
    ("name", "blocks"), [("small_resnet", 2), ("wrn16_4", 6), ("resnet18", 8)]
)


@every_network
def test_the_numbers_of_parameters_add_up(ax, name):
    layers = layer_table(build_model(name))
    draw_network(ax, layers)
    counts = [text.get_text() for text in ax.texts if text.get_color() == GREY]
    total = sum(row["parameters"] for row in layers)
    assert sum(int(count.replace(",", "")) for count in counts) == total


@every_network
def test_the_title_has_the_total(ax, name):
    layers = layer_table(build_model(name))
    draw_network(ax, layers)
    total = sum(row["parameters"] for row in layers)
    assert f"{total:,} parameters" in ax.get_title(loc="left")


@every_network
def test_every_layer_with_weights_is_named(ax, name):
    layers = layer_table(build_model(name))
    draw_network(ax, layers)
    weighted = sum(row["kind"] in ("Conv2d", "Linear") for row in layers)
    assert sum("conv" in text or "linear" in text for text in texts(ax)) == weighted


def test_boxes_stand_in_the_order_of_execution(ax):
    draw_network(ax, layer_table(build_model("lenet")))
    assert "conv\nbatch norm\nReLU" in texts(ax)
    words = [text.split("\n")[0] for text in texts(ax)]
    kinds = [word for word in words if word in ("conv", "max pool", "linear")]
    conv_pool = ["conv", "max pool"]
    assert kinds == [*conv_pool, *conv_pool, "conv", "linear", "linear"]


def test_the_arrows_have_the_shapes_between_the_boxes(ax):
    """After the third convolution, which is flattened in its box, there are no maps."""
    draw_network(ax, layer_table(build_model("lenet")))
    sizes = [text for text in texts(ax) if "×" in text]
    assert sizes == ["28×28", "28×28", "14×14", "10×10", "5×5"]


@residual_networks
def test_every_residual_block_has_an_arc_over_its_layers(ax, name, blocks):
    """An arc has three corners: at the block's input, above it, above the addition."""
    draw_network(ax, layer_table(build_model(name)))
    arcs = [line.get_xydata() for line in ax.lines if len(line.get_xydata()) == 3]
    for (start, row), _, (end, _) in arcs:
        below = [
            to_hex(box.get_facecolor()).upper()
            for box in ax.patches
            if start < box.get_x() < end
            and box.get_y() < row < box.get_y() + box.get_height()
        ]
        assert below == [FILLS["conv"], FILLS["conv"], FILLS["add"]]
    assert len(arcs) == blocks


@pytest.mark.parametrize(
    ("name", "shortcuts"),
    [
        ("small_resnet", []),
        ("wrn16_4", ["1×1 conv"] * 3),  # its shortcuts have no batch norm
        ("resnet18", ["1×1 conv, batch norm"] * 3),
    ],
)
def test_the_layers_on_shortcuts_are_named_at_the_arcs(ax, name, shortcuts):
    draw_network(ax, layer_table(build_model(name)))
    assert [text for text in texts(ax) if text.startswith("1×1 ")] == shortcuts


@pytest.mark.parametrize(("width", "rows"), [(20, 1), (7, 2)])
def test_an_axes_alone_makes_its_figure_as_high_as_its_rows(width, rows):
    fig, ax = plt.subplots(figsize=(width, 4))
    draw_network(ax, layer_table(build_model("lenet")))
    assert fig.get_figheight() == pytest.approx(1.1 * rows + 0.4)
    plt.close(fig)


class Student(nn.Module):
    """Attention, a function, a layer without a shape, and names of residual blocks."""

    def __init__(self):
        super().__init__()
        self.address = nn.Conv2d(1, 32, 4, 4)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.shortcut = nn.Linear(32, 16)
        self.kernels = nn.Parameter(torch.zeros(10, 16))
        self.said = Said()

    def forward(self, x):
        x = self.address(x).flatten(2).transpose(1, 2)
        x, _ = self.attention(x, x, x)
        x = self.shortcut(x.mean(1))
        self.said(x)
        return linear(x, self.kernels)


class Said(nn.Module):
    def forward(self, x):
        return "nothing"


def test_the_network_of_a_student_is_drawn_with_all_its_layers(ax):
    draw_network(ax, layer_table(Student()))
    shown = [text for text in texts(ax) if text.strip()]
    for name in ("conv", "attention", "linear\nSaid", "Student"):
        assert name in shown
    assert ["544", "4,224", "528", "160"] == [
        text.get_text() for text in ax.texts if text.get_color() == GREY
    ]
    assert "49×32" not in shown  # a sequence of 49 vectors is no square map
    assert "5,456 parameters" in ax.get_title(loc="left")
