"""Checks of R3: two convolutions, losses, optimizers, schedules and printed code."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn, tensor
from torch.optim import SGD, Adam, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, TensorDataset, random_split

from mnistkit.claims.batch_norm import batch_norm_is_faster
from mnistkit.claims.rules import Evidence, Finding, check, exact, holds
from mnistkit.claims.tiny_training import agrees, path, two_valleys
from mnistkit.data import augment, normalize, split
from mnistkit.models import build_model, count_params, layer_table
from mnistkit.storage.files import FILES
from mnistkit.train import SCHEDULES

PRINTED_MOMENTUM = 1e-5  # R3-27; it has the value of Adam's weight decay (R3-E10)

# Files and data


def count_unchanged(tensors: list[Tensor]) -> int:
    """How many tensors come back from a file as they were."""
    file = io.BytesIO()
    torch.save(tensors, file)
    file.seek(0)
    loaded = torch.load(file)
    return sum(map(torch.equal, tensors, loaded))


@check("R3-01")
def r3_01(evidence: Evidence) -> Finding:
    """MNIST comes as four tensors: training and test images and labels."""
    tensors = [getattr(evidence.mnist, part) for part in FILES]
    return exact(4, count_unchanged(tensors))


@check("R3-02")
def r3_02(evidence: Evidence) -> Finding:
    """The weights of the network, built without arguments, are saved to a file."""
    weights = list(build_model("two_conv").state_dict().values())
    return exact(len(weights), count_unchanged(weights), "tensors reloaded")


@check("R3-12")
def r3_12(evidence: Evidence) -> Finding:
    """cuDNN in deterministic mode, without its benchmark, makes runs repeatable.

    Computed: how many different splits into training and validation images three tries
    give with cuDNN set so.
    """
    images = TensorDataset(torch.arange(99))
    splits = set()
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        for _ in range(3):
            _, validation = random_split(images, [83, 16])
            splits.add(tuple(validation.indices))
    found = f"{len(splits)} splits in 3 tries"
    return exact("1 split", found, "no seed is set (R3-E8)")


@check("R3-14")
def r3_14(evidence: Evidence) -> Finding:
    """A data set class serves the loaded tensors to a data loader.

    Computed: the test labels as they come from the loader.
    """
    images, labels = evidence.mnist.test_images, evidence.mnist.test_labels
    loader = DataLoader(TensorDataset(images, labels), batch_size=16)
    served = torch.cat([batch_labels for _, batch_labels in loader])
    return holds(torch.equal(served, labels), f"{len(served):,} images")


@check("R3-16")
def r3_16(evidence: Evidence) -> Finding:
    """A share of 0.167 is split off for validation, incomplete batches are dropped."""
    labels = evidence.mnist.train_labels
    _, validation = split(labels, val_fraction=0.167)
    count = len(validation)
    left_out = count % 16  # R3's batches have 16 images
    dropped = f"drop_last leaves out {left_out}, always the same (R3-E7)"
    return exact(0.167, count / len(labels), f"{count:,} images; {dropped}")


@check("R3-34")
def r3_34(evidence: Evidence) -> Finding:
    """Images are not rotated because they are small and already tensors.

    Computed: how many of eight image tensors a rotation changes.
    """
    images = normalize(evidence.mnist.test_images[:8], mean=0, std=1)
    rotated = augment(images, torch.Generator(), shift=0, scale=0)
    changed = (images != rotated).flatten(1).any(1).sum().item()
    return holds(changed == 0, f"{changed} of 8 rotated", "tensors can be too (R3-E11)")


# The network and its layers


@check("R3-04")
def r3_04(evidence: Evidence) -> Finding:
    """Fully connected layers need too many parameters; a convolution shares its own.

    Computed: the parameters of R3's first convolution, and of a fully connected layer
    from the same image to the same 64 maps.
    """
    network = build_model("two_conv")
    layers = list(network.modules())
    first = next(layer for layer in layers if isinstance(layer, nn.Conv2d))
    shared = count_params(first)
    separate = (28 * 28 + 1) * 64 * 28 * 28
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    linear_share = sum(map(count_params, linear)) / count_params(network)
    return holds(
        shared < separate,
        f"{shared:,}; if not shared {separate:,}",
        f"yet {linear_share:.1%} of R3's own are FC",
    )


@check("R3-05")
def r3_05(evidence: Evidence) -> Finding:
    """A kernel of three rows -1 0 1 marks vertical edges and nothing else.

    The report's signs are + for rising and - for falling edges, else 0.
    """
    kernel = tensor([[-1.0, 0, 1]] * 3)
    rising = tensor([[0.0, 1, 1]] * 3)
    falling = 1 - rising
    flat = torch.ones(3, 3)
    horizontal = rising.T
    images = torch.stack([rising, falling, flat, horizontal])
    outputs = F.conv2d(images[:, None], kernel[None, None])  # [4, 1, 1, 1]
    return exact([3, -3, 0, 0], outputs.flatten().tolist())


@check("R3-17")
def r3_17(evidence: Evidence) -> Finding:
    """The output of a convolution has the size 1 + (L + 2p - k) / stride.

    Computed: L = 28, padding 1, a kernel of 3 and stride 2, for which the formula gives
    no whole number.
    """
    kernel, image = torch.ones(1, 1, 3, 3), torch.ones(1, 28, 28)
    side = F.conv2d(image, kernel, stride=2, padding=1).shape[-1]
    as_stated = 1 + (28 + 2 * 1 - 3) / 2
    return agrees(as_stated, side, "round down (R3-E14)")


@check("R3-18")
def r3_18(evidence: Evidence) -> Finding:
    """Batch norm speeds up training."""
    return batch_norm_is_faster(evidence)


@check("R3-19")
def r3_19(evidence: Evidence) -> Finding:
    """The network has two convolutions with pooling, then three linear layers.

    Computed: the output shapes of the pooling and of the linear layers.
    """
    shapes = [
        "x".join(map(str, row["output"]))
        for row in layer_table(build_model("two_conv"))
        if row["kind"] in ("MaxPool2d", "Linear")
    ]
    return exact(["64x14x14", "128x7x7", "784", "98", "10"], shapes)


@check("R3-20")
def r3_20(evidence: Evidence) -> Finding:
    """An image without a batch axis is given one, so that the network accepts it."""
    image = torch.ones(1, 28, 28)
    logits = build_model("two_conv")(image[None])
    return exact([1, 10], list(logits.shape))


# Loss functions


@check("R3-06")
def r3_06(evidence: Evidence) -> Finding:
    """The cross-entropy of P and Q is minus the sum of P log Q.

    Computed: the formula against PyTorch's function, which takes the logarithm of Q for
    logits, as a softmax of log Q is Q.
    """
    p, q = tensor([0.7, 0.2, 0.1]), tensor([0.5, 0.3, 0.2])
    as_stated = -(p * q.log()).sum()
    return agrees(as_stated, F.cross_entropy(q.log(), p))


@check("R3-07")
def r3_07(evidence: Evidence) -> Finding:
    """With a sigmoid the gradient of MSE vanishes at 0 and 1, so cross-entropy is used.

    Computed: the slopes of both losses where the sigmoid is almost 1 and the label 0.
    """
    logit, label = tensor(9.0, requires_grad=True), tensor(0.0)

    def slope(loss_fn: Callable[[Tensor, Tensor], Tensor]) -> float:
        loss = loss_fn(logit.sigmoid(), label)
        return round(torch.autograd.grad(loss, logit)[0].item(), 3)

    slopes = [slope(F.mse_loss), slope(F.binary_cross_entropy)]
    return exact([0.0, 1.0], slopes, "but R3's second softmax undoes it (R3-E1)")


@check("R3-21")
def r3_21(evidence: Evidence) -> Finding:
    """With a softmax before CrossEntropyLoss, a sure and right answer costs nothing.

    Computed: the loss of probability 1 on the right digit. CrossEntropyLoss takes the
    probabilities for logits and applies its own softmax.
    """
    probabilities = torch.eye(10)[:1]  # [1, 10], all of it on the digit 0
    loss = F.cross_entropy(probabilities, tensor([0])).item()
    return holds(loss < 0.01, f"loss {loss:.3f}", "softmax applied twice (R3-E1)")


# Optimizers and schedules


def lr_factors(
    schedule: Callable[..., LRScheduler], *settings: Any, steps: int = 64
) -> np.ndarray:
    """The learning rate of each step as a share of the optimizer's: [steps].

    `settings` are the arguments of `schedule` that follow the optimizer.
    """
    optimizer = SGD([torch.zeros(1)], lr=1.0)
    scheduler = schedule(optimizer, *settings)
    factors = []
    for _ in range(steps):
        factors += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    return np.array(factors)


def printed_step_lr() -> np.ndarray:
    """R3's StepLR in each of 64 epochs: it takes one step per epoch."""
    return lr_factors(lr_scheduler.StepLR, 2, 0.9)


