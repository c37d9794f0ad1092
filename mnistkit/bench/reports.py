"""The benchmark's rows about whole reports: their time and their memory."""

import os
import re
import subprocess
import sys
import tempfile
import time

from mnistkit.storage.files import MNIST


def reports(mnist: MNIST):
    """The full report from the shipped records, and the memory of the quick one."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"MNISTKIT_OUT": folder, "MNISTKIT_STORE": f"{folder}/records"}
        seconds, _, said = watch(["report", "--scale", "full"], settings)
        chapters = re.findall(r"^(\d\d)_\w+ +([\d.]+) s$", said, re.MULTILINE)
        note = "; ".join(f"{number}: {part} s" for number, part in chapters)
        yield {
            "row": "full report from records",
            "ours_s": seconds,
            "note": f"two chapters at a time; chapter {note}",
        }
        seconds, peak, _ = watch(["report"], {"MNISTKIT_OUT": folder})
        yield {
            "row": "quick report",
            "ours_s": seconds,
            "note": f"at most {peak / 2**30:.2f} GB in one process; records that exist "
            "are not trained again",
        }


def watch(command: list[str], settings: dict[str, str]) -> tuple[float, int, str]:
    """Run `python -m mnistkit command`: seconds, largest resident bytes of a process
    of it (looked at five times a second), and what it printed. ValueError if it fails.
    """
    import psutil

    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as said:
        process = psutil.Popen(
            [sys.executable, "-m", "mnistkit", *command],
            env=os.environ | settings,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            time.sleep(0.2)
            try:
                for part in [process, *process.children(recursive=True)]:
                    peak = max(peak, part.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise ValueError(f"mnistkit {' '.join(command)} failed: {text[-500:]}")
    return time.perf_counter() - start, peak, text
