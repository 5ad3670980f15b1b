"""What a larger pretrained network says about every crop: the targets of the distillation, computed once and kept."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from photos import Crops

_BATCH = 256


def targets(crops: Crops, weights: Path, size: int, work: Path, say: Any) -> list[np.ndarray]:
    """The teacher's pooled features of every photo, one array for each view.

    Args:
        crops: Which part of each photo a view shows.
        weights: MobileNetV2's (alpha 1.0), without its top.
        size: Side of the teacher's input in pixels.
        work: Where they are kept.
        say: Told how far it is.

    Returns:
        For each view a float16 array, shape (n, 1280), memory-mapped: standardized by mean and deviation over view 0.
    """
    made = []
    forward, scale = None, None
    for view in range(crops.views):
        file = work / f"teacher-{size}-seed{crops.seed}-view{view}.npy"
        if not file.exists():
            forward = forward or _forward(weights, size)
            features = _view(crops, view, size, forward)
            if view == 0:
                deviation = features.std(0)  # that of a feature which hardly ever speaks is no measure of it
                scale = np.stack([features.mean(0), np.maximum(deviation, 0.2 * np.median(deviation))])
                np.save(work / f"teacher-{size}-scale.npy", scale)
            elif scale is None:
                scale = np.load(work / f"teacher-{size}-scale.npy")
            partial = file.with_suffix(".partial.npy")
            np.save(partial, ((features - scale[0]) / scale[1]).astype(np.float16))
            partial.replace(file)
            say(f"teacher: view {view + 1} of {crops.views}")
        made.append(np.load(file, mmap_mode="r"))
    return made


def network(weights: Path, size: int) -> keras.Model:
    """MobileNetV2 without its top, on pixels in [-1, 1]."""
    made = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(size, size, 3))
    made.load_weights(str(weights))
    return made


def _view(crops: Crops, view: int, size: int, forward: Any) -> np.ndarray:
    count = len(crops.photos.labels)
    parts = []
    for start in range(0, count, _BATCH):
        parts.append(forward(crops.batch(np.arange(start, min(count, start + _BATCH)), view, size)))
    return np.concatenate(parts)


def _forward(weights: Path, size: int) -> Any:
    """From uint8 pictures, shape (n, size, size, 3), to pooled features, float32, shape (n, 1280)."""
    pixels = keras.Input((size, size, 3))
    values = network(weights, size)(keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels))
    pooled = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(values))
    if keras.backend.backend() != "tensorflow":
        return lambda given: pooled.predict(given, batch_size=_BATCH, verbose=0)
    # LiteRT runs this network several times faster on a CPU than TensorFlow does.
    from tfransfer.features.litert import LiteRTEngine, convert

    engine = LiteRTEngine(convert(pooled))
    return lambda given: engine.run(given)[0]
