"""The optimizers, the learning-rate schedules and the one training loop."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import ParamsT

from mnistkit.data import (
    MEAN,
    STD,
    Batches,
    check_batch_size,
    check_images,
    check_labels,
    normalize,
)
from mnistkit.steps import autocast, check_logits, make_step

# Steps per entry of `window_losses`: R2 printed the mean loss of every 100 steps.
WINDOW = 100


def sgdm(
    params: ParamsT, lr: float, momentum: float = 0.9, **options: Any
) -> Optimizer:
    """SGD with momentum, for a gradient g: v = momentum * v + g; w = w - lr * v.

    R2 uses the momentum 0.9; R1 and R5 use 0.5.
    """
    return torch.optim.SGD(params, lr=lr, momentum=momentum, **options)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": torch.optim.SGD,
    "sgdm": sgdm,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "nadam": torch.optim.NAdam,
    "adamw": torch.optim.AdamW,
}


def constant(optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    """Keep the same learning rate throughout."""
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


def step(
    optimizer: Optimizer,
    steps_per_epoch: int,
    epochs: int,
    step_size: int = 2,
    gamma: float = 0.9,
) -> LRScheduler:
    """Multiply the learning rate by `gamma` every `step_size` epochs, as in R3.

    ValueError unless step_size >= 1.
    """
    if step_size < 1:
        raise ValueError(f"step_size must be at least 1 epoch, not {step_size}")
    return lr_scheduler.StepLR(optimizer, step_size * steps_per_epoch, gamma)


def warmup_cosine(
    optimizer: Optimizer, steps_per_epoch: int, epochs: int, warmup: float = 0.1
) -> LRScheduler:
    """Raise the learning rate linearly, then lower it to 0 along half a cosine.

    The rise takes the share `warmup` of all steps. R3 describes this schedule without
    its settings; the default share is our choice. ValueError for a share outside 0..1.
    """
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup is a share of all steps, 0..1, not {warmup}")
    total = steps_per_epoch * epochs
    rise = max(1, round(warmup * total))

    def factor(done: int) -> float:
        if done < rise:
            return (done + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (done - rise) / max(1, total - rise)))

    return lr_scheduler.LambdaLR(optimizer, factor)


def one_cycle(
    optimizer: Optimizer, steps_per_epoch: int, epochs: int, **options: Any
) -> LRScheduler:
    """Raise the learning rate to a peak and lower it again (Smith & Topin 2019).

    The optimizer's learning rate is the peak. Momentum stays constant by default. The
    options are those of OneCycleLR.
    """
    peak = optimizer.param_groups[0]["lr"]
    options = {"cycle_momentum": False} | options
    return lr_scheduler.OneCycleLR(
        optimizer, max_lr=peak, total_steps=steps_per_epoch * epochs, **options
    )


SCHEDULES: dict[str, Callable[..., LRScheduler]] = {
    "constant": constant,
    "step": step,
    "warmup_cosine": warmup_cosine,
    "one_cycle": one_cycle,
}


def softmax_twice(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of R3, whose network ends in a softmax before the cross-entropy.

    Cross-entropy takes a softmax itself, here of probabilities [B, 10] instead of
    logits. The loss therefore never falls below ln(1 + 9/e) = 1.46.
    """
    return F.cross_entropy(logits.softmax(1), labels)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": F.cross_entropy,
    "softmax_twice": softmax_twice,
}


