"""The optimizers, the learning-rate schedules and the one training loop."""

import copy
import math
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from mnistkit.data import MEAN, STD, Batches, normalize

WINDOW = 100  # steps per entry of `window_losses`, as R2 printed them


def sgdm(params, lr: float, momentum: float = 0.9, **options) -> Optimizer:
    """SGD with momentum: v = momentum v + g; w -= lr v (R1-E6, R2-19, R5-17)."""
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
    """The same lr throughout."""
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


def step(optimizer, steps_per_epoch, epochs, step_size=2, gamma=0.9) -> LRScheduler:
    """lr x gamma after every `step_size` epochs (R3-28)."""
    return lr_scheduler.StepLR(optimizer, step_size * steps_per_epoch, gamma)


def warmup_cosine(optimizer, steps_per_epoch, epochs, warmup=0.1) -> LRScheduler:
    """A linear rise over the share `warmup` of all steps, then half a cosine to 0.

    R3-11 describes it without settings; the share is ours (R3-E16).
    """
    total = steps_per_epoch * epochs
    rise = max(1, round(warmup * total))

    def factor(done: int) -> float:
        if done < rise:
            return (done + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (done - rise) / max(1, total - rise)))

    return lr_scheduler.LambdaLR(optimizer, factor)


def one_cycle(optimizer, steps_per_epoch, epochs, **options) -> LRScheduler:
    """One-cycle policy; the optimizer's lr is the peak. Momentum stays as it is."""
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
    """R3's loss: its network ends in a softmax, and cross-entropy takes another one.

    Probabilities [B, 10] stand for logits, so the loss never falls below
    ln(1 + 9/e) = 1.46 (R3-E1).
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
) -> Iterator[dict]:
    """Train `model` in place and yield one row of history after each epoch.

    A generator: stop iterating and the training stops. `batches` gives images
    [B, 1, 28, 28] and labels [B]; `loss_fn` takes logits [B, 10] and labels.
    `schedule` is stepped after every batch. `validation` is (uint8 images [N, 28, 28],
    labels [N]). A row holds epoch (from 1), lr (at the end of the epoch), train_loss
    (mean over the steps), train_accuracy (as the batches went by), window_losses
    (mean loss of each 100 steps, the last window may be shorter), seconds (training
    only, device synchronised), and val_loss and val_accuracy with `validation`.
    """
    for epoch in range(1, epochs + 1):
        start = clock(batches.images.device)
        model.train()
        losses, hits, seen = [], [], 0
        for images, labels in batches:
            logits = model(images)
            loss = loss_fn(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            losses.append(loss.detach())
            hits.append((logits.detach().argmax(1) == labels).sum())
            seen += len(labels)
        losses = torch.stack(losses)  # read once per epoch: no waiting inside the loop
        row = {
            "epoch": epoch,
            "lr": optimizer.param_groups[0]["lr"],
            "train_loss": losses.mean().item(),
            "train_accuracy": torch.stack(hits).sum().item() / seen,
            "window_losses": [part.mean().item() for part in losses.split(WINDOW)],
            "seconds": clock(batches.images.device) - start,
        }
        if validation is not None:
            score = evaluate(model, *validation, mean=batches.mean, std=batches.std)
            row |= {f"val_{name}": value for name, value in score.items()}
        yield row


def predict(
    model: nn.Module, images: Tensor, batch_size: int = 1000, mean=MEAN, std=STD
) -> Tensor:
    """Logits [N, 10] of uint8 images [N, 28, 28], in evaluation mode, no gradients.

    The model is left in the mode it was in. R2 and R3 tested without `eval()`
    (R2-E8, R3-E3).
    """
    training = model.training
    model.eval()
    with torch.inference_mode():
        parts = [model(normalize(part, mean, std)) for part in images.split(batch_size)]
    model.train(training)
    return torch.cat(parts)


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, **options) -> dict:
    """Mean cross-entropy `loss` and `accuracy` (argmax) over N images."""
    logits = predict(model, images, **options)
    return {
        "loss": F.cross_entropy(logits, labels).item(),
        "accuracy": accuracy(logits, labels),
    }


def predict_in_training_mode(
    model: nn.Module, images: Tensor, batch_size: int, mean=MEAN, std=STD
) -> Tensor:
    """Logits [N, 10] of a test that forgets `eval()`. It changes the model.

    Batch norm normalises each batch by the batch's own statistics, and its running
    averages move towards them.
    """
    model.train()
    with torch.no_grad():
        parts = [model(normalize(part, mean, std)) for part in images.split(batch_size)]
    return torch.cat(parts)


def score_without_eval(model: nn.Module, images: Tensor, labels: Tensor, **scaling):
    """Accuracies of R2's test: batches of 64 in training mode (R2-E8).

    `shuffled` as the images come, `sorted` with all images of a digit side by side,
    `afterwards` in evaluation mode, once R2's test has moved the running averages.
    """
    order = labels.argsort()
    by_digit, model = copy.deepcopy(model), copy.deepcopy(model)
    shuffled = predict_in_training_mode(model, images, 64, **scaling)
    in_order = predict_in_training_mode(by_digit, images[order], 64, **scaling)
    return {
        "shuffled": accuracy(shuffled, labels),
        "sorted": accuracy(in_order, labels[order]),
        "afterwards": accuracy(predict(model, images, **scaling), labels),
    }


def score_one_by_one(model: nn.Module, images: Tensor, labels: Tensor, **scaling):
    """Scores of R3's test: each image alone, in training mode (R3-E3).

    `argmax` is the accuracy of the largest output. R3 draws each prediction from the
    softmax instead: `drawn` is the accuracy to expect then, the mean of p(label).
    """
    model = copy.deepcopy(model)
    logits = predict_in_training_mode(model, images, 1, **scaling)
    p_true = logits.softmax(1).gather(1, labels[:, None])
    return {"argmax": accuracy(logits, labels), "drawn": p_true.mean().item()}


# How R2 and R3 tested; a run names what it is to be tested by besides `evaluate`.
EXTRA_TESTS: dict[str, Callable[..., dict[str, float]]] = {
    "without_eval": score_without_eval,
    "one_by_one": score_one_by_one,
}


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of the N images whose largest logit is the label's."""
    return (logits.argmax(1) == labels).sum().item() / len(labels)


def clock(device: torch.device) -> float:
    """Seconds on a running clock, once the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
