"""The report command on small planted chapters, with real kernels."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import pandas as pd
import psutil
import pytest
from nbformat.v4 import new_notebook
from tqdm import tqdm

from mnistkit.__main__ import main
from mnistkit.report import execute
from mnistkit.report.execute import (
    NotAChapterError,
    choose,
    default_scale,
    execute_chapters,
    find_parameters,
    interruptible,
    pack_archive,
    prepare,
    show_runs,
)
from mnistkit.storage.store import Store, packed

SAVE = """
import matplotlib.pyplot as plt
import pandas as pd
from mnistkit.report.chapter import Chapter
chapter = Chapter("01_good", scale, "planted data")
fig, ax = plt.subplots()
ax.plot(range(n))
chapter.save_figure(fig, "line", note=f"n = {n}")
chapter.save_table(pd.DataFrame({"n": [n]}), "count")
"""
LOG = """
import os
from mnistkit.sweeps import progress
with progress(3, missing=2) as done:
    done()
print(open(os.environ["MNISTKIT_PROGRESS"]).read())
"""
LIST = """
from pathlib import Path
print(*sorted(path.name for path in Path("../reports/smoke").glob("*.ipynb")))
"""
SWEEP = """
from mnistkit import Chapter, Run
run = Run(model="mlp", epochs=1, train_size=100, eval_size=50)
chapter = Chapter("02_other", scale, "planted data")
records = chapter.sweep("one", [run])
"""


def report(*arguments):
    """The exit status of a report, and the lines that it printed and complained."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["report", *arguments])
    lines = [text.getvalue().splitlines() for text in (out, err)]
    return SimpleNamespace(status=status, lines=lines[0], errors=complaints(lines[1]))


def complaints(lines):
    """Lines of stderr, without the one that says that only the subset was found."""
    return [line for line in lines if not line.startswith("mnistkit: using")]


# ------------------------------------------------------------------ a report at a scale


@pytest.fixture(scope="module")
def smoke(temporary_project):
    """A report of three chapters at the smoke scale, all allowed at the same time."""
    with temporary_project() as project, pytest.MonkeyPatch.context() as monkeypatch:
        project.plant("01_good", SAVE)
        project.plant("02_other", LOG)
        project.plant("07_last", LIST)
        out = project.folder / "reports" / "smoke"
        out.mkdir(parents=True)
        (out / "01_good.failed.ipynb").write_text("of an earlier report")
        monkeypatch.setenv("MPLBACKEND", "Agg")
        before = os.getcwd(), dict(os.environ)
        done = report("--scale", "smoke", "--jobs", "3")
        done.is_as_before = (os.getcwd(), dict(os.environ)) == before
    done.project, done.out = project, out
    return done


def test_a_report_that_succeeds_has_the_status_0(smoke):
    assert smoke.status == 0


def test_a_report_that_succeeds_complains_of_nothing(smoke):
    assert smoke.errors == []


def test_a_report_prints_the_seconds_of_each_chapter(smoke):
    named = [re.fullmatch(r"(\w+)  \d+\.\d s", line) for line in smoke.lines]
    assert {found[1] for found in named if found} == {"01_good", "02_other", "07_last"}


def test_a_report_prints_where_its_page_is(smoke):
    assert smoke.lines[-1].startswith(f"{smoke.out / 'index.html'}  (")


def test_a_report_leaves_complete_copies_and_the_page(smoke):
    names = {path.name for path in smoke.out.iterdir()}
    assert sorted(names - {"report.zh.pdf"}) == [  # made where a Chinese font is
        "01_good.html",
        "01_good.ipynb",
        "01_good_count.csv",
        "02_other.html",
        "02_other.ipynb",
        "07_last.html",
        "07_last.ipynb",
        "index.html",
        "index.zh.html",
        "report.pdf",
    ]


def test_the_parameters_of_the_scale_are_injected(smoke):
    assert pd.read_csv(smoke.out / "01_good_count.csv")["n"].tolist() == [2]


def test_a_copy_says_on_what_it_was_executed(smoke):
    stamp = smoke.project.executed("01_good").metadata["mnistkit"]
    assert stamp["scale"] == "smoke"
    assert {"data", "device", "cores", "finished", "seconds"} <= set(stamp)


def test_figures_are_shown_in_spite_of_a_backend_in_the_environment(smoke):
    [cell] = smoke.project.executed("01_good").cells[-1:]
    assert any("image/png" in output.get("data", {}) for output in cell.outputs)


