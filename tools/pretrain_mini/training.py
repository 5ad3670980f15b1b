"""The student: MobileNetV2 at alpha 0.35, trained on labels, on a teacher's features, or on both; resumable."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from photos import Crops, plain, varied

ALPHA = 0.35
_SMOOTHING = 0.1
_CHECKED = 256
# Keras Applications has 0.999, made for trainings that are fifty times as long.
_MOMENTUM = 0.99


@dataclass(frozen=True)
class Schedule:
    """What is trained, and how long.

    Attributes:
        stages: (side in pixels, epochs) one after the other.
        batch: Photos a step.
        learning_rate: Its highest value.
        weight_decay: Of AdamW, on kernels.
        labels: Weight of the cross-entropy with the classes.
        features: Weight of the distance to the teacher's features.
        seed: Of everything that is left to chance.
    """

    stages: tuple[tuple[int, int], ...]
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    labels: float = 1.0
    features: float = 1.0
    seed: int = 0

    @property
    def epochs(self) -> int:
        """Over all stages."""
        return sum(epochs for _, epochs in self.stages)

    def size(self, epoch: int) -> int:
        """Side of the input in an epoch, counted from 0."""
        for size, epochs in self.stages:
            if epoch < epochs:
                return size
            epoch -= epochs
        raise IndexError(epoch)


class Student:
    """The network at one input size, compiled, with its optimizer."""

    def __init__(self, schedule: Schedule, size: int, classes: int, width: int, steps: int):
        """Build it.

        Args:
            schedule: Losses and learning rate.
            size: Side of the input in pixels.
            classes: Number of classes.
            width: Of the teacher's features; 0 without a teacher.
            steps: Of the whole training.
        """
        keras.utils.set_random_seed(schedule.seed)
        self.size = size
        self.base = keras.applications.MobileNetV2(
            include_top=False, weights=None, alpha=ALPHA, input_shape=(size, size, 3)
        )
        for layer in self.base.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = _MOMENTUM
        pooled = keras.layers.GlobalAveragePooling2D()(self.base.output)
        outputs = {"labels": keras.layers.Dense(classes, name="labels")(pooled)}
        losses = {"labels": keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=_SMOOTHING)}
        weights = {"labels": schedule.labels}
        if width:
            outputs["features"] = keras.layers.Dense(width, name="features")(pooled)
            losses["features"] = keras.losses.MeanSquaredError()
            weights["features"] = schedule.features
        self.model = keras.Model(self.base.input, outputs)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps, warmup_target=schedule.learning_rate, warmup_steps=max(1, steps // 20)
        )
        optimizer = keras.optimizers.AdamW(rate, weight_decay=schedule.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        optimizer.build(self.model.trainable_variables)
        on_cpu = keras.backend.backend() == "tensorflow"  # where compiling with XLA makes convolutions ten times slower
        self.model.compile(
            optimizer, losses, weights, {"labels": ["accuracy"]}, jit_compile=False if on_cpu else "auto"
        )

    def state(self) -> dict[str, np.ndarray]:
        """Weights and the optimizer's variables."""
        made = {f"weight{i}": w for i, w in enumerate(self.model.get_weights())}
        return made | {f"optimizer{i}": np.asarray(v) for i, v in enumerate(self.model.optimizer.variables)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `state` gave, at whatever size."""
        self.model.set_weights([state[f"weight{i}"] for i in range(len(self.model.weights))])
        for i, variable in enumerate(self.model.optimizer.variables):
            variable.assign(state[f"optimizer{i}"])

    def top1(self, crops: Crops, indices: np.ndarray) -> float:
        """Share of whole photos whose class has the highest logit."""
        right = 0
        for start in range(0, len(indices), _CHECKED):
            chosen = indices[start : start + _CHECKED]
            logits = self.model.predict_on_batch(plain(crops.batch(chosen, 0, self.size)))["labels"]
            right += int((np.argmax(logits, axis=1) == crops.photos.labels[chosen]).sum())
        return right / len(indices)


def train(
    schedule: Schedule,
    crops: Crops,
    targets: list[np.ndarray],
    work: Path,
    say: Any,
    start: Callable[[keras.Model], None] = lambda base: None,
) -> Student:
    """Train, or go on where `work` says that a training with this schedule was stopped.

    Args:
        schedule: What to do.
        crops: The photos.
        targets: The teacher's features for each view; empty without a teacher.
        work: Folder of the checkpoint and of the log of epochs.
        say: Told of every epoch.
        start: Gives the untrained base its first weights.
    """
    train_on, held_out = crops.photos.split(False), crops.photos.split(True)
    steps_per_epoch = len(train_on) // schedule.batch
    width = targets[0].shape[1] if targets else 0
    checkpoint, log = work / "checkpoint.npz", work / "epochs.jsonl"
    state, begun = _read(checkpoint)
    student = None
    for epoch in range(begun, schedule.epochs):
        size = schedule.size(epoch)
        if student is None or student.size != size:
            state = student.state() if student else state
            student = Student(schedule, size, len(crops.photos.classes), width, steps_per_epoch * schedule.epochs)
            if state:
                student.restore(state)
            else:
                start(student.base)
        began, losses = time.perf_counter(), {}
        with _quick_on_cpus(student.model):
            for pixels, wanted in _batches(schedule, crops, targets, train_on, epoch, size):
                losses = student.model.train_on_batch(pixels, wanted, return_dict=True)
            student.model.reset_metrics()
        seconds = time.perf_counter() - began
        row = {"epoch": epoch + 1, "size": size} | {key: round(float(value), 4) for key, value in losses.items()}
        row |= {"held_out_top1": round(student.top1(crops, held_out), 4), "seconds": round(seconds, 1)}
        _write(checkpoint, student.state(), epoch + 1)
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        say(json.dumps(row))
    if student is None:
        size = schedule.size(schedule.epochs - 1)
        student = Student(schedule, size, len(crops.photos.classes), width, steps_per_epoch * schedule.epochs)
        student.restore(state)
    return student


def _batches(
    schedule: Schedule, crops: Crops, targets: list[np.ndarray], indices: np.ndarray, epoch: int, size: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """One epoch, cut and varied in a second thread, two batches ahead; decided by seed and epoch alone."""
    view = epoch % crops.views
    order = np.random.default_rng((schedule.seed, epoch)).permutation(indices)
    names = np.eye(len(crops.photos.classes), dtype=np.float32)

    def make(step: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        chosen = order[step * schedule.batch : (step + 1) * schedule.batch]
        random = np.random.default_rng((schedule.seed, epoch, step))
        wanted = {"labels": names[crops.photos.labels[chosen]]}
        if targets:
            wanted["features"] = np.asarray(targets[view][chosen], np.float32)
        return varied(crops.batch(chosen, view, size), random), wanted

    steps = len(order) // schedule.batch
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make, step) for step in range(min(2, steps))]
        for step in range(steps):
            made = ahead.pop(0).result()
            if step + 2 < steps:
                ahead.append(pool.submit(make, step + 2))
            yield made


@contextmanager
def _quick_on_cpus(model: keras.Model) -> Iterator[None]:
    """Under TensorFlow, the two tricks with which tfransfer trains on CPUs."""
    with ExitStack() as stack:
        if keras.backend.backend() == "tensorflow":
            from tfransfer.system.allocator import keep_freed_memory
            from tfransfer.training.model import matrix_products

            keep_freed_memory()
            stack.enter_context(matrix_products(model))
        yield


def _read(checkpoint: Path) -> tuple[dict[str, np.ndarray], int]:
    if not checkpoint.exists():
        return {}, 0
    with np.load(checkpoint, allow_pickle=False) as archive:
        state = dict(archive)
    return state, int(state.pop("epoch"))


def _write(checkpoint: Path, state: dict[str, np.ndarray], epoch: int) -> None:
    partial = checkpoint.with_suffix(".partial.npz")
    np.savez(partial, epoch=epoch, **state)
    partial.replace(checkpoint)
