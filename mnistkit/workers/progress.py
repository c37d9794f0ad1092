"""One line that says how far a sweep is and how long it will take."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mnistkit.storage import places

# Takes the number of runs that are finished now, and which share of a run was trained.
Advance = Callable[..., None]  # (runs: int = 1, name: str = "", share: float = 0.0)


@contextmanager
def progress(
    total: int, missing: int, seconds: dict[str, float] | None = None, jobs: int = 1
) -> Iterator[Advance]:
    """Show how far a sweep is: of its `total` runs, `missing` are still to be trained.

    `seconds` is how long each of these takes by estimate, by its name, and `jobs` how
    many are trained at a time. Yields the function to call when something was done; its
    first call starts the clock. A sweep without anything to train shows nothing. In a
    chapter of a report, lines of JSON are written to the log that `report` reads.
    """
    log = places.progress_log()
    if log is not None:

        def write_event(**event: int) -> None:
            with open(log, "a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")

        def write_runs(runs: int = 1, name: str = "", share: float = 0.0) -> None:
            if runs > 0:
                write_event(done=runs)

        write_event(runs=total, done=total - missing)
        yield write_runs
    elif missing == 0:
        yield lambda *_: None
    else:
        shown = _Progress(total, missing, seconds or {}, jobs)
        try:
            yield shown.advance
        finally:
            shown.close()


class _Progress:
    def __init__(
        self, total: int, missing: int, seconds: dict[str, float], jobs: int
    ) -> None:
        found = total - missing
        runs = "1 run" if total == 1 else f"{total} runs"
        self.start = f"{runs}: {found} found, " if found else f"{runs}: "
        self.missing = missing
        self.seconds = seconds
        self.all_seconds = sum(seconds.values())
        self.done = 0
        self.share = 0.0
        self.began: float | None = None
        self.line = _Line()
        # The longest run takes its time however many are trained at once.
        estimate = max([self.all_seconds / jobs, *seconds.values()])
        about = f", about {in_words(estimate)}" if seconds else ""
        self.line.show(f"{self.start}{missing} to train{about}")

    def advance(self, runs: int = 1, name: str = "", share: float = 0.0) -> None:
        if self.began is None:
            self.began = time.perf_counter()
        self.done += runs
        if self.all_seconds > 0:
            self.share += share * self.seconds.get(name, 0.0) / self.all_seconds
        trained = f"{self.done} of {self.missing} trained"
        if 0 < self.share < 1:
            elapsed = time.perf_counter() - self.began
            left = in_words(elapsed * (1 - self.share) / self.share)
            self.line.show(f"{self.start}{trained}, about {left} left")
        elif runs > 0:
            self.line.show(f"{self.start}{trained}")

    def close(self) -> None:
        now = time.perf_counter()
        elapsed = in_words(now - (self.began or now))
        trained = str(self.missing)
        if self.done < self.missing:
            trained = f"{self.done} of {self.missing}"
        self.line.close(f"{self.start}{trained} trained in {elapsed}")


class _Line:
    """A line that is replaced: below the cell in a notebook, else on stderr."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.is_new = True

    def show(self, text: str) -> None:
        if in_notebook():
            self._display(text)
        elif sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif self.is_new:
            print(text, file=sys.stderr, flush=True)
        self.is_new = False

    def close(self, text: str) -> None:
        if in_notebook():
            self._display(text)
        else:
            start = "\r\033[K" if sys.stderr.isatty() else ""
            print(f"{start}{text}", file=sys.stderr, flush=True)

    def _display(self, text: str) -> None:
        # Plain text, unlike a widget, is still there in a saved notebook.
        content = {"text/plain": text}
        if self.handle is None:
            display = sys.modules["IPython"].display.display
            self.handle = display(content, raw=True, display_id=True)
        else:
            self.handle.update(content, raw=True)


def in_notebook() -> bool:
    """Return whether a Jupyter kernel executes this."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def in_words(seconds: float) -> str:
    """Return a time as a reader says it: 48 s, 3 min, 2.5 h."""
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    if seconds < 99.5 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
