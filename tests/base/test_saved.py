"""SavedModels of functions alone."""

import logging
import tempfile

import tensorflow as tf
from small_world import SIZE, tiny_model

from tfransfer.base.saved import save_endpoints
from tfransfer.exports import litert
from tfransfer.features import litert as engine


def test_saving_says_nothing_of_assets_and_leaves_the_logger_as_it_was(tmp_path, caplog):
    model = tiny_model()
    spec = tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32)
    endpoint = tf.function(lambda images: {"out": model(images, training=False)}, input_signature=[spec])
    with caplog.at_level(logging.INFO, logger="tensorflow"):
        save_endpoints(model, {"serve": endpoint}, tmp_path / "saved")
        assert (tmp_path / "saved" / "saved_model.pb").is_file()
        assert not caplog.records
        assert tf.get_logger().level == logging.INFO


def test_a_temporary_folder_whose_name_tensorflow_takes_for_a_pattern_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "t[1]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t[1]"))
    assert litert.convert(tiny_model(), litert.FLOAT32)
    assert engine.convert(tiny_model())
