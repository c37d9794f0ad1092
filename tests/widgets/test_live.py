"""Curves while a network learns: the rows, and three ways to stop in a real kernel."""

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from jupyter_client.manager import start_new_kernel
from torch import nn

from mnistkit import Batches, fit, live
from mnistkit.widgets.live import Curves


@pytest.fixture
def training(mnist):
    """Start a small training anew, always with the same seed: returns `fit`'s rows."""

    def start(epochs):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        images, labels = mnist.train_images[:320], mnist.train_labels[:320]
        batches = Batches(images, labels, batch_size=32)
        optimizer = torch.optim.Adam(model.parameters())
        return fit(
            model, batches, optimizer, epochs=epochs, validation=(images, labels)
        )

    return start


def collect(rows, **options):
    """Return what an `async for` gets."""

    async def loop():
        return [row async for row in live(rows, **options)]

    return run(loop())


def run(coroutine):
    """Run a coroutine in a thread of its own: a browser test may have left a loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def without_times(rows):
    return [{key: v for key, v in row.items() if key != "seconds"} for row in rows]


def test_the_rows_are_those_of_a_plain_for(training):
    plain = list(training(3))
    assert without_times(collect(training(3), epochs=3)) == without_times(plain)
    assert len(plain) == 3


def made(monkeypatch):
    """Return the list in which the curves that `live` makes arrive."""
    found = []
    original = Curves.__init__

    def note(self, **options):
        original(self, **options)
        found.append(self)

    monkeypatch.setattr(Curves, "__init__", note)
    return found


def test_the_curves_are_those_of_the_rows(training, monkeypatch):
    found = made(monkeypatch)
    rows = collect(training(2), epochs=2)
    [curves] = found
    assert curves.state == "done"
    for drawn, row in zip(curves.rows, rows, strict=True):
        assert drawn.items() <= row.items() and "val_loss" in drawn
    _, alt = curves.picture()
    assert (
        f"after 2 epochs, the accuracy at last {100 * row['val_accuracy']:.1f}" in alt
    )


def test_the_button_ends_the_loop_after_the_epoch(training, monkeypatch):
    found = made(monkeypatch)

    async def loop():
        rows = []
        async for row in live(training(50)):
            rows.append(row)
            if len(rows) == 2:
                found[0].set_state({"is_stopping": True})  # as the browser does
        return rows

    assert len(run(loop())) == 2
    assert found[0].state == "stopped"


def test_an_error_of_the_training_is_no_end(monkeypatch):
    found = made(monkeypatch)

    def rows():
        yield {"epoch": 1, "train_loss": math.nan}
        raise ValueError("no more images")

    with pytest.raises(ValueError, match="no more images"):
        collect(rows())
    assert found[0].state == "failed"
    assert found[0].rows == [{"epoch": 1, "train_loss": None}]
    found[0].picture()


CELL = """
import time
from IPython.display import display
from mnistkit.widgets.live import live

def slow(epochs):
    for epoch in range(1, epochs + 1):
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:  # it computes, and never waits
            pass
        yield {"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 0.9}

rows = []
async for row in live(slow(60), epochs=60):
    rows.append(row)
    print("epoch", row["epoch"])
print("kept", len(rows))
"""


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3")
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def until_stopped(kernel, stop):
    """Run the cell, stop it in its second epoch; return the reply and the output."""
    manager, client = kernel
    request = client.execute(CELL)
    comm, text, begun = None, "", None
    end = time.monotonic() + 120
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=120)
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_open" and "rows" in content["data"]["state"]:
            comm = content["comm_id"]
        if kind == "stream":
            text += content["text"]
            if begun is None and "epoch 1\n" in text:
                begun = time.monotonic()
                stop(manager, client, comm)
        if kind == "status" and content["execution_state"] == "idle":
            break
    return client.get_shell_msg(timeout=30)["content"]["status"], text


def press(manager, client, comm):
    """Send what the button sends."""
    data = {"method": "update", "state": {"is_stopping": True}, "buffer_paths": []}
    content = {"comm_id": comm, "data": data}
    client.shell_channel.send(client.session.msg("comm_msg", content))


def interrupt(manager, client, comm):
    """Do what Jupyter's own stop button does."""
    manager.interrupt_kernel()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [press, interrupt])
def test_a_training_in_a_kernel_is_stopped(kernel, stop):
    status, text = until_stopped(kernel, stop)
    assert status == "ok"
    kept = int(text.split("kept ")[1])
    # The epoch that has begun may be finished; on a busy machine another one is.
    assert 1 <= kept <= 3
    assert text.count("epoch ") == kept
