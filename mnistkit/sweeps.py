"""train_run turns a Run into a Record; sweep does so for many, each at most once."""

import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context, parent_process
from typing import Any

import joblib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from mnistkit.data import MEAN, MNIST, STD, Batches, load_mnist, split, subset
from mnistkit.models import count_params
from mnistkit.runs import Record, Run, environment, read_record
from mnistkit.storage import places
from mnistkit.storage.store import Store
from mnistkit.train import (
    EXTRA_TESTS,
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    accuracy,
    fit,
    predict,
)

# All threads of a process share torch's random state, so only one of them may train.
RNG_LOCK = threading.Lock()

Labelled = tuple[Tensor, Tensor]  # uint8 images [N, 28, 28], int64 labels [N]


def sweep(
    runs: list[Run],
    executor: Executor | None = None,
    store: Store | None = None,
    keep_weights: bool = False,
) -> list[Record]:
    """Return the records of `runs`, in their order. Only what `store` lacks is trained.

    By default there is one worker process per core, with one torch thread each; where
    there is a CUDA GPU, this process trains. Any `concurrent.futures.Executor` will do.
    Networks defined in a notebook need one that stays in this process:
    `ThreadPoolExecutor(1)`. Each record is written as soon as its run has finished, so
    an interrupted sweep goes on where it stopped. OSError if the store cannot be
    written, ValueError for a run that cannot be trained.
    """
    store = store or Store()
    source = load_mnist().source
    wanted = {run.name: run for run in runs}
    records: dict[str, Record] = {}
    for name in wanted:
        stored = read_record(name, source, store, keep_weights)
        if stored is not None:
            records[name] = stored
    missing = [run for name, run in wanted.items() if name not in records]
    if missing:
        store.check()
    with progress(len(wanted), len(missing)) as report_done:
        for record in _train_all(missing, executor, keep_weights):
            if record.data["source"] != source:
                raise ValueError(
                    f"a worker trained on {record.data['source']}, not on {source}; "
                    "give every machine the same data"
                )
            store.put(record.run.name, source, record.to_document())
            records[record.run.name] = record
            report_done()
    return [records[run.name] for run in runs]


def _train_all(
    runs: list[Run], executor: Executor | None, keep_weights: bool
) -> Iterator[Record]:
    if executor is None and (len(runs) < 2 or torch.cuda.is_available()):
        show_epochs = len(runs) == 1 and places.progress_log() is None
        for run in runs:
            yield train_run(run, keep_weights, show_epochs)
        return
    pool = executor or process_pool(len(runs))
    futures = [pool.submit(train_run, run, keep_weights) for run in runs]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        for future in futures:
            future.cancel()
        if executor is None:
            pool.shutdown(cancel_futures=True)


