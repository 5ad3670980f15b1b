"""Which engine runs a frozen part: both are measured on a few pictures, and LiteRT is held to Keras before it is used.

Conversion takes seconds, so a handful of pictures goes through Keras at once. What was measured is remembered per
machine and frozen part, and so is the converted file.
"""

import time
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.preprocessing import reads_text
from tfransfer.display.progress import Say, silent
from tfransfer.errors import SettingError
from tfransfer.features import litert
from tfransfer.features.engines import KERAS, LITERT, Engine, KerasEngine, largest_difference
from tfransfer.features.memory import EngineMemory

AUTO = "auto"
# Pictures that an engine is measured and held to Keras on.
SAMPLE = 32
_HELD = 8
# Of the largest value at a tap. LiteRT is off by 1e-5 where all is well, and float16 alone rounds by 5e-4.
_TOLERANCE = 1e-3
# Conversions took 4 to 20 seconds; what Keras does faster than this is not worth one.
_CONVERSION_SECONDS = 10.0


@dataclass
class Choice:
    """An engine and why it was chosen.

    Attributes:
        engine: Ready to run.
        rates: Pictures a second of what was measured, by engine.
        difference: LiteRT's largest difference from Keras over the largest value; None where it was not used.
        why: For the plan, a few words.
    """

    engine: Engine
    rates: dict[str, float]
    difference: float | None
    why: str


def remembered_engine(memory: EngineMemory, setting: str) -> str | None:
    """The engine that was chosen on this machine before, or that the user named; None where it must be measured."""
    if setting != AUTO:
        return setting
    if tf.config.list_physical_devices("GPU"):
        return KERAS
    chosen = memory.values.get("engine")
    return chosen if chosen in (KERAS, LITERT) else None


def open_engine(
    model: keras.Model, pictures: np.ndarray, rows: int, memory: EngineMemory, setting: str, say: Say = silent
) -> Choice:
    """Choose an engine, hold it to Keras, and make it ready.

    Args:
        model: From `base.taps.model_to`.
        pictures: Real ones to measure with: uint8 (n, size, size, 3), up to SAMPLE.
        rows: How many pictures will be run.
        memory: Of this frozen part.
        setting: "auto", "keras" or "litert".
        say: Told when LiteRT cannot be used.

    Raises:
        SettingError: LiteRT was asked for and is not installed.
    """
    if setting == LITERT and not litert.available():
        raise SettingError(
            "features.engine is 'litert', but ai-edge-litert is not installed (there is no wheel for every platform): "
            "install it, or leave the engine to tfransfer."
        )
    if remembered_engine(memory, setting) == KERAS or not litert.available():
        return Choice(KerasEngine(model), memory.rates, None, _why_keras(setting))
    compiled = KerasEngine(model)
    expected = compiled.run(pictures)  # traced and warm
    rates = {KERAS: _rate(compiled, pictures)}
    if reads_text(model):
        return Choice(compiled, rates, None, "LiteRT reads no texts")
    if setting == AUTO and memory.converted() is None and rows / rates[KERAS] < _CONVERSION_SECONDS:
        return Choice(compiled, rates, None, f"{rows} pictures are too few to convert the base for")
    return _compared_litert(_KerasRun(model, compiled, pictures, expected, rates), memory, setting, say)


def _why_keras(setting: str) -> str:
    if setting == KERAS:
        return "asked for"
    if tf.config.list_physical_devices("GPU"):
        return "there is a GPU"
    return "measured before" if litert.available() else "LiteRT is not installed"


@dataclass(frozen=True)
class _KerasRun:
    """What LiteRT is compared with: the Keras engine's outputs of some pictures, and its rate."""

    model: keras.Model
    engine: KerasEngine
    pictures: np.ndarray
    outputs: list[np.ndarray]
    rates: dict[str, float]


def _compared_litert(plain: _KerasRun, memory: EngineMemory, setting: str, say: Say) -> Choice:
    """The LiteRT engine if it converts, agrees with Keras and is faster; else the Keras engine."""
    rates = plain.rates
    try:
        engine = litert.LiteRTEngine(_converted(plain.model, memory))
        outputs = [values[:_HELD] for values in plain.outputs]
        difference = largest_difference(engine.run(plain.pictures[:_HELD]), outputs)
    except Exception as error:  # noqa: BLE001  the converter raises many kinds on what it does not know
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        say(f"features: this base does not convert to LiteRT ({reason}); Keras runs it")
        memory.keep(engine=KERAS)
        return Choice(plain.engine, rates, None, "the base does not convert to LiteRT")
    if not difference <= _TOLERANCE:
        say(f"features: LiteRT is off by {difference:.1e} of the largest value on this base; Keras runs it")
        memory.keep(engine=KERAS)
        return Choice(plain.engine, rates, difference, "LiteRT's values are off")
    rates[LITERT] = _rate(engine, plain.pictures)
    if setting == AUTO and rates[KERAS] > rates[LITERT]:
        memory.keep(engine=KERAS, rates=rates)
        return Choice(plain.engine, rates, difference, "measured")
    memory.keep(engine=LITERT, rates=rates)
    return Choice(engine, rates, difference, "asked for" if setting == LITERT else "measured")


def _converted(model: keras.Model, memory: EngineMemory) -> bytes:
    content = memory.converted()
    if content is None:
        content = litert.convert(model)
        memory.keep_converted(content)
    return content


def _rate(engine: Engine, pictures: np.ndarray) -> float:
    began = time.perf_counter()
    engine.run(pictures)
    return len(pictures) / (time.perf_counter() - began)