def fit(
    model: nn.Module,
    batches: Batches,
    optimizer: Optimizer,
    schedule: LRScheduler | None = None,
    *,
    epochs: int,
    validation: tuple[Tensor, Tensor] | None = None,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    clip_norm: float | None = None,
    precision: str = "fp32",
    done: int = 0,
) -> Iterator[dict[str, Any]]:
    """Train `model` in place and yield one row of history after each epoch.

    `fit` is a generator: the training stops when its caller stops iterating. `batches`
    gives images [B, 1, 28, 28] and labels [B]; `loss_fn` takes logits [B, 10] and
    labels. `schedule` is stepped after every batch. `clip_norm` bounds the norm of the
    gradient. `validation` is a pair of uint8 images [N, 28, 28] and labels [N].
    `precision` is "fp32" or "bf16", see `steps.autocast`. Of the `epochs`, `done` are
    already behind: a training that is resumed begins with epoch done + 1. ValueError,
    before the first step, if a last batch of one image is too small for batch norm, for
    batches, validation images or labels of another kind, for the optimizer of another
    network or the schedule of another optimizer, and unless epochs >= 1 and
    clip_norm > 0.

    A row is a dict with these keys:
    - epoch: its number, counted from 1;
    - lr: the learning rate that the next epoch starts with;
    - train_loss: the mean over the steps;
    - train_accuracy: the share of images that were right just before their own step;
    - window_losses: the mean of each 100 steps; the last window may be shorter;
    - seconds: the time of the training alone, with the device synchronised;
    - val_loss, val_accuracy: the scores after the epoch, if there is `validation`.
    """
    if not isinstance(batches, Batches):
        raise ValueError(f"Batches(images, labels) are needed, not {batches!r:.80}")
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, not {epochs}")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm must be above 0, not {clip_norm}")
    _check_optimizer(model, optimizer, schedule)
    _check_last_batch(model, batches)
    if validation is not None:
        check_images(validation[0])
        check_labels(validation[1], validation[0])
    train_step = make_step(model, optimizer, loss_fn, clip_norm, schedule, precision)
    for epoch in range(done + 1, epochs + 1):
        start = clock(batches.images.device)
        model.train()
        step_losses = []
        step_hits = []
        seen = 0
        for images, labels in batches:
            loss, logits = train_step(images, labels)
            step_losses.append(loss)
            step_hits.append((logits.argmax(1) == labels).sum())
            seen += len(labels)
        # Losses and hits leave the device once per epoch: reading them at each step
        # would make the loop wait for the device.
        losses = torch.stack(step_losses)
        hits = torch.stack(step_hits).sum().item()
        row: dict[str, Any] = {
            "epoch": epoch,
            "lr": optimizer.param_groups[0]["lr"],
            "train_loss": losses.mean().item(),
            "train_accuracy": hits / seen,
            "window_losses": [part.mean().item() for part in losses.split(WINDOW)],
            "seconds": clock(batches.images.device) - start,
        }
        if validation is not None:
            score = evaluate(model, *validation, mean=batches.mean, std=batches.std)
            row |= {f"val_{name}": value for name, value in score.items()}
        yield row


def _check_optimizer(
    model: nn.Module, optimizer: Optimizer, schedule: LRScheduler | None
) -> None:
    """Raise ValueError if a step would leave the network, or its rate, as it is.

    In a notebook that happens when the cell of the network alone is run again.
    """
    trained = {
        id(weight) for group in optimizer.param_groups for weight in group["params"]
    }
    if not any(id(weight) in trained for weight in model.parameters()):
        raise ValueError(
            "the optimizer has no weight of this network: make it again, from "
            "model.parameters()"
        )
    if getattr(schedule, "optimizer", optimizer) is not optimizer:
        raise ValueError("the schedule is that of another optimizer: make it again")


def _check_last_batch(model: nn.Module, batches: Batches) -> None:
    """Raise ValueError if a last batch of one image is too small for batch norm.

    In training mode batch norm needs two values per channel. One image has them unless
    its maps are 1x1, as in lenet. A forward pass on the "meta" device, which computes
    shapes only, tells.
    """
    size, largest = len(batches.labels), batches.batch_size
    is_dropped = batches.drop_last and largest > 1
    if is_dropped or (size - 1) % largest != 0:
        return
    values = [*model.named_parameters(), *model.named_buffers()]
    meta = {name: value.to("meta") for name, value in values}
    model.train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            functional_call(model, meta, torch.empty(1, 1, 28, 28, device="meta"))
    except Exception as error:
        # A network that fails on "meta" for another reason may still train.
        if "more than 1 value per channel" in str(error):
            or_drop = ", or drop_last=True" if largest > 1 else ""
            raise ValueError(
                f"{size} images in batches of {largest} leave a last batch of one "
                f"image, and batch norm needs two: choose another batch_size{or_drop}"
            ) from None


