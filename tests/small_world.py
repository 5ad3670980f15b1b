"""Small real things for tests: folders of coloured pictures, and a base that trains in a second on a CPU."""

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tfransfer.base.build import BuiltBase, base_from_model
from tfransfer.data.dataset import Dataset
from tfransfer.data.flow import evaluation_flow
from tfransfer.data.index import Example
from tfransfer.data.loading import load_data
from tfransfer.exports.exporting import Subject
from tfransfer.exports.held_out import HeldOut
from tfransfer.recipe import Recipe
from tfransfer.runs.manifest import read_manifest, update_manifest
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.training.planning import make_plan
from tfransfer.training.session import Session

COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (210, 50, 40)}
SIZE = 16
# Of the trainings whose accuracy a test looks at; tests/test_other_machines.py tries several.
SEED = int(os.environ.get("TFRANSFER_TEST_SEED", "0"))


def colour_folder(root: Path, per_class: int = 24, size: int = 24, noise: int = 40, suffix: str = ".png") -> Path:
    """Noisy pictures of one colour per class."""
    random = np.random.default_rng(7)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = np.array(colour) + random.integers(-noise, noise + 1, (size, size, 3))
            picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            picture.save(root / name / f"{number:03}{suffix}")
    return root


def usable_tfds():
    """tensorflow_datasets, or the test is skipped; beside an old TensorFlow it is there, but fails to load."""
    tfds = pytest.importorskip("tensorflow_datasets")
    if not hasattr(tfds, "features"):
        pytest.skip("tensorflow_datasets does not load beside this TensorFlow", allow_module_level=True)
    return tfds


def some_flowers(archive: Path, place: Path, per_class: int) -> list[Path]:
    """Unpack the first photos of each class of flower_photos; their paths are CLASS/PHOTO below one folder."""
    taken: dict[str, int] = {}
    found = []
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(opened.namelist()):
            folder = name.split("/")[-2] if name.endswith(".jpg") else ""
            if folder and taken.get(folder, 0) < per_class:
                taken[folder] = taken.get(folder, 0) + 1
                found.append(Path(opened.extract(name, place)))
    return found


def colour_dataset(root: Path, **options) -> Dataset:
    return load_data(colour_folder(root, **options))


def read_picture(dataset: Dataset, example: Example, size: int) -> np.ndarray:
    """One picture as the evaluation flow gives it: uint8, shape (size, size, 3)."""
    flow = evaluation_flow(dataset, [example], np.zeros((1, 1)), size, 1)
    return next(iter(flow.batches))[0][0].numpy()


def tiny_model(dropout: float = 0.5, name: str = "tiny") -> keras.Model:
    """Three blocks of convolution, BatchNormalization, ReLU and dropout."""
    layers = keras.layers
    pixels = values = keras.Input((SIZE, SIZE, 3))
    for block in range(1, 4):
        start = keras.initializers.GlorotUniform(seed=block)
        values = layers.Conv2D(8 * block, 3, padding="same", kernel_initializer=start, name=f"b{block}_conv")(values)
        values = layers.BatchNormalization(name=f"b{block}_bn")(values)
        values = layers.Activation("relu", name=f"b{block}_relu")(values)
        values = layers.Dropout(dropout, seed=block, name=f"b{block}_dropout")(values)
    return keras.Model(pixels, values, name=name)


def tiny_base(dropout: float = 0.5) -> BuiltBase:
    return base_from_model(tiny_model(dropout), "tf")


def with_scans(extra, side=64):
    """A progressive JPEG whose last scan is repeated."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (90, 3, 7)).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    last = whole.rindex(b"\xff\xc4", 0, whole.rindex(b"\xff\xda"))  # with its table
    return whole[:-2] + whole[last:-2] * extra + whole[-2:]


def recipe(**settings) -> Recipe:
    quick = {"head.epochs": 2, "fine_tune.epochs": 2, "fine_tune.unfreeze": 1, "batch_size": 8, "head.patience": 0,
             "seed": SEED}  # fmt: skip
    return Recipe().with_settings(quick | {key.replace("__", "."): value for key, value in settings.items()})


def forget_data(folder: Path) -> None:
    """Let a run's data be gone: its manifest names a folder that does not exist."""
    data = read_manifest(folder).data
    update_manifest(folder, data=replace(data, root=str(folder / "nowhere")))


def subject(model, classes, pictures, **options) -> Subject:
    """What `export_model` takes, of a model and pictures that nothing is known of."""
    return Subject(model, classes, HeldOut.of(model, pictures), **options)


def session(dataset: Dataset, base: BuiltBase | None = None, **settings) -> Session:
    base = base or tiny_base()
    chosen = recipe(**settings)
    plan = make_plan(chosen, base, len(dataset.split("train")), "float32")
    return Session(dataset=dataset, recipe=chosen, plan=plan, base=base, task=CLASSIFICATION)
