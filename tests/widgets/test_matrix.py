"""The images behind a cell of a confusion matrix; clicks are in tests/browser."""

import dataclasses

import numpy as np
import pytest

from mnistkit import ReadTheMatrix, Run
from mnistkit.runs import Record
from mnistkit.stats import confusion
from mnistkit.widgets.matrix import SHOWN


def record(mnist, seed=0, **settings):
    """A record of arbitrary answers: six of ten are right."""
    run = Run(seed=seed, eval_size=1000, **settings)
    random = np.random.default_rng(seed)
    n = 1000
    made = Record(run, {"status": "ok"}, [], np.zeros(n), *[np.zeros(n)] * 2, {}, {})
    labels = made.labels(mnist)
    made.predictions = np.where(
        random.random(n) < 0.6, labels, random.integers(10, size=n)
    ).astype(np.uint8)
    made.confidence = random.uniform(0.5, 1, n).astype(np.float16)
    is_right = made.predictions == labels
    made.p_true = np.where(is_right, made.confidence, 1 - made.confidence)
    return made


@pytest.fixture
def records(mnist):
    return [
        record(mnist, seed, optimizer=name)
        for name in ("sgd", "adam")
        for seed in (0, 1)
    ]


def test_a_cell_has_the_images_that_it_counts(records, mnist):
    widget = ReadTheMatrix(records)
    labels = mnist.test_labels.numpy()
    index = records[0].test_index(mnist).numpy()
    for optimizer, seed, chosen in (("sgd", 0, records[0]), ("adam", 1, records[3])):
        widget.set_state({"optimizer": optimizer, "seed": seed})  # as the browser does
        matrix = confusion(labels[index], chosen.predictions)
        assert widget.shown["matrix"] == matrix.tolist()
        for cell in ([4, 9], [9, 4], [3, 3]):
            widget.set_state({"cell": cell})
            assert widget.shown["count"] == len(widget.indices) == matrix[*cell]
            answers = chosen.predictions[np.isin(index, widget.indices)]
            assert set(labels[widget.indices]) == {cell[0]}
            assert set(answers) == {cell[1]}


def test_an_image_has_its_own_pixels_and_probabilities(records, mnist):
    widget = ReadTheMatrix(records, cell=(2, 7))
    index = records[0].test_index(mnist).tolist()
    assert widget.shown["images"]
    for image in widget.shown["images"]:
        pixels = mnist.test_images[image["index"]].numpy().tobytes()
        assert image["pixels"] == pixels
        position = index.index(image["index"])
        assert image["confidence"] == records[0].confidence[position]
        assert image["p_true"] == records[0].p_true[position]


def test_errors_begin_with_the_surest_and_right_answers_with_the_least_sure(records):
    widget = ReadTheMatrix(records, cell=(4, 9))
    sure = [image["confidence"] for image in widget.shown["images"]]
    assert sure == sorted(sure, reverse=True) and len(sure) > 1
    widget.cell = [4, 4]
    sure = [image["confidence"] for image in widget.shown["images"]]
    assert sure == sorted(sure) and len(sure) == SHOWN < widget.shown["count"]


def test_the_first_cell_is_the_most_frequent_error(records):
    widget = ReadTheMatrix(records)
    errors = np.array(widget.shown["matrix"])
    np.fill_diagonal(errors, 0)
    assert errors[*widget.cell] == errors.max() > 0


def test_an_empty_cell_is_empty(records, mnist):
    labels = records[0].labels(mnist)
    records[0].predictions = labels.astype(np.uint8)
    widget = ReadTheMatrix(records, cell=(0, 1))
    assert widget.shown["count"] == 0 and widget.shown["images"] == []
    assert "reads 0 images of a 0 as 1" in widget.picture()[1]


def test_a_run_that_is_not_there_is_named(records):
    widget = ReadTheMatrix(records[:3])
    widget.set_state({"optimizer": "adam", "seed": 1})
    assert widget.problem == "ValueError: no run of lenet, adam, seed 1"
    assert widget.shown["matrix"] is None
    widget.set_state({"seed": 0})
    assert widget.problem == "" and widget.shown["matrix"]


def test_the_output_is_the_same_text_and_a_picture(records):
    data, metadata = ReadTheMatrix(records, cell=(4, 9))._repr_mimebundle_()
    assert data["text/plain"].startswith("ReadTheMatrix: click a cell")
    assert data["image/png"].startswith(b"\x89PNG")
    assert "images of a 4 as 9" in metadata["image/png"]["alt"]


def test_records_that_do_not_go_together_are_refused(records, mnist):
    with pytest.raises(ValueError, match="records are needed"):
        ReadTheMatrix([])
    with pytest.raises(ValueError, match="two records"):
        ReadTheMatrix([records[0], records[0]])
    other = dataclasses.replace(records[1], predictions=records[1].predictions[:10])
    with pytest.raises(ValueError, match="same images"):
        ReadTheMatrix([records[0], other])
    diverged = dataclasses.replace(records[1], summary={"status": "diverged"})
    with pytest.raises(ValueError, match="diverged"):
        ReadTheMatrix([diverged])
