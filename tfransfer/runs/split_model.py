"""Run a trained model on held-out examples with the engine of its frozen part: the same outputs, many times faster."""

import numpy as np
import tensorflow as tf

from tfransfer.base.taps import POOLED_TAP
from tfransfer.data import flow
from tfransfer.display.progress import Say
from tfransfer.evaluation.predictions import Infer, infer_with
from tfransfer.features import choosing
from tfransfer.features.engines import Engine, KerasEngine
from tfransfer.features.source import FeatureSource
from tfransfer.training.model import head_on
from tfransfer.training.phase import FINE_TUNE
from tfransfer.training.session import Session

# Largest difference of a probability, or of a value in standard deviations, from the whole model in Keras.
_TOLERANCE = 1e-3


def split_inference(session: Session, phase: str, say: Say) -> Infer | None:
    """A function from pixels or texts to the head's input and the model's output; compared with the model on a sample.

    Args:
        session: After training.
        phase: The selected phase, whose weights the model has.
        say: Gets a line if the outputs differ from the whole model's.

    Returns:
        None where the whole model in Keras is as fast, or is another than the one that was trained.
    """
    source, plan = session.caching.source, session.plan
    if source is None or plan.precision != "float32" or session.devices.scoped:
        return None
    tap = source.taps[0] if phase == FINE_TUNE else POOLED_TAP
    sample = session.dataset.split("validation")[: choosing.SAMPLE]
    # An engine opened now would be compared with blocks trained meanwhile, and be remembered as one that is off.
    impossible = tap.cut is None or session.caching.engine is None
    if (phase == FINE_TUNE and impossible) or not sample:
        return None
    pixels = next(flow.view_batches(session.dataset, sample, (0,), source.augment, plan.image_size, len(sample)))
    engine = session.caching.engine or _opened(session, source, pixels, say)
    if isinstance(engine, KerasEngine):
        return None
    trained, place = head_on(session.whole, tap), source.taps.index(tap)
    compiled = tf.function(
        lambda values: [tf.cast(one, tf.float32) for one in trained(values, training=False)],
        [tf.TensorSpec((None, *trained.input_shape[1:]), tf.float32)],
    )

    def infer(given: np.ndarray) -> list[np.ndarray]:
        return [values.numpy() for values in compiled(tf.constant(engine.run(given)[place], tf.float32))]

    whole = infer_with(session.whole.model)(pixels)[-1]
    difference = float(np.abs(infer(pixels)[-1] - whole).max()) / session.task.magnitude(whole)
    if difference <= _TOLERANCE:
        return infer
    say(f"evaluation: the {engine.name} engine is off by {difference:.1e}; using Keras, which is slower")
    return None


def _opened(session: Session, source: FeatureSource, pixels: np.ndarray, say: Say) -> Engine:
    """The engine that extracted the features, where none was missing and so none was opened."""
    memory, rows = source.engine_memory(), len(session.dataset.examples)
    return choosing.open_engine(source.model, pixels, rows, memory, session.caching.plan.engine, say).engine
