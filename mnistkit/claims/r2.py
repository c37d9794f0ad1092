"""Checks of R2: four convolutions, and what the report says of convolution and SGD."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mnistkit.claims.rules import Missing, exact, holds
from mnistkit.data import Batches, normalize
from mnistkit.models import build_model, conv, count_params, head, layer_table
from mnistkit.train import evaluate, fit, predict, sgdm


def fails(call) -> bool:
    """Does a call raise an error?"""
    try:
        call()
    except (RuntimeError, SyntaxError):
        return True
    return False


def kinds(name) -> list[str]:
    return [row["kind"] for row in layer_table(build_model(name))]


def r2_01(e):
    found = kinds("four_conv")
    text = (
        f"{found.count('Conv2d')} convolutions, {found.count('Linear')} linear layers"
    )
    return holds("Conv2d" not in found, text, "the network is convolutional (R2-E1)")


def r2_02(e):
    image, kernel = torch.linspace(-1, 2, 18).view(2, 1, 1, 3, 3)
    sums = (image * kernel).sum().item()
    return holds(abs(F.conv2d(image, kernel).item() - sums) < 1e-5, f"sum {sums:.4g}")


def r2_03(e):
    image = torch.ones(1, 28, 28, device="meta")
    layers = [nn.Conv2d(1, 4, size, device="meta") for size in (1, 3, 5)]
    maps = [layer(image).shape[0] for layer in layers]
    reason = "out_channels decides the number of maps (R2-E2)"
    return holds(len(set(maps)) > 1, f"{maps} maps for kernel sizes 1, 3, 5", reason)


def r2_04(e):
    image = torch.ones(1, 28, 28, device="meta")
    layers = [nn.Conv2d(1, 1, size, padding=1, device="meta") for size in (3, 5)]
    sides = [layer(image).shape[-1] for layer in layers]
    text = f"28 becomes {sides[0]} with kernel 3, {sides[1]} with kernel 5"
    return holds(set(sides) == {28}, text, "only a padding of (k - 1) / 2 does (R2-E3)")


def r2_05(e):
    x = torch.linspace(-2, 2, 9)
    right = [max(0.0, value) for value in x.tolist()]
    return exact(right, F.relu(x).tolist())


def r2_06(e):
    layers = [nn.Conv2d(1, 16, 3, device="meta"), nn.MaxPool2d(2)]
    without, pooled = count_params(layers[0]), count_params(nn.Sequential(*layers))
    text = f"{without} parameters without pooling, {pooled} with it"
    reason = "maps are activations; parameters are weights (R2-E4)"
    return holds(pooled < without, text, reason)


def r2_08(e):
    logits, labels = torch.eye(10), torch.arange(10)
    apart = F.nll_loss(logits.softmax(1).log(), labels)
    together = F.cross_entropy(logits, labels)
    return holds(
        torch.isclose(apart, together),
        f"both losses {together.item():.4f}",
        "softmax is in the loss",
    )


def r2_07(e):
    layers = build_model("four_conv").modules()
    return exact([2, 2], [m.kernel_size for m in layers if isinstance(m, nn.MaxPool2d)])


def r2_12(e):
    linear = [m for m in build_model("four_conv") if isinstance(m, nn.Linear)]
    widths = [linear[0].in_features, *(layer.out_features for layer in linear)]
    count = count_params(build_model("four_conv"))
    return exact([2048, 1024, 128, 10], widths, f"{count:,} parameters")


def batch_norm_is_faster(e):
    """Loss over 30 steps with and without batch norm, two convolutions, five seeds."""
    images, labels = e.mnist.train_images[:960], e.mnist.train_labels[:960]
    final = {True: [], False: []}
    for norm in final:
        for seed in range(5):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                layers = [
                    *conv(1, 8, norm=norm, pool=True),
                    *conv(8, 8, norm=norm, pool=True),
                ]
                network = nn.Sequential(*layers, *head(200, 10))
            batches = Batches(images, labels, 32, seed=seed)
            [row] = fit(network, batches, sgdm(network.parameters(), 0.01), epochs=1)
            final[norm].append(row["train_loss"])
    faster = sum(np.less(final[True], final[False]))
    return holds(
        faster == 5,
        f"lower loss over 30 steps in {faster} of 5 pairs",
        "speed only, in a small network",
    )


def r2_14(e):
    printed = "nn.Sequential(nn.Conv2d(64, 128, kernel_size=3) nn.BatchNorm2d(128))"
    error = fails(lambda: compile(printed, "printed", "eval"))
    return holds(
        not error, "SyntaxError" if error else "compiles", "a comma is missing (R2-E6)"
    )


def r2_17(e):
    from torchvision.transforms.functional import to_tensor

    image = e.mnist.train_images[0]
    same = torch.allclose(to_tensor(image.numpy()), normalize(image[None], 0, 1)[0])
    return holds(same, f"pixels / 255, largest {image.max().item() / 255:g}")


def r2_18(e):
    data = e.mnist.train_images[:640], e.mnist.train_labels[:640]

    def twice(shuffle):
        batches = Batches(*data, 64, shuffle=shuffle)
        return [torch.cat([labels for _, labels in batches]) for _ in range(2)]

    moved, same = torch.equal(*twice(True)), torch.equal(*twice(False))
    return holds(not moved and same, "a new order per epoch in training only")


def r2_20(e):
    if e.mnist.source != "mnist":
        raise Missing("needs full MNIST")
    steps = len(Batches(e.mnist.train_images, e.mnist.train_labels, 64))
    return exact(
        [938, 9], [steps, steps // 100], "the last 38 batches are never printed"
    )


def r2_21(e):
    """The printed test, which lacks eval(), on 16 test images."""
    network = build_model("four_conv").train()
    norm = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    with torch.no_grad():
        network(normalize(e.mnist.test_images[:16], 0, 1))
    change = (norm.running_mean - before).abs().max().item()
    text = f"a test batch moves a running mean by {change:.2g}"
    return holds(change == 0, text, "eval() is missing (R2-E8); %d cuts off (R2-E9)")


def r2_22(e):
    network, file = build_model("lenet"), io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    loaded = torch.load(file)
    same = all(
        torch.equal(value, loaded[key]) for key, value in network.state_dict().items()
    )
    return holds(same, f"{len(loaded)} tensors reloaded")


def r2_23(e):
    predictions = e.mnist.test_labels[-16:]  # of a perfect network, the last test batch
    right = (predictions == e.mnist.train_labels[:16]).sum().item()
    text = f"a perfect network is called right for {right} of 16"
    return holds(
        right == 16, text, "image, label and prediction are of three images (R2-E10)"
    )


def r2_24(e):
    """What the printed code logs as 'acc', of a fresh network."""
    images, labels = e.mnist.test_images[:500], e.mnist.test_labels[:500]
    network = build_model("lenet")
    logged = (predict(network, images).argmax(1) == labels).sum().item()
    share = evaluate(network, images, labels)["accuracy"]
    text = f"{logged} logged, accuracy {share:.3f}"
    return holds(logged == share, text, "a count is logged, not an accuracy (R2-E11)")


def r2_26(e):
    from torchvision.datasets import MNIST

    dataset = MNIST.__new__(MNIST)
    dataset.root = "data"
    folder = dataset.processed_folder.rpartition("/")[2].rpartition("\\")[2]
    return exact("progress", folder, "the folder is called processed (R2-E12)")


def r2_27(e):
    rows = normalize(e.mnist.train_images[:2]).flatten(1)  # [2, 784]
    error = fails(lambda: build_model("four_conv")(rows))
    text = "rows of 784: " + ("error" if error else "accepted")
    return holds(not error, text, "this network takes images [N, 1, 28, 28] (R2-E1)")


CHECKS = {
    "R2-01": r2_01,
    "R2-02": r2_02,
    "R2-03": r2_03,
    "R2-04": r2_04,
    "R2-05": r2_05,
    "R2-06": r2_06,
    "R2-07": r2_07,
    "R2-08": r2_08,
    "R2-12": r2_12,
    "R2-13": batch_norm_is_faster,
    "R2-14": r2_14,
    "R2-17": r2_17,
    "R2-18": r2_18,
    "R2-20": r2_20,
    "R2-21": r2_21,
    "R2-22": r2_22,
    "R2-23": r2_23,
    "R2-24": r2_24,
    "R2-26": r2_26,
    "R2-27": r2_27,
}
