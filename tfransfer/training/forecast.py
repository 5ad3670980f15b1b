"""How long a training will take, foretold from a few measured forward passes."""

import time
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.preprocessing import reads_text
from tfransfer.data import flow
from tfransfer.data.index import Dataset
from tfransfer.data.sampling import spread_over
from tfransfer.training.planning import Plan

# Forward, backward through the inputs, backward through the weights.
_PASSES_OF_A_STEP = 3.0
_HEAD_STEP_SECONDS = 0.0015
_TIMED, _PASSES = 32, 3
_SENTENCE = "of about as many words as people write in one sentence, with a comma and so on."


@dataclass(frozen=True)
class Forecast:
    """Seconds that a training will take.

    Attributes:
        kept: With kept features, extraction included; None where nothing was measured.
        plain: With the frozen part in every step; None where nothing was measured.
    """

    kept: float | None
    plain: float | None

    @classmethod
    def of(
        cls,
        keras_rate: float | None,
        engine_rate: float | None,
        decoding: float,
        trained: float,
        rows: int,
        images: int,
        plan: Plan,
        fine_tune_kept: bool,
    ) -> "Forecast":
        """Foretell.

        Args:
            keras_rate: Pictures a second through the whole base in Keras.
            engine_rate: Pictures a second through the engine that extracts.
            decoding: Seconds to read one picture.
            trained: Seconds of one forward pass of the fine-tune phase's trained part, per picture.
            rows: Pictures to extract.
            images: Size of the training split.
            plan: The epochs.
            fine_tune_kept: Whether the fine-tune phase trains from kept activations.
        """
        if not keras_rate or (rows and not engine_rate):
            return cls(None, None)
        head_steps = plan.head_epochs * images / plan.batch_size
        fine_tuned = plan.fine_tune_epochs * images
        whole = 1 / keras_rate + decoding
        step = _PASSES_OF_A_STEP * trained
        plain = plan.head_epochs * images * whole + fine_tuned * (whole + step - trained)
        extraction = rows * (1 / engine_rate + decoding) if engine_rate else 0.0
        tuned = fine_tuned * (step if fine_tune_kept else whole + step - trained)
        return cls(extraction + head_steps * _HEAD_STEP_SECONDS + tuned, plain)


def decoding_seconds(dataset: Dataset, size: int, count: int) -> tuple[np.ndarray, float]:
    """Some training pictures, spread over the split, and the seconds that reading one takes.

    Returns:
        uint8 pixels, shape (n, size, size, 3) with n up to `count`; seconds.
    """
    train = dataset.split("train")
    chosen = [train[i] for i in spread_over(len(train), count)]
    batches = flow.evaluation_flow(dataset, chosen, np.zeros((len(chosen), 1), np.float32), size, len(chosen)).batches
    next(iter(batches))  # traced
    began = time.perf_counter()
    pixels = next(iter(batches))[0].numpy()
    return pixels, (time.perf_counter() - began) / len(chosen)


def forward_seconds(model: keras.Model) -> float:
    """Seconds that a forward pass takes per example, on random numbers, or on the same words."""
    shape = (_TIMED, *model.input_shape[1:])
    if reads_text(model):
        values = tf.fill(shape, _SENTENCE)
    else:
        values = tf.random.stateless_uniform(shape, (1, 2), dtype=tf.float32)
    forward = tf.function(lambda given: model(given, training=False), autograph=False)
    passes = []
    for _ in range(1 + _PASSES):
        began = time.perf_counter()
        forward(values).numpy()
        passes.append((time.perf_counter() - began) / _TIMED)
    return min(passes[1:])  # the first one is traced
