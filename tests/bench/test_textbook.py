"""What `fit` is compared with: the tutorials' images, and a recipe that learns."""

import pytest
import torch

from mnistkit.bench import textbook
from mnistkit.data import normalize
from mnistkit.train import evaluate


def test_the_textbook_has_all_training_images(dataset, mnist):
    assert len(dataset) == len(mnist.train_images)


@pytest.mark.parametrize("index", [0, 7, -1])
def test_the_textbook_gets_the_same_images(dataset, mnist, index):
    index %= len(dataset)
    image, label = dataset[index]
    torch.testing.assert_close(image, normalize(mnist.train_images[[index]])[0])
    assert label == mnist.train_labels[index]


def test_the_recipe_repeats_itself(mnist):
    data = mnist.train_images[:512], mnist.train_labels[:512]
    first = textbook.train_recipe(*data, seed=1).state_dict()
    torch.rand(7)  # the global generator plays no part
    again = textbook.train_recipe(*data, seed=1).state_dict()
    for name, value in first.items():
        assert torch.equal(again[name], value), name


def test_the_recipe_learns(mnist):
    model = textbook.train_recipe(
        mnist.train_images[:2560], mnist.train_labels[:2560], seed=0
    )
    score = evaluate(model, mnist.test_images[:1000], mnist.test_labels[:1000])
    assert score["accuracy"] > 0.7  # after 10 steps
