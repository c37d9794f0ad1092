"""The widgets of the chapters in JupyterLab, all in one notebook and on one page."""

import re

import pytest
from lab_server import barriers, change_theme, watched

pytestmark = pytest.mark.browser

NOTEBOOK = "classroom.ipynb"
IMPORTS = """
import torch
from torch import nn
from mnistkit import Batches, LookInside, Ravine, ReadTheMatrix, Run, ScrubTime
from mnistkit import build_model, fit, live, load_mnist, snapshot, sweep
mnist = load_mnist()
torch.set_num_threads(1)


def sgd(w, gradient, lr, momentum=0.0):
    v = torch.zeros_like(w)
    while True:
        v = momentum * v + gradient(w)
        w = w - lr * v
        yield w


def adagrad(w, gradient, lr):
    total = 0.0
    while True:
        total = total + gradient(w) ** 2
        w = w - lr * gradient(w) / total**0.5
        yield w


def training(epochs):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    batches = Batches(mnist.train_images[:2000], mnist.train_labels[:2000])
    return model, fit(model, batches, torch.optim.Adam(model.parameters()),
                      epochs=epochs)
"""
RAVINE = 'Ravine({"SGD": sgd, "Adagrad": adagrad})'
LOOK = 'LookInside(build_model("small_resnet", seed=0))'
MATRIX = """
setting = dict(model="small_resnet", lr=0.01, batch_size=64, epochs=10,
               train_size=60000, eval_size=10000)
ReadTheMatrix(sweep([Run(optimizer=name, **setting) for name in ("adagrad", "adam")]))
"""
SCRUB = """
model, rows = training(3)
ScrubTime(model, [snapshot(model), *(snapshot(model) for row in rows)])
"""
LIVE = """
kept = []
async for row in live(training(10_000)[1]):
    kept.append(row)
print(len(kept), "rows are kept")
"""


@pytest.fixture(scope="module")
def page(mnist, lab, chromium):
    """The notebook, run; its last cell trains until its button is pressed."""
    if mnist.source != "mnist":
        pytest.skip("the stored records are of all of MNIST: set MNISTKIT_DATA")
    lab.plant(NOTEBOOK, IMPORTS, RAVINE, LOOK, MATRIX, SCRUB, LIVE)
    context = chromium.new_context(viewport={"width": 1366, "height": 1000})
    page = watched(context)
    lab.open(page, NOTEBOOK)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    curves = page.locator(".mnistkit-live")
    curves.wait_for(timeout=120_000)
    expect(curves, "Epoch [2-9]")
    curves.get_by_role("button", name="Stop").click()
    expect(curves, "stopped; what was learned is kept")
    yield page
    assert page.problems == []
    context.close()


def expect(widget, text):
    verdict = widget.locator(".verdict", has_text=re.compile(text))
    verdict.wait_for(timeout=60_000)


@pytest.fixture
def widget(page):
    """Find a widget by its name, and scroll to it."""

    def find(name):
        found = page.locator(f".mnistkit-{name}")
        found.scroll_into_view_if_needed(timeout=60_000)
        return found

    return find


def test_the_button_stops_the_training_and_the_cell_goes_on(page):
    output = page.locator(".jp-OutputArea-output", has_text="rows are kept")
    output.wait_for()
    kept = int(re.search(r"(\d+) rows are kept", output.inner_text())[1])
    assert 2 <= kept < 100
    curves = page.locator(".mnistkit-live")
    expect(curves, rf"Epoch {kept} · .* right · stopped")
    assert curves.locator(".chart").count() == 2
    assert curves.get_by_role("button", name="Stop").count() == 0


def test_the_path_follows_the_sliders_and_shows_that_it_diverges(widget):
    ravine = widget("ravine")
    rate = ravine.get_by_role("slider", name="Learning rate")
    rate.focus()
    ravine.page.keyboard.press("ArrowRight")
    assert rate.get_attribute("aria-valuetext") == "0.05"
    expect(ravine, "After 100 steps")
    ravine.page.keyboard.press("ArrowRight")
    expect(ravine, "It diverges")
    assert ravine.locator("polyline.away").count() == 1
    ravine.get_by_label("Adagrad").check()
    ravine.locator("input.momentum:disabled").wait_for()
    assert ravine.locator("polyline.away").count() == 0


def test_the_pixel_that_is_clicked_is_the_sum_of_the_products(widget):
    look = widget("look")
    for key in ("ArrowDown", "ArrowRight"):
        look.locator(".map").click(position={"x": 100, "y": 80})
        before = look.locator(".sum").inner_text()
        look.page.keyboard.press(key)
        text = look.locator(".sum").inner_text().replace("−", "-")
        assert text != before
        *_, total, value = re.findall(r"-?\d+\.\d+", text)
        assert float(total) == pytest.approx(float(value), abs=0.0011)
        products = look.locator("table.c td").all_inner_texts()
        added = sum(float(product.replace("−", "-")) for product in products)
        [first] = re.findall(r"add up to (-?\d+\.\d+)", text)
        assert added == pytest.approx(float(first), abs=25 * 0.006)
    look.get_by_role("combobox").select_option("8")
    assert look.locator(".maps canvas").count() == 32


def test_a_cell_shows_its_images(page, widget):
    matrix = widget("matrix")
    matrix.get_by_label("Optimizer").select_option("adam")
    matrix.get_by_label("images of a 4 read as 9").click()
    page.locator('[data-shown="small_resnet adam 0 4 9"]').wait_for()
    count = int(matrix.locator(".cell[aria-pressed=true]").inner_text())
    expect(matrix, f"^{count} images of a 4 read as 9")
    assert matrix.locator(".images li").count() == count
    matrix.page.keyboard.press("ArrowLeft")
    expect(matrix, "of a 4 read as 8")
    matrix.page.keyboard.press("ArrowRight")
    expect(matrix, "of a 4 read as 9")
    texts = matrix.locator(".images li").first.inner_text()
    sure, label = (float(share) for share in re.findall(r"([\d.]+)%", texts))
    assert sure > label and sure + label < 100.2


def test_the_slider_moves_through_the_epochs(widget):
    scrub = widget("scrub")
    expect(scrub, "After epoch 3 ")
    after = scrub.locator("table.matrix").inner_text()
    scrub.get_by_role("slider", name="Epoch").focus()
    scrub.page.keyboard.press("Home")
    expect(scrub, "Before the training ")
    assert scrub.locator("table.matrix").inner_text() != after
    shares = scrub.locator(".share").all_inner_texts()
    assert sum(float(share.rstrip("%")) for share in shares) == pytest.approx(
        100, abs=1
    )
    scrub.get_by_role("button", name="Play").click()
    expect(scrub, "After epoch 3 ")
    assert scrub.locator("table.matrix").inner_text() == after


@pytest.mark.parametrize("name", ["ravine", "look", "matrix", "scrub", "live"])
def test_a_phone_is_wide_enough(page, widget, name):
    page.set_viewport_size({"width": 390, "height": 844})
    widths = "el => [el.scrollWidth, el.clientWidth]"
    needed, given = widget(name).evaluate(widths)
    assert needed <= given
    page.set_viewport_size({"width": 1366, "height": 1000})


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_a_widget_has_no_barriers(page, widget, theme):
    change_theme(page, theme)
    for name in ("ravine", "look", "matrix", "scrub", "live"):
        assert barriers(widget(name)) == [], name
