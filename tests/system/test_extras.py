"""Optional packages: whether they are there is known before any work is done."""

import importlib.util

import pytest

import tfransfer as tr
from tfransfer.errors import SettingError
from tfransfer.exports.formats import require_formats
from tfransfer.system.extras import require_packages


@pytest.fixture
def without(monkeypatch):
    """Lets packages be missing."""

    def forget(*names):
        real = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in names else real(name))

    return forget


def test_missing_packages_are_named_with_the_extra_that_brings_them(without):
    without("onnx", "tf2onnx")
    require_packages(("json",), "this", "onnx")
    with pytest.raises(SettingError, match=r'this needs tf2onnx and onnx, .*pip install "tfransfer\[onnx\]"'):
        require_packages(("tf2onnx", "json", "onnx"), "this", "onnx")


@pytest.mark.parametrize("missing", ["tf2onnx", "onnx", "onnxruntime"])
def test_a_format_whose_packages_are_missing_is_refused_before_training(without, missing, tmp_path):
    without(missing)
    with pytest.raises(SettingError, match=rf"onnx needs {missing}"):
        require_formats(["onnx"])
    with pytest.raises(SettingError, match=rf"onnx needs {missing}"):
        tr.train("digits", out=tmp_path / "run", exports=["onnx"])
    assert not (tmp_path / "run").exists()


def test_tensorboard_is_refused_before_the_folder_is_made(without, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    without("tensorboard")
    with pytest.raises(SettingError, match=r"tensorboard=True needs tensorboard"):
        tr.train("digits", out="run", tensorboard=True)
    code, _, said = command("train", "digits", "--out", "run", "--tensorboard")
    assert code == 2
    assert '--tensorboard needs tensorboard, which is not installed: pip install "tfransfer[tensorboard]"' in said
    assert not (tmp_path / "run").exists()
