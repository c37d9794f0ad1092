"""Execute the chapters and publish what they found: python -m mnistkit report.

Every chapter is executed by a process of its own (one_chapter.py) in a temporary
folder. reports/ receives a copy when it is complete, or as <chapter>.failed.ipynb.
"""

import contextlib
import json
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import papermill
import psutil
from tqdm import tqdm

from mnistkit.data import load_mnist
from mnistkit.report import scales
from mnistkit.report.book import build_book
from mnistkit.report.chinese import build_chinese_summary
from mnistkit.report.copies import keep_copy, update_notebook
from mnistkit.report.experiments import read_run_lists
from mnistkit.report.one_chapter import ChapterProcess
from mnistkit.report.site.build import build_site
from mnistkit.report.verify import spot_check
from mnistkit.storage import places
from mnistkit.storage.files import MNIST
from mnistkit.storage.store import Store, packed, write_atomically

# The check at the end of a report: at most 16 s on two cores, and 4 s to start them.
CHECKED_RUNS, CHECKED_SECONDS = 3, 8.0


def run_report(
    scale: str | None = None,
    only: Sequence[str] = (),
    jobs: int | None = None,
    fresh: bool = False,
    update_notebooks: bool = False,
    verify: bool = True,
) -> int:
    """Execute the chapters, `jobs` at a time, and publish them in reports/[scale/].

    What is published is a book, a summary in Chinese, and a site, whose first page
    links to both.

    `jobs` is 2 by default, and 1 at the paper scale, where one chapter keeps a GPU
    busy. Without a `scale` the data decide, see `default_scale`. `only` holds numbers
    or names of chapters; `fresh` trains again what the store has; `update_notebooks`
    (full scale only) puts the outputs into notebooks/. With `verify`, a report of all
    chapters at the full scale ends with a check: some of its runs are trained anew, and
    compared (verify.py). The first page has the result.

    Returns the exit status: 0; 1 if a chapter failed (<chapter>.failed.ipynb is kept,
    and the others go on), or if the check finds a difference; 128 plus the number of
    the signal that interrupted the report. A notebook that cannot be executed is named
    and left out; the status is then 1 if it was asked for or is one of SCALES.
    ValueError, before any chapter is executed, for an unknown chapter or scale and for
    a parameter that a notebook does not declare; OSError for a folder that cannot be
    written.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    names = choose(only)
    if scale is None:
        scale, reason = default_scale(load_mnist())
        print(f"{scale} scale: {reason}")
    jobs = jobs or (1 if scale == "paper" else 2)
    out = scales.folder("reports", scale)
    if update_notebooks and scale != "full":
        raise ValueError("--update-notebooks is for the full scale only")
    todo: dict[str, dict[str, Any]] = {}
    left_out = set()
    for name in names:
        try:
            todo[name] = find_parameters(name, scale)
        except NotAChapterError as error:
            print(f"left out: {error}", file=sys.stderr)
            if only or name in scales.SCALES["smoke"]:
                left_out.add(name)
    mnist = load_mnist()  # A download is tried here, once, and not in each chapter.
    print(f"{mnist.describe()}, from {mnist.origin}; {scale} scale")
    for kind in ("reports", "figures"):
        prepare(scales.folder(kind, scale))
    start = time.perf_counter()
    stamp = {"scale": scale, "data": mnist.describe()}
    try:
        with interruptible():
            failed = execute_chapters(todo, out, stamp, jobs, fresh)
            # A report that goes elsewhere leaves the project's archive alone.
            is_ours = places.output_folder() == places.ROOT
            if scale == "full" and mnist.source == "mnist" and is_ours:
                is_whole = not (only or left_out or failed)
                pack_archive(places.records_folder() / "full.zip", is_whole)
            check = None
            if verify and scale == "full" and not only:
                check = spot_check(CHECKED_RUNS, CHECKED_SECONDS)
                print(check.text())
            # The pages show what the notebooks store of their live demonstrations.
            if update_notebooks:
                for name in set(todo) - set(failed):
                    update_notebook(name, out / f"{name}.ipynb")
            build_book(scale)
            build_chinese_summary(scale)
            page = build_site(scale, check.markdown() if check else "")
            print(f"{page}  ({time.perf_counter() - start:.0f} s)")
    except KeyboardInterrupt as interrupt:
        print("interrupted; finished runs are kept", file=sys.stderr)
        return 128 + interrupt.args[0]
    return 1 if failed or left_out or (check and check.has_failed) else 0


def prepare(folder: Path) -> None:
    """Create a folder of the report and remove what interrupted writing left in it.

    OSError, in one line, if files cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.tmp"):
            process = re.search(r"\.(\d+)\.tmp$", path.name)
            if process and not psutil.pid_exists(int(process[1])):
                path.unlink()
        write_atomically(folder / ".probe", b"report")
        (folder / ".probe").unlink()
    except OSError as error:
        raise OSError(
            f"cannot write to {folder} ({error.strerror}); "
            "set MNISTKIT_OUT to a folder that can be written"
        ) from None


