"""Keras as its user set it up: with a backend or an order of axes that this project has no use for."""

import json
import sys

import pytest

import tfransfer
from tfransfer.errors import SettingError
from tfransfer.system.keras_settings import require_usable_keras


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Writes keras.json, as if Keras were not imported yet."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.delitem(sys.modules, "keras", raising=False)

    def write(**values):
        (tmp_path / "keras.json").write_text(json.dumps(values))

    return write


def test_the_backend_of_the_environment_must_be_tensorflow(settings, monkeypatch):
    settings(backend="tensorflow")
    require_usable_keras()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delitem(vars(tfransfer), "train", raising=False)
    with pytest.raises(SettingError, match=r"KERAS_BACKEND is 'jax'.*set KERAS_BACKEND=tensorflow"):
        require_usable_keras()
    with pytest.raises(SettingError, match="KERAS_BACKEND"):
        tfransfer.train  # noqa: B018


def test_the_backend_of_keras_json_must_be_tensorflow_unless_the_environment_overrides_it(settings, monkeypatch):
    settings(backend="torch")
    with pytest.raises(SettingError, match=r"keras\.json.*'torch'.*KERAS_BACKEND=tensorflow"):
        require_usable_keras()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    require_usable_keras()


def test_channels_come_last(settings):
    settings(image_data_format="channels_first")
    with pytest.raises(SettingError, match=r'keras\.json.*"image_data_format": "channels_last"'):
        require_usable_keras()


def test_a_keras_json_that_cannot_be_read_is_left_to_keras(settings, tmp_path):
    (tmp_path / "keras.json").write_text("{")
    require_usable_keras()
    assert (tmp_path / "keras.json").read_text() == "{"


def test_what_was_set_after_the_import_counts(monkeypatch):
    import keras

    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(SettingError, match=r"keras\.config\.set_image_data_format\('channels_last'\)"):
            require_usable_keras()
    finally:
        keras.config.set_image_data_format(before)
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(SettingError, match="KERAS_BACKEND=tensorflow"):
        require_usable_keras()
