"""Makes the runs of this folder, with tfransfer as it was at commit fec8a74, whose manifest had no types yet.

In a checkout of that commit: `PYTHONPATH=.:tests python THIS_FILE THIS_FOLDER`. The data's place is written as DATA in
the manifests; `test_old_run.py` makes the same pictures anew. What no test reads is left out.
"""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from small_world import colour_folder

import tfransfer

SETTINGS = {
    "preprocessing": "tf", "image_size": 8, "batch_size": 8, "head_epochs": 2, "fine_tune_epochs": 3, "unfreeze": 1,
    "engine": "keras", "exports": [],
}  # fmt: skip
# The bytes of a .bmp file do not depend on how Pillow was built, so the pictures have the same hashes anywhere.
DATA = {"per_class": 20, "size": 8, "suffix": ".bmp"}
LEFT_OUT = {"report.html", ".lock"}


def small_base() -> keras.Model:
    """Two blocks of convolution, BatchNormalization and ReLU: about 300 weights."""
    layers = keras.layers
    pixels = values = keras.Input((8, 8, 3))
    for block in (1, 2):
        start = keras.initializers.GlorotUniform(seed=block)
        values = layers.Conv2D(4 * block, 3, padding="same", kernel_initializer=start, name=f"b{block}_conv")(values)
        values = layers.BatchNormalization(name=f"b{block}_bn")(values)
        values = layers.Activation("relu", name=f"b{block}_relu")(values)
    return keras.Model(pixels, values, name="small")


class StopInSecondEpoch(keras.callbacks.Callback):
    """Sends this process SIGTERM after the first step of an epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def put(run: Path, place: Path, data: Path) -> None:
    """Copy a run's small files, without this machine's paths."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run, place, ignore=lambda _, names: LEFT_OUT & set(names))
    manifest = place / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(str(data), "DATA"), encoding="utf-8")


def main(place: Path) -> None:
    """Train a run to its end, and another one until it is stopped in its second phase."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = colour_folder(work / "data", **DATA)
        base = small_base()
        base.save(place / "base.keras")
        run = tfransfer.train(data, base, out=work / "finished", **SETTINGS)
        put(work / "finished", place / "finished", data)
        pixels = np.random.default_rng(3).integers(0, 256, (4, 8, 8, 3)).astype(np.float32)
        np.savez_compressed(place / "predicted.npz", pixels=pixels, outputs=run.model.predict(pixels, verbose=0))
        stop = lambda phase: [StopInSecondEpoch()] if phase == "fine_tune" else []  # noqa: E731
        try:
            tfransfer.train(data, small_base(), out=work / "stopped", callbacks=stop, **SETTINGS)
        except tfransfer.Stopped as stopped:
            print(stopped)
        put(work / "stopped", place / "stopped", data)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
