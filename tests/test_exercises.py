"""Answers to exercises: right, wrong, and not given."""

import math

import numpy as np
import pytest
import torch

from mnistkit.exercises import check, is_right


@pytest.mark.parametrize(
    ("answer", "expected", "tolerance", "right"),
    [
        (938, 938, 0, True),
        (937, 938, 0, False),
        (0.334, 1 / 3, 0.01, True),
        (0.4, 1 / 3, 0.01, False),
        (np.float32(0.5), 0.5, 0, True),
        (math.nan, 0.5, 1, False),
        ("0.5", 0.5, 0, False),
        ("mlp", "mlp", 0, True),
        ("lenet", "mlp", 0, False),
        ([1, 2], [1, 2], 0, True),
        (True, True, 0, True),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), 0, True),
        ([1.0, 2.1], torch.tensor([1.0, 2.0]), 0.2, True),
        (torch.tensor([1.0]), torch.tensor([1.0, 1.0]), 0, False),
        (torch.tensor([math.nan]), torch.tensor([1.0]), 1, False),
        ("text", torch.tensor([1.0]), 0, False),
    ],
)
def test_an_answer_is_right_or_wrong(answer, expected, tolerance, right):
    assert is_right(answer, expected, tolerance) is right


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (10, "Right.\n"),
        (9, "Not yet. Count the zero as well.\n"),
        (None, "Not answered yet: put your answer in place of None.\n"),
    ],
)
def test_what_a_reader_sees(capsys, answer, printed):
    check(answer, 10, "Count the zero as well.")
    assert capsys.readouterr().out == printed
