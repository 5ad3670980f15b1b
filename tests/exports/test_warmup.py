"""The warm-up requests of a SavedModel, read with messages put together from TensorFlow Serving's .proto files."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from serving_world import SIZE, picture_model, text_model

from tfransfer.exports.formats import write_saved_model
from tfransfer.exports.warmup import WARMUP_FILE

STRING, BYTES, MESSAGE = 9, 12, 11
# From tensorflow_serving/apis, the fields that matter here; a TensorProto is left as the bytes it is sent as.
MESSAGES = {
    "ModelSpec": [("name", 1, STRING, ""), ("signature_name", 3, STRING, "")],
    "Entry": [("key", 1, STRING, ""), ("value", 2, BYTES, "")],
    "PredictRequest": [("model_spec", 1, MESSAGE, "ModelSpec"), ("inputs", 2, MESSAGE, "Entry")],
    "PredictLog": [("request", 1, MESSAGE, "PredictRequest")],
    "PredictionLog": [("predict_log", 6, MESSAGE, "PredictLog")],
}


@pytest.fixture(scope="module")
def prediction_log():
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", syntax="proto3", package="serving")
    for name, fields in MESSAGES.items():
        made = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            label = 3 if field == "inputs" else 1
            added = made.field.add(name=field, number=number, type=kind, label=label)
            if of:
                added.type_name = f".serving.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("serving.PredictionLog"))


def requests(path, prediction_log):
    """For each signature, its inputs; the messages hold nothing that is not known."""
    found, tensor_proto = {}, type(tf.make_tensor_proto(0))
    for record in tf.data.TFRecordDataset(str(path / "assets.extra" / WARMUP_FILE)):
        log = prediction_log.FromString(record.numpy())
        assert log.SerializeToString() == record.numpy()
        request = log.predict_log.request
        tensors = {e.key: tf.make_ndarray(tensor_proto.FromString(e.value)) for e in request.inputs}
        found[request.model_spec.signature_name] = tensors
    return found


def test_each_signature_of_pictures_has_a_request_that_it_answers(prediction_log, tmp_path):
    model = picture_model(3, "softmax", "probabilities")
    write_saved_model(model, ["a", "b", "c"], tmp_path)
    found = requests(tmp_path, prediction_log)
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    assert set(found) == set(signatures) == {"serving_default", "serve_bytes"}
    assert found["serving_default"]["images"].shape == (1, SIZE, SIZE, 3)
    right = model(np.zeros((1, SIZE, SIZE, 3), np.float32)).numpy()
    for name, tensors in found.items():
        said = signatures[name](**{key: tf.constant(value) for key, value in tensors.items()})
        np.testing.assert_allclose(said["probabilities"], right, atol=1e-6)


def test_texts_have_one_request(prediction_log, tmp_path):
    write_saved_model(text_model(2), ["a", "b"], tmp_path)
    found = requests(tmp_path, prediction_log)
    assert found == {"serving_default": {"text": np.array([b""], object)}}
    loaded = tf.saved_model.load(str(tmp_path))
    assert loaded.signatures["serving_default"](text=tf.constant([""]))["probabilities"].shape == (1, 2)


def test_batch_dimension_of_the_signatures_is_free(tmp_path):
    write_saved_model(picture_model(3, "softmax", "probabilities"), ["a", "b", "c"], tmp_path)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    assert served.structured_input_signature[1]["images"].shape.as_list() == [None, SIZE, SIZE, 3]
    assert served(images=tf.zeros((5, SIZE, SIZE, 3), tf.uint8))["probabilities"].shape == (5, 3)