def test_sweeps_write_their_progress_to_a_log(smoke):
    text = smoke.project.executed("02_other").cells[-1].outputs[0].text
    events = [json.loads(line) for line in text.splitlines() if line]
    assert events == [{"runs": 3, "done": 1}, {"done": 1}]


def test_chapter_07_starts_when_the_others_have_finished(smoke):
    text = smoke.project.executed("07_last").cells[-1].outputs[0].text
    assert text == "01_good.ipynb 02_other.ipynb\n"


def test_a_report_leaves_its_own_process_as_it_was(smoke):
    assert smoke.is_as_before


# ----------------------------------------------------------------------- a full report


@pytest.fixture(scope="module")
def full_report(temporary_project):
    """A report of two chapters at the full scale, which trains one run."""
    with temporary_project() as project:
        project.plant("01_good")
        project.plant("02_other", SWEEP)
        done = report("--scale", "full", "--update-notebooks")
    done.project = project
    return done


def test_the_full_scale_injects_nothing(full_report):
    assert (
        full_report.project.executed("01_good", "").cells[-1].outputs[0].text == "3\n"
    )


def test_a_full_report_updates_the_notebooks_on_request(full_report):
    path = full_report.project.folder / "notebooks" / "01_good.ipynb"
    assert nbformat.read(path, 4).cells[-1].outputs[0].text == "3\n"


def test_a_full_report_packs_the_records_of_its_runs(full_report, full):
    folder = full_report.project.folder
    runs = pd.read_csv(folder / "reports" / "02_other_runs.csv")["run"]
    with zipfile.ZipFile(folder / "reports" / "records" / "full.zip") as archive:
        assert archive.namelist() == [f"mnist/{run}.json" for run in runs]


# ----------------------------------------------------------------- chapters that fail


@pytest.fixture(scope="module")
def failing(temporary_project):
    """A report of a chapter that fails and one that does not."""
    with temporary_project() as project:
        project.plant("01_good", 'raise RuntimeError("planted")')
        project.plant("02_other")
        done = report("--scale", "smoke")
    done.project, done.out = project, project.folder / "reports" / "smoke"
    return done


def test_a_report_with_a_chapter_that_fails_has_the_status_1(failing):
    assert failing.status == 1


def test_the_error_of_a_chapter_is_one_line(failing):
    assert failing.errors == ["01_good failed: RuntimeError: planted"]


def test_a_chapter_that_fails_leaves_a_copy_with_the_error(failing):
    book = nbformat.read(failing.out / "01_good.failed.ipynb", 4)
    assert book.cells[-1].outputs[0].evalue == "planted"


def test_a_chapter_that_fails_leaves_no_complete_copy(failing):
    assert not (failing.out / "01_good.ipynb").exists()


def test_the_other_chapters_go_on(failing):
    assert (failing.out / "02_other.ipynb").exists()


def test_the_page_is_published_nevertheless(failing):
    assert "01_good.failed.ipynb" in (failing.out / "index.html").read_text("utf-8")


def failing_chapter(project, source, scale="smoke"):
    """A report of one chapter that fails."""
    project.plant("02_other", source)
    return report("--scale", scale)


RUN_LIST = "experiment,run\nold,abc\n"


@pytest.mark.parametrize("before", [RUN_LIST, None])
def test_a_chapter_that_fails_leaves_its_run_list_as_it_was(project, before):
    path = project.folder / "reports" / "smoke" / "02_other_runs.csv"
    path.parent.mkdir(parents=True)
    if before is not None:
        path.write_text(before, "utf-8")
    done = failing_chapter(project, f"{SWEEP}\nraise RuntimeError('planted')")
    assert done.errors == ["02_other failed: RuntimeError: planted"]
    assert (path.read_text("utf-8") if path.exists() else None) == before


def test_an_interrupt_leaves_run_lists_as_they_were(project, monkeypatch):
    path = project.folder / "reports" / "02_other_runs.csv"
    path.parent.mkdir()
    path.write_text(RUN_LIST, "utf-8")
    source = "open('../reports/02_other_runs.csv', 'w').close()" + SLEEP
    project.plant("02_other", source)

    def interrupt(bar, log):
        if not path.read_text("utf-8"):
            raise KeyboardInterrupt

    monkeypatch.setattr(execute, "show_runs", interrupt)
    with pytest.raises(KeyboardInterrupt):
        execute_chapters({"02_other": {}}, path.parent, {"scale": "full"}, 1, False)
    assert path.read_text("utf-8") == RUN_LIST


