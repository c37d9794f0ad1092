"""The process of one chapter: what it leaves, what it says of an error, how it ends."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import nbformat
import papermill
import pytest

from mnistkit.report import one_chapter
from mnistkit.report.one_chapter import ChapterProcess, execute, first_line

CLASH = RuntimeError("Kernel died before replying to kernel_info")


@pytest.fixture
def start(project):
    """A function that plants a cell and starts the process of its chapter."""
    started = []

    def start(source):
        path = project.plant("01_good", source)
        process = ChapterProcess(path, {"n": 2}, project.folder, dict(os.environ))
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()
        process.wait()


def test_a_chapter_is_executed_with_its_parameters(start):
    chapter = start("print(n)")
    assert chapter.wait() is None
    assert nbformat.read(chapter.copy, 4).cells[-1].outputs[0].text == "2\n"


def test_a_chapter_works_in_the_folder_of_its_notebook(start, project):
    chapter = start("import os; print(os.getcwd())")
    chapter.wait()
    [output] = nbformat.read(chapter.copy, 4).cells[-1].outputs
    assert output.text.strip() == str(project.folder / "notebooks")


def test_a_chapter_runs_until_it_has_ended(start):
    chapter = start("print(n)")
    assert chapter.is_running()
    chapter.wait()
    assert not chapter.is_running()


def test_a_user_without_a_home_folder_has_chapters(start, monkeypatch):
    """A container's user may be a number only, and Jupyter asks for the home folder."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError))
    chapter = start("import os; print(os.environ['HOME'])")
    assert chapter.wait() is None
    [output] = nbformat.read(chapter.copy, 4).cells[-1].outputs
    assert output.text.strip() == str(chapter.copy.parent)


def test_an_error_of_the_notebook_is_one_line(start):
    assert start('raise ValueError("planted\\nin two lines")').wait() == (
        "ValueError: planted"
    )


def test_a_kernel_that_dies_is_an_error(start):
    chapter = start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert chapter.wait() == "DeadKernelError: Kernel died"


def test_a_process_that_is_killed_is_an_error(start):
    chapter = start("import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
    assert chapter.wait() == "signal 9 ended the process"


def test_a_process_that_is_stopped_ends_its_kernel_first(start, project, has_ended):
    chapter = start(
        "import os, pathlib, time\n"
        "pathlib.Path('kernel').write_text(str(os.getpid()))\n"
        "time.sleep(120)"
    )
    kernel = project.kernel()
    chapter.stop()
    chapter.wait()
    assert has_ended(kernel)


@pytest.fixture
def attempts(monkeypatch):
    """A list of the errors that papermill raises at each attempt, None for none."""
    errors = []

    def execute_notebook(*arguments, **options):
        error = errors.pop(0)
        if error is not None:
            raise error

    monkeypatch.setattr(one_chapter.papermill, "execute_notebook", execute_notebook)
    return errors


def test_a_kernel_that_does_not_start_is_started_once_more(attempts):
    attempts += [CLASH, None]
    execute("source", "target", {})
    assert not attempts


def test_a_kernel_that_does_not_start_twice_is_an_error(attempts):
    attempts += [CLASH, CLASH, None]
    with pytest.raises(RuntimeError, match="died before replying"):
        execute("source", "target", {})
    assert attempts == [None]


def test_another_error_is_not_tried_again(attempts):
    attempts += [RuntimeError("Kernel died"), None]
    with pytest.raises(RuntimeError, match="Kernel died"):
        execute("source", "target", {})
    assert attempts == [None]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("planted\nmore"), "OSError: planted"),
        (
            papermill.PapermillExecutionError(0, 1, "", "KeyError", "'planted'", []),
            "KeyError: 'planted'",
        ),
    ],
)
def test_the_first_line_of_an_error(error, line):
    assert first_line(error) == line


FIGURE = """
import sys
import matplotlib.pyplot as plt
from mnistkit.report.chapter import Chapter, use_style
use_style()
fig, ax = plt.subplots()
ax.plot([1, 2])
print(__debug__, sys.warnoptions)
Chapter("01_good", "full", "planted data").save_figure(fig, "line")
"""


def test_settings_of_the_user_do_not_change_a_chapter(start, project, monkeypatch):
    """Startup files, configurations and warnings as errors, each of which would."""

    def figure_and_outputs():
        chapter = start(FIGURE)
        assert chapter.wait() is None
        figure = (project.folder / "figures" / "01_good_line.svg").read_bytes()
        return figure, nbformat.read(chapter.copy, 4).cells[-1].outputs

    expected = figure_and_outputs()
    mine = project.folder / "mine"
    startup = mine / "profile_default" / "startup"
    stop = "import os; os._exit(3)"
    settings = {
        startup / "00.py": stop,
        mine / "start.py": stop,
        mine / "kernels" / "python3" / "kernel.json": (
            '{"argv": ["false"], "display_name": "Python 3", "language": "python"}'
        ),
        mine / "matplotlibrc": "axes.xmargin: 0.4\n",
        mine / "profile_default" / "ipython_kernel_config.py": (
            "c.InlineBackend.figure_formats = {'svg'}"
        ),
    }
    for path, text in settings.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    for name in ("IPYTHONDIR", "MPLCONFIGDIR", "JUPYTER_DATA_DIR", "JUPYTER_PATH"):
        monkeypatch.setenv(name, str(mine))
    monkeypatch.setenv("PYTHONSTARTUP", str(mine / "start.py"))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("PYTHONINSPECT", "1")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "/dev/null")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    assert figure_and_outputs() == expected


def test_a_chapter_is_executed_in_a_c_locale_below_any_path(temporary_project):
    """papermill writes the path of the notebook into the copy."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from mnistkit.report.one_chapter import ChapterProcess\n"
        "source, folder = map(Path, sys.argv[1:])\n"
        "print(ChapterProcess(source, {}, folder, dict(os.environ)).wait())"
    )
    with temporary_project() as project:
        path = project.plant("01_good")
        folder = project.folder / "Übung 项目"
        folder.mkdir()
        source = path.rename(folder / path.name)
        locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        command = [sys.executable, "-c", script, str(source), str(project.folder)]
        environment = os.environ | locale
        done = subprocess.run(command, env=environment, capture_output=True)
    assert done.stdout == b"None\n", done.stderr
