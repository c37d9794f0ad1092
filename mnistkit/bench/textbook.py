"""Training as tutorials write it: what the benchmark compares `fit` with."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset

from mnistkit.data import MEAN, STD, Batches
from mnistkit.models import build_model, conv, head
from mnistkit.storage.files import FILES, MNIST
from mnistkit.train import fit, one_cycle, sgdm


def textbook_epoch(dataset, name: str, size: int, mnist: MNIST) -> float:
    """The same epoch as tutorials write it; the mean loss."""
    device = mnist.train_images.device
    network, optimizer = fresh(name, device)
    network.to(memory_format=torch.contiguous_format)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
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


def torchvision_dataset(mnist: MNIST, folder: Path):
    """torchvision's MNIST (training images) with ToTensor and Normalize."""
    from torchvision import transforms
    from torchvision.datasets import MNIST as Dataset

    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, (file, _) in FILES.items():
        array = getattr(mnist, part).cpu().to(torch.uint8).numpy()
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        header = bytes([0, 0, 8, array.ndim]) + sizes
        (raw / file).write_bytes(header + array.tobytes())
    steps = [transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))]
    return Dataset(folder, transform=transforms.Compose(steps))


def train_recipe(images, labels, seed: int) -> nn.Module:
    """One epoch of a plain network with Adam and one cycle, batch 256."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers = [*conv(1, 24, 5, pool=True), *conv(24, 32, 3, pool=True)]
        model = nn.Sequential(*layers, *head(800, 256, 10))
    model.to(images.device, memory_format=torch.channels_last)
    batches = Batches(images, labels, 256, seed=seed)
    adam = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.7, 0.9))
    list(fit(model, batches, adam, one_cycle(adam, len(batches), 1), epochs=1))
    return model


def fresh(name: str, device):
    """A network of the zoo with the weights of seed 0, and SGD with momentum."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = build_model(name).to(device, memory_format=torch.channels_last)
    return network, sgdm(network.parameters(), lr=0.01)
