"""train_run: a Run becomes a Record. sweep: many of them, each at most once."""

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

# torch's random numbers belong to the process: one training at a time may use them.
RNG_LOCK = threading.Lock()

Labelled = tuple[Tensor, Tensor]  # uint8 images [N, 28, 28], int64 labels [N]


def sweep(
    runs: list[Run],
    executor: Executor | None = None,
    store: Store | None = None,
    keep_weights: bool = False,
) -> list[Record]:
    """The records of `runs`, in their order; trains only what the store lacks.

    By default one process per core with one torch thread each, or this process where
    there is a CUDA GPU. Any `concurrent.futures.Executor` will do; networks defined in
    a notebook need one in this process: `ThreadPoolExecutor(1)`. Each record is written
    as soon as its run has finished, so an interrupted sweep goes on where it stopped.
    OSError if the store cannot be written, ValueError for a run that cannot be trained.
    """
    store = store or Store()
    source = load_mnist().source
    names = [run.name for run in runs]
    records = {name: read_record(name, source, store, keep_weights) for name in names}
    missing = {run.name: run for run in runs if records[run.name] is None}
    if missing:
        store.check()
    with progress(len(records), len(missing)) as done:
        for record in _train_all(list(missing.values()), executor, keep_weights):
            if record.data["source"] != source:
                raise ValueError(
                    f"a worker trained on {record.data['source']}, not on {source}; "
                    "give every machine the same data"
                )
            store.put(record.run.name, source, record.to_document())
            records[record.run.name] = record
            done()
    return [record for name in names if (record := records[name])]


def _train_all(
    runs: list[Run], executor: Executor | None, keep_weights: bool
) -> Iterator[Record]:
    if executor is None and (len(runs) < 2 or torch.cuda.is_available()):
        bar = len(runs) == 1 and places.progress_log() is None
        for run in runs:
            yield train_run(run, keep_weights, bar)
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
    """Train one run from its seed, on CUDA where there is one, and test it once.

    `bar` shows a progress bar over epochs. Deterministic on one machine: one torch
    thread on the CPU, deterministic kernels on CUDA, generators seeded by the run.
    ValueError if the batch is larger than the training set.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mnist = load_mnist(device=device)
    with RNG_LOCK, deterministic():
        torch.manual_seed(run.seed)  # dropout; weights and order have their generators
        train, validation, test = select_data(run, mnist)
        model = run.build_model().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        history: list[dict[str, Any]] = []
        best_weights = None
        epochs = _epochs(run, model, train, validation)
        for row in tqdm(epochs, "epochs", run.epochs, leave=False, disable=not bar):
            if run.test_every_epoch:
                row |= _test(run, model, train, test)[0]
            history.append(row)
            if math.isnan(row["train_loss"]):
                break
            if run.best_weights and best_epoch(history) == row["epoch"]:
                best_weights = _weights(model)
            if run.patience and row["epoch"] - best_epoch(history) >= run.patience:
                break
        if best_weights is not None:
            model.load_state_dict(best_weights)
        scores, predictions = _test(run, model, train, test)
        sizes = {
            "train_size": len(train.labels),
            "val_size": len(validation[1]) if validation else 0,
            "test_size": len(test[1]),
            "steps_per_epoch": len(train),
        }
        return Record(
            run=run,
            summary=_summary(run, model, history) | scores,
            history=history,
            **predictions,
            data={"source": mnist.source, "checksums": mnist.checksums} | sizes,
            environment=environment(device),
            weights=_weights(model) if keep_weights else None,
        )


def select_data(run: Run, mnist: MNIST) -> tuple[Batches, Labelled | None, Labelled]:
    """Training batches, validation images (None if none are held out), test images."""
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
    held_out = (mnist.train_images[validation], mnist.train_labels[validation])
    tested = (mnist.test_images[test], mnist.test_labels[test])
    return batches, held_out if len(validation) else None, tested


def best_epoch(history: list[dict[str, Any]]) -> int:
    """The first epoch with the highest validation accuracy; the last without one."""
    best = max(history, key=lambda row: row.get("val_accuracy", row["epoch"]))
    return best["epoch"]


def _epochs(
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


def _test(
    run: Run, model: nn.Module, train: Batches, test: Labelled
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The scores on the test images, and what a record keeps of each of them."""
    (images, labels), scaling = test, {"mean": train.mean, "std": train.std}
    logits = predict(model, images, **scaling)
    probability = logits.softmax(1)
    confidence, predictions = probability.max(1)
    p_true = probability.gather(1, labels[:, None])[:, 0]
    scores = {
        "test_loss": F.cross_entropy(logits, labels).item(),
        "test_accuracy": accuracy(logits, labels),
    }
    for name in run.extra_tests:
        extra = EXTRA_TESTS[name](model, images, labels, **scaling)
        scores |= {f"{name}_{part}": value for part, value in extra.items()}
    return scores, {
        "predictions": predictions.to(torch.uint8).cpu().numpy(),
        "confidence": confidence.half().cpu().numpy(),
        "p_true": p_true.half().cpu().numpy(),
    }


def _summary(
    run: Run, model: nn.Module, history: list[dict[str, Any]]
) -> dict[str, Any]:
    best = best_epoch(history)
    row = history[(best if run.best_weights else len(history)) - 1]
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    return {
        "status": "diverged" if math.isnan(history[-1]["train_loss"]) else "ok",
        "best_epoch": best,
        "epochs_done": len(history),
        "parameters": count_params(model),
        "seconds": sum(row["seconds"] for row in history),
    } | {name: row[name] for name in names if name in row}


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }


@contextmanager
def deterministic() -> Iterator[None]:
    """One torch thread, deterministic cuDNN; the random state outside is kept."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(), torch.backends.cudnn.flags(deterministic=True):
            yield
    finally:
        torch.set_num_threads(threads)


def process_pool(tasks: int) -> ProcessPoolExecutor:
    """One worker per core, at most one per task, with one torch thread each."""
    # Forking this process would not be safe; a fork server imports everything once.
    forkserver = "forkserver" in get_all_start_methods()
    context: Any = get_context("forkserver" if forkserver else "spawn")
    if forkserver:
        context.set_forkserver_preload(["mnistkit.sweeps", "torch._dynamo"])
    workers = min(tasks, joblib.cpu_count())
    environment = places.worker_environment()
    return ProcessPoolExecutor(workers, context, _start_worker, (environment,))


def _start_worker(environment: dict[str, str]):
    # The fork server keeps the environment that it was started with, so pass ours.
    os.environ.update(environment)
    parent = parent_process()  # a worker whose parent was killed must not train on
    assert parent is not None
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


@contextmanager
def progress(total: int, missing: int) -> Iterator[Callable[[], Any]]:
    """A bar over the runs of a sweep, or lines of JSON in the log that `report` reads.

    Yields what is to be called after each run that was trained.
    """
    log, done = places.progress_log(), total - missing
    if log is None:
        with tqdm(total=total, initial=done, desc="runs", leave=False) as bar:
            yield bar.update
        return

    def note(**event: int):
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    note(runs=total, done=done)
    yield lambda: note(done=1)
