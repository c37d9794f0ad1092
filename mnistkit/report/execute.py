"""papermill executes the chapters; what they found is published as one page."""

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import torch
from tqdm import tqdm

from mnistkit.data import load_mnist
from mnistkit.report import scales
from mnistkit.report.experiments import read_run_lists
from mnistkit.report.publish import build_index
from mnistkit.runs import environment
from mnistkit.storage import places
from mnistkit.storage.store import Store, write_atomically

WIDGET = "application/vnd.jupyter.widget-view+json"


def run_report(
    scale: str = "quick",
    only: tuple[str, ...] = (),
    jobs: int = 2,
    fresh: bool = False,
    update_notebooks: bool = False,
) -> int:
    """Execute the chapters, `jobs` at a time, and publish reports/[scale/]index.html.

    Returns 0, 1 if a chapter failed (its partial copy is kept as <chapter>.failed.ipynb
    and the others go on), or 130 when interrupted. `only` holds numbers or names of
    chapters; `fresh` trains again what the store has; `update_notebooks` (quick only)
    puts the outputs into notebooks/. ValueError, before anything is executed, for an
    unknown chapter or scale, and for parameters that a notebook does not have.
    """
    import psutil

    out = scales.folder("reports", scale)
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    if update_notebooks and scale != "full":
        raise ValueError("--update-notebooks is for the full scale only")
    todo = {name: find_parameters(name, scale) for name in choose(only)}
    mnist = load_mnist()  # once, before the kernels: they find it where it now lies
    print(f"{mnist.describe()}, from {mnist.origin}; {scale} scale")
    out.mkdir(parents=True, exist_ok=True)
    start, where = time.perf_counter(), out.absolute()
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary) / "progress"
        log.touch()
        with kernel_settings(log, fresh), contextlib.chdir(places.ROOT / "notebooks"):
            # Threads, also for one job: in the main thread nbclient takes Ctrl-C over.
            pool, stop = ThreadPoolExecutor(jobs), threading.Event()
            bystanders = psutil.Process().children(recursive=True)
            stamp = {"scale": scale, "data": mnist.describe()}
            futures = {}
            # 01 trains nothing, so it goes late; 07 reads the run lists of the others.
            late = ("01", "07")
            for name in sorted(todo, key=lambda name: (name[:2] in late, name)):
                first = list(futures) if name.startswith("07") else []
                job = pool.submit(execute, name, todo[name], where, stamp, stop, first)
                futures[job] = name
            try:
                failed = watch(futures, log)
            except KeyboardInterrupt:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                stop_kernels(futures, bystanders)
                print("interrupted; finished runs are kept", file=sys.stderr)
                return 130
            finally:
                pool.shutdown()
    if scale == "full" and not failed:
        archive = places.records_folder() / "full.zip"
        Store().pack(set(read_run_lists(scale)["run"]), archive)
    print(f"{build_index(scale)}  ({time.perf_counter() - start:.0f} s)")
    if update_notebooks:
        for name in set(todo) - set(failed):
            update_notebook(name, out / f"{name}.ipynb")
    return 1 if failed else 0


def choose(only: tuple[str, ...]) -> list[str]:
    """The chapters meant by numbers ("3", "03") or names; all for none."""
    if not scales.chapters():
        raise ValueError(f"no notebooks in {places.ROOT / 'notebooks'}")
    known = {}
    for name in scales.chapters():
        known |= dict.fromkeys((name, name[:2], name[:2].lstrip("0")), name)
    for key in only:
        if key not in known:
            chapters = ", ".join(scales.chapters())
            raise ValueError(f"unknown chapter {key!r}; known: {chapters}")
    return sorted({known[key] for key in only}) or scales.chapters()


def find_parameters(name: str, scale: str) -> dict:
    """What to inject; ValueError unless the notebook declares every name of it."""
    import papermill

    declared = papermill.inspect_notebook(scales.notebook(name))
    if not declared:
        raise ValueError(f"{name}: no cell tagged `parameters` that declares any")
    if scale == "full":
        return {}
    injected = {"scale": scale} | scales.SCALES[scale].get(name, {})
    unknown = sorted(set(injected) - set(declared))
    if unknown:
        raise ValueError(f"{name}: no parameter {', '.join(unknown)} in the notebook")
    return injected


