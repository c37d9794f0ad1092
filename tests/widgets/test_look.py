"""Patch times kernel and the feature maps; clicks are in tests/browser."""

import re
from decimal import Decimal

import numpy as np
import pytest
import torch
from torch import nn

from mnistkit import LookInside, build_model
from mnistkit.data import normalize


def as_floats(content):
    return torch.from_numpy(np.frombuffer(content, np.float32).copy())


# Without padding, with padding, and with a stride.
NETWORKS = {
    "small_resnet": lambda: build_model("small_resnet", seed=0),
    "lenet": lambda: build_model("lenet", seed=0),
    "strided": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 4, stride=3, padding=1, bias=False),
        nn.Flatten(),
        nn.LazyLinear(10),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_patch_times_kernel_plus_bias_is_the_value(name):
    look = LookInside(NETWORKS[name]())
    count, high, wide = look.layers[0]["shape"]
    for kernel in range(count):
        for place in ([0, 0], [0, wide - 1], [high // 2, 3], [high - 1, wide - 1]):
            look.kernel, look.place = kernel, place
            numbers = look.arithmetic()
            side = look.convolution["side"]
            assert numbers["patch"].shape == numbers["kernel"].shape == (side, side)
            total = (numbers["patch"] * numbers["kernel"]).sum() + numbers["bias"]
            assert total.item() == pytest.approx(numbers["value"], abs=1e-5)


def test_the_maps_are_those_of_the_network(mnist):
    network = build_model("small_resnet", seed=0).eval()
    look = LookInside(network, mnist.test_images[:3])
    look.set_state({"index": 2})  # as the browser does
    x = normalize(mnist.test_images[2:3])
    torch.testing.assert_close(as_floats(look.looked["image"]), x.flatten())
    with torch.no_grad():
        for layer, about, content in zip(
            network, look.layers, look.looked["maps"], strict=False
        ):
            x = layer(x)
            assert about["name"] == type(layer).__name__
            assert about["shape"] == list(x.shape[1:])
            torch.testing.assert_close(as_floats(content), x.flatten())
        logits = network(normalize(mnist.test_images[2:3]))
    assert look.looked["probabilities"] == pytest.approx(logits.softmax(1)[0].tolist())
    assert len(look.layers) == len(look.looked["maps"]) == 9


def test_the_network_is_left_as_it_is():
    network = build_model("lenet", seed=0).train()
    look = LookInside(network)
    before = look.words()
    assert network.training
    with torch.no_grad():
        network[0].weight.zero_()
    assert look.words() == before


def test_the_default_images_are_one_of_each_digit(mnist):
    look = LookInside(build_model("lenet", seed=0))
    assert len(look.thumbnails) == 10 * 784
    for digit in range(10):
        image = look.thumbnails[784 * digit : 784 * (digit + 1)]
        same = (mnist.test_images.flatten(1) == torch.tensor(list(image))).all(1)
        assert mnist.test_labels[same].tolist() == [digit]


def test_what_goes_wrong_is_shown(monkeypatch):
    look = LookInside(build_model("lenet", seed=0))
    monkeypatch.setattr(look, "look", lambda index: 1 / 0)
    look.set_state({"index": 1})
    assert look.problem == "ZeroDivisionError: division by zero"


def test_the_output_is_the_same_text_and_a_picture():
    data, metadata = LookInside(build_model("lenet", seed=0))._repr_mimebundle_()
    assert data["text/plain"].startswith("LookInside: look inside a network")
    assert data["image/png"].startswith(b"\x89PNG")
    assert "the products add up to" in metadata["image/png"]["alt"]


@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_of_the_sentence_add_up(seed):
    text = LookInside(build_model("lenet", seed=seed)).words().replace("−", "-")
    products, bias, value = map(Decimal, re.findall(r"-?\d+\.\d+", text))
    assert products + bias == value


@pytest.mark.parametrize(
    "network",
    [
        nn.Linear(784, 10),
        nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
        nn.Sequential(nn.Conv2d(1, 4, (3, 5))),
        nn.Sequential(nn.Conv2d(1, 4, 3, padding="same")),
    ],
)
def test_a_network_that_begins_with_a_convolution_is_needed(network):
    with pytest.raises(ValueError, match="Sequential|Conv2d|square"):
        LookInside(network)
