"""The folders of the project, and every environment variable that it reads.

| variable          | meaning                                      | default           |
|-------------------|----------------------------------------------|-------------------|
| MNISTKIT_DATA     | folder with the four MNIST files             | cache or download |
| MNISTKIT_OFFLINE  | 1: never download                            | 0                 |
| XDG_CACHE_HOME    | the user's cache folder                      | ~/.cache          |
| MNISTKIT_STORE    | folder of the records                        | reports/records   |
| MNISTKIT_OUT      | folder for figures/ and reports/             | the project       |
| MNISTKIT_FRESH    | time in seconds: older records do not count  | 0                 |
| MNISTKIT_PROGRESS | file to which sweeps write how far they are  | a progress bar    |

`report` sets the last two, and MNISTKIT_OFFLINE, for the kernels of its chapters.
"""

import os
import time
from pathlib import Path

# The project's folder, which holds notebooks/, figures/ and reports/.
ROOT = Path(__file__).resolve().parents[2]


def records_folder() -> Path:
    """Return the folder of the project's own records and of the archive it ships."""
    return ROOT / "reports" / "records"


def data_folder() -> Path | None:
    """Return the folder that the user names for the MNIST files, or None."""
    return _folder("MNISTKIT_DATA")


def lend_data_folder(folder: Path) -> None:
    """Let the processes that this one starts find MNIST in `folder`."""
    os.environ["MNISTKIT_DATA"] = str(folder)


def cache_folder() -> Path | None:
    """Return the folder that keeps MNIST; None for a user without a home folder."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return expand(caches, "XDG_CACHE_HOME") / "mnistkit"
    except ValueError:
        return None


def store_folder() -> Path:
    """Return the folder in which records are read and written."""
    return _folder("MNISTKIT_STORE") or records_folder()


def output_folder() -> Path:
    """Return the folder in which a report puts its figures/ and reports/."""
    return _folder("MNISTKIT_OUT") or ROOT


def is_offline() -> bool:
    """Return whether downloads are forbidden."""
    return os.environ.get("MNISTKIT_OFFLINE", "0") not in ("", "0")


def fresh_since() -> float:
    """Return the time, in seconds since 1970, before which records count as absent."""
    return float(os.environ.get("MNISTKIT_FRESH") or 0)


def progress_log() -> Path | None:
    """Return the file to which a sweep writes its progress, or None for a bar."""
    return _folder("MNISTKIT_PROGRESS")


def worker_environment() -> dict[str, str]:
    """Return the environment of a sweep's workers.

    Workers stay offline, because their parent has already loaded the data.
    """
    return os.environ | {"MNISTKIT_OFFLINE": "1"}


def kernel_environment(log: Path, fresh: bool) -> dict[str, str]:
    """Return the environment of a chapter's kernel.

    `log` is the file for its progress, and the folder of `log` is where its temporary
    files lie. With `fresh`, records written before now do not count. Folders are
    absolute, because the kernel works in notebooks/. MPLBACKEND is left out: a notebook
    shows no figures where this variable names a backend. Kernels stay offline, because
    the report has already loaded the data.
    """
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MNISTKIT_OFFLINE": "1",
        "MNISTKIT_PROGRESS": str(log),
        "TMPDIR": str(log.parent),
    }
    environment.pop("MPLBACKEND", None)
    if fresh:
        environment["MNISTKIT_FRESH"] = str(time.time())
    for name in ("MNISTKIT_DATA", "MNISTKIT_STORE", "MNISTKIT_OUT"):
        if environment.get(name):
            environment[name] = str(expand(environment[name], name).absolute())
    return environment


def expand(folder: str | os.PathLike, purpose: str) -> Path:
    """Return `folder` with ~ replaced; ValueError where that home folder is unknown."""
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        message = f"{purpose}: {folder} names an unknown home folder; give a full path"
        raise ValueError(message) from error


def _folder(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return expand(value, variable) if value else None
