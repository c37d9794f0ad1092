"""Numbers in sentences."""

import math

import pytest

from mnistkit.wording import (
    change,
    count,
    mean_of,
    number,
    percent,
    points,
    with_interval,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (percent(0.98534), "98.53 %"),
        (percent(1.0), "100.00 %"),
        (percent(0.5, digits=0), "50 %"),
        (percent(math.nan), "unknown"),
        (points(0.0144), "+1.44 points"),
        (points(-0.0707), "−7.07 points"),
        (points(-0.000001), "0.00 points"),
        (change(0.253), "+25 %"),
        (change(-0.5), "−50 %"),
        (number(0.043512), "0.0435"),
        (number(0.1), "0.100"),
        (number(2.5214), "2.52"),
        (number(99.96), "100.0"),
        (number(25_210), "25,200"),
        (number(0.00001234), "1.23e-05"),
        (number(0), "0"),
        (number(-0.5), "−0.500"),
        (number(-0.00001234), "−1.23e-05"),
        (number(math.nan), "unknown"),
        (count(812), "812"),
        (count(41_706), "41.7 k"),
        (count(999_949), "999.9 k"),
        (count(999_960), "1.0 M"),
        (count(128_806_154), "128.8 M"),
    ],
)
def test_a_number_in_words(text, expected):
    assert text == expected


def test_a_mean_comes_with_its_interval_and_n():
    text = with_interval(0.9853, 0.98412, 0.98659, 5)
    assert text == "98.53 % (95 % interval 98.41 to 98.66, 5 runs)"


def test_a_difference_comes_with_its_interval_and_n():
    text = with_interval(0.0144, 0.011, 0.0175, 5, points, "seed")
    assert text == "+1.44 points (95 % interval +1.10 to +1.75, 5 seeds)"


def test_thousands_are_separated_in_n():
    text = with_interval(0.4215, 0.4, 0.4433, 2000, unit="image")
    assert text == "42.15 % (95 % interval 40.00 to 44.33, 2,000 images)"


def test_one_run_has_no_interval():
    assert mean_of([0.9853]) == "98.53 % (1 run)"


def test_the_interval_is_students():
    """Of 0.1 and 0.3: 0.2 and 12.7 standard errors of 0.1."""
    assert mean_of([0.1, 0.3], number) == "0.200 (95 % interval −1.07 to 1.47, 2 runs)"


def test_the_mean_of_ratios_is_geometric():
    told = mean_of([1, 4, 16], number, log=True)
    assert told.startswith("4.00 (95 % interval 0.1") and told.endswith("3 runs)")


def test_another_interval_has_its_own_name():
    text = with_interval(0.5, 0.4, 0.6, 5, interval="one more run")
    assert text == "50.00 % (one more run 40.00 to 60.00, 5 runs)"


def test_an_interval_has_minus_signs_with_any_form():
    text = with_interval(-6.0, -16.0, 4.0, 2, "{:.0f}".format)
    assert text == "−6 (95 % interval −16 to 4, 2 runs)"