@contextlib.contextmanager
def kernel_settings(log: Path, fresh: bool):
    """The environment that kernels inherit, for as long as chapters are executed."""
    before = dict(os.environ)
    os.environ.update(places.kernel_environment(log, fresh))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def execute(
    name: str, parameters: dict, out: Path, stamp: dict, stop, first: list[Future]
) -> float:
    """Execute one chapter to out/<name>.ipynb; seconds. A failure leaves .failed.ipynb.

    Waits for the chapters in `first`. Paths are absolute: papermill's own `cwd` would
    move all threads at once.
    """
    import nbformat
    import papermill

    wait(first)
    source, part = scales.notebook(name), out / f".{name}.{os.getpid()}.ipynb"
    failed = out / f"{name}.failed.ipynb"
    start = time.perf_counter()
    try:
        for attempt in (1, 2):
            try:
                book = papermill.execute_notebook(
                    str(source),
                    str(part),
                    parameters,
                    progress_bar=False,
                    extra_arguments=["--log-level=ERROR"],  # of the kernel itself
                )
                break
            except RuntimeError as error:  # two kernels may have drawn the same port
                if attempt == 2 or stop.is_set() or "before replying" not in str(error):
                    raise
        seconds = time.perf_counter() - start
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        clean(book)
        book.metadata["mnistkit"] = stamp | environment(device) | {"seconds": seconds}
        write_atomically(out / f"{name}.ipynb", nbformat.writes(book).encode())
        failed.unlink(missing_ok=True)
        return seconds
    except Exception:
        if part.exists() and not stop.is_set():
            os.replace(part, failed)
        raise
    finally:
        part.unlink(missing_ok=True)


def clean(book):
    """Drop what changes at every execution, and widgets, which need a live kernel."""
    book.metadata.pop("papermill", None)
    book.metadata.pop("widgets", None)
    for cell in book.cells:
        for key in ("papermill", "execution", "tags"):
            if key != "tags" or not cell.metadata.get("tags"):
                cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]


def watch(futures: dict[Future, str], log: Path) -> dict[str, str]:
    """Show progress until all chapters are done; the failed ones with their errors."""
    failed, rest, pending = {}, "", set(futures)
    quiet = not sys.stderr.isatty()
    with (
        tqdm(total=len(futures), desc="chapters", disable=quiet) as chapters,
        tqdm(total=0, desc="runs", disable=quiet) as runs,
        log.open() as events,
    ):
        while pending:
            done, pending = wait(pending, 0.3, FIRST_COMPLETED)
            *lines, rest = (rest + events.read()).split("\n")
            for event in map(json.loads, lines):
                runs.total += event.get("runs", 0)
                runs.update(event["done"])
            runs.refresh()
            for future in done:
                name, error = futures[future], future.exception()
                chapters.update()
                if error is None:
                    tqdm.write(f"{name}  {future.result():.1f} s", sys.stdout)
                    continue
                failed[name] = last_line(error)
                tqdm.write(f"{name} failed: {failed[name]}", sys.stderr)
    return failed


def last_line(error: BaseException) -> str:
    if hasattr(error, "ename"):  # raised in the notebook
        return f"{error.ename}: {error.evalue}".strip().splitlines()[-1]
    return f"{type(error).__name__}: {error}".strip().splitlines()[-1]


def stop_kernels(futures, bystanders: list):
    """Kill the kernels and their workers; their sessions are out of Ctrl-C's reach."""
    import psutil

    while any(future.running() for future in futures):
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process not in bystanders:
                    process.kill()
        wait(futures, 0.3)


def update_notebook(name: str, executed: Path):
    """Put the outputs of the executed copy into notebooks/, and change nothing else."""
    import nbformat

    book, source = nbformat.read(executed, 4), nbformat.read(scales.notebook(name), 4)
    if [cell.source for cell in book.cells] != [cell.source for cell in source.cells]:
        raise ValueError(f"{name} was edited while it ran; run it again")
    clean(source)
    for cell, done in zip(source.cells, book.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = done.outputs, done.execution_count
    write_atomically(scales.notebook(name), nbformat.writes(source).encode())
