"""The other side: two-phase training as Keras's transfer-learning guide does it, on the same photos, weights and split.

Source: https://keras.io/guides/transfer_learning/. A tf.data pipeline reads, resizes and batches the photos; flipping
and rotating layers, the rescaling, the frozen base called with `training=False`, pooling, dropout 0.2 and a Dense layer
make the model; `fit` with Adam at 1e-3 trains the head, then `fit` with Adam at 1e-5 trains the unfrozen layers too.
The guide's only other setting, the whole base unfrozen, is narrowed to the blocks that tfransfer unfreezes.

    python benchmarks/guide.py PHOTOS --weights FILE --head-epochs 10 --fine-tune-epochs 10 --out guide.json
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import keras
import tensorflow as tf
from measuring import photos_and_splits

BATCH = 32


def dataset(root: Path, rows: list[dict], classes: list[str], size: int, training: bool) -> tf.data.Dataset:
    """Batches of (float32 pixels in [0, 255], integer labels)."""
    paths = [str(root / row["path"]) for row in rows]
    labels = [classes.index(row["label"]) for row in rows]

    def load(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(pixels, (size, size)), label

    data = tf.data.Dataset.from_tensor_slices((paths, labels))
    if training:
        data = data.shuffle(len(paths))
    return data.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)


def build(weights: str, size: int, classes: int) -> tuple[keras.Model, keras.Model]:
    """The model and the base inside."""
    base = keras.applications.MobileNetV2(include_top=False, weights=weights, input_shape=(size, size, 3))
    base.trainable = False
    inputs = keras.Input((size, size, 3))
    values = keras.layers.RandomFlip("horizontal")(inputs)
    values = keras.layers.RandomRotation(0.1)(values)
    values = keras.layers.Rescaling(1 / 127.5, offset=-1)(values)
    values = base(values, training=False)
    values = keras.layers.GlobalAveragePooling2D()(values)
    values = keras.layers.Dropout(0.2)(values)
    return keras.Model(inputs, keras.layers.Dense(classes)(values)), base


def compile_model(model: keras.Model, learning_rate: float) -> None:
    """Adam and cross-entropy on logits, as the guide has it."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])


def unfreeze(base: keras.Model, lowest: str) -> None:
    """Make the layers from the first whose name begins with `lowest` up to the top trainable."""
    base.trainable = True
    first = next(i for i, layer in enumerate(base.layers) if layer.name.startswith(lowest))
    for layer in base.layers[:first]:
        layer.trainable = False


class EpochSeconds(keras.callbacks.Callback):
    """Seconds from the start of each epoch to its end, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self.began)


def fit(model: keras.Model, train: tf.data.Dataset, validation: tf.data.Dataset, epochs: int, name: str) -> dict:
    """One `fit` call: its seconds, its epochs' seconds and its validation accuracy by epoch."""
    clock = EpochSeconds()
    began = time.perf_counter()
    history = model.fit(train, validation_data=validation, epochs=epochs, callbacks=[clock], verbose=2).history
    return {
        f"{name}_seconds": time.perf_counter() - began,
        f"{name}_epoch_seconds": clock.seconds,
        f"{name}_validation": history["val_accuracy"],
    }


def run(photos: Path, weights: str, head_epochs: int, fine_tune_epochs: int, lowest: str, size: int, seed: int) -> dict:
    """The whole two-phase job: times and accuracies."""
    keras.utils.set_random_seed(seed)
    rows, classes = photos_and_splits(photos)
    parts = {s: [r for r in rows if r["split"] == s] for s in ("train", "validation", "test")}
    train, validation, test = (dataset(photos, parts[s], classes, size, s == "train") for s in parts)
    began = time.perf_counter()
    model, base = build(weights, size, len(classes))
    compile_model(model, 1e-3)
    found = fit(model, train, validation, head_epochs, "head")
    if fine_tune_epochs:
        unfreeze(base, lowest)
        compile_model(model, 1e-5)
        found |= fit(model, train, validation, fine_tune_epochs, "fine_tune")
    found["seconds"] = time.perf_counter() - began
    tested = time.perf_counter()
    found["test_top1"] = model.evaluate(test, verbose=0)[1]
    found["test_seconds"] = time.perf_counter() - tested
    split = "".join(f"{r['path']},{r['split']}\n" for r in rows)
    found |= {"train_images": len(parts["train"]), "split_hash": hashlib.blake2b(split.encode()).hexdigest()[:16]}
    return found | {"seed": seed, "unfrozen_from": lowest, "image_size": size, "batch": BATCH}


def main() -> None:
    """Run the job and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--head-epochs", type=int, default=10)
    parser.add_argument("--fine-tune-epochs", type=int, default=10)
    parser.add_argument("--lowest", default="block_14")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found = run(
        asked.photos, asked.weights, asked.head_epochs, asked.fine_tune_epochs, asked.lowest, asked.size, asked.seed
    )
    print(json.dumps(found, indent=2))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
