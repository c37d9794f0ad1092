"""Where the runs of a sweep are trained: here, in processes, or in any executor."""

import os
import platform
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    wait,
)
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.cloudpickle_wrapper import dumps, loads

from mnistkit import definitions
from mnistkit.data import load_mnist
from mnistkit.runs import Record, Run
from mnistkit.storage import places
from mnistkit.workers.progress import Advance

IDLE = 600  # seconds after which a worker without work ends

# A run, and what else train_run takes: keep_weights, device, checkpoint.
Task = tuple[Run, bool, str, Path]
Outcome = Record | BaseException  # what came of a task
Train = Callable[..., Record]  # train_run

# All threads of a process share MODELS and its like, so one of them changes them.
ENTRIES_LOCK = threading.Lock()


def train_all(
    train: Train,
    tasks: list[Task],
    executor: Executor | None,
    jobs: int | None,
    advance: Advance,
) -> Generator[tuple[Task, Outcome], None, None]:
    """Yield each task with its record, or with the error that prevented the record.

    The tasks are trained by `executor`, else by `jobs` processes: one is this process.
    `advance` is that of `progress`, called as soon as there is a worker and for each
    part of a run that was trained. Closing the generator stops the workers.
    """
    if not tasks:
        return
    if executor is not None:
        submit = partial(_submit, executor, {}, train)
        futures: dict[Future, Task] = {}
        try:
            yield from _outcomes(submit, tasks, len(tasks), futures, advance)
        finally:
            for future in futures:
                future.cancel()
    elif jobs == 1:
        yield from _train_here(train, tasks, advance)
    else:
        workers = min(len(tasks), jobs or joblib.cpu_count())
        pool: Any = process_pool(len(tasks), jobs)
        submit = partial(_submit, pool, places.worker_environment(), train)
        try:
            # loky can drop tasks that its workers are to train next, but no others.
            yield from _outcomes(submit, tasks, workers + 1, {}, advance)
        except BaseException:
            # Nobody waits for the trainings that are under way.
            pool.shutdown(kill_workers=True)
            raise


def _train_here(
    train: Train, tasks: list[Task], advance: Advance
) -> Iterator[tuple[Task, Outcome]]:
    for task in tasks:
        run = task[0]
        advance(0)
        outcome: Outcome
        try:
            outcome = train(
                *task, on_epoch=partial(advance, 0, run.name, 1 / run.epochs)
            )
        except Exception as error:
            outcome = error
        yield task, outcome


def _submit(
    executor: Executor, environment: dict[str, str], train: Train, task: Task
) -> Future:
    # Unlike pickle, cloudpickle can send what is defined in a notebook.
    entries = dumps(definitions.foreign(task[0]))
    arguments = (this_process(), environment, entries, train, task)
    return executor.submit(train_elsewhere, *arguments)


def _outcomes(
    submit: Callable[[Task], Future],
    tasks: list[Task],
    limit: int,
    futures: dict[Future, Task],
    advance: Advance,
) -> Iterator[tuple[Task, Outcome]]:
    """Yield the outcomes as they come; `futures` holds up to `limit` tasks at once."""
    advance(0)
    waiting = deque(tasks)
    while waiting or futures:
        while waiting and len(futures) < limit:
            task = waiting.popleft()
            try:
                futures[submit(task)] = task
            except Exception as error:
                yield task, error
        done, _ = wait(futures, return_when=FIRST_COMPLETED)
        for future in done:
            task = futures.pop(future)
            advance(0, task[0].name, 1)
            yield task, future.exception() or future.result()


def this_process() -> tuple[str, int]:
    """Return the name of this machine and the number of this process."""
    return platform.node(), os.getpid()


def train_elsewhere(
    parent: tuple[str, int],
    environment: dict[str, str],
    entries: bytes,
    train: Train,
    task: Task,
) -> Record:
    """Return the record of a task that the process `parent` has sent.

    `entries` are pickled: networks and the like that only `parent` knows. `environment`
    is what this process must set.
    """
    if this_process() == parent:
        return train(*task)
    with ENTRIES_LOCK:
        os.environ.update(environment)
        definitions.enter(loads(entries))
        return train(*task)


def process_pool(tasks: int, jobs: int | None = None) -> Executor:
    """Return worker processes, one per core but at most `tasks`, with one thread each.

    `jobs` replaces the number of cores. The workers stay for the next sweep of this
    process. They are up when this function returns.
    """
    # A worker that has grown much is replaced after its run: loky warns of nothing bad.
    warnings.filterwarnings("ignore", "A worker stopped while", UserWarning)
    workers = min(tasks, jobs or joblib.cpu_count())
    with _interrupts_blocked():
        pool = get_reusable_executor(
            workers,
            timeout=IDLE,
            initializer=_start_worker,
            initargs=(os.getpid(), _own_files()),
            env={"OMP_NUM_THREADS": "1"},
        )
        ready = [
            pool.submit(_prepare, places.worker_environment()) for _ in range(workers)
        ]
    try:
        wait(ready)
    except BaseException:
        pool.shutdown(kill_workers=True)
        raise
    return pool


def _prepare(environment: dict[str, str]) -> None:
    """Load what every run needs: the first optimizer would import torch._dynamo."""
    os.environ.update(environment)
    for module in ("mnistkit.sweeps", "torch._dynamo"):
        import_module(module)
    load_mnist()


def _own_files() -> dict[str, float]:
    """Return the files that this process has imported from the user's own folders.

    With the time of their last change: workers that have imported an older file must
    make room for new ones.
    """
    libraries = tuple({sys.prefix, sys.base_prefix, str(Path(__file__).parent)})
    files = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    return {
        file: os.path.getmtime(file)
        for file in sorted(filter(None, files))
        if not file.startswith(libraries) and os.path.isfile(file)
    }


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    # Ctrl-C reaches all processes of a terminal. A process inherits what its parent
    # blocks, so that the workers leave it to the parent to stop them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(parent: int, files: dict[str, float]) -> None:
    def end_with_parent() -> None:
        # A process whose parent was killed gets another parent.
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
