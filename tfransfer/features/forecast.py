"""Estimate training time from a few measured forward passes."""

import time
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.preprocessing import reads_text
from tfransfer.data import flow
from tfransfer.data.dataset import Dataset
from tfransfer.data.sampling import spread_over

# Cost of a training step in forward passes: forward, gradients of inputs, gradients of weights.
_PASSES_OF_A_STEP = 3.0
_HEAD_STEP_SECONDS = 0.0015
_TIMED, _PASSES = 32, 3
_SENTENCE = "of about as many words as people write in one sentence, with a comma and so on."


@dataclass(frozen=True)
class Measured:
    """Measurements of a base on this machine.

    Attributes:
        keras_rate: Examples per second through the whole base in Keras; None if not measured.
        engine_rate: Examples per second through the extracting engine; None if not measured.
        decoding: Seconds to read one picture.
        trained: Seconds per example for a forward pass through the fine-tune phase's trained part.
    """

    keras_rate: float | None
    engine_rate: float | None
    decoding: float = 0.0
    trained: float = 0.0


@dataclass(frozen=True)
class Epochs:
    """The amount of training in both phases.

    Attributes:
        head: Epochs of the head phase.
        fine_tune: Epochs of the fine-tune phase.
        images: Size of the training split.
        batch: Examples per step.
    """

    head: int
    fine_tune: int
    images: int
    batch: int


@dataclass(frozen=True)
class Forecast:
    """Estimated seconds of a training.

    Attributes:
        cached: With cached features, including extraction; None if nothing was measured.
        plain: With the frozen part in every step; None if nothing was measured.
        example: Of reading an example and running the whole base on it; None if not measured.
    """

    cached: float | None
    plain: float | None
    example: float | None = None


def forecast(measured: Measured, epochs: Epochs, rows: int, fine_tune_cached: bool) -> Forecast:
    """Estimate how long a training takes.

    Args:
        measured: Measurements of the base.
        epochs: Epochs and sizes of the training.
        rows: Examples to extract, over all views.
        fine_tune_cached: Whether the fine-tune phase trains on cached activations.
    """
    keras_rate, engine_rate, trained = measured.keras_rate, measured.engine_rate, measured.trained
    if not keras_rate or (rows and not engine_rate):
        return Forecast(None, None)
    fine_tuned = epochs.fine_tune * epochs.images
    whole = 1 / keras_rate + measured.decoding
    step = _PASSES_OF_A_STEP * trained
    plain = epochs.head * epochs.images * whole + fine_tuned * (whole + step - trained)
    extraction = rows * (1 / engine_rate + measured.decoding) if engine_rate else 0.0
    head_seconds = epochs.head * epochs.images / epochs.batch * _HEAD_STEP_SECONDS
    tuned = fine_tuned * (step if fine_tune_cached else whole + step - trained)
    return Forecast(extraction + head_seconds + tuned, plain, whole)


def decoding_seconds(dataset: Dataset, size: int, count: int) -> tuple[np.ndarray, float]:
    """Some training pictures, spread over the split, and the seconds to read one.

    Returns:
        uint8 pixels, shape (n, size, size, 3) with n up to `count`; seconds.
    """
    train = dataset.split("train")
    sample = [train[i] for i in spread_over(len(train), count)]
    batches = flow.evaluation_flow(dataset, sample, np.zeros((len(sample), 1), np.float32), size, len(sample)).batches
    next(iter(batches))  # warm-up: traces the pipeline
    began = time.perf_counter()
    pixels = next(iter(batches))[0].numpy()
    return pixels, (time.perf_counter() - began) / len(sample)


def forward_seconds(model: keras.Model) -> float:
    """Seconds per example of a forward pass, on random numbers or on a fixed sentence."""
    shape = (_TIMED, *model.input_shape[1:])
    if reads_text(model):
        values = tf.fill(shape, _SENTENCE)
    else:
        values = tf.random.stateless_uniform(shape, (1, 2), dtype=tf.float32)
    forward = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
    passes = []
    for _ in range(1 + _PASSES):
        began = time.perf_counter()
        forward(values).numpy()
        passes.append((time.perf_counter() - began) / _TIMED)
    return min(passes[1:])  # the first one includes tracing
