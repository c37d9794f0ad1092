"""The process that executes one chapter: how the report starts it, and what it does.

The report holds the other end of the process's standard input. When that end is closed,
be it that the report was interrupted or that it was killed, the process ends its
kernel, the workers of the kernel's sweep, and itself.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import papermill
import psutil

# Settings of the user's own work, which would change outputs or stop a chapter: other
# kernels and configurations, startup files, warnings as errors, asserts left out.
FOREIGN = re.compile(
    "JUPYTER_.*|MPLBACKEND|MATPLOTLIBRC|PYTHON(STARTUP|WARNINGS|OPTIMIZE|INSPECT)"
)


def without_foreign(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """`environment` without the user's settings; IPython's own lie in `folder`.

    Python's UTF-8 mode is on, so that paths and files are UTF-8 in every locale. For a
    user without a home folder, where Jupyter would stop, `folder` is one.
    """
    kept = {k: v for k, v in environment.items() if not FOREIGN.fullmatch(k)}
    try:
        Path.home()
    except RuntimeError:
        kept["HOME"] = str(folder)
    return kept | {"IPYTHONDIR": str(folder / "ipython"), "PYTHONUTF8": "1"}


class ChapterProcess:
    """A process that executes the notebook `source` into `folder`.

    `copy` is the executed notebook, written after each cell; `start` is the time of
    `time.perf_counter` at which the process was started.
    """

    def __init__(
        self,
        source: Path,
        parameters: dict[str, Any],
        folder: Path,
        environment: dict[str, str],
    ):
        self.name = source.stem
        self.copy = folder / source.name
        self._messages = folder / f"{self.name}.txt"
        self.start = time.perf_counter()
        command = [sys.executable, "-m", "mnistkit.report.one_chapter"]
        with self._messages.open("wb") as messages:
            self._process = subprocess.Popen(
                [*command, str(source), str(self.copy), json.dumps(parameters)],
                cwd=source.parent,
                env=without_foreign(environment, folder),
                stdin=subprocess.PIPE,
                stdout=messages,
                stderr=subprocess.STDOUT,
                # In a session of its own the process does not get the terminal's
                # Ctrl-C: the report alone decides when the process ends.
                start_new_session=True,
            )

    def is_running(self) -> bool:
        """Whether the chapter is still being executed."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Tell the process to end; this does nothing to a process that has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> str | None:
        """Wait for the end of the process; its error in one line, None without one."""
        status = self._process.wait()
        self.stop()
        if status < 0:
            return f"signal {-status} ended the process"
        lines = self._messages.read_text("utf-8", errors="replace").splitlines()
        return (lines or [f"exit status {status}"])[-1] if status else None


def main(source: str, target: str, parameters: str) -> int:
    """Execute `source` into `target`; `parameters` is JSON.

    Returns the exit status: 0, or 1 after a line on stderr that names the error.
    """
    end_with_the_report()
    try:
        execute(source, target, json.loads(parameters))
    except Exception as error:
        print(first_line(error), file=sys.stderr)
        return 1
    return 0


def end_with_the_report() -> None:
    """End this process and all that it started as soon as its standard input closes."""

    def wait_and_end() -> None:
        os.read(sys.stdin.fileno(), 1)  # The report writes nothing: this is the end.
        processes = psutil.Process().children(recursive=True)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=5)
        os._exit(1)

    threading.Thread(target=wait_and_end, daemon=True).start()


def execute(source: str, target: str, parameters: dict[str, Any]) -> None:
    """Execute `source` into `target`, which papermill writes after each cell.

    PapermillExecutionError if a cell fails, RuntimeError if the kernel dies.
    """
    for is_last_try in (False, True):
        try:
            papermill.execute_notebook(
                source,
                target,
                parameters,
                progress_bar=False,
                extra_arguments=["--log-level=ERROR"],  # of the kernel itself
            )
            return
        except RuntimeError as error:
            # Two kernels that start at the same time may have drawn the same port.
            if is_last_try or "died before replying" not in str(error):
                raise


def first_line(error: Exception) -> str:
    """The class and the first line of the message of an error."""
    if isinstance(error, papermill.PapermillExecutionError):  # raised in the notebook
        return f"{error.ename}: {error.evalue}".splitlines()[0]
    return f"{type(error).__name__}: {error}".splitlines()[0]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
