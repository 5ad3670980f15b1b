"""Numbers as people read them."""

import numpy as np
import pytest

from tfransfer.display.numbers import number_text, percent, value_text
from tfransfer.tasks.figure import Figure
from tfransfer.tasks.task import metric_name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.91549, "0.915"), (np.float64(2.0), "2.000"), (-0.5, "-0.500"), (123456.7, "123,457"), (-1e6, "-1,000,000"),
        (3670, "3,670"), (None, ""), (True, "True"), ("a,b", "a,b"),
    ],
)  # fmt: skip
def test_values_in_tables(value, text):
    assert number_text(value) == text


def test_shares_are_percent_in_sentences_and_unknown_figures_are_nothing():
    assert percent(0.9154) == "91.5%"
    assert Figure("top1", "top-1", share=True).text(0.9154) == "91.5%"
    assert Figure("r2", "R2").text(0.9154) == "0.915"
    assert Figure("r2", "R2").text(None) == ""


def test_predicted_numbers_have_four_digits_whatever_their_unit():
    assert [value_text(v) for v in (1.23456, 123456.0, 0.000123456)] == ["1.235", "1.235e+05", "0.0001235"]


def test_a_metric_is_called_the_same_wherever_it_is_shown():
    keys = ("top1", "f1", "rmse", "mae", "expected_calibration_error", "val_loss")
    assert [metric_name(key) for key in keys] == [
        "top-1", "F1", "RMSE", "mean absolute error", "calibration error", "val loss",
    ]  # fmt: skip