def test_a_chapter_shows_its_figures_with_any_backend(project):
    """The backend agg draws nothing by itself."""
    shy = "import matplotlib\nmatplotlib.use('agg')\n" + SAVE
    project.plant("02_other", shy.replace('"01_good"', '"02_other"'))
    assert report("--scale", "smoke").status == 0
    copy = nbformat.read(project.folder / "reports" / "smoke" / "02_other.ipynb", 4)
    kinds = [o.data for c in copy.cells for o in c.get("outputs", []) if "data" in o]
    assert any("image/png" in data for data in kinds)


# --------------------------------------------------- notebooks that are not chapters

NOT_CHAPTERS = {
    "empty": "",
    "truncated": '{"cells": [',
    "no notebook": "[]",
    "binary": "\0\1",
    "without cells": nbformat.writes(new_notebook()),
}


@pytest.fixture(params=NOT_CHAPTERS.values(), ids=NOT_CHAPTERS)
def broken(project, request):
    """The file notebooks/10_mine.ipynb, which is no chapter, beside a good one."""
    project.plant("01_good")
    path = project.folder / "notebooks" / "10_mine.ipynb"
    path.write_text(request.param, "utf-8")
    return path


def test_a_file_that_is_no_chapter_is_refused_by_name(broken):
    with pytest.raises(NotAChapterError, match="10_mine.*(repair|add)") as error:
        find_parameters("10_mine", "smoke")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_file_is_no_chapter(project, kind):
    path = project.folder / "notebooks" / "10_mine.ipynb"
    path.mkdir() if kind == "folder" else path.symlink_to("nowhere")
    with pytest.raises(NotAChapterError, match="10_mine.ipynb is no notebook"):
        find_parameters("10_mine", "smoke")


@pytest.fixture
def beside(project):
    """A chapter beside a notebook without parameters and one that is truncated."""
    project.plant("02_other")
    project.plant("09_mine", parameters=None)
    (project.folder / "notebooks" / "10_mine.ipynb").write_text("{", "utf-8")
    return project


@pytest.mark.parametrize(
    ("arguments", "status"), [((), 0), (("--only", "2", "9", "10"), 1)]
)
def test_notebooks_that_are_no_chapters_are_named_and_left_out(
    beside, arguments, status
):
    """The status is 1 only if they were asked for."""
    done = report("--scale", "smoke", *arguments)
    assert done.status == status
    assert [re.sub("(mine).*", r"\1", line) for line in done.errors] == [
        "left out: 09_mine",
        f"left out: {beside.folder}/notebooks/10_mine",
    ]
    assert (beside.folder / "reports" / "smoke" / "02_other.ipynb").exists()


def test_a_chapter_of_the_scales_that_is_broken_gives_the_status_1(project):
    project.plant("01_good", parameters=None)
    assert report("--scale", "smoke").status == 1


# ------------------------------------------------------------------ folders and archive


def test_what_a_dead_process_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: pid == 1)
    for name in ("index.html.1.tmp", "index.html.2.tmp", "my.tmp", "02_other.csv"):
        (tmp_path / name).write_text("", "utf-8")
    prepare(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "02_other.csv",
        "index.html.1.tmp",
        "my.tmp",
    ]


@pytest.mark.parametrize("kind", ["reports", "figures"])
def test_a_folder_that_cannot_be_written_is_one_line(project, kind):
    """The line comes before any chapter is executed."""
    project.plant("01_good", 'raise RuntimeError("planted")')
    (project.folder / kind).write_text("in the way", "utf-8")
    done = report("--scale", "smoke")
    assert done.status == 2
    assert done.errors == [
        f"error: cannot write to {project.folder / kind / 'smoke'} (Not a directory); "
        "set MNISTKIT_OUT to a folder that can be written"
    ]


@pytest.mark.parametrize(("is_whole", "kept"), [(True, {"b"}), (False, {"a", "b"})])
def test_only_a_whole_report_drops_records(project, is_whole, kept):
    project.plant("02_other")
    for name in ("a", "b"):
        Store().put(name, "mnist", {"planted": name})
    archive = project.folder / "reports" / "records" / "full.zip"
    Store().pack({"a", "b"}, archive)
    path = project.folder / "reports" / "02_other_runs.csv"
    path.write_text("experiment,run\nnew,b\n", "utf-8")
    pack_archive(archive, is_whole)
    assert packed(archive) == kept


