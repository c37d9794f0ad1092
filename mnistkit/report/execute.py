"""Execute the chapters and publish what they found: python -m mnistkit report.

Every chapter is executed by a process of its own (one_chapter.py) in a temporary
folder. reports/ receives a copy when it is complete, or as <chapter>.failed.ipynb.
"""

import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import papermill
from tqdm import tqdm

from mnistkit.data import load_mnist
from mnistkit.report import scales
from mnistkit.report.copies import keep_copy, update_notebook
from mnistkit.report.experiments import read_run_lists
from mnistkit.report.one_chapter import ChapterProcess
from mnistkit.report.publish import build_index
from mnistkit.storage import places
from mnistkit.storage.files import MNIST
from mnistkit.storage.store import Store


def run_report(
    scale: str | None = None,
    only: Sequence[str] = (),
    jobs: int = 2,
    fresh: bool = False,
    update_notebooks: bool = False,
) -> int:
    """Execute the chapters, `jobs` at a time, and publish reports/[scale/]index.html.

    Without a `scale` the data decide, see `default_scale`. `only` holds numbers or
    names of chapters; `fresh` trains again what the store has; `update_notebooks` (full
    scale only) puts the outputs into notebooks/.

    Returns the exit status: 0; 1 if a chapter failed (<chapter>.failed.ipynb is kept,
    and the others go on); 128 plus the number of the signal that interrupted the
    report. ValueError, before any chapter is executed, for an unknown chapter or scale
    and for a parameter that a notebook does not declare.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    names = choose(only)
    if scale is None:
        scale, reason = default_scale(load_mnist())
        print(f"{scale} scale: {reason}")
    out = scales.folder("reports", scale)
    if update_notebooks and scale != "full":
        raise ValueError("--update-notebooks is for the full scale only")
    todo = {name: find_parameters(name, scale) for name in names}
    mnist = load_mnist()  # A download happens here, once, and not in each chapter.
    print(f"{mnist.describe()}, from {mnist.origin}; {scale} scale")
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    stamp = {"scale": scale, "data": mnist.describe()}
    try:
        with interruptible():
            failed = execute_chapters(todo, out, stamp, jobs, fresh)
            if scale == "full" and mnist.source == "mnist" and not failed:
                archive = places.records_folder() / "full.zip"
                Store().pack(set(read_run_lists(scale)["run"]), archive)
            print(f"{build_index(scale)}  ({time.perf_counter() - start:.0f} s)")
            if update_notebooks:
                for name in set(todo) - set(failed):
                    update_notebook(name, out / f"{name}.ipynb")
    except KeyboardInterrupt as interrupt:
        print("interrupted; finished runs are kept", file=sys.stderr)
        return 128 + interrupt.args[0]
    return 1 if failed else 0


def default_scale(mnist: MNIST) -> tuple[str, str]:
    """The scale of a report for which none is given, and the reason in words."""
    if mnist.source == "mnist":
        return "full", "the project has the records of its runs on all of MNIST"
    return "quick", "the records of the full scale do not fit a subset of MNIST"


def choose(only: Sequence[str]) -> list[str]:
    """The chapters meant by numbers ("3", "03") or names; all of them for none."""
    if not scales.chapters():
        raise ValueError(f"no notebooks in {places.ROOT / 'notebooks'}")
    known: dict[str, str] = {}
    for name in scales.chapters():
        known |= dict.fromkeys((name, name[:2], name[:2].lstrip("0")), name)
    for key in only:
        if key not in known:
            chapters = ", ".join(scales.chapters())
            raise ValueError(f"unknown chapter {key!r}; known: {chapters}")
    return sorted({known[key] for key in only}) or scales.chapters()


def find_parameters(name: str, scale: str) -> dict[str, Any]:
    """The parameters that papermill injects into a chapter at this scale.

    ValueError if the notebook does not declare one of them.
    """
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
def interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt(number) while this lasts."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):  # Windows has none.
        numbers.append(signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] != signal.SIG_IGN:  # What nohup ignores stays ignored.
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])


def execute_chapters(
    todo: dict[str, dict[str, Any]],
    out: Path,
    stamp: dict[str, str],
    jobs: int,
    fresh: bool,
) -> dict[str, str]:
    """Execute the chapters in `todo` with their parameters and keep copies in `out`.

    Returns the error of each chapter that failed. `stamp` goes into the metadata of
    every copy. An exception such as KeyboardInterrupt ends all processes first.
    """
    # 01 trains nothing, so it goes late; 07 reads the run lists of the others.
    waiting = sorted(todo, key=lambda name: (name[:2] in ("01", "07"), name))
    running: list[ChapterProcess] = []
    errors = {}
    quiet = not sys.stderr.isatty()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary,
        tqdm(total=len(todo), desc="chapters", disable=quiet) as chapters,
        tqdm(total=0, desc="runs", disable=quiet) as runs,
    ):
        folder, log = Path(temporary), Path(temporary, "progress")
        log.touch()
        kernel = places.kernel_environment(log, fresh)
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    if waiting[0].startswith("07") and running:
                        break
                    name = waiting.pop(0)
                    source = scales.notebook(name)
                    chapter = ChapterProcess(source, todo[name], folder, kernel)
                    running.append(chapter)
                time.sleep(0.2)
                show_runs(runs, log)
                for chapter in [c for c in running if not c.is_running()]:
                    running.remove(chapter)
                    error = keep_copy(chapter, out, stamp)
                    if error is not None:
                        errors[chapter.name] = error
                    chapters.update()
        finally:
            for chapter in running:
                chapter.stop()
            for chapter in running:
                chapter.wait()
    return errors


def show_runs(bar: tqdm, log: Path) -> None:
    """Set `bar` to the runs that sweeps have announced in `log`, and have finished."""
    complete_lines = log.read_text().rpartition("\n")[0].splitlines()
    events = [json.loads(line) for line in complete_lines]
    bar.total = sum(event.get("runs", 0) for event in events)
    bar.n = sum(event["done"] for event in events)
    bar.refresh()
