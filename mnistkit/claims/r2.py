"""Checks of R2: its network, what it says of convolutions, and its printed code."""

import io
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnistkit.claims.batch_norm import batch_norm_is_faster
from mnistkit.claims.rules import Evidence, Finding, NotRun, check, exact, holds
from mnistkit.data import Batches, normalize
from mnistkit.models import build_model, count_params, layer_table
from mnistkit.train import evaluate, predict

# Convolution and pooling


@check("R2-02")
def r2_02(evidence: Evidence) -> Finding:
    """A convolution adds up the products of kernel weights and inputs.

    Computed: a 3x3 kernel on an image of the same size, so that there is one output.
    """
    image, kernel = torch.linspace(-1, 2, 18).view(2, 1, 1, 3, 3)
    output = F.conv2d(image, kernel).item()
    sum_of_products = (image * kernel).sum().item()
    same = abs(output - sum_of_products) < 1e-5
    return holds(same, f"sum {sum_of_products:.4g}")


@check("R2-03")
def r2_03(evidence: Evidence) -> Finding:
    """The kernel size decides how many maps come out.

    Computed: the number of maps of three layers that differ in the kernel size only.
    """
    image = torch.ones(1, 28, 28, device="meta")
    kernel_sizes = (1, 3, 5)
    layers = [nn.Conv2d(1, 4, size, device="meta") for size in kernel_sizes]
    maps = [layer(image).shape[0] for layer in layers]
    return holds(
        len(set(maps)) > 1,
        f"{maps} maps for kernel sizes 1, 3, 5",
        "out_channels decides the number of maps (R2-E2)",
    )


@check("R2-04")
def r2_04(evidence: Evidence) -> Finding:
    """Padding with zeros keeps the size of the maps.

    Computed: the size of the map behind kernels of 3 and 5, both with one row of zeros.
    """
    image = torch.ones(1, 28, 28, device="meta")
    with_kernel_3 = nn.Conv2d(1, 1, 3, padding=1, device="meta")(image).shape[-1]
    with_kernel_5 = nn.Conv2d(1, 1, 5, padding=1, device="meta")(image).shape[-1]
    return holds(
        with_kernel_3 == with_kernel_5 == 28,
        f"28 becomes {with_kernel_3} with kernel 3, {with_kernel_5} with kernel 5",
        "only a padding of (k - 1) / 2 does (R2-E3)",
    )


@check("R2-05")
def r2_05(evidence: Evidence) -> Finding:
    """ReLU is max(0, x)."""
    inputs = torch.linspace(-2, 2, 9)
    larger_of_0_and_x = [max(0.0, x) for x in inputs.tolist()]
    return exact(larger_of_0_and_x, F.relu(inputs).tolist())


@check("R2-06")
def r2_06(evidence: Evidence) -> Finding:
    """Maps are pooled because they have too many parameters.

    Computed: the parameters of a convolution alone, and of one with pooling behind it.
    """
    convolution = nn.Conv2d(1, 16, 3, device="meta")
    without = count_params(convolution)
    pooled = count_params(nn.Sequential(convolution, nn.MaxPool2d(2)))
    return holds(
        pooled < without,
        f"{without} parameters without pooling, {pooled} with it",
        "maps are activations; parameters are weights (R2-E4)",
    )


# The network


@check("R2-01")
def r2_01(evidence: Evidence) -> Finding:
    """The network is, by the report's title, fully connected."""
    kinds = [row["kind"] for row in layer_table(build_model("four_conv"))]
    convolutions, linear = kinds.count("Conv2d"), kinds.count("Linear")
    return holds(
        convolutions == 0,
        f"{convolutions} convolutions, {linear} linear layers",
        "the network is convolutional (R2-E1)",
    )


@check("R2-07")
def r2_07(evidence: Evidence) -> Finding:
    """The network has two max pools of 2x2."""
    layers = build_model("four_conv").modules()
    sizes = [layer.kernel_size for layer in layers if isinstance(layer, nn.MaxPool2d)]
    return exact([2, 2], sizes)


@check("R2-08")
def r2_08(evidence: Evidence) -> Finding:
    """The last layer has a softmax, trained with cross-entropy.

    Computed: the loss of softmax and logarithm step by step, and PyTorch's
    cross-entropy, which takes logits. The two are the same.
    """
    logits, labels = torch.eye(10), torch.arange(10)
    step_by_step = F.nll_loss(logits.softmax(1).log(), labels)
    in_one = F.cross_entropy(logits, labels)
    return holds(
        bool(torch.isclose(step_by_step, in_one)),
        f"both losses {in_one.item():.4f}",
        "softmax is in the loss",
    )


@check("R2-12")
def r2_12(evidence: Evidence) -> Finding:
    """Behind the convolutions are linear layers from 2048 inputs to 10 outputs."""
    network = build_model("four_conv")
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    widths = [linear[0].in_features] + [layer.out_features for layer in linear]
    reason = f"{count_params(network):,} parameters"
    return exact([2048, 1024, 128, 10], widths, reason)


@check("R2-13")
def r2_13(evidence: Evidence) -> Finding:
    """Batch norm speeds up training."""
    return batch_norm_is_faster(evidence)


@check("R2-14")
def r2_14(evidence: Evidence) -> Finding:
    """The list of layers runs as it is printed."""
    printed = "nn.Sequential(nn.Conv2d(64, 128, kernel_size=3) nn.BatchNorm2d(128))"
    try:
        compile(printed, "printed", "eval")
        outcome = "compiles"
    except SyntaxError:
        outcome = "SyntaxError"
    return holds(outcome == "compiles", outcome, "a comma is missing (R2-E6)")


