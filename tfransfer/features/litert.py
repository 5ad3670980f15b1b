"""The LiteRT engine: a frozen part converted once, with BatchNormalization folded, run by XNNPACK on every core."""

import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.saved import save_endpoints
from tfransfer.features.engines import LITERT, listed
from tfransfer.system.native_output import hidden_native_output

_SIGNATURE = "frozen"


def available() -> bool:
    """Whether LiteRT is installed: there is no wheel for every platform."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401  here, because Windows has no wheel
    except ImportError:
        return False
    return True


def convert(model: keras.Model) -> bytes:
    """Convert a frozen part to a LiteRT file: uint8 (1, size, size, 3) in, its taps out.

    One picture at a time is the fastest batch for mobile networks, and every picture is then computed alike.
    """
    spec = tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8, name="pixels")

    def ask(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        values = listed(model(tf.cast(pixels, tf.float32), training=False))
        return {f"tap_{number}": value for number, value in enumerate(values)}

    with tempfile.TemporaryDirectory() as folder, hidden_native_output():
        save_endpoints(model, {_SIGNATURE: tf.function(ask, input_signature=[spec])}, Path(folder))
        return bytes(tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[_SIGNATURE]).convert())


class LiteRTEngine:
    """One single-threaded interpreter per core; the pictures of a batch go to whichever is free.

    Args:
        converted: From `convert`.
        workers: How many interpreters; None takes the number of cores.
    """

    name = LITERT

    def __init__(self, converted: bytes, workers: int | None = None) -> None:
        workers = workers or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(workers)
        with hidden_native_output():  # the delegate announces itself
            self._runners = [_Runner(converted) for _ in range(workers)]

    def run(self, pixels: np.ndarray) -> list[np.ndarray]:
        """See Engine."""
        found = [np.empty((len(pixels), *shape), np.float32) for shape in self._runners[0].shapes]
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
                for values, output in zip(found, runner.ask(pixels[position : position + 1]), strict=True):
                    values[position] = output[0]

        list(self._pool.map(work, self._runners))
        return found


class _Runner:
    """One interpreter; not to be shared between threads."""

    def __init__(self, converted: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter  # here, because Windows has no wheel

        self._interpreter = Interpreter(model_content=converted, num_threads=1)
        self._interpreter.allocate_tensors()
        details: dict[str, Any] = self._interpreter.get_signature_runner(_SIGNATURE).get_output_details()
        self._input = self._interpreter.get_input_details()[0]["index"]
        # By number, not by name: "tap_10" would stand before "tap_2".
        taps = sorted(details, key=lambda name: int(name.removeprefix("tap_")))
        self._outputs = [details[name]["index"] for name in taps]
        self.shapes = [tuple(details[name]["shape"][1:]) for name in taps]

    def ask(self, picture: np.ndarray) -> list[np.ndarray]:
        """The taps' values of one picture, each with a leading axis of one."""
        self._interpreter.set_tensor(self._input, picture)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
