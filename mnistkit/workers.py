"""The processes in which a sweep trains, and how far they are."""

import json
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context, parent_process

import joblib
from tqdm.auto import tqdm


def process_pool(tasks: int) -> ProcessPoolExecutor:
    """One worker per core, at most one per task, with one torch thread each."""
    # Forking this process would not be safe; a fork server imports everything once.
    forkserver = "forkserver" in get_all_start_methods()
    context = get_context("forkserver" if forkserver else "spawn")
    if forkserver:
        context.set_forkserver_preload(["mnistkit.runs", "torch._dynamo"])
    return ProcessPoolExecutor(
        min(tasks, joblib.cpu_count()), context, _start_worker, (dict(os.environ),)
    )


def _start_worker(settings: dict[str, str]):
    # The fork server knows this environment as it was when the server started. What
    # could be downloaded, the parent has.
    os.environ.update(settings | {"MNISTKIT_OFFLINE": "1"})
    parent = parent_process()  # a worker whose parent was killed must not train on
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


@contextmanager
def progress(total: int, missing: int):
    """A bar over the runs of a sweep, or lines in $MNISTKIT_PROGRESS for `report`."""
    log = os.environ.get("MNISTKIT_PROGRESS")
    if log is None:
        done = total - missing
        with tqdm(total=total, initial=done, desc="runs", leave=False) as bar:
            yield bar.update
        return

    def note(**event):
        with open(log, "a") as file:
            file.write(json.dumps(event) + "\n")

    note(runs=total, done=total - missing)
    yield lambda: note(done=1)
