"""The kernel's side of the drawing widget; its browser's side is in tests/browser."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mnistkit import build_model
from mnistkit.train import predict
from mnistkit.widgets.draw import CANVAS, INPUTS, SHOWN, DrawADigit, small_digit


@pytest.fixture(scope="module")
def networks():
    """Two networks as they start: what they read is arbitrary and always the same."""
    return {name: build_model(name, seed=0) for name in ("mlp", "lenet")}


@pytest.fixture
def pad(networks):
    return DrawADigit(networks)


def draw(pad, ink):
    """Do what the browser does when the pen is lifted."""
    pad.set_state(
        {
            "ink": memoryview((255 * ink).astype(np.uint8).tobytes()),
            "asked": pad.asked + 1,
        }
    )


def test_before_a_drawing_there_is_nothing_to_read(pad):
    assert pad.image is None and pad.reading == {}
    assert pad.network == "lenet" and pad.names == ["mlp", "lenet"]


def test_a_drawing_is_read_by_all_networks_as_they_would_read_the_image(pad, networks):
    draw(pad, small_digit())
    assert pad.problem == ""
    for given in INPUTS:
        pad.given = given
        for name, network in networks.items():
            row = predict(network, pad.image[None]).softmax(1)[0]
            shown = pad.reading["probabilities"][name][given]
            assert torch.allclose(torch.tensor(shown), row, atol=1e-5)


def test_the_three_inputs_are_made_of_the_same_drawing(pad):
    ink = np.zeros((CANVAS, CANVAS))
    ink[20:140, 30:50] = 1  # a bar, 12 x 2 pixels of the small image
    draw(pad, ink)
    images = {}
    for given in INPUTS:
        pad.given = given
        images[given] = pad.image
    assert images["inverted"].sum() == 24 * 255
    assert (images["inverted"][2:14, 3:5] == 255).all()
    assert (images["raw"] == 255 - images["inverted"]).all()
    rows, columns = images["prepared"].nonzero().T
    # Its middle, 9.5 rows and 1 column from its corner, is moved to 13.5 and 14.
    assert (rows.min(), rows.max()) == (4, 23)
    assert (columns.min(), columns.max()) == (13, 15)


def test_an_image_of_the_training_data_is_next_to_itself(pad, mnist):
    index = 17
    image = pad._images[index]
    ink = np.kron(image.numpy() / 255, np.ones((10, 10)))
    draw(pad, ink)
    nearest = pad.reading["nearest"]["inverted"]
    assert len(nearest) == SHOWN
    assert nearest[0]["pixels"] == image.numpy().tobytes()
    assert nearest[0]["label"] == pad._labels[index]


def test_a_cleared_drawing_is_answered_too(pad):
    draw(pad, small_digit())
    draw(pad, np.zeros((CANVAS, CANVAS)))
    assert pad.reading == {"asked": 2} and pad.image is None


def test_what_goes_wrong_is_shown(pad, monkeypatch):
    def fail(ink):
        raise RuntimeError("out of ink")

    monkeypatch.setattr(pad, "read", fail)
    draw(pad, small_digit())
    assert pad.problem == "RuntimeError: out of ink"
    assert pad.reading == {"asked": 1}
    monkeypatch.undo()
    draw(pad, small_digit())
    assert pad.problem == ""


def test_the_output_is_the_same_text_and_a_picture(networks):
    outputs = [DrawADigit(networks)._repr_mimebundle_() for _ in range(2)]
    texts = {data["text/plain"] for data, _ in outputs}
    assert texts == {
        "DrawADigit: draw a digit, and see what the networks read "
        "(run the cell to use it)"
    }
    (data, metadata), (again, _) = outputs
    assert data["image/png"] == again["image/png"]
    assert Image.open(io.BytesIO(data["image/png"])).size == (1520, 660)
    assert "application/vnd.jupyter.widget-view+json" in data
    assert metadata["image/png"]["width"] == 760
    assert "given prepared, " in metadata["image/png"]["alt"]


def test_a_still_that_fails_leaves_the_widget(pad, monkeypatch):
    monkeypatch.setattr(pad, "picture", lambda: 1 / 0)
    with pytest.warns(UserWarning, match="has no still: division by zero"):
        data, _ = pad._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data


def test_networks_are_needed():
    with pytest.raises(ValueError, match="a network is needed"):
        DrawADigit([])