@pytest.mark.parametrize(
    ("arguments", "source", "is_whole"),
    [
        ((), "", True),
        (("--only", "2"), "", False),
        ((), "raise RuntimeError('planted')", False),
    ],
)
def test_a_report_is_whole_with_all_chapters_and_no_failure(
    project, full, monkeypatch, arguments, source, is_whole
):
    calls = []
    monkeypatch.setattr(
        execute, "pack_archive", lambda archive, is_whole: calls.append(is_whole)
    )
    project.plant("02_other", source or "print(n)")
    report("--scale", "full", *arguments)
    assert calls == [is_whole]


# --------------------------------------------------------------------------- interrupts

REPORT = """
import signal, sys
from pathlib import Path
from mnistkit.__main__ import main
from mnistkit.storage import places
# As in a terminal, in whatever way the tests were started:
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
places.ROOT = Path(sys.argv[1])
sys.exit(main(["report", "--scale", "smoke"]))
"""
SLEEP = """
import os, pathlib, time
pathlib.Path("kernel").write_text(str(os.getpid()))
time.sleep(120)
"""
LONG_SWEEP = """
import os, pathlib
from mnistkit import Run, sweep
pathlib.Path("kernel").write_text(str(os.getpid()))
short = Run(model="mlp", epochs=1, train_size=100, eval_size=50)
sweep([short])
sweep([Run(model="resnet18", epochs=100, seed=seed) for seed in (0, 1)])
"""


@contextlib.contextmanager
def running_report(project, source):
    """A report of one chapter, started as a process of its own."""
    project.plant("01_good", source)
    command = [sys.executable, "-c", REPORT, str(project.folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)]
)
def test_a_signal_interrupts_a_report(project, has_ended, name, status):
    """The kernel has ended when the report ends, with one line and without a copy."""
    with running_report(project, SLEEP) as process:
        kernel = project.kernel()
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=120)
    assert has_ended(kernel)
    assert complaints(err.splitlines()) == ["interrupted; finished runs are kept"]
    assert process.returncode == status
    assert list((project.folder / "reports" / "smoke").iterdir()) == []


def test_a_kernel_ends_with_a_report_that_is_killed(project, wait_until, has_ended):
    with running_report(project, SLEEP) as process:
        kernel = project.kernel()
        process.kill()
    wait_until(lambda: has_ended(kernel))


def is_worker(process):
    """Whether a process trains for a sweep; it may have ended in the meantime."""
    with contextlib.suppress(psutil.Error):
        return "popen_loky" in " ".join(process.cmdline())
    return False


