"""The gate that compares an exported file with the model it was made from."""

import numpy as np
import pytest
from small_world import SIZE, subject, tiny_model

from tfransfer.base.build import base_from_model
from tfransfer.errors import ExportError, SettingError
from tfransfer.exports import fresh
from tfransfer.exports.exporting import export_model
from tfransfer.exports.formats import FORMATS, find_format
from tfransfer.exports.held_out import HeldOut
from tfransfer.exports.parity import check, compare, replay_file
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.training.model import assemble

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


@pytest.fixture(scope="module")
def model():
    return assemble(base_from_model(tiny_model(), "tf"), 2, 0.2, CLASSIFICATION, 0).model


def test_files_in_a_folder_whose_name_tensorflow_takes_for_a_pattern_are_written_and_checked(model, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    folder = tmp_path / "cats [1] * ? \\b"
    for name in ("keras", "savedmodel"):
        export = export_model(subject(model, CLASSES, pictures), name, folder)
        assert export.parity.agreeing == 2
        assert export.path.parent == folder


def test_a_sibling_that_matches_the_pattern_is_not_loaded_in_its_place(model, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    other = assemble(base_from_model(tiny_model(), "tf"), 2, 0.2, CLASSIFICATION, 1).model
    export_model(subject(other, CLASSES, pictures), "savedmodel", tmp_path / "runX")
    export = export_model(subject(model, CLASSES, pictures), "savedmodel", tmp_path / "run?")
    answers = replay_file(find_format("savedmodel"), export.path, pictures)
    np.testing.assert_allclose(answers["first"], model.predict(pictures, verbose=0), atol=1e-5)


def test_a_file_that_does_not_load_is_refused_with_the_cause_not_the_last_line(model, tmp_path):
    pictures = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    export = export_model(subject(model, CLASSES, pictures), "savedmodel", tmp_path)
    (export.path / "variables" / "variables.index").unlink()
    with pytest.raises(ExportError, match=r"FileNotFoundError: .*Failed to find any matching files"):
        replay_file(find_format("savedmodel"), export.path, pictures)


def test_a_fresh_process_that_was_killed_is_reported_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(fresh, "run", lambda *_, **__: (-9, "a warning\n"))
    with pytest.raises(ExportError, match="signal 9"):
        replay_file(KIND, tmp_path / "model.tflite", np.zeros((1, 4, 4, 3), np.uint8))


def test_unknown_format_is_answered_with_the_right_name():
    with pytest.raises(SettingError, match="Did you mean tflite"):
        find_format("tfilte")
