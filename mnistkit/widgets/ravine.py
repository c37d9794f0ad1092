"""Play with an optimizer: the path of an update rule through a narrow valley."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from mnistkit.plots import BLUE
from mnistkit.widgets.base import Widget
from mnistkit.widgets.parts import joined

Rule = Callable[..., Iterator[Tensor]]

STEPS = 100
START = (-9.0, 1.5)
STEEPNESS = 40.0
LOW = 0.01  # below this height the path has arrived
# The learning rates of the slider, ten for each power of ten, from 0.0001 to 10.
MANTISSAS = (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8)
RATES = [round(m * 10.0**power, 9) for power in range(-4, 1) for m in MANTISSAS] + [
    10.0
]
MOMENTA = [*(round(0.05 * i, 2) for i in range(20)), 0.97, 0.99]


class Ravine(Widget):
    """The path of an optimizer down the valley f(w) = (w₁² + 40 w₂²) / 2.

    `rules` are update rules, by name: generators as chapter 03 writes them, that are
    given a place w [2], the function that returns the gradient at a place, and `lr`,
    and yield one place after another. A rule with a parameter `momentum` gets the
    momentum of the slider; a rule with `betas` gets it as the first of them and keeps
    the second; others have no momentum. ValueError if there is no rule.

    `rule`, `lr` and `momentum` are what is chosen, `path` is where it leads: the start
    and the place after each of 100 steps, float64 [steps + 1, 2]. It ends early where
    a place is no longer finite.
    """

    title = "choose an optimizer, its learning rate and its momentum"
    _esm = joined("js", "ravine")
    _css = joined("css", "ravine")

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    rule = traitlets.Unicode().tag(sync=True)
    rates = traitlets.List(RATES).tag(sync=True)
    momenta = traitlets.List(MOMENTA).tag(sync=True)
    lr = traitlets.Float(0.04).tag(sync=True)
    momentum = traitlets.Float(0.0).tag(sync=True)
    shape = traitlets.Dict(
        {"start": START, "steepness": STEEPNESS, "low": LOW, "steps": STEPS}
    ).tag(sync=True)
    walked = traitlets.Dict().tag(sync=True)  # what `walk` returned for the choice
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, rules: Mapping[str, Rule], lr: float = 0.04, momentum: float = 0.0
    ) -> None:
        if not rules:
            raise ValueError('a rule is needed, such as {"SGD": sgd}')
        self._rules = dict(rules)
        names = list(self._rules)
        super().__init__(names=names, rule=names[0], lr=lr, momentum=momentum)
        self._walk({})

    @traitlets.observe("rule", "lr", "momentum")
    def _walk(self, change: dict[str, Any]) -> None:
        if not self.rule:  # the traits are still being set
            return
        problem, walked = "", {"places": [], "heights": [], "has_momentum": False}
        try:
            walked = self.walk()
        except Exception as error:
            # Jupyter writes an error of a callback into a log that no one looks at.
            problem = f"{type(error).__name__}: {error}"
        choice = {"rule": self.rule, "lr": self.lr, "momentum": self.momentum}
        with self.hold_sync():
            self.problem = problem
            self.walked = walked | choice

    def walk(self) -> dict[str, Any]:
        """Return the chosen rule's path, and its heights f, as lists of numbers.

        `has_momentum` tells whether the rule has one; `diverged` whether the path ends
        above its start or beyond all numbers.
        """
        rule = self._rules[self.rule]
        known = inspect.signature(rule).parameters
        options: dict[str, Any] = {"lr": self.lr}
        if "momentum" in known:
            options["momentum"] = self.momentum
        elif "betas" in known:
            options["betas"] = (self.momentum, known["betas"].default[1])
        start = torch.tensor(START, dtype=torch.float64)
        slopes = torch.tensor([1.0, STEEPNESS], dtype=torch.float64)
        places = [START]
        for place in islice(rule(start, lambda w: slopes * w, **options), STEPS):
            x, y = place.tolist()
            if not (math.isfinite(x) and math.isfinite(y)):
                break
            places.append((x, y))
        heights = [height(*place) for place in places]
        is_cut = len(places) <= STEPS or not math.isfinite(heights[-1])
        return {
            "places": places,
            "heights": [f if math.isfinite(f) else None for f in heights],
            "has_momentum": len(options) > 1,
            "diverged": is_cut or heights[-1] > heights[0],
        }

    @property
    def path(self) -> Tensor:
        """The start and the place after each step, float64 [steps + 1, 2]."""
        return torch.tensor(self.walked["places"], dtype=torch.float64)

    def words(self) -> str:
        """Return the choice and what became of it as a sentence."""
        momentum = f", momentum {self.momentum:g}" * self.walked["has_momentum"]
        heights = self.walked["heights"]
        arrived = [step for step, f in enumerate(heights) if f is not None and f < LOW]
        if self.walked["diverged"]:
            end = "it diverges"
        elif arrived:
            end = f"f is below {LOW:g} after {arrived[0]} steps"
        else:
            end = f"after {STEPS} steps f is {heights[-1]:.2g}"
        return f"{self.rule}, learning rate {self.lr:g}{momentum}: {end}"

    def picture(self) -> tuple[Figure, str]:
        """Return the path that is chosen now."""
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        ax, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
        w1, w2 = torch.linspace(-10, 4, 141), torch.linspace(-2.2, 2.2, 89)
        z = 0.5 * (w1**2 + STEEPNESS * w2[:, None] ** 2)
        ax.contour(w1, w2, z, [0.5, 3, 12, 40, 80], colors="0.85", linewidths=0.8)
        ax.plot(*self.path.T, ".-", color=BLUE, linewidth=1.2, markeredgewidth=0)
        ax.plot(*START, "o", color="white", markeredgecolor="black")
        ax.plot(0, 0, "*", color="gold", markeredgecolor="black", markersize=12)
        ax.set(xlim=(-10, 4), ylim=(-2.2, 2.2), xlabel="w₁", ylabel="w₂")
        ax.set_title(self.words(), fontsize=9)
        # A logarithmic axis cannot be laid out for 1e300; it ends at 1e6 anyway.
        heights = self.walked["heights"]
        heights = [math.nan if f is None or f > 1e12 else f for f in heights]
        right.semilogy(heights, color=BLUE)
        right.axhline(LOW, color="0.6", linestyle=":")
        right.set(xlabel="step", ylabel="f", ylim=(1e-6, 1e6))
        return figure, f"The path of {self.words()}."


def height(w1: float, w2: float) -> float:
    """Return f, infinite where a square is too large for a number."""
    try:
        return 0.5 * (w1**2 + STEEPNESS * w2**2)
    except OverflowError:
        return math.inf
