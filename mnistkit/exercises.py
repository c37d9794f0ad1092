"""The answers that a reader enters below an exercise."""

import math
from typing import Any

import torch


def check(answer: Any, expected: Any, hint: str, tolerance: float = 0.0) -> None:
    """Print whether `answer` is right, and `hint` if it is not.

    Numbers and tensors may differ from `expected` by `tolerance`, of which NaN is never
    right; other values must be equal. None is an exercise that was not done yet.
    """
    if answer is None:
        print("Not answered yet: put your answer in place of None.")
    elif is_right(answer, expected, tolerance):
        print("Right.")
    else:
        print(f"Not yet. {hint}")


def is_right(answer: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Return whether `answer` is `expected`, see `check`. Wrong types are wrong."""
    try:
        if isinstance(expected, torch.Tensor):
            answer = torch.as_tensor(answer, dtype=expected.dtype)
            same_shape = answer.shape == expected.shape
            return same_shape and bool(((answer - expected).abs() <= tolerance).all())
        if isinstance(expected, int | float) and not isinstance(expected, bool):
            return math.isclose(answer, expected, rel_tol=0, abs_tol=tolerance)
        return bool(answer == expected)
    except (TypeError, ValueError, RuntimeError):
        return False