@check("R2-27")
def r2_27(evidence: Evidence) -> Finding:
    """Each image enters the network as a row of 784 numbers."""
    rows = normalize(evidence.mnist.train_images[:2]).flatten(1)  # [2, 784]
    try:
        build_model("four_conv")(rows)
        outcome = "accepted"
    except RuntimeError:
        outcome = "error"
    return holds(
        outcome == "accepted",
        f"rows of 784: {outcome}",
        "this network takes images [N, 1, 28, 28] (R2-E1)",
    )


# The data


@check("R2-17")
def r2_17(evidence: Evidence) -> Finding:
    """Pixels are only divided by 255.

    Computed: the first image by the report's ToTensor and by our `normalize`.
    """
    from torchvision.transforms.functional import to_tensor

    image = evidence.mnist.train_images[0]
    as_reported = to_tensor(image.numpy())
    ours = normalize(image[None], mean=0, std=1)[0]
    largest = image.max().item() / 255
    return holds(
        torch.allclose(as_reported, ours), f"pixels / 255, largest {largest:g}"
    )


@check("R2-18")
def r2_18(evidence: Evidence) -> Finding:
    """Training images are shuffled, test images are not.

    Computed: whether the order of 640 labels changes from one epoch to the next.
    """
    images = evidence.mnist.train_images[:640]
    labels = evidence.mnist.train_labels[:640]

    def changes_between_epochs(shuffle: bool) -> bool:
        batches = Batches(images, labels, 64, shuffle=shuffle)
        first_epoch = torch.cat([digits for _, digits in batches])
        second_epoch = torch.cat([digits for _, digits in batches])
        return not torch.equal(first_epoch, second_epoch)

    in_training = changes_between_epochs(shuffle=True)
    in_test = changes_between_epochs(shuffle=False)
    return holds(in_training and not in_test, "a new order per epoch in training only")


@check("R2-20")
def r2_20(evidence: Evidence) -> Finding:
    """The mean loss is printed every 100 of the 938 batches of an epoch: 9 lines."""
    mnist = evidence.mnist
    if mnist.source != "mnist":
        raise NotRun("needs full MNIST")
    batches = len(Batches(mnist.train_images, mnist.train_labels, 64))
    lines = batches // 100
    return exact([938, 9], [batches, lines], "the last 38 batches are never printed")


@check("R2-26")
def r2_26(evidence: Evidence) -> Finding:
    """One of torchvision's folders for the MNIST files is called progress."""
    from torchvision.datasets import MNIST

    dataset = MNIST.__new__(MNIST)  # without __init__, which would look for the files
    dataset.root = "data"
    name = Path(dataset.processed_folder).name
    return exact("progress", name, "the folder is called processed (R2-E12)")


# The printed test, and what is saved and logged


@check("R2-21")
def r2_21(evidence: Evidence) -> Finding:
    """The printed test, which lacks eval(), leaves the network as it is.

    Computed: how far one test batch moves the running means of the first batch norm.
    The batch has 16 images, as many as R2's last one.
    """
    network = build_model("four_conv").train()
    layers = network.modules()
    norm = next(layer for layer in layers if isinstance(layer, nn.BatchNorm2d))
    running_mean = norm.get_buffer("running_mean")
    before = running_mean.clone()
    with torch.no_grad():
        network(normalize(evidence.mnist.test_images[:16], mean=0, std=1))
    change = (running_mean - before).abs().max().item()
    return holds(
        change == 0,
        f"a test batch moves a running mean by {change:.2g}",
        "eval() is missing (R2-E8); %d cuts off (R2-E9)",
    )


@check("R2-22")
def r2_22(evidence: Evidence) -> Finding:
    """The weights are saved: what is loaded again equals what was saved."""
    saved: dict[str, Tensor] = build_model("lenet").state_dict()
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    loaded = torch.load(file)
    same = all(torch.equal(value, loaded[name]) for name, value in saved.items())
    return holds(same, f"{len(loaded)} tensors reloaded")


@check("R2-23")
def r2_23(evidence: Evidence) -> Finding:
    """Test images are shown as right or wrong.

    Computed: how many of 16 predictions of a perfect network the printed code calls
    right. The code compares predictions for the last test batch with training labels.
    """
    predictions = evidence.mnist.test_labels[-16:]  # those of a perfect network
    compared_with = evidence.mnist.train_labels[:16]
    right = (predictions == compared_with).sum().item()
    return holds(
        right == 16,
        f"a perfect network is called right for {right} of 16",
        "image, label and prediction are of three images (R2-E10)",
    )


@check("R2-24")
def r2_24(evidence: Evidence) -> Finding:
    """TensorBoard gets the accuracy.

    Computed: what the printed code logs as 'acc' for a fresh network on 500 test
    images, beside the network's accuracy.
    """
    images, labels = evidence.mnist.test_images[:500], evidence.mnist.test_labels[:500]
    network = build_model("lenet")
    logged = (predict(network, images).argmax(1) == labels).sum().item()
    accuracy = evaluate(network, images, labels)["accuracy"]
    return holds(
        logged == accuracy,
        f"{logged} logged, accuracy {accuracy:.3f}",
        "a count is logged, not an accuracy (R2-E11)",
    )
