"""The path of the optimizer that is chosen; the sliders are in tests/browser."""

import math
from itertools import count, islice

import pytest
import torch

from mnistkit import Ravine
from mnistkit.widgets.ravine import MOMENTA, RATES, START, STEEPNESS, STEPS


def sgd(w, gradient, lr, momentum=0.0):
    v = torch.zeros_like(w)
    while True:
        v = momentum * v + gradient(w)
        w = w - lr * v
        yield w


def adam(w, gradient, lr, betas=(0.9, 0.999), eps=1e-8):
    (b1, b2), m, v = betas, 0.0, 0.0
    for t in count(1):
        g = gradient(w)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        w = w - lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + eps)
        yield w


def adagrad(w, gradient, lr):
    total = 0.0
    while True:
        total = total + gradient(w) ** 2
        w = w - lr * gradient(w) / total**0.5
        yield w


@pytest.fixture
def ravine():
    return Ravine({"SGD": sgd, "Adagrad": adagrad, "Adam": adam})


def test_the_path_is_that_of_the_formula(ravine):
    ravine.set_state({"lr": 0.032})  # as the browser does
    steps = torch.arange(STEPS + 1, dtype=torch.float64)
    w1 = START[0] * (1 - 0.032) ** steps
    w2 = START[1] * (1 - STEEPNESS * 0.032) ** steps
    torch.testing.assert_close(ravine.path, torch.stack([w1, w2], 1))
    f = 0.5 * (w1**2 + STEEPNESS * w2**2)
    assert ravine.walked["heights"] == pytest.approx(f.tolist())


def test_the_path_is_that_of_torch(ravine):
    ravine.set_state({"rule": "Adam", "lr": 0.5, "momentum": 0.8})
    w = torch.tensor(START, dtype=torch.float64)
    optimizer = torch.optim.Adam([w], lr=0.5, betas=(0.8, 0.999))
    for place in islice(ravine.path, 1, None):
        w.grad = torch.tensor([1.0, STEEPNESS], dtype=torch.float64) * w
        optimizer.step()
        torch.testing.assert_close(place, w)


@pytest.mark.parametrize("lr, diverges", [(0.04, False), (0.05, False), (0.063, True)])
def test_sgd_diverges_beyond_its_limit(ravine, lr, diverges):
    """Each step multiplies w₂ by 1 - 40 lr, whose size is 1 at the rate 0.05."""
    ravine.lr = lr
    assert ravine.walked["diverged"] == diverges
    assert ("it diverges" in ravine.words()) == diverges


def test_a_path_beyond_all_numbers_ends(ravine):
    ravine.set_state({"lr": 10.0, "momentum": 0.99})
    assert ravine.walked["diverged"] and ravine.walked["heights"][-1] is None
    assert torch.isfinite(ravine.path).all()
    ravine.picture()


def test_a_rule_without_momentum_is_walked_without(ravine):
    ravine.set_state({"rule": "Adagrad", "lr": 2.5, "momentum": 0.9})
    assert ravine.problem == "" and not ravine.walked["has_momentum"]
    assert "momentum" not in ravine.words()
    assert "f is below 0.01 after" in ravine.words()


def test_every_answer_names_its_question(ravine):
    ravine.set_state({"rule": "Adam", "lr": 0.1, "momentum": 0.5})
    asked = {"rule": "Adam", "lr": 0.1, "momentum": 0.5}
    assert asked.items() <= ravine.walked.items()


def test_what_goes_wrong_in_a_rule_of_ones_own_is_shown():
    def broken(w, gradient, lr):
        yield w / 0 + undefined  # noqa: F821

    ravine = Ravine({"mine": broken, "SGD": sgd})
    assert ravine.problem.startswith("NameError")
    ravine.rule = "SGD"
    assert ravine.problem == "" and len(ravine.path) == STEPS + 1


def test_the_sliders_have_the_rates_of_the_chapter():
    assert {0.001, 0.01, 0.05, 0.5, 1, 10} < set(RATES) and RATES == sorted(RATES)
    assert {0.0, 0.5, 0.9, 0.95, 0.99} < set(MOMENTA) and MOMENTA == sorted(MOMENTA)
    ratios = [b / a for a, b in zip(RATES, RATES[1:], strict=False)]
    assert max(abs(math.log10(ratio) - 0.1) for ratio in ratios) < 0.02


def test_the_output_is_the_same_text_and_a_picture(ravine):
    data, metadata = ravine._repr_mimebundle_()
    assert data["text/plain"].startswith("Ravine: choose an optimizer")
    assert "SGD, learning rate 0.04" in metadata["image/png"]["alt"]
    assert data["image/png"].startswith(b"\x89PNG")


def test_a_rule_is_needed():
    with pytest.raises(ValueError, match="a rule is needed"):
        Ravine({})
