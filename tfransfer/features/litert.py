"""The LiteRT engine: a frozen part, converted once with folded BatchNormalization, run by XNNPACK on all cores."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.saved import temporary_saved_model
from tfransfer.features.engines import LITERT, listed
from tfransfer.system.native_output import hidden_native_output

_SIGNATURE = "frozen"


def available() -> bool:
    """Whether LiteRT is installed; some platforms have no wheel."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401  here, because Windows has no wheel
    except ImportError:
        return False
    return True


def convert(model: keras.Model) -> bytes:
    """Convert a frozen part to a LiteRT file: uint8 (1, size, size, 3) in, its taps out.

    Batch size 1 is the fastest for mobile networks, and a picture's values do not depend on its batch.
    """
    spec = tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8, name="pixels")

    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        values = listed(model(tf.cast(pixels, tf.float32), training=False))
        return {f"tap_{number}": value for number, value in enumerate(values)}

    endpoints = {_SIGNATURE: tf.function(serve, input_signature=[spec])}
    with hidden_native_output(), temporary_saved_model(model, endpoints) as folder:
        return bytes(tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[_SIGNATURE]).convert())


class LiteRTEngine:
    """One single-threaded interpreter per core; each picture of a batch goes to the next free one.

    Args:
        converted: From `convert`.
        workers: Number of interpreters; None takes the number of cores.
    """

    name = LITERT

    def __init__(self, converted: bytes, workers: int | None = None) -> None:
        workers = workers or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(workers)
        with hidden_native_output():  # the delegate prints a banner
            self._runners = [_Runner(converted) for _ in range(workers)]

    def run(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Outputs at each tap; see `Engine.run`."""
        outputs = [np.empty((len(pixels), *shape), np.float32) for shape in self._runners[0].shapes]
        turn, lock = count(), threading.Lock()

        def positions() -> Iterator[int]:
            while True:
                with lock:
                    position = next(turn)
                if position >= len(pixels):
                    return
                yield position

        def work(runner: "_Runner") -> None:
            for position in positions():
                for values, output in zip(outputs, runner.predict(pixels[position : position + 1]), strict=True):
                    values[position] = output[0]

        list(self._pool.map(work, self._runners))
        return outputs


class _Runner:
    """One interpreter, which must not be shared between threads."""

    def __init__(self, converted: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter  # here, because Windows has no wheel

        self._interpreter = Interpreter(model_content=converted, num_threads=1)
        self._interpreter.allocate_tensors()
        details: dict[str, Any] = self._interpreter.get_signature_runner(_SIGNATURE).get_output_details()
        self._input = self._interpreter.get_input_details()[0]["index"]
        # By number, not by name, which would put "tap_10" before "tap_2".
        taps = sorted(details, key=lambda name: int(name.removeprefix("tap_")))
        self._outputs = [details[name]["index"] for name in taps]
        self.shapes = [tuple(details[name]["shape"][1:]) for name in taps]

    def predict(self, picture: np.ndarray) -> list[np.ndarray]:
        """Outputs at each tap for one picture, each with a batch axis of 1."""
        self._interpreter.set_tensor(self._input, picture)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
