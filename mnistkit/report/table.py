"""How a frame looks as a table."""

import math
from collections.abc import Callable
from numbers import Real

import pandas as pd
from pandas.io.formats.style import Styler

from mnistkit.wording import with_minus


class Table(Styler):
    """A pandas Styler whose plain text is the table, not an address in memory."""

    def __repr__(self) -> str:
        return self.data.to_string(index=False)


def number_format(column: pd.Series) -> str | Callable[[object], str]:
    """Return the format in which a table shows a column, for `Styler.format`.

    Floats of like size, at most 1,000 times as large as each other, share a format
    string with a fixed number of decimals: as many as the longest value needs, and no
    more than give the largest value four significant digits. For any other column the
    format is the function `show`, which looks at each value alone.
    """
    if not pd.api.types.is_float_dtype(column):
        return show
    sizes = column[column.abs() > 0].abs()
    if sizes.empty or math.isinf(sizes.max()) or sizes.max() > 1000 * sizes.min():
        return show
    texts = column.dropna().map(show)
    if texts.str.contains("e").any():  # 1e-07 has no fixed number of decimals
        return show
    needed = texts.str.partition(".")[2].str.len().max()
    allowed = max(0, 3 - math.floor(math.log10(sizes.max())))
    return f"{{:,.{min(needed, allowed)}f}}"


def in_print(form: str | Callable[[object], str]) -> Callable[[object], str]:
    """Return a format, a string or a function, as one that writes a minus sign."""
    write = form.format if isinstance(form, str) else form
    return lambda value: with_minus(write(value))


def show(value: object) -> str:
    """Return a number as a table shows it, or the text of any other value.

    Whole numbers have commas, such as 41,706; others have four significant digits, such
    as 0.9871.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    number = float(value)
    return f"{number:,.0f}" if number.is_integer() else f"{number:,.4g}"
