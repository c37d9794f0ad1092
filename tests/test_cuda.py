"""Every tensor is on the GPU that should be, tried without one.

Fake tensors have a device, a type and a shape, but no values; torch refuses operations
that mix devices. Their backward pass does not run on a machine without a GPU: the
tests stop at the loss.
"""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mnistkit import data, steps
from mnistkit.data import Batches
from mnistkit.models import MODELS
from mnistkit.train import LOSSES, predict

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Labels have no values that a check could read; without a GPU none is current."""
    monkeypatch.setattr(data, "check_labels", lambda labels, images: None)
    monkeypatch.setattr(steps, "can_capture", lambda optimizer: False)
    with FakeTensorMode():
        yield


def labelled(count=100):
    images = torch.zeros(count, 28, 28, dtype=torch.uint8, device=CUDA)
    return images, torch.zeros(count, dtype=torch.int64, device=CUDA)


def on_gpu(name):
    with torch.device(CUDA):
        return MODELS[name](dropout=0.1)


@pytest.mark.parametrize("augment", [False, True])
def test_batches_stay_where_the_images_are(augment):
    batches = list(Batches(*labelled(), 64, augment=augment))
    assert [len(labels) for _, labels in batches] == [64, 36]
    assert {tensor.device for batch in batches for tensor in batch} == {CUDA}


@pytest.mark.parametrize("name", MODELS)
def test_predict_stays_on_the_gpu(name):
    logits = predict(on_gpu(name), labelled()[0], batch_size=64)
    assert (logits.device, logits.shape) == (CUDA, (100, 10))


@pytest.mark.parametrize("loss_name", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_the_step_stays_on_the_gpu(monkeypatch, name, loss_name):
    """Its forward pass and its loss; without gradients the optimizer does nothing."""
    losses = []
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: losses.append(loss))
    model = on_gpu(name).train()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    step = steps.make_step(model, sgd, LOSSES[loss_name])
    for batch in Batches(*labelled(), 64):
        assert {tensor.device for tensor in step(*batch)} == {CUDA}
    assert [loss.device for loss in losses] == [CUDA, CUDA]


def test_a_tensor_that_stays_on_the_cpu_is_found():
    """A mask that is no buffer of the network, so that it does not move along."""

    class Masked(nn.Module):
        def forward(self, images):
            return images.flatten(1) * torch.ones(784)

    with pytest.raises(RuntimeError, match="same device|two different devices"):
        predict(Masked(), labelled()[0])