@check("R3-08")
def r3_08(evidence: Evidence) -> Finding:
    """Adam takes a step of lr times m over the root of the mean square.

    Computed: the first step for a gradient of 1 with lr 0.001. The averages start at 0,
    so that m is 0.1 and the mean square 0.001; Adam corrects both.
    """
    as_stated = -0.001 * 0.1 / 0.001**0.5
    first_step = path(Adam, torch.sum, [0.0], 1, lr=0.001)[-1]
    return agrees(as_stated, first_step, "first step (R3-E9)")


@check("R3-09")
def r3_09(evidence: Evidence) -> Finding:
    """Momentum keeps clear of local minima.

    Computed: where SGD with momentum ends if it starts above the shallower of two
    valleys, on the right; the deeper one is on the left of 0.
    """
    points = path(SGD, two_valleys, [1.5], 300, lr=0.01, momentum=0.9)
    end = points[-1].item()
    return holds(end < 0, f"stops at {end:.2f}", "the minimum: -1.04")


@check("R3-11")
def r3_11(evidence: Evidence) -> Finding:
    """StepLR falls exponentially; the warm-up rises in a line, then falls.

    Computed: the shapes of both in 64 epochs, 6 of them our warm-up.
    """
    step = lr_factors(SCHEDULES["step"], 1, 64)
    exponential = np.allclose(step[2:] / step[:-2], 0.9)
    warmup = lr_factors(SCHEDULES["warmup_cosine"], 1, 64)
    rises, falls = np.diff(warmup[:6]), np.diff(warmup[6:])
    linear_rise = rises[0] > 0 and np.allclose(rises, rises[0])
    then_falls = falls.max() < 0
    return holds(
        bool(exponential and linear_rise and then_falls),
        f"at last {step[-1]:.4f}, {warmup[-1]:.4f} of the lr",
        "the warm-up is ours (R3-E16)",
    )


