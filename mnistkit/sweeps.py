"""train_run turns a Run into a Record; sweep does so for many, each at most once."""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnistkit.data import MEAN, MNIST, STD, Batches, load_mnist, split, subset
from mnistkit.models import count_params
from mnistkit.runs import Record, Run, environment, read_record
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
from mnistkit.workers.checkpoints import Checkpoint, Training
from mnistkit.workers.estimates import expected_seconds
from mnistkit.workers.pool import Outcome, train_all
from mnistkit.workers.progress import in_notebook, progress

# All threads of a process share torch's random state, so only one of them may train.
RNG_LOCK = threading.Lock()

DEVICES = ("auto", "cpu", "cuda")

Labelled = tuple[Tensor, Tensor]  # uint8 images [N, 28, 28], int64 labels [N]


class OneLine:
    """An error that says everything: a notebook shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class Stopped(OneLine, KeyboardInterrupt):
    """A sweep was interrupted."""


class RunsFailed(OneLine, ValueError):
    """Runs of a sweep cannot be trained."""


class WorkerKilled(OneLine, RuntimeError):
    """A worker process of a sweep was killed."""


def sweep(
    runs: list[Run],
    executor: Executor | None = None,
    store: Store | None = None,
    keep_weights: bool = False,
    *,
    jobs: int | None = None,
    device: str = "auto",
) -> list[Record]:
    """Return the records of `runs`, in their order. Only what `store` lacks is trained.

    By default there are `jobs` worker processes, one per core, with one torch thread
    each; with jobs=1, and where there is a CUDA GPU, this process trains. Any
    `concurrent.futures.Executor` will do as well. `device` is that of `train_run`.

    Each record is written as soon as its run has finished, so an interrupted sweep goes
    on where it stopped. If a run cannot be trained, all others are, and then RunsFailed
    names it, a ValueError. TypeError or ValueError for wrong arguments, WorkerKilled, a
    RuntimeError, if a worker process was killed, OSError if the store cannot be
    written.
    """
    _check_arguments(runs, executor, store, jobs, device)
    store = store or Store()
    source = load_mnist().source
    wanted = {run.name: run for run in runs}
    records: dict[str, Record] = {}
    for name, run in wanted.items():
        run.check_code()
        stored = read_record(name, source, store, keep_weights)
        if stored is not None:
            records[name] = stored
    missing = [run for name, run in wanted.items() if name not in records]
    if missing:
        store.check(source)
    if executor is None:
        # One process is enough to keep a GPU busy.
        on_cuda = choose_device(device).type == "cuda"
        jobs = min(len(missing), jobs or (1 if on_cuda else joblib.cpu_count()))
    tasks = [
        (run, keep_weights, device, _checkpoint_path(run, source, store))
        for run in missing
    ]
    seconds = expected_seconds(missing, list(records.values()))
    failures: list[tuple[Run, BaseException]] = []
    try:
        with (
            progress(len(wanted), len(missing), seconds, jobs or 1) as advance,
            closing(train_all(train_run, tasks, executor, jobs, advance)) as outcomes,
        ):
            for (run, *_, checkpoint), outcome in outcomes:
                if isinstance(outcome, Record):
                    outcome = _check_source(outcome, source)
                if isinstance(outcome, Record):
                    store.put(run.name, source, outcome.to_document())
                    checkpoint.unlink(missing_ok=True)
                    records[run.name] = outcome
                    advance()
                else:
                    failures.append((run, outcome))
    except KeyboardInterrupt:
        again = "the cell" if in_notebook() else "it"
        kept = f"{len(records)} of {len(wanted)} kept"
        raise Stopped(f"Stopped: {kept}; run {again} again to go on.") from None
    except BrokenExecutor as error:
        failures.append((missing[0], error))
    if failures:
        raise _explain(failures, len(records), len(wanted)) from None
    return [records[run.name] for run in runs]


def _check_arguments(
    runs: Any, executor: Any, store: Any, jobs: Any, device: Any
) -> None:
    if isinstance(runs, Run):
        raise TypeError("sweep takes a list of runs: sweep([run])")
    if not isinstance(runs, list | tuple):
        raise TypeError(f"runs must be a list of Run, not a {type(runs).__name__}")
    for run in runs:
        if not isinstance(run, Run):
            raise TypeError(f"runs must be a list of Run, but it contains {run!r}")
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            f"executor must be a concurrent.futures.Executor, not {executor!r}; the "
            "number of processes is set by jobs"
        )
    if store is not None and not isinstance(store, Store):
        raise TypeError(f"store must be a Store, not {store!r}: Store({store!r})")
    if jobs is not None and (type(jobs) is not int or jobs < 1):
        raise ValueError(f"jobs must be a number of processes, 1 or more, not {jobs!r}")
    if jobs is not None and executor is not None:
        raise ValueError("jobs and executor exclude each other: give one of them")
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {device!r}")


def _check_source(record: Record, source: str) -> Outcome:
    if record.data["source"] == source:
        return record
    return ValueError(
        f"a worker trained on {record.data['source']}, not on {source}; give every "
        "machine the same data"
    )


def _checkpoint_path(run: Run, source: str, store: Store) -> Path:
    path = store.checkpoint_path(run.name, source)
    if path.exists() and path.stat().st_mtime < store.since:
        path.unlink()
    return path


def _explain(
    failures: list[tuple[Run, BaseException]], kept: int, total: int
) -> RunsFailed | WorkerKilled:
    """Return the error, in one line, for a sweep some of whose runs have failed."""
    if any(isinstance(error, BrokenExecutor) for _, error in failures):
        return WorkerKilled(
            f"a worker process was killed (out of memory?): {kept} of {total} runs are "
            "kept; sweep again to train the others, with jobs=1 if it happens again"
        )
    causes: dict[str, list[str]] = {}
    for run, error in failures:
        cause = " ".join(str(error).split())
        if not isinstance(error, ValueError):
            cause = f"{type(error).__name__}: {cause}; train_run shows where"
        causes.setdefault(cause, []).append(short(run))
    parts = []
    for cause, runs in causes.items():
        more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
        parts.append(f"{', '.join(runs[:3])}{more}: {cause}")
    count = f"{len(failures)} of {total} runs" if total > 1 else "the run"
    others = ", all others are kept" if kept else ""
    return RunsFailed(f"{count} cannot be trained{others}: {'; '.join(parts)}")


def short(run: Run) -> str:
    """Return the Python expression of a run, with what differs from the defaults."""
    changed = {key: value for key, value in run.canonical().items() if key != "code"}
    return f"Run({', '.join(f'{key}={value!r}' for key, value in changed.items())})"


def choose_device(device: str) -> torch.device:
    """Return the torch device called "auto", "cpu" or "cuda".

    "auto" is CUDA where there is a GPU. ValueError for "cuda" where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch finds no CUDA GPU here: use device='cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def train_run(
    run: Run,
    keep_weights: bool = False,
    device: str = "auto",
    checkpoint: Path | None = None,
    on_epoch: Callable[[], None] | None = None,
) -> Record:
    """Train a run from its seed and return its record.

    `device` is "cpu", "cuda", or "auto": CUDA where there is a GPU. The record is the
    same each time on one machine: the CPU works with one torch thread, CUDA with
    deterministic kernels, and every generator is seeded by the run. `on_epoch` is
    called after each epoch.

    A training of more than a minute writes its state to the file `checkpoint`; if it
    finds one there it goes on, to the same record. A run with definitions of the user's
    own starts anew, because they may keep a state that the file lacks.

    ValueError if the batch is larger than the training set, RuntimeError if the GPU
    cannot train the run.
    """
    place = choose_device(device)
    mnist = load_mnist(device=place)
    with RNG_LOCK, deterministic(), remedy_for_cuda(place):
        training, validation, test = _start(run, mnist, place)
        file = None
        if checkpoint is not None and not run.code:
            origin = {"run": run.name, "data": mnist.source} | environment(place)
            origin.pop("finished")
            # torch's version is no plain text, and only plain values are read back.
            origin = {key: str(value) for key, value in origin.items()}
            file = Checkpoint(checkpoint, origin)
            if file.path.exists() and not file.resume(training):
                training, validation, test = _start(run, mnist, place)
        model, train, history = training.model, training.batches, training.history
        epochs = fit(
            model,
            train,
            training.optimizer,
            training.schedule,
            epochs=run.epochs,
            validation=validation,
            loss_fn=LOSSES[run.loss],
            clip_norm=run.clip_norm,
            precision=run.precision,
            done=len(history),
        )
        for row in epochs:
            if run.test_every_epoch:
                scores, _ = _test_run(run, model, train, test)
                row |= scores
            history.append(row)
            if on_epoch is not None:
                on_epoch()
            if math.isnan(row["train_loss"]):
                break
            if run.best_weights and best_epoch(history) == row["epoch"]:
                training.best_weights = _copy_weights(model)
            if run.patience and row["epoch"] - best_epoch(history) >= run.patience:
                break
            if file is not None:
                file.write_if_due(training)
        if training.best_weights is not None:
            model.load_state_dict(training.best_weights)
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
            environment=environment(place),
            weights=_copy_weights(model) if keep_weights else None,
        )


