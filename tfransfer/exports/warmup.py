"""Warm-up requests, which TensorFlow Serving replays when it loads a SavedModel, so that no client has to wait.

The file `assets.extra/tf_serving_warmup_requests` is a TFRecord file of PredictionLog messages
(https://www.tensorflow.org/tfx/serving/saved_model_warmup). Their few fields are encoded here, because the
package with TensorFlow Serving's messages depends on gRPC.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

WARMUP_FILE = "tf_serving_warmup_requests"

# Field numbers, from tensorflow_serving/apis: prediction_log.proto, predict.proto, model.proto.
_LOG_PREDICT, _PREDICT_REQUEST = 6, 1
_REQUEST_MODEL, _REQUEST_INPUTS = 1, 2
_MODEL_NAME, _MODEL_SIGNATURE = 1, 3
_MAP_KEY, _MAP_VALUE = 1, 2
_LENGTH_DELIMITED = 2


def write_warmup(endpoints: Mapping[str, Any], path: Path, name: str = "model") -> None:
    """Write one small request for each signature.

    Args:
        endpoints: tf.functions with an input signature of one tensor, by signature name.
        path: The SavedModel's folder `assets.extra`.
        name: The model's name; TensorFlow Serving ignores it when it replays requests.
    """
    with tf.io.TFRecordWriter(str(path / WARMUP_FILE)) as writer:
        for signature, endpoint in endpoints.items():
            (spec,) = endpoint.input_signature
            writer.write(_prediction_log(name, signature, spec.name, _example(spec)))


def _example(spec: tf.TensorSpec) -> tf.Tensor:
    """A batch of one: a black picture, as pixels or as a file, or an empty text."""
    if spec.dtype != tf.string:
        return tf.zeros((1, *spec.shape[1:]), spec.dtype)
    if spec.name != "encoded":
        return tf.constant([""])
    stream = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(stream, "JPEG")
    return tf.constant([stream.getvalue()])


def _prediction_log(model: str, signature: str, name: str, tensor: tf.Tensor) -> bytes:
    spec = _field(_MODEL_NAME, model.encode()) + _field(_MODEL_SIGNATURE, signature.encode())
    value = tf.make_tensor_proto(tensor).SerializeToString()
    entry = _field(_MAP_KEY, name.encode()) + _field(_MAP_VALUE, value)
    request = _field(_REQUEST_MODEL, spec) + _field(_REQUEST_INPUTS, entry)
    return _field(_LOG_PREDICT, _field(_PREDICT_REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """A number as groups of seven bits, lowest first; the eighth bit is set in all but the last group."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