@check("R3-27")
def r3_27(evidence: Evidence) -> Finding:
    """A commented-out line sets up SGD with momentum.

    Computed: how far 99 steps down a slope of 1 lead with the printed momentum, and
    with the usual one, as a multiple of the way without momentum.
    """

    def way(momentum: float) -> float:
        return path(SGD, torch.sum, [0.0], 99, momentum=momentum)[-1].item()

    printed = way(PRINTED_MOMENTUM) / way(0)
    usual = way(0.9) / way(0)
    reason = f"of plain SGD's way in 99 steps; {usual:.1f} with momentum 0.9 (R3-E10)"
    return holds(printed > 2, f"{printed:.4f}", reason)


@check("R3-28")
def r3_28(evidence: Evidence) -> Finding:
    """StepLR multiplies the learning rate by 0.9 after every two epochs."""
    epochs_before = np.arange(64)
    return agrees(0.9 ** (epochs_before // 2), printed_step_lr(), "in epoch 64")


@check("R3-29")
def r3_29(evidence: Evidence) -> Finding:
    """Gradients are clipped to the norm 10. Computed: a gradient of norm 100."""
    weight = torch.zeros(2)
    weight.grad = tensor([60.0, 80.0])
    nn.utils.clip_grad_norm_(weight, 10)
    return exact(10.0, round(weight.grad.norm().item(), 3), "from 100")


@check("R3-32")
def r3_32(evidence: Evidence) -> Finding:
    """The schedule takes one step per epoch.

    Computed: the rates of 64 epochs of 5 steps under our schedule, which is stepped
    after every batch, against those of the printed one.
    """
    by_step = lr_factors(SCHEDULES["step"], 5, 64, steps=5 * 64)
    first_steps_of_epochs = by_step[::5]
    return agrees(printed_step_lr(), first_steps_of_epochs)


# The training loop as printed

FOUR_EPOCHS = [0.90, 0.95, 0.94, 0.93]  # validation accuracies: two better, two stale


def branches_as_printed(accuracies: list[float]) -> tuple[int, int]:
    """(tests made, stale epochs counted) by the branches of R3's training loop.

    A better epoch is tested, any other one should count as stale. As printed, the
    `else` belongs to the `if` of the log file, which is open in every run of R3.
    """
    log: io.StringIO | None = io.StringIO()
    best = 0.0
    tests = stale = 0
    for accuracy in accuracies:
        if accuracy > best:
            best = accuracy
            tests += 1
            stale = 0
        if log is not None:
            log.write(f"{accuracy}\n")
        else:
            stale += 1
    return tests, stale


@check("R3-03")
def r3_03(evidence: Evidence) -> Finding:
    """The best model is kept, and the test comes once, at the end."""
    tests, _ = branches_as_printed(FOUR_EPOCHS)
    return exact(1, tests, "one per improvement, 2 in 4 epochs (R3-E5)")


@check("R3-15")
def r3_15(evidence: Evidence) -> Finding:
    """The test set takes no part in training: no test before the end."""
    tests, _ = branches_as_printed(FOUR_EPOCHS)
    return exact(0, tests, "in 4 epochs, and used to choose (R3-E5)")


@check("R3-22")
def r3_22(evidence: Evidence) -> Finding:
    """Training stops after 48 epochs without a better validation score.

    Computed: the stale epochs counted when the first of 49 equal epochs is the best.
    """
    _, stale = branches_as_printed([0.9] * 49)
    return exact(48, stale, "not counted (R3-E6)")


@check("R3-31")
def r3_31(evidence: Evidence) -> Finding:
    """A better epoch is saved and tested, any other one counts as stale."""
    _, stale = branches_as_printed(FOUR_EPOCHS)
    return exact(2, stale, "`else` belongs to another `if` (R3-E6)")


# The predictions and the test as printed


@check("R3-24")
def r3_24(evidence: Evidence) -> Finding:
    """A prediction drawn at random from the network's probabilities measures accuracy.

    Computed: the share of right draws where the right digit has 70 %. The largest
    probability is always right there.
    """
    probabilities = tensor([0.7, 0.2, 0.1])  # the right digit is the first
    # A new generator always starts from the same seed.
    draws = probabilities.multinomial(9999, True, generator=torch.Generator())
    right = draws == 0
    return holds(
        bool(right.all()),
        f"{right.double().mean():.2f} of the draws are right",
        "argmax has all of them right (R3-E2)",
    )


@check("R3-25")
def r3_25(evidence: Evidence) -> Finding:
    """A fresh network loaded with the weights can be tested without eval().

    Computed: by how much eval() changes an image behind batch norm.
    """
    image = normalize(evidence.mnist.test_images[:1])
    norm = nn.BatchNorm2d(1)
    in_training_mode = norm(image)
    in_evaluation_mode = norm.eval()(image)
    change = (in_training_mode - in_evaluation_mode).abs().max().item()
    return exact("off by 0", f"off by {change:.2g}", "eval() is missing (R3-E3)")


@check("R3-30")
def r3_30(evidence: Evidence) -> Finding:
    """Training and validation accuracy count the largest output as the prediction.

    Computed: the places of the largest probabilities of three rows of outputs, against
    those of the largest outputs, which `largest` lists.
    """
    outputs = tensor([[-2.0, 3, 1], [1, 0, 2], [9, -9, 8]])
    largest = [1, 2, 0]
    return exact(largest, outputs.softmax(1).argmax(1).tolist())
