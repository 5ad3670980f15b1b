"""The gate that compares an exported file with the model it was made from."""

import numpy as np
import pytest

from tfransfer.errors import ExportError, SettingError
from tfransfer.exports.formats import FORMATS, find_format
from tfransfer.exports.held_out import HeldOut
from tfransfer.exports.parity import check, compare

CLASSES = ("a", "b")
EXPECTED = np.array([[0.9, 0.1], [0.500001, 0.499999], [0.2, 0.8]], np.float32)
KIND = FORMATS["tflite"]


def said(**changes):
    return {"first": EXPECTED.copy(), "second": EXPECTED.copy(), "labels": np.array(CLASSES)} | changes


def test_equal_answers_pass():
    found = compare(KIND, "model.tflite", said(), EXPECTED, CLASSES)
    assert (found.pictures, found.agreeing, found.difference) == (3, 3, 0.0)


def test_a_tie_may_fall_either_way():
    other = EXPECTED.copy()
    other[1] = other[1, ::-1]
    found = compare(KIND, "m", said(first=other, second=other), EXPECTED, CLASSES)
    assert found.agreeing == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"first": EXPECTED[:, ::-1], "second": EXPECTED[:, ::-1]}, "on 2 of 3 .* another class"),
        ({"first": EXPECTED + [[0.01, -0.01]], "second": EXPECTED + [[0.01, -0.01]]}, "differ by up to 0.01"),
        ({"second": EXPECTED + 0.01}, "something random"),
        ({"labels": np.array(("b", "a"))}, "its labels are"),
        ({"first": EXPECTED[:, :1], "second": EXPECTED[:, :1]}, "shape"),
        ({"first": EXPECTED * np.nan, "second": EXPECTED * np.nan}, "not finite"),
        ({"bytes": EXPECTED[:, ::-1]}, "another class"),
    ],
)
def test_differing_answers_are_refused_with_the_reason(changes, reason):
    with pytest.raises(ExportError, match=reason) as caught:
        compare(KIND, "model.tflite", said(**changes), EXPECTED, CLASSES)
    assert "model.tflite" in str(caught.value)
    assert "not saved" in str(caught.value)


def test_file_that_does_not_load_is_refused(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"no model")
    with pytest.raises(ExportError, match="cannot be loaded in a fresh process"):
        check(KIND, tmp_path / "model.tflite", HeldOut(np.zeros((1, 4, 4, 3), np.uint8), EXPECTED[:1]), CLASSES)


def test_unknown_format_is_answered_with_the_right_name():
    with pytest.raises(SettingError, match="Did you mean tflite"):
        find_format("tfilte")
