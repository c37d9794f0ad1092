"""JupyterLab on this machine alone, and pages that note what goes wrong."""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

TOKEN = "mnistkit"
SETTINGS = {
    # Lab's question whether it may ask for news would cover a corner.
    "apputils-extension/notification": {"fetchNews": "false"},
}


class Lab:
    """A running JupyterLab, and its folder of notebooks."""

    def __init__(self, folder: Path, settings: dict, **environment: str) -> None:
        self.folder = folder / "notebooks"
        self.folder.mkdir()
        for name, values in (SETTINGS | settings).items():
            path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        own = {
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTER_DATA_DIR": "data",
            "IPYTHONDIR": "ipython",
        }
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": port,
            # Without it Lab would take the next port, where another server may answer.
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self.folder,
            "IdentityProvider.token": TOKEN,
            # Tests ask Lab itself which cells have run: `jupyterapp` in the browser.
            "LabApp.expose_app_in_browser": True,
        }
        self.log = folder / "lab.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *(f"--{key}={value}" for key, value in options.items())],
                env=os.environ
                | {key: str(folder / own[key]) for key in own}
                | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait(seconds=60)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            try:
                status = f"{self.address}/api/status?token={TOKEN}"
                urllib.request.urlopen(status, timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)
        self.stop()
        raise RuntimeError(
            f"JupyterLab does not answer: {self.log.read_text()[-2000:]}"
        )

    def end_kernels(self) -> None:
        """Shut down all kernels, as when the computer was switched off."""
        for session in json.loads(self._ask("GET", "sessions")):
            self._ask("DELETE", f"sessions/{session['id']}")

    def _ask(self, method: str, path: str) -> bytes:
        address = f"{self.address}/api/{path}?token={TOKEN}"
        question = urllib.request.Request(address, method=method)
        with urllib.request.urlopen(question, timeout=60) as answer:
            return answer.read()

    def stop(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def plant(self, name: str, *cells: str) -> None:
        """Write a notebook of code cells."""
        book = new_notebook(cells=[new_code_cell(cell) for cell in cells])
        book.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(book, self.folder / name)

    def open(self, page, name: str) -> None:
        """Show a notebook on a page of the browser, which notes what goes wrong."""
        page.goto(f"{self.address}/doc/tree/{name}?token={TOKEN}&reset")
        page.locator(".jp-CodeCell").first.wait_for(timeout=60_000)
        # A cell that is run before its kernel is there would ask for one.
        page.get_by_text("| Idle").wait_for(timeout=60_000)


def run_all(page, seconds: float) -> None:
    """Run all cells from the menu, and wait until each has run or one has failed."""
    page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.wait_for_function("() => !jupyterapp.commands.isBusy")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(
        """() => {
          const { cells } = jupyterapp.shell.currentWidget.content.model;
          const code = [...cells].filter(
            (cell) => cell.type === "code" && cell.sharedModel.getSource().trim());
          const failed = code.some((cell) =>
            cell.outputs.toJSON().some((output) => output.output_type === "error"));
          return failed || code.every(
            (cell) => cell.executionCount !== null && cell.executionState === "idle");
        }""",
        timeout=1000 * seconds,
        polling=200,
    )


def save(page, path: Path) -> None:
    """Save the notebook that is shown, which lies at `path`."""
    before = path.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    for _ in range(100):
        page.wait_for_timeout(100)
        # The file is emptied before it is written.
        if path.stat().st_mtime_ns != before:
            with contextlib.suppress(json.JSONDecodeError):
                json.loads(path.read_text(encoding="utf-8"))
                return
    raise AssertionError("the notebook was not saved")


def change_theme(page, theme: str) -> None:
    """Show Lab in "JupyterLab Light" or "JupyterLab Dark"."""
    change = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"
    page.evaluate(change, theme)
    is_light = "true" if theme.endswith("Light") else "false"
    page.wait_for_selector(f'body[data-jp-theme-light="{is_light}"]', state="attached")
    # The style sheet of a theme arrives a moment later.
    page.wait_for_timeout(1000)


def barriers(found) -> list[str]:
    """What axe-core finds wrong for screen readers, keyboard and eyes in an element."""
    package = importlib.util.find_spec("axe_playwright_python")
    assert package is not None and package.origin is not None
    axe = Path(package.origin).with_name("axe.min.js").read_text(encoding="utf-8")
    found.page.evaluate(axe)
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
    answer = found.evaluate("(node, rules) => axe.run(node, rules)", rules)
    assert len(answer["passes"]) > 5
    return [
        f"{rule['id']}: {node['html'][:150]} {node['failureSummary']}"
        for rule in answer["violations"]
        for node in rule["nodes"]
    ]


def watched(context):
    """A page with the list `problems`: errors, and requests that leave the machine."""
    page = context.new_page()
    page.problems = []

    def request(made):
        if not made.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            page.problems.append(f"request of {made.url}")

    def message(said):
        if said.type == "error":
            page.problems.append(f"console: {said.text}")

    page.on("request", request)
    page.on("console", message)
    page.on("pageerror", lambda error: page.problems.append(f"error: {error}"))
    return page
