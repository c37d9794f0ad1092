"""The fast recipe: its filters whiten, its first layer stays, and it learns."""

import pytest
import torch

from mnistkit.bench.speedrun import network, principal_filters, train_fast
from mnistkit.data import normalize
from mnistkit.train import evaluate


@pytest.fixture(scope="module")
def maps(mnist):
    """What the 16 filters make of the images from which they were computed."""
    images = mnist.train_images[:200]
    weights, biases = principal_filters(images, eps=1e-6)
    return torch.nn.functional.conv2d(normalize(images), weights, biases, stride=2)


def test_filters_whiten_the_patches(maps):
    """Outputs have mean 0, no correlation, and variance v / (v + eps), below 1."""
    values = maps[:, :8].transpose(0, 1).flatten(1)
    torch.testing.assert_close(values.mean(1), torch.zeros(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(values.cov(), torch.eye(8), atol=0.01, rtol=0)


def test_each_filter_comes_with_both_signs(maps):
    torch.testing.assert_close(maps[:, 8:], -maps[:, :8], atol=1e-4, rtol=0)


def test_it_repeats_itself(mnist):
    data = mnist.train_images[:512], mnist.train_labels[:512]
    first = train_fast(*data, seed=1).state_dict()
    torch.rand(7)  # the global generator plays no part
    again = train_fast(*data, seed=1).state_dict()
    for name, value in first.items():
        assert torch.equal(again[name], value), name


def test_the_first_layer_is_not_trained(mnist):
    images, labels = mnist.train_images[:512], mnist.train_labels[:512]
    trained = train_fast(images, labels)
    assert torch.equal(trained[0].weight, network(images)[0].weight)


def test_it_learns(mnist):
    """31 steps of 256 images."""
    model = train_fast(mnist.train_images[:8000], mnist.train_labels[:8000], seed=1)
    score = evaluate(model, mnist.test_images[:1000], mnist.test_labels[:1000])
    assert score["accuracy"] > 0.95


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(ValueError, match="batch_size"):
        train_fast(torch.zeros(200, 28, 28, dtype=torch.uint8), torch.zeros(200).long())