def _start(
    run: Run, mnist: MNIST, device: torch.device
) -> tuple[Training, Labelled | None, Labelled]:
    """Return the training before its first epoch, validation images, test images."""
    # This seed is for dropout: weights and batches have generators of their own.
    torch.manual_seed(run.seed)
    train, validation, test = select_data(run, mnist)
    model = run.build_model()
    # torch's types lack the call with both a device and a memory format.
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = OPTIMIZERS[run.optimizer](
        model.parameters(),
        lr=run.lr,
        weight_decay=run.weight_decay,
        **run.optimizer_options,
    )
    _check_made("optimizer", run.optimizer, optimizer)
    schedule = SCHEDULES[run.schedule](
        optimizer, len(train), run.epochs, **run.schedule_options
    )
    _check_made("schedule", run.schedule, schedule)
    return Training(model, optimizer, schedule, train), validation, test


def _check_made(kind: str, name: str, made: Any) -> None:
    if made is None:
        raise ValueError(f"{kind} {name!r} returns None: it lacks a `return`")


@contextmanager
def remedy_for_cuda(device: torch.device) -> Iterator[None]:
    """Turn an error of CUDA, such as a lack of memory, into one line with a remedy."""
    try:
        yield
    except RuntimeError as error:
        if device.type != "cuda":
            raise
        first_line = str(error).partition("\n")[0]
        raise RuntimeError(
            f"the CUDA GPU cannot train this run ({first_line}): use device='cpu'"
        ) from error


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