@pytest.fixture(scope="module")
def interrupted_sweep(temporary_project, wait_until):
    """A report that was interrupted while the workers of a sweep were training."""
    with temporary_project() as project, running_report(project, LONG_SWEEP) as process:
        kernel = project.kernel()
        wait_until(lambda: any(is_worker(p) for p in kernel.children(recursive=True)))
        processes = [kernel, *kernel.children(recursive=True)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    return SimpleNamespace(project=project, processes=processes)


def test_workers_end_with_an_interrupted_report(interrupted_sweep, has_ended):
    assert [p for p in interrupted_sweep.processes if not has_ended(p)] == []


def test_a_finished_run_is_kept_by_an_interrupted_report(interrupted_sweep):
    [path] = (interrupted_sweep.project.folder / "records").rglob("*.json")
    assert json.loads(path.read_text())["run"]["model"] == "mlp"


def test_a_signal_is_an_exception_with_its_number():
    with pytest.raises(KeyboardInterrupt) as interrupt, interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert interrupt.value.args == (signal.SIGTERM,)


def test_a_second_signal_does_not_interrupt_the_end():
    steps = []
    with pytest.raises(KeyboardInterrupt) as interrupt, interruptible():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            steps.append("tidied up")
    assert interrupt.value.args == (signal.SIGINT,)
    assert steps == ["tidied up"]


def test_a_signal_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handlers_of_signals_are_put_back():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with interruptible():
        pass
    assert [signal.getsignal(number) for number in numbers] == before


# ------------------------------------------------- chapters at a time, and their bars


def execute_two(project, source, jobs):
    """Execute the same cell as two chapters; returns the lines of notebooks/log."""
    for name in ("01_good", "02_other"):
        project.plant(name, source)
    out = project.folder / "reports"
    out.mkdir()
    todo = dict.fromkeys(("01_good", "02_other"), {})
    assert execute_chapters(todo, out, {"scale": "full"}, jobs, fresh=False) == {}
    return (project.folder / "notebooks" / "log").read_text().split()


def test_chapters_are_executed_one_at_a_time(project):
    source = """
import time
for line in ("start", "end"):
    with open("log", "a") as log:
        print(line, file=log)
    time.sleep(0.5)
"""
    assert execute_two(project, source, 1) == ["start", "end", "start", "end"]


def test_chapters_are_executed_two_at_a_time(project):
    """Each chapter waits for the start of the other one."""
    source = """
import time
with open("log", "a") as log:
    print("start", file=log)
while open("log").read().split().count("start") < 2:
    time.sleep(0.1)
"""
    assert execute_two(project, source, 2) == ["start", "start"]


def test_the_bar_of_runs_shows_what_the_log_says(tmp_path):
    log = tmp_path / "log"
    log.write_text('{"runs": 3, "done": 1}\n{"done": 1}\n{"runs": 4, "do')
    with tqdm(total=0, file=io.StringIO()) as bar:
        show_runs(bar, log)
        assert (bar.n, bar.total) == (2, 3)  # the last line is not complete


# ------------------------------------------------- what is looked at before it starts


@pytest.mark.parametrize("source, scale", [("mnist", "full"), ("mnist_5k", "quick")])
def test_the_data_decide_on_the_scale(mnist, source, scale):
    assert default_scale(replace(mnist, source=source))[0] == scale


def test_a_report_on_the_subset_is_quick_and_says_why(project, elsewhere):
    project.plant("01_good")
    done = report()
    assert done.lines[0].startswith("quick scale: the records of the full scale do not")
    assert (project.folder / "reports" / "quick" / "index.html").exists()


def test_a_report_on_all_of_mnist_is_full_and_says_why(project, full):
    project.plant("01_good")
    done = report()
    assert done.lines[0].startswith("full scale: the project has the records")
    assert (project.folder / "reports" / "index.html").exists()


def test_a_full_report_on_the_subset_leaves_the_archive_alone(project, elsewhere):
    project.plant("01_good")
    assert report("--scale", "full").status == 0
    assert not (project.folder / "reports" / "records").exists()


def test_a_full_report_to_another_folder_leaves_the_archive_alone(
    project, full, tmp_path, monkeypatch
):
    monkeypatch.setenv("MNISTKIT_OUT", str(tmp_path / "mine"))
    project.plant("01_good")
    assert report("--scale", "full").status == 0
    assert (tmp_path / "mine" / "reports" / "index.html").exists()
    assert not (project.folder / "reports" / "records" / "full.zip").exists()


@pytest.mark.parametrize("key", ["2", "02", "02_other"])
def test_a_chapter_is_chosen_by_number_or_name(project, key):
    for name in ("01_good", "02_other"):
        project.plant(name)
    assert choose([key]) == ["02_other"]


def test_all_chapters_are_chosen_by_none(project):
    for name in ("01_good", "02_other"):
        project.plant(name)
    assert choose([]) == ["01_good", "02_other"]


def test_an_unknown_chapter_is_refused(project):
    project.plant("01_good")
    with pytest.raises(ValueError, match="unknown chapter '3'; known: 01_good"):
        choose(["3"])


def test_a_project_without_notebooks_is_refused(project):
    with pytest.raises(ValueError, match="no notebooks in"):
        choose([])


def test_a_scale_injects_its_name_and_its_sizes(project):
    project.plant("01_good")
    assert find_parameters("01_good", "smoke") == {"scale": "smoke", "n": 2}


def test_a_parameter_that_a_notebook_does_not_declare_is_refused(project):
    project.plant("01_good", parameters="scale = 'full'")
    with pytest.raises(ValueError, match="01_good: no parameter n in the notebook"):
        find_parameters("01_good", "smoke")


def test_a_notebook_without_parameters_is_refused(project):
    project.plant("01_good", parameters=None)
    with pytest.raises(ValueError, match="01_good: no cell tagged `parameters`"):
        find_parameters("01_good", "smoke")


def test_parameters_are_looked_at_before_any_chapter_is_executed(project):
    project.plant("01_good", parameters="scale: str = 'full'")
    done = report("--scale", "smoke")
    assert done.status == 2
    assert not (project.folder / "reports").exists()
