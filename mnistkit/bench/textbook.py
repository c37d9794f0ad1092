"""Training as tutorials write it: what the benchmark compares `fit` with."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, Subset

from mnistkit.data import MEAN, STD, Batches
from mnistkit.models import build_model, conv, head
from mnistkit.storage.files import FILES, MNIST
from mnistkit.train import fit, one_cycle, sgdm


def textbook_epoch(dataset: Dataset, name: str, size: int, mnist: MNIST) -> float:
    """The mean loss of one epoch in a tutorial's loop, on the first `size` images.

    Images, their order, network `name` and optimizer are those of `rows.fit_epoch`.
    """
    device = mnist.train_images.device
    network, optimizer = model_and_optimizer(name, device)
    network.to(memory_format=torch.contiguous_format)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0)).tolist()
    loader = DataLoader(Subset(dataset, range(size)), batch_size=64, sampler=order)
    network.train()
    total = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


def torchvision_dataset(mnist: MNIST, folder: Path) -> Dataset:
    """torchvision's MNIST (training images) with ToTensor and Normalize.

    Writes the idx files that torchvision reads to MNIST/raw in `folder`.
    """
    from torchvision import transforms
    from torchvision.datasets import MNIST as TorchvisionMNIST

    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, (file, _) in FILES.items():
        array = getattr(mnist, part).cpu().to(torch.uint8).numpy()
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        header = bytes([0, 0, 8, array.ndim]) + sizes
        (raw / file).write_bytes(header + array.tobytes())
    steps = [transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))]
    return TorchvisionMNIST(folder, transform=transforms.Compose(steps))


def train_recipe(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """Train a plain network one epoch with Adam, one cycle and batches of 256.

    Takes uint8 images [N, 28, 28] and labels [N]; the network is left in training mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers = [*conv(1, 24, 5, pool=True), *conv(24, 32, 3, pool=True)]
        model = nn.Sequential(*layers, *head(800, 256, 10))
    model.to(images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = Batches(images, labels, 256, seed=seed)
    adam = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.7, 0.9))
    list(fit(model, batches, adam, one_cycle(adam, len(batches), 1), epochs=1))
    return model


def model_and_optimizer(name: str, device: torch.device) -> tuple[nn.Module, Optimizer]:
    """A network of the zoo with the weights of seed 0, and SGD with momentum."""
    network = build_model(name, seed=0)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, sgdm(network.parameters(), lr=0.01)