def pack_archive(archive: Path, is_whole: bool) -> None:
    """Pack the records of all run lists of the full scale.

    Unless the report `is_whole`, what the archive has is kept as well: a run list may
    be one of an older notebook, and only new lists of all chapters say what is unused.
    """
    names = set(read_run_lists("full")["run"])
    Store().pack(names if is_whole else names | packed(archive), archive)


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


class NotAChapterError(ValueError):
    """A file beside the chapters that cannot be executed as one."""


def find_parameters(name: str, scale: str) -> dict[str, Any]:
    """The parameters that papermill injects into a chapter at this scale.

    NotAChapterError if the file is no notebook or has no parameters, ValueError if it
    does not declare one that is injected.
    """
    path = scales.notebook(name)
    try:
        if not path.is_file():
            raise FileNotFoundError("no file")
        declared = papermill.inspect_notebook(path)
    except Exception as error:  # Whatever is wrong in a file, it is not a chapter.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        message = f"{path} is no notebook ({reason[:100]}); repair or remove it"
        raise NotAChapterError(message) from None
    if not declared:
        raise NotAChapterError(
            f"{name}: no cell tagged `parameters` that declares any; add one"
        )
    if scale == "full":
        return {}
    injected = {"scale": scale} | scales.SCALES[scale].get(name, {})
    unknown = sorted(set(injected) - set(declared))
    if unknown:
        raise ValueError(f"{name}: no parameter {', '.join(unknown)} in the notebook")
    return injected


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt(number) while this lasts.

    After the first of them the others do nothing: the report is tidying up.
    """

    def interrupt(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
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
    every copy. An exception such as KeyboardInterrupt ends all processes first. The run
    list of a chapter that did not succeed is put back as it was before.
    """
    # 01 trains nothing, so it goes late; 07 reads the run lists of the others.
    waiting = sorted(todo, key=lambda name: (name[:2] in ("01", "07"), name))
    running: list[ChapterProcess] = []
    errors = {}
    lists = {name: read_if_there(out / f"{name}_runs.csv") for name in todo}
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
                        put_back(out / f"{chapter.name}_runs.csv", lists[chapter.name])
                    chapters.update()
        finally:
            for chapter in running:
                chapter.stop()
            for chapter in running:
                chapter.wait()
                put_back(out / f"{chapter.name}_runs.csv", lists[chapter.name])
    return errors


def read_if_there(path: Path) -> bytes | None:
    """The content of a file, None if there is none."""
    return path.read_bytes() if path.exists() else None


def put_back(path: Path, content: bytes | None) -> None:
    """Give a file the content that `read_if_there` returned before."""
    if content is None:
        path.unlink(missing_ok=True)
    elif read_if_there(path) != content:
        write_atomically(path, content)


def show_runs(bar: tqdm, log: Path) -> None:
    """Set `bar` to the runs that sweeps have announced in `log`, and have finished."""
    complete_lines = log.read_text("utf-8").rpartition("\n")[0].splitlines()
    events = [json.loads(line) for line in complete_lines]
    bar.total = sum(event.get("runs", 0) for event in events)
    bar.n = sum(event["done"] for event in events)
    bar.refresh()
