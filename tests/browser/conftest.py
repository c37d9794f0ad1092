"""JupyterLab and Chromium for the tests of this folder."""

import os
import shutil

import pytest
from lab_server import Lab, watched

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def chromium():
    """A browser; a test is skipped, with the reason, where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install -e .[browser]"
    )
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if as_root else []
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """JupyterLab as it is installed."""
    server = Lab(tmp_path_factory.mktemp("lab"), {})
    yield server
    server.stop()


@pytest.fixture
def new_page(chromium):
    """Open pages that are closed after the test; nothing may go wrong on them."""
    pages = []

    def open_page(**options):
        context = chromium.new_context(**options)
        pages.append(watched(context))
        return pages[-1]

    yield open_page
    problems = [problem for page in pages for problem in page.problems]
    for page in pages:
        page.context.close()
    assert problems == []
