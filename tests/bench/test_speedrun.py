"""The fast recipe: its filters whiten, its first layer stays, and it learns."""

import pytest
import torch

from mnistkit.bench.speedrun import network, principal_filters, train_fast
from mnistkit.data import normalize
from mnistkit.train import evaluate


def test_filters_whiten_the_patches(mnist):
    """Outputs have mean 0, no correlation, and variance v / (v + eps), below 1."""
    images = mnist.train_images[:200]
    weights, biases = principal_filters(images, eps=1e-6)
    maps = torch.nn.functional.conv2d(normalize(images), weights, biases, stride=2)
    values = maps[:, :8].transpose(0, 1).flatten(1)
    torch.testing.assert_close(values.mean(1), torch.zeros(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(values.cov(), torch.eye(8), atol=0.01, rtol=0)
    torch.testing.assert_close(maps[:, 8:], -maps[:, :8], atol=1e-4, rtol=0)


def test_it_learns_and_repeats_itself(mnist):
    data = mnist.train_images[:4000], mnist.train_labels[:4000]
    first, again = train_fast(*data, seed=1), train_fast(*data, seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    start = network(data[0][:1000])
    assert torch.equal(start[0].weight, first[0].weight)  # not trained
    test = mnist.test_images[:1000], mnist.test_labels[:1000]
    assert evaluate(first, *test)["accuracy"] > 0.9 > evaluate(start, *test)["accuracy"]


def test_a_batch_more_than_there_is():
    with pytest.raises(ValueError, match="batch_size"):
        train_fast(torch.zeros(200, 28, 28, dtype=torch.uint8), torch.zeros(200).long())