def predict(
    model: nn.Module,
    images: Tensor,
    batch_size: int = 1000,
    mean: float = MEAN,
    std: float = STD,
    precision: str = "fp32",
) -> Tensor:
    """Return the float32 logits [N, 10] of uint8 images [N, 28, 28], without gradients.

    The network is in evaluation mode meanwhile and returns to the mode it was in.
    ValueError unless the images are uint8, one or more, and on the network's device:
    they are normalised here, and float images would be normalised twice. ValueError as
    well for a network without 10 logits per image, and unless batch_size >= 1.
    """
    check_images(images)
    check_batch_size(batch_size)
    for weight in model.parameters():
        if weight.device != images.device:
            raise ValueError(
                f"the images are on {images.device} and the network on "
                f"{weight.device}: use images.to({str(weight.device)!r})"
            )
    training = model.training
    model.eval()
    parts = []
    try:
        with torch.inference_mode(), autocast(images.device, precision):
            for part in images.split(int(batch_size)):
                parts.append(model(normalize(part, mean, std)))
                check_logits(parts[-1], part)
    finally:
        model.train(training)
    return torch.cat(parts).float()


def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, **options: Any
) -> dict[str, float]:
    """Return the mean cross-entropy `loss` and the `accuracy` (0..1) over N images.

    `labels` are int64 [N]. The options are those of `predict`. ValueError for images
    that `predict` refuses, and for labels that are not one digit 0..9 per image.
    """
    check_images(images)
    check_labels(labels, images)
    logits = predict(model, images, **options)
    return {
        "loss": F.cross_entropy(logits, labels).item(),
        "accuracy": accuracy(logits, labels),
    }


def predict_in_training_mode(
    model: nn.Module,
    images: Tensor,
    batch_size: int,
    mean: float = MEAN,
    std: float = STD,
) -> Tensor:
    """Return the logits [N, 10] of a test that forgets `eval()`. It changes the model.

    Batch norm normalises each batch by the statistics of that batch, and its running
    averages move towards them.
    """
    model.train()
    with torch.no_grad():
        parts = [model(normalize(part, mean, std)) for part in images.split(batch_size)]
    return torch.cat(parts)


def score_without_eval(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    mean: float = MEAN,
    std: float = STD,
) -> dict[str, float]:
    """Return the accuracies of R2's test: batches of 64 in training mode.

    `shuffled` takes the images as they come, `sorted` with all images of a digit side
    by side. `afterwards` is measured in evaluation mode, once the test of the shuffled
    images has moved the running averages. `model` itself is left as it is.
    """
    tested = copy.deepcopy(model)
    tested_by_digit = copy.deepcopy(model)
    by_digit = labels.argsort()
    shuffled = predict_in_training_mode(tested, images, 64, mean, std)
    in_order = predict_in_training_mode(
        tested_by_digit, images[by_digit], 64, mean, std
    )
    afterwards = predict(tested, images, mean=mean, std=std)
    return {
        "shuffled": accuracy(shuffled, labels),
        "sorted": accuracy(in_order, labels[by_digit]),
        "afterwards": accuracy(afterwards, labels),
    }


def score_one_by_one(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    mean: float = MEAN,
    std: float = STD,
) -> dict[str, float]:
    """Return the scores of R3's test: each image alone, in training mode.

    `argmax` is the accuracy of the largest output. R3 draws each prediction from the
    softmax instead: `drawn` is the accuracy that these draws have on average, the mean
    probability of the label. `model` itself is left as it is.
    """
    tested = copy.deepcopy(model)
    logits = predict_in_training_mode(tested, images, 1, mean, std)
    p_true = logits.softmax(1).gather(1, labels[:, None])
    return {"argmax": accuracy(logits, labels), "drawn": p_true.mean().item()}


# The tests of R2 and R3, which a run can ask for besides `evaluate`.
EXTRA_TESTS: dict[str, Callable[..., dict[str, float]]] = {
    "without_eval": score_without_eval,
    "one_by_one": score_one_by_one,
}


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest logit is that of the label, 0..1."""
    return (logits.argmax(1) == labels).sum().item() / len(labels)


def clock(device: torch.device) -> float:
    """Return a time in seconds, read once `device` has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
