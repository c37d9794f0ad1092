"""The benchmark's arithmetic, and that what it compares is the same work."""

import pytest
import torch

from mnistkit.bench import rows, textbook, timing
from mnistkit.data import load_mnist, normalize


def test_ratios_are_taken_pair_by_pair(monkeypatch):
    seconds = iter([1.0, 2.0, 2.0, 2.0, 1.0, 4.0])  # ours, other, ours, other, ...
    monkeypatch.setattr(timing, "seconds_of", lambda work: next(seconds))
    row = timing.compare(lambda: None, lambda: None, pairs=3)
    assert row == {
        "ours_s": 1.0,
        "other_s": 2.0,
        "ratio": 2.0,
        "low": 1.0,
        "high": 4.0,
        "pairs": 3,
    }


def test_the_textbook_gets_the_same_images(tmp_path):
    mnist = load_mnist()
    dataset = textbook.torchvision_dataset(mnist, tmp_path)
    assert len(dataset) == len(mnist.train_images)
    for i in (0, 7, 59_999 % len(dataset)):
        image, label = dataset[i]
        torch.testing.assert_close(image, normalize(mnist.train_images[[i]])[0])
        assert label == mnist.train_labels[i]


@pytest.mark.parametrize("name", ["lenet", "small_resnet"])
def test_fit_and_the_textbook_loop_train_alike(tmp_path, name):
    """Mean loss of 40 steps. Rounding differs from the first step on, and training
    lets differences grow; in double precision they stay below 1e-7 per step."""
    mnist = load_mnist()
    dataset = textbook.torchvision_dataset(mnist, tmp_path)
    ours = rows.fit_epoch(mnist, name, 2560)
    theirs = textbook.textbook_epoch(dataset, name, 2560, mnist)
    assert ours == pytest.approx(theirs, rel=0.01) and 0.1 < ours < 2.3
