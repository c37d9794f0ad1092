"""The benchmark's rows about whole reports: their time and their memory."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from mnistkit.storage.files import MNIST


def reports(mnist: MNIST) -> Iterator[dict[str, Any]]:
    """The time of the full report from shipped records; time and memory of a quick one.

    The full report finds an empty store, so that only the shipped archive has records.
    The quick report finds the store of this project.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = {"MNISTKIT_OUT": folder, "MNISTKIT_STORE": f"{folder}/records"}
        seconds, _, printed = watch(["report", "--scale", "full"], settings)
        chapters = re.findall(r"^(\d\d)_\w+ +([\d.]+) s$", printed, re.MULTILINE)
        times = "; ".join(f"{number}: {part} s" for number, part in chapters)
        yield {
            "row": "full report from records",
            "ours_s": seconds,
            "note": f"two chapters at a time; chapter {times}",
        }
        seconds, peak, _ = watch(
            ["report", "--scale", "quick"], {"MNISTKIT_OUT": folder}
        )
        yield {
            "row": "quick report",
            "ours_s": seconds,
            "note": f"at most {peak / 2**30:.2f} GB in one process; records that exist "
            "are not trained again",
        }


def watch(command: list[str], settings: dict[str, str]) -> tuple[float, int, str]:
    """Run `python -m mnistkit command` with `settings` added to the environment.

    Returns its seconds, the largest resident memory of one of its processes in bytes
    (sampled five times a second), and what it printed. ValueError if it fails.
    """
    import psutil

    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as output:
        process = psutil.Popen(
            [sys.executable, "-m", "mnistkit", *command],
            env=os.environ | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            time.sleep(0.2)
            try:
                for part in [process, *process.children(recursive=True)]:
                    peak = max(peak, part.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        output.seek(0)
        printed = output.read()
    if process.returncode:
        raise ValueError(f"mnistkit {' '.join(command)} failed: {printed[-500:]}")
    return time.perf_counter() - start, peak, printed
