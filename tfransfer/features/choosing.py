"""Choose the engine for a frozen part: measure both on a few pictures, and compare LiteRT with Keras before using it.

Conversion takes seconds, so a small number of pictures goes through Keras right away. Measured rates and the converted
file are remembered per machine and frozen part.
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
from tfransfer.features.engines import KERAS, LITERT, Engine, keras_engine, largest_difference
from tfransfer.features.memory import EngineMemory

AUTO = "auto"
# Number of pictures on which an engine is measured, and compared with Keras.
SAMPLE = 32
_COMPARED = 8
# Relative to the largest value at a tap. LiteRT is normally off by 1e-5, and float16 alone rounds by 5e-4.
_TOLERANCE = 1e-3
# A conversion takes seconds; work that Keras does faster than this is not worth one.
_CONVERSION_SECONDS = 10.0


@dataclass
class Choice:
    """An engine and why it was chosen.

    Attributes:
        engine: The engine, ready to run.
        rates: Measured pictures per second, by engine.
        difference: LiteRT's largest difference from Keras, relative to the largest value; None if not compared.
        why: The reason in a few words, for the plan.
    """

    engine: Engine
    rates: dict[str, float]
    difference: float | None
    why: str


def remembered_engine(memory: EngineMemory, setting: str) -> str | None:
    """The engine from the settings, or chosen on this machine before; None if it must be measured."""
    if setting != AUTO:
        return setting
    if tf.config.list_physical_devices("GPU"):
        return KERAS
    chosen = memory.values.get("engine")
    return chosen if chosen in (KERAS, LITERT) else None


def open_engine(
    model: keras.Model, pictures: np.ndarray, rows: int, memory: EngineMemory, setting: str, say: Say = silent
) -> Choice:
    """Choose an engine, compare it with Keras, and prepare it.

    Args:
        model: From `base.taps.model_to`.
        pictures: Pictures from the dataset to measure with: uint8 (n, size, size, 3), up to SAMPLE.
        rows: Number of pictures to extract.
        memory: Memory of this frozen part.
        setting: "auto", "keras" or "litert".
        say: Gets a line if LiteRT cannot be used.

    Raises:
        SettingError: LiteRT is requested and not installed.
    """
    if setting == LITERT and not litert.available():
        raise SettingError(
            "features.engine is 'litert', but ai-edge-litert is not installed (some platforms have no wheel): "
            "install it, or leave features.engine at 'auto'."
        )
    if remembered_engine(memory, setting) == KERAS or not litert.available():
        return Choice(keras_engine(model), memory.rates, None, _why_keras(setting))
    compiled = keras_engine(model)
    expected = compiled.run(pictures)  # traced and warm
    rates = {KERAS: _rate(compiled, pictures)}
    if reads_text(model):
        return Choice(compiled, rates, None, "LiteRT does not support texts")
    if setting == AUTO and memory.converted() is None and rows / rates[KERAS] < _CONVERSION_SECONDS:
        return Choice(compiled, rates, None, f"{rows} examples are too few to be worth a conversion")
    return _litert_or_keras(_KerasRun(model, compiled, pictures, expected, rates), memory, setting, say)


def _why_keras(setting: str) -> str:
    if setting == KERAS:
        return "requested"
    if tf.config.list_physical_devices("GPU"):
        return "there is a GPU"
    return "measured before" if litert.available() else "LiteRT is not installed"


@dataclass(frozen=True)
class _KerasRun:
    """The Keras engine's outputs on some pictures and its rate, which LiteRT is compared with."""

    model: keras.Model
    engine: Engine
    pictures: np.ndarray
    outputs: list[np.ndarray]
    rates: dict[str, float]


def _litert_or_keras(baseline: _KerasRun, memory: EngineMemory, setting: str, say: Say) -> Choice:
    """The LiteRT engine if the base converts and LiteRT agrees with Keras and is faster; else the Keras engine."""
    rates = baseline.rates
    try:
        engine = litert.LiteRTEngine(_converted(baseline.model, memory))
        outputs = [values[:_COMPARED] for values in baseline.outputs]
        difference = largest_difference(engine.run(baseline.pictures[:_COMPARED]), outputs)
    except Exception as error:  # noqa: BLE001  the converter raises many types for unsupported layers
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        say(f"features: this base does not convert to LiteRT ({reason}); using Keras")
        memory.update(engine=KERAS)
        return Choice(baseline.engine, rates, None, "the base does not convert to LiteRT")
    if not difference <= _TOLERANCE:
        say(f"features: LiteRT is off by {difference:.1e} of the largest value on this base; using Keras")
        memory.update(engine=KERAS)
        return Choice(baseline.engine, rates, difference, "LiteRT's outputs differ from Keras's")
    rates[LITERT] = _rate(engine, baseline.pictures)
    if setting == AUTO and rates[KERAS] > rates[LITERT]:
        memory.update(engine=KERAS, rates=rates)
        return Choice(baseline.engine, rates, difference, "measured")
    memory.update(engine=LITERT, rates=rates)
    return Choice(engine, rates, difference, "requested" if setting == LITERT else "measured")


def _converted(model: keras.Model, memory: EngineMemory) -> bytes:
    content = memory.converted()
    if content is None:
        content = litert.convert(model)
        memory.save_converted(content)
    return content


def _rate(engine: Engine, pictures: np.ndarray) -> float:
    began = time.perf_counter()
    engine.run(pictures)
    return len(pictures) / (time.perf_counter() - began)
