"""How numbers look in a table."""

import numpy as np
import pandas as pd
import pytest

from mnistkit.report.table import Table, number_format, show


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (41706, "41,706"),
        (np.int64(3), "3"),
        (41706.0, "41,706"),
        (0.98712345, "0.9871"),
        (np.float32(0.1), "0.1"),
        (1e-12, "1e-12"),
        (float("inf"), "inf"),
        (True, "True"),
        ("sgd", "sgd"),
        (None, "None"),
    ],
)
def test_a_value_alone(value, text):
    assert show(value) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.5, -60.166667, 0.0, 1.0], ["0.50", "-60.17", "0.00", "1.00"]),
        ([0.005, 0.0005], ["0.0050", "0.0005"]),
        ([1234.5, 20.25], ["1,234", "20"]),
        ([0.25, 0.5], ["0.25", "0.50"]),
        ([3.0, None], ["3"]),
    ],
)
def test_floats_of_like_size_get_the_same_decimals(values, texts):
    column = pd.Series(values, dtype=float)
    assert [number_format(column).format(x) for x in column.dropna()] == texts


@pytest.mark.parametrize(
    "values",
    [
        [1e-7, 2.0],
        [1e-7],
        [0.0, 0.0],
        [float("inf"), float("inf")],
        [None, float("nan")],
        [1, 2],
        ["a", "b"],
    ],
)
def test_other_columns_are_formatted_value_by_value(values):
    assert number_format(pd.Series(values)) is show


def test_the_text_of_a_table_is_the_table():
    table = Table(pd.DataFrame({"key": ["x"], "a": [1.5]}))
    assert repr(table).split() == ["key", "a", "x", "1.5"]
