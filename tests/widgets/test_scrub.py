"""The epochs of a training under a slider; the slider itself is in tests/browser."""

import numpy as np
import pytest
import torch
from torch import nn

from mnistkit import Batches, ScrubTime, fit, predict
from mnistkit.data import subset
from mnistkit.widgets.scrub import FILTERS, FOLLOWED, TESTED, snapshot


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))


@pytest.fixture(scope="module")
def trained(mnist):
    """A network, its snapshots, and its logits for the tested images at each."""
    model = small()
    batches = Batches(mnist.train_images[:640], mnist.train_labels[:640])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    index = subset(mnist.test_labels, TESTED)
    snapshots = [snapshot(model)]
    answers = [predict(model, mnist.test_images[index])]
    for _ in fit(model, batches, optimizer, epochs=3):
        snapshots.append(snapshot(model))
        answers.append(predict(model, mnist.test_images[index]))
    return model, snapshots, torch.stack(answers)


@pytest.fixture
def scrub(trained):
    return ScrubTime(*trained[:2])


def test_each_epoch_is_what_the_network_was(scrub, trained, mnist):
    _, _, logits = trained
    index = subset(mnist.test_labels, TESTED)
    labels = mnist.test_labels[index]
    for epoch, answers in enumerate(logits.argmax(2)):
        matrix = np.array(scrub.matrices[epoch])
        assert matrix.sum() == len(labels)
        right = (answers == labels).double().mean().item()
        assert scrub.accuracies[epoch] == pytest.approx(right)
        assert matrix.trace() / matrix.sum() == pytest.approx(right)
    assert scrub.accuracies[0] < 0.3 < 0.6 < scrub.accuracies[-1]


def test_the_images_that_are_followed_change_most(scrub, trained, mnist):
    logits = trained[2]
    index = subset(mnist.test_labels, TESTED).tolist()
    answers = logits.argmax(2)
    changes = (answers[1:] != answers[:-1]).sum(0)
    followed = [index.index(image["index"]) for image in scrub.images]
    assert len(followed) == FOLLOWED
    others = [i for i in range(len(index)) if i not in followed]
    assert changes[followed].min() >= changes[others].max()
    for position, image in zip(followed, scrub.images, strict=True):
        shares = torch.tensor(image["probabilities"])
        torch.testing.assert_close(shares, logits[:, position].softmax(1))
        assert image["label"] == mnist.test_labels[image["index"]]


def test_the_filters_are_those_of_the_snapshots(scrub, trained):
    shape = scrub.filters["shape"]
    assert shape == [4, FILTERS, 28, 28]
    values = np.frombuffer(scrub.filters["values"], np.float32).reshape(shape)
    for epoch, state in enumerate(trained[1]):
        expected = state["1.weight"][:FILTERS].view(-1, 28, 28)
        assert np.array_equal(values[epoch], expected.numpy())
    assert not np.array_equal(values[0], values[1])


def test_what_is_sent_is_below_a_megabyte(scrub):
    pixels = sum(len(image["pixels"]) for image in scrub.images)
    assert len(scrub.filters["values"]) + pixels < 1_000_000


def test_the_words_follow_the_slider(scrub):
    scrub.set_state({"epoch": 0})  # as the browser does
    assert scrub.words().startswith("Before the training")
    scrub.set_state({"epoch": 2, "index": 1})
    assert scrub.words().startswith("After epoch 2 ")
    assert f"the {scrub.images[1]['label']} is read as" in scrub.words()
    data, metadata = scrub._repr_mimebundle_()
    assert data["text/plain"].startswith("ScrubTime: move through the epochs")
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"]["alt"] == scrub.words()


def test_a_network_and_its_snapshots_are_needed(trained):
    model, snapshots, _ = trained
    with pytest.raises(ValueError, match="snapshots are needed"):
        ScrubTime(model, snapshots[:1])
    other = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))
    with pytest.raises(ValueError, match="one channel"):
        ScrubTime(other, [snapshot(other)] * 2)
