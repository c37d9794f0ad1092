"""Numbers as sentences and tables have them: one formatter for the whole course."""

import math
import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mnistkit.stats import mean_interval


def percent(share: float, digits: int = 2) -> str:
    """Return a share 0..1 in percent: 0.98534 gives "98.53 %", nan gives "unknown"."""
    return _with_unit(100 * share, f".{digits}f", " %")


def points(difference: float, digits: int = 2) -> str:
    """Return a difference of shares in percentage points: 0.0144 gives "+1.44 points".

    nan gives "unknown".
    """
    return _with_unit(100 * difference, f"+.{digits}f", " points")


def change(share: float, digits: int = 0) -> str:
    """Return a relative change in percent: 0.253 gives "+25 %", nan gives "unknown"."""
    return _with_unit(100 * share, f"+.{digits}f", " %")


def number(value: float, digits: int = 3) -> str:
    """Return a number with `digits` significant digits: 0.043512 gives "0.0435".

    nan gives "unknown". Thousands are separated: 41706 gives "41,700" with 3 digits.
    """
    if math.isnan(value):
        return "unknown"
    if value == 0 or math.isinf(value):
        return with_minus(f"{value:g}")
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    if abs(rounded) < 1e-4:
        return with_minus(f"{rounded:.{digits - 1}e}")
    return with_minus(f"{rounded:,.{max(0, decimals)}f}")


def with_minus(text: str) -> str:
    """Return a number with a minus sign for the hyphen that may stand before it."""
    return re.sub("^-", "−", text)


def count(value: float) -> str:
    """Return a count in short: 812, "41.7 k" (thousands) or "128.8 M" (millions)."""
    if value < 1000:
        return f"{value:,.0f}"
    if value < 999_950:
        return f"{value / 1e3:.1f} k"
    return f"{value / 1e6:,.1f} M"


def with_interval(
    mean: float,
    low: float,
    high: float,
    n: int,
    form: Callable[[float], str] = percent,
    unit: str = "run",
    interval: str = "95 % interval",
) -> str:
    """Return a mean with its interval and the number of values behind it.

    `form` writes each of the three numbers: `percent`, `points`, `change`, `number`, or
    another function; what is below zero gets a minus sign, and no hyphen.
    An example is "98.53 % (95 % interval 98.41 to 98.66, 5 runs)". Without an interval,
    as of one run, it is "98.53 % (1 run)". `interval` names another kind of interval.
    """
    units = unit if n == 1 else f"{unit}s"
    middle, *ends = (with_minus(form(value)) for value in (mean, low, high))
    if math.isnan(low) or math.isnan(high):
        return f"{middle} ({n:,} {units})"
    bare = [end.removesuffix(" %").removesuffix(" points") for end in ends]
    return f"{middle} ({interval} {bare[0]} to {bare[1]}, {n:,} {units})"


def mean_of(
    values: npt.ArrayLike,
    form: Callable[[float], str] = percent,
    unit: str = "run",
    log: bool = False,
) -> str:
    """Return the mean of values [N] in the words of `with_interval` (Student's t).

    With `log` it is the geometric mean, for ratios and losses.
    """
    numbers = np.asarray(values, dtype=float)
    mean, low, high = mean_interval(np.log(numbers) if log else numbers)
    if log:
        mean, low, high = math.exp(mean), math.exp(low), math.exp(high)
    return with_interval(mean, low, high, len(numbers), form, unit)


def _with_unit(value: float, form: str, unit: str) -> str:
    if math.isnan(value):
        return "unknown"
    text = f"{value:{form}}"
    # No number is a negative zero, and a difference of nothing has no sign.
    if float(text) == 0:
        text = text.lstrip("+-")
    return with_minus(text) + unit
