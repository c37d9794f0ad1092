"""How a frame looks as a table."""

import math

import pandas as pd
from pandas.io.formats.style import Styler


class Table(Styler):
    """A pandas Styler whose plain text is the table, not an address in memory."""

    def __repr__(self) -> str:
        return self.data.to_string(index=False)


def number_format(column: pd.Series):
    """How a table shows a column: with as many decimals in all rows, if they are
    floats of like size; else each value by `show`."""
    if not pd.api.types.is_float_dtype(column):
        return show
    sizes, shown = column[column.abs() > 0].abs(), column.dropna().map(show)
    if sizes.empty or sizes.max() > 1000 * sizes.min() or shown.str.contains("e").any():
        return show
    decimals = shown.str.partition(".")[2].str.len().max()  # that are needed at all
    return f"{{:,.{min(decimals, max(0, 3 - math.floor(math.log10(sizes.max()))))}f}}"


def show(value) -> str:
    """A number as a table shows it: 41,706 or 0.9871; anything else as text."""
    if isinstance(value, bool) or not hasattr(value, "__round__"):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
