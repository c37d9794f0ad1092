"""What a row of the benchmark compares is the same work, and it is printed in full."""

import pytest

from mnistkit.bench import rows, textbook


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet", "small_resnet"])
def test_fit_and_the_textbook_loop_train_alike(dataset, mnist, name):
    """Mean loss of 40 steps. Rounding differs from the first step on, and training
    lets differences grow; in double precision they stay below 1e-7 per step."""
    ours = rows.fit_epoch(mnist, name, 2560)
    theirs = textbook.textbook_epoch(dataset, name, 2560, mnist)
    assert ours == pytest.approx(theirs, rel=0.01)
    assert 0.1 < ours < 2.3  # it learns


def test_a_row_with_a_comparison_on_one_line():
    row = {
        "row": "epoch of lenet",
        "ours_s": 1.5,
        "other": "textbook loop",
        "other_s": 6.0,
        "ratio": 4.0,
        "low": 3.5,
        "high": 4.25,
        "note": "batch 64",
    }
    assert (
        rows.describe(row).split()
        == (
            "epoch of lenet 1.500 s textbook loop 6.000 s x4.00 (3.50 to 4.25) batch 64"
        ).split()
    )


def test_a_row_without_a_comparison_on_one_line():
    row = {"row": "quick report", "ours_s": 100.0, "note": "2 GB"}
    assert rows.describe(row).split() == "quick report 100.000 s 2 GB".split()
