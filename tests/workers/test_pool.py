"""Sweeps in worker processes, as a notebook and a shell start them."""

import re
import subprocess
import sys

import pytest

IN_MAIN = """
import os, signal, sys, threading, time
from dataclasses import replace
from torch import nn
from mnistkit import MODELS, Run, sweep, train_run
from mnistkit.train import OPTIMIZERS
from torch.optim import SGD

FEW = [
    Run(model="mlp", epochs=1, train_size=400, eval_size=200, seed=seed)
    for seed in range(8)
]
"""


def python(script, tmp_path, **options):
    path = tmp_path / "script.py"
    path.write_text(IN_MAIN + script)
    return subprocess.Popen(
        [sys.executable, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


OWN = """
def tiny():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

class Slow(SGD):
    def __init__(self, params, lr, weight_decay):
        super().__init__(params, lr / 10, weight_decay=weight_decay)

MODELS["tiny"] = tiny
OPTIMIZERS["slow"] = Slow
runs = [replace(run, model="tiny", optimizer="slow") for run in FEW[:2]]
first = sweep(runs, jobs=2)
assert [r.summary["parameters"] for r in first] == [7850, 7850]
again = train_run(runs[0])
assert again.history[0]["train_loss"] == first[0].history[0]["train_loss"]

def tiny():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Linear(20, 10))

MODELS["tiny"] = tiny
runs = [replace(run, model="tiny") for run in FEW[:2]]
assert [r.summary["parameters"] for r in sweep(runs, jobs=2)] == [15910, 15910]

ours, MODELS["mlp"] = MODELS["mlp"], tiny
theirs = [replace(run, epochs=1) for run in FEW[:2]]
assert [r.summary["parameters"] for r in sweep(theirs, jobs=2)] == [15910, 15910]
MODELS["mlp"] = ours
assert [r.summary["parameters"] for r in sweep(FEW[:2], jobs=2)] == [235146, 235146]
"""


@pytest.mark.slow
def test_workers_train_what_is_defined_beside_the_sweep(store_folder, tmp_path):
    """A new definition counts at once, and the package's own comes back."""
    process = python(OWN, tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


MODULE = '''
sys.path.insert(0, os.path.dirname(__file__))
import importlib, pathlib
path = pathlib.Path(__file__).with_name("nets.py")
for units in (5, 50):
    path.write_text(f"""
from torch import nn
def tiny():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, {units}), nn.Linear({units}, 10))
""")
    os.utime(path, (units, units))
    import nets
    importlib.reload(nets)
    MODELS["tiny"] = nets.tiny
    runs = [replace(run, model="tiny") for run in FEW[:2]]
    for record in sweep(runs, jobs=2):
        assert record.summary["parameters"] == 785 * units + 10 * units + 10
'''


@pytest.mark.slow
def test_workers_train_a_module_that_was_reloaded(store_folder, tmp_path):
    process = python(MODULE, tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


INTERRUPTED = """
import _thread
from mnistkit import sweeps
from mnistkit.workers import checkpoints

def when_some_are_kept():
    while len(list(sweeps.Store().folder.rglob("*.json"))) < 2:
        time.sleep(0.02)
    os.killpg(0, signal.SIGINT)

threading.Thread(target=when_some_are_kept, daemon=True).start()
many = [replace(FEW[0], epochs=2, seed=seed) for seed in range(500)]
try:
    sweep(many, jobs=2)
except KeyboardInterrupt as stopped:
    print(stopped)
    print(stopped._render_traceback_())
sweep(FEW[:2], jobs=2)
"""


@pytest.mark.slow
def test_an_interrupt_says_what_is_kept_and_nothing_else(store_folder, tmp_path):
    process = python(INTERRUPTED, tmp_path, start_new_session=True)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    message, traceback = output.splitlines()
    assert re.fullmatch(r"Stopped: \d+ of 500 kept; run it again to go on.", message)
    assert traceback == str([message])
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors


KILLED = """
import psutil
from mnistkit import sweeps
from mnistkit.workers import checkpoints

def kill_a_worker():
    while len(list(sweeps.Store().folder.rglob("*.json"))) < 2:
        time.sleep(0.02)
    for child in psutil.Process().children():
        if "LokyProcess" in " ".join(child.cmdline()):
            child.kill()
            return

threading.Thread(target=kill_a_worker, daemon=True).start()
many = [replace(FEW[0], epochs=2, seed=seed) for seed in range(500)]
try:
    sweep(many, jobs=2)
except RuntimeError as error:
    print(error)
assert len(sweep(FEW[:2], jobs=2)) == 2
"""


@pytest.mark.slow
def test_a_killed_worker_leaves_the_finished_runs(store_folder, tmp_path):
    pytest.importorskip("psutil")
    process = python(KILLED, tmp_path)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    [line] = output.splitlines()
    assert re.match(r"a worker process was killed .*: \d+ of 500 runs are kept", line)
    assert len(list(store_folder.rglob("*.json"))) >= 2
