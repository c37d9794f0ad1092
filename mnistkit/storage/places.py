"""Where things lie: the project's folders, and every environment variable we read.

| variable          | what it says                                 | default           |
|-------------------|----------------------------------------------|-------------------|
| MNISTKIT_DATA     | folder with the four MNIST files             | cache or download |
| MNISTKIT_OFFLINE  | 1: never download                            | 0                 |
| XDG_CACHE_HOME    | the user's cache folder                      | ~/.cache          |
| MNISTKIT_STORE    | folder of the records                        | reports/records   |
| MNISTKIT_OUT      | folder for figures/ and reports/             | the project       |
| MNISTKIT_FRESH    | time in seconds: older records do not count  | 0                 |
| MNISTKIT_PROGRESS | file to which sweeps write how far they are  | a progress bar    |

`report` sets the last two for the kernels of its chapters.
"""

import os
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # holds notebooks/, figures/ and reports/


def records_folder() -> Path:
    """The project's own records, with the archive that it ships."""
    return ROOT / "reports" / "records"


def data_folder() -> Path | None:
    """The folder that the user names for the MNIST files, or None."""
    return _folder("MNISTKIT_DATA")


def cache_folder() -> Path:
    """Where a download is kept."""
    caches = _folder("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return caches / "mnistkit"


def store_folder() -> Path:
    """Where records are read and written."""
    return _folder("MNISTKIT_STORE") or records_folder()


def output_folder() -> Path:
    """Where a report puts its figures/ and reports/."""
    return _folder("MNISTKIT_OUT") or ROOT


def is_offline() -> bool:
    """Whether downloads are forbidden."""
    return os.environ.get("MNISTKIT_OFFLINE", "0") not in ("", "0")


def fresh_since() -> float:
    """Records written before this time (seconds since 1970) count as absent."""
    return float(os.environ.get("MNISTKIT_FRESH") or 0)


def progress_log() -> Path | None:
    """The file that wants to know how far a sweep is; None: show a bar."""
    return _folder("MNISTKIT_PROGRESS")


def worker_environment() -> dict[str, str]:
    """The environment of a sweep's workers: what could be downloaded, we have."""
    return os.environ | {"MNISTKIT_OFFLINE": "1"}


def kernel_environment(log: Path, fresh: bool) -> dict[str, str]:
    """The environment of a chapter's kernel: our folders, made absolute, as it works
    in another one; `log` for its progress; with `fresh` no record of before counts."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MNISTKIT_PROGRESS": str(log)}
    if fresh:
        environment["MNISTKIT_FRESH"] = str(time.time())
    for name in ("MNISTKIT_DATA", "MNISTKIT_STORE", "MNISTKIT_OUT"):
        if environment.get(name):
            environment[name] = str(Path(environment[name]).expanduser().absolute())
    return environment


def _folder(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None
