"""Layer tables of what students may write, against numbers counted by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnistkit.layers import count_macs, count_params, layer_table


class Attention(nn.Module):
    """49 patches of 4x4 pixels attend to each other."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 4, 4)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.logits = nn.Linear(32, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)  # [B, 49, 32]
        x, weights = self.attention(x, x, x)
        return self.logits(x.mean(1))


class Recurrent(nn.Module):
    """A GRU or an LSTM reads the image row by row."""

    def __init__(self, kind=nn.GRU, batch_first=True):
        super().__init__()
        self.rows = kind(28, 32, batch_first=batch_first)
        self.logits = nn.Linear(32, 10)

    def forward(self, x):
        rows = x[:, 0] if self.rows.batch_first else x[:, 0].transpose(0, 1)
        states, last = self.rows(rows)
        end = states[:, -1] if self.rows.batch_first else states[-1]
        return self.logits(end)


class Functional(nn.Module):
    """A convolution that is a function and a weight instead of a layer."""

    def __init__(self):
        super().__init__()
        self.kernels = nn.Parameter(torch.zeros(8, 1, 3, 3))
        self.logits = nn.Linear(8 * 26 * 26, 10)

    def forward(self, x):
        return self.logits(F.conv2d(x, self.kernels).relu().flatten(1))


class Shaded(nn.Module):
    """A tensor named `p` that is no buffer, and a branch that depends on values."""

    def __init__(self):
        super().__init__()
        self.p = torch.linspace(0, 1, 28)
        self.rows = nn.LSTM(28, 32, batch_first=True)
        self.logits = nn.Linear(32, 10)

    def forward(self, x):
        x = x[:, 0] * self.p
        if x.sum() < 0:
            x = -x
        return self.logits(self.rows(x)[0][:, -1])


def upsampling():
    """Maps are halved by a convolution, and doubled by a transposed one."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ConvTranspose2d(8, 4, 2, 2), nn.Flatten()
    )


PATCHES = 49 * 32 * 16
QUERIES_KEYS_VALUES, SCORES = 49 * 32 * 96, 4 * 49 * 49 * 8
ATTENTION = QUERIES_KEYS_VALUES + 2 * SCORES + 49 * 32 * 32
students = pytest.mark.parametrize(
    ("network", "parameters", "macs"),
    [
        (
            Attention,
            32 * 17 + 96 * 33 + 32 * 33 + 10 * 33,
            PATCHES + ATTENTION + 320,
        ),
        (Recurrent, 96 * (28 + 32 + 2) + 330, 28 * 96 * (28 + 32) + 320),
        (Functional, 72 + 10 * (8 * 676 + 1), 676 * 72 + 10 * 8 * 676),
        (Shaded, 128 * (28 + 32 + 2) + 330, 28 * 128 * (28 + 32) + 320),
        (upsampling, 8 * 10 + 8 * 4 * 4 + 4, 196 * 72 + 196 * 8 * 16),
    ],
)


@students
@pytest.mark.parametrize("is_training", [True, False])
def test_counts(network, parameters, macs, is_training):
    model = network().train(is_training)
    assert (count_params(model), count_macs(model)) == (parameters, macs)


@students
def test_the_rows_have_every_parameter(network, parameters, macs):
    assert sum(row["parameters"] for row in layer_table(network())) == parameters


def test_attention_is_one_row_with_its_own_weights():
    patches, attention, logits = layer_table(Attention())
    assert attention == {
        "layer": "attention",
        "kind": "MultiheadAttention",
        "output": (49, 32),
        "parameters": 96 * 33 + 32 * 33,
        "macs": ATTENTION,
    }
    assert (patches["macs"], logits["macs"]) == (PATCHES, 320)


def test_functions_belong_to_the_module_that_calls_them():
    logits, network = layer_table(Functional())
    assert (logits["kind"], logits["parameters"]) == ("Linear", 54_090)
    assert (network["layer"], network["kind"]) == ("", "Functional")
    assert (network["parameters"], network["macs"]) == (72, 676 * 72)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_recurrent_layer_gives_a_vector_for_each_row(batch_first):
    rows, _ = layer_table(Recurrent(batch_first=batch_first))
    assert rows["output"] == (28, 32)


def test_a_layer_used_twice_has_its_parameters_once():
    layer = nn.Linear(784, 784)
    model = nn.Sequential(nn.Flatten(), layer, layer)
    linear = layer_table(model)[1:]
    assert [row["macs"] for row in linear] == [784**2, 784**2]
    assert [row["parameters"] for row in linear] == [784 * 785, 0]


def test_layers_that_no_image_passes_through_are_counted_with_their_network():
    model = Recurrent()
    model.unused = nn.Linear(5, 5)
    assert [row["parameters"] for row in layer_table(model)] == [5952, 330, 30]


def test_a_computed_copy_leaves_weights_and_randomness_alone():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(1), Twice())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    count_macs(model)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


class Twice(nn.Module):
    """Computes with a tensor that has values."""

    def __init__(self):
        super().__init__()
        self.twice = torch.tensor(2.0)
        self.logits = nn.Linear(784, 10)

    def forward(self, x):
        return self.logits(x * self.twice.item() * self.twice)


def test_the_error_of_a_network_is_its_own():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied|size mismatch"):
        layer_table(nn.Sequential(nn.Flatten(), nn.Linear(783, 10)))
