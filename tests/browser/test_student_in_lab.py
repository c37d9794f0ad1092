"""A student's path, from nothing: a network and an optimizer of one's own, trained,
shown in tables and figures, and given a drawn digit to read."""

import nbformat
import pytest
from lab_server import Lab, run_all, save
from test_draw_in_lab import THREE, clear, draw, expect_verdict

pytestmark = pytest.mark.browser

NETWORK = """
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn.functional import relu
from mnistkit import MODELS, OPTIMIZERS, DrawADigit, Run, models, plots, sweep, tables
from mnistkit.report.diagrams import draw_network


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.see = nn.Conv2d(1, 16, 5, stride=2)
        self.kernels = nn.Parameter(torch.randn(32, 16, 3, 3) / 12)
        self.answer = nn.Linear(32 * 25, 10)

    def forward(self, x):
        x = relu(self.see(x))
        x = relu(nn.functional.conv2d(x, self.kernels, stride=2))
        return self.answer(x.flatten(1))


MODELS["mine"] = Mine
"""
OPTIMIZER = """
class SignDescent(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.9, weight_decay=0.0):
        options = dict(lr=lr, momentum=momentum, weight_decay=weight_decay)
        super().__init__(params, options)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                v = self.state[w].setdefault("v", torch.zeros_like(w))
                v.mul_(group["momentum"]).add_(w.grad + group["weight_decay"] * w)
                w.sub_(group["lr"] * v.sign())


OPTIMIZERS["sign"] = SignDescent
"""
SWEEP = """
small = dict(epochs=4, train_size=6000, val_fraction=1 / 30, eval_size=1000)
records = sweep([
    Run(model="mine", optimizer="sign", lr=0.0003, **small),
    Run(model="mine", optimizer="adam", lr=0.001, **small),
], keep_weights=True)
"""
TABLES = """
table = tables.run_table(records).set_index(["model", "optimizer"])
table[["parameters", "test_accuracy"]]
"""
LAYERS = """
fig, ax = plt.subplots()
plots.curves(ax, tables.epoch_table(records), "epoch", "train_loss", "optimizer",
             xlabel="epoch", ylabel="training loss")
fig, ax = plt.subplots(figsize=(8, 2))
draw_network(ax, models.layer_table(Mine()))
print(f"{models.count_params(Mine())} weights, {models.count_macs(Mine())} products")
"""
DRAW = """
DrawADigit({record.run.optimizer: record for record in records})
"""


@pytest.fixture(scope="module")
def lab(mnist, chromium, tmp_path_factory):
    """JupyterLab of a student who has not trained anything yet."""
    folder = tmp_path_factory.mktemp("lab")
    server = Lab(folder, {}, MNISTKIT_STORE=str(folder / "records"))
    yield server
    server.stop()


def test_a_network_and_an_optimizer_of_ones_own_read_a_drawn_digit(lab, new_page):
    lab.plant("mine.ipynb", NETWORK, OPTIMIZER, SWEEP, TABLES, LAYERS, DRAW)
    page = new_page(viewport={"width": 1366, "height": 1000})
    lab.open(page, "mine.ipynb")
    run_all(page, seconds=300)
    save(page, lab.folder / "mine.ipynb")
    cells = nbformat.read(lab.folder / "mine.ipynb", 4).cells
    [table], layers = cells[3].outputs, cells[4].outputs
    for text in ("mine", "sign", "adam", "13034"):
        assert text in table.data["text/html"]
    said = "".join(output.get("text", "") for output in layers)
    assert said == "13034 weights, 180800 products\n"
    assert sum("image/png" in output.get("data", {}) for output in layers) == 2
    pad = page.locator(".mnistkit-draw")
    pad.locator(".paper").scroll_into_view_if_needed(timeout=60_000)
    for name in ("sign", "adam"):
        pad.get_by_label(name).check()
        clear(pad)
        draw(pad, THREE)
        expect_verdict(pad, f"{name} reads 3")