def train_run(run: Run, keep_weights: bool = False, bar: bool = False) -> Record:
    """Train a run from its seed, on CUDA where there is one, and return its record.

    `bar` shows a progress bar over epochs. The record is the same each time on one
    machine: the CPU works with one torch thread, CUDA with deterministic kernels, and
    every generator is seeded by the run. ValueError if the batch is larger than the
    training set.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mnist = load_mnist(device=device)
    with RNG_LOCK, deterministic():
        # This seed is for dropout: weights and batches have generators of their own.
        torch.manual_seed(run.seed)
        train, validation, test = select_data(run, mnist)
        model = run.build_model()
        # torch's types lack the call with both a device and a memory format.
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        history: list[dict[str, Any]] = []
        best_weights = None
        epochs = _fit_run(run, model, train, validation)
        for row in tqdm(epochs, "epochs", run.epochs, leave=False, disable=not bar):
            if run.test_every_epoch:
                scores, _ = _test_run(run, model, train, test)
                row |= scores
            history.append(row)
            if math.isnan(row["train_loss"]):
                break
            if run.best_weights and best_epoch(history) == row["epoch"]:
                best_weights = _copy_weights(model)
            if run.patience and row["epoch"] - best_epoch(history) >= run.patience:
                break
        if best_weights is not None:
            model.load_state_dict(best_weights)
        scores, per_image = _test_run(run, model, train, test)
        sizes = {
            "train_size": len(train.labels),
            "val_size": len(validation[1]) if validation else 0,
            "test_size": len(test[1]),
            "steps_per_epoch": len(train),
        }
        return Record(
            run=run,
            summary=_summarize(run, model, history) | scores,
            history=history,
            **per_image,
            data={"source": mnist.source, "checksums": mnist.checksums} | sizes,
            environment=environment(device),
            weights=_copy_weights(model) if keep_weights else None,
        )


def select_data(run: Run, mnist: MNIST) -> tuple[Batches, Labelled | None, Labelled]:
    """Return training batches, validation images (None if there are none), test images.

    Which images are selected does not depend on the seed of the run.
    """
    labels = mnist.train_labels.cpu()
    train, validation = split(labels, run.val_fraction)
    train = train[subset(labels[train], run.train_size)]
    validation = validation[subset(labels[validation], run.eval_size)]
    test = subset(mnist.test_labels.cpu(), run.eval_size)
    batches = Batches(
        mnist.train_images[train],
        mnist.train_labels[train],
        run.batch_size,
        seed=run.seed,
        augment=run.augment,
        drop_last=run.drop_last,
        mean=MEAN if run.normalize else 0.0,
        std=STD if run.normalize else 1.0,
    )
    held_out = None
    if len(validation) > 0:
        held_out = (mnist.train_images[validation], mnist.train_labels[validation])
    return batches, held_out, (mnist.test_images[test], mnist.test_labels[test])


def best_epoch(history: list[dict[str, Any]]) -> int:
    """Return the first epoch with the highest validation accuracy.

    Without validation the last epoch is returned.
    """
    if "val_accuracy" not in history[-1]:
        return history[-1]["epoch"]
    return max(history, key=lambda row: row["val_accuracy"])["epoch"]


def _fit_run(
    run: Run, model: nn.Module, train: Batches, validation: Labelled | None
) -> Iterator[dict[str, Any]]:
    optimizer = OPTIMIZERS[run.optimizer](
        model.parameters(),
        lr=run.lr,
        weight_decay=run.weight_decay,
        **run.optimizer_options,
    )
    schedule = SCHEDULES[run.schedule](
        optimizer, len(train), run.epochs, **run.schedule_options
    )
    return fit(
        model,
        train,
        optimizer,
        schedule,
        epochs=run.epochs,
        validation=validation,
        loss_fn=LOSSES[run.loss],
        clip_norm=run.clip_norm,
    )


def _test_run(
    run: Run, model: nn.Module, train: Batches, test: Labelled
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the scores on the test images, and what a record keeps of each image."""
    images, labels = test
    logits = predict(model, images, mean=train.mean, std=train.std)
    probability = logits.softmax(1)
    confidence, predictions = probability.max(1)
    p_true = probability.gather(1, labels[:, None])[:, 0]
    scores = {
        "test_loss": F.cross_entropy(logits, labels).item(),
        "test_accuracy": accuracy(logits, labels),
    }
    for name in run.extra_tests:
        extra = EXTRA_TESTS[name](model, images, labels, mean=train.mean, std=train.std)
        scores |= {f"{name}_{part}": value for part, value in extra.items()}
    per_image = {
        "predictions": predictions.to(torch.uint8).cpu().numpy(),
        "confidence": confidence.half().cpu().numpy(),
        "p_true": p_true.half().cpu().numpy(),
    }
    return scores, per_image


def _summarize(
    run: Run, model: nn.Module, history: list[dict[str, Any]]
) -> dict[str, Any]:
    best = best_epoch(history)
    summary = {
        "status": "diverged" if math.isnan(history[-1]["train_loss"]) else "ok",
        "best_epoch": best,
        "epochs_done": len(history),
        "parameters": count_params(model),
        "seconds": sum(row["seconds"] for row in history),
    }
    tested_epoch = best if run.best_weights else len(history)
    tested = history[tested_epoch - 1]
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        if name in tested:
            summary[name] = tested[name]
    return summary


def _copy_weights(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }


@contextmanager
def deterministic() -> Iterator[None]:
    """Compute with one torch thread and deterministic cuDNN while the context is open.

    Afterwards torch's random state and its number of threads are what they were.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(), torch.backends.cudnn.flags(deterministic=True):
            yield
    finally:
        torch.set_num_threads(threads)


def process_pool(tasks: int) -> ProcessPoolExecutor:
    """Return one worker per core, at most one per task, with one torch thread each."""
    # A process that runs threads cannot be forked safely. The fork server runs none: it
    # imports torch once, and the workers are forked from it. torch._dynamo is imported
    # there too, because otherwise the first optimizer of every worker imports it.
    forkserver = "forkserver" in get_all_start_methods()
    context: Any = get_context("forkserver" if forkserver else "spawn")
    if forkserver:
        context.set_forkserver_preload(["mnistkit.sweeps", "torch._dynamo"])
    workers = min(tasks, joblib.cpu_count())
    environment = places.worker_environment()
    return ProcessPoolExecutor(workers, context, _start_worker, (environment,))


def _start_worker(environment: dict[str, str]) -> None:
    # The fork server keeps the environment that it was started with, so pass ours.
    os.environ.update(environment)
    parent = parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    # A worker whose parent was killed must not train on.
    threading.Thread(target=end_with_parent, daemon=True).start()


@contextmanager
def progress(total: int, missing: int) -> Iterator[Callable[[], Any]]:
    """Show how far a sweep is: of its `total` runs, `missing` are still to be trained.

    Yields a function to call after each run that was trained. A notebook shows a bar if
    there is something to train; a chapter of a report writes lines of JSON to the log
    that `report` reads.
    """
    log = places.progress_log()
    done = total - missing
    if log is None:
        bar = tqdm(
            total=total, initial=done, desc="runs", leave=False, disable=missing == 0
        )
        with bar:
            yield bar.update
        return

    def write_event(**event: int) -> None:
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    write_event(runs=total, done=done)
    yield lambda: write_event(done=1)
