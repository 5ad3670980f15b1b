"""`predict`, `predict_proba` and `embed` of a run, for every task and kind of input, and of an older run."""

import io
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from manifests import manifest_of
from PIL import Image
from serving_world import SIZE, picture

import tfransfer as tr
from tfransfer.base.ngrams import NgramVectors
from tfransfer.errors import DataError, RunError, SettingError
from tfransfer.runs.manifest import DataRecord, write_manifest
from tfransfer.tasks.head import find_head
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL

ACTIVATIONS = {SINGLE_LABEL: ("softmax", "probabilities"), MULTI_LABEL: ("sigmoid", "probabilities"),
               REGRESSION: ("linear", "values")}  # fmt: skip
WIDTH = 6
OLD = Path(__file__).parent / "old_run"


def model_of(kind, task, outputs):
    """A model as `train` builds one: a base's pooled features, and a head on them."""
    start = keras.initializers.GlorotUniform(seed=3)
    if kind == "text":
        given = keras.Input((), dtype="string", name="text")
        features = NgramVectors(buckets=64, features=WIDTH, seed=1)(given)
    else:
        given = keras.Input((SIZE, SIZE, 3))
        values = keras.layers.Conv2D(WIDTH, 3, kernel_initializer=start)(keras.layers.Rescaling(1 / 255)(given))
        features = keras.layers.GlobalAveragePooling2D()(values)
    logits = keras.layers.Dense(outputs, kernel_initializer=start, name="logits")(features)
    activation, name = ACTIVATIONS[task]
    return keras.Model(given, keras.layers.Activation(activation, name=name)(logits))


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """Gives a run of a kind of input and a task, without a training; its columns were called "shot" and "words"."""
    made = {}

    def make(kind="image", task=SINGLE_LABEL):
        if (kind, task) not in made:
            folder = tmp_path_factory.mktemp("runs") / task
            folder.mkdir()
            classes = ("weight",) if task == REGRESSION else ("blue", "green", "red")
            model_of(kind, task, len(classes)).save(folder / "model.keras")
            column = {"text": "words"} if kind == "text" else {"path": "shot"}
            data = DataRecord(root="nowhere", kind=kind, origin={"columns": column})
            thresholds = (0.4, 0.5, 0.6) if task == MULTI_LABEL else None
            size = 0 if kind == "text" else SIZE
            manifest = manifest_of(classes, image_size=size, data=data, task=task, thresholds=thresholds)
            write_manifest(folder, manifest)
            made[kind, task] = tr.load_run(folder)
        return made[kind, task]

    return make


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three pictures that differ, in an order that is not that of their names."""
    folder = tmp_path_factory.mktemp("photos")
    files = [folder / name for name in ("c.png", "a.png", "b.png")]
    for seed, file in enumerate(files):
        file.write_bytes(picture(seed))
    (folder / "photos.csv").write_text("id,shot\n" + "".join(f"{n},{file.name}\n" for n, file in enumerate(files)))
    return files


TEXTS = ["a good film", "no, bad", "neither"]


def given_to(kind, photos):
    return photos if kind == "image" else TEXTS


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("task", [SINGLE_LABEL, MULTI_LABEL])
def test_probabilities_are_an_array_in_the_order_of_inputs_and_classes(run_of, photos, kind, task):
    run, given = run_of(kind, task), given_to(kind, photos)
    rows = run.predict_proba(given, batch=2)
    assert (rows.shape, rows.dtype) == ((3, 3), np.float32)
    for row, one in zip(rows, run.predict(given), strict=True):
        expected = dict(one.top)
        assert dict(zip(run.classes, row.tolist(), strict=True)) == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(tr.predict_proba(run.folder, given[0]).shape, (1, 3))


def test_probabilities_of_a_regression_are_refused_with_what_gives_its_number(run_of, photos):
    with pytest.raises(SettingError, match="this run predicts a number, weight: predict gives it, as the `value`"):
        run_of(task=REGRESSION).predict_proba(photos)


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("task", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_features_are_those_that_the_head_is_given(run_of, photos, kind, task):
    run, given = run_of(kind, task), given_to(kind, photos)
    features = run.embed(given, batch=2)
    assert (features.shape, features.dtype) == ((3, WIDTH), np.float32)
    head = find_head(run.model)
    outputs = keras.Model(head.features, run.model.outputs[0])(features).numpy()
    if task == REGRESSION:
        np.testing.assert_allclose(outputs[:, 0], [one.value for one in run.predict(given)], rtol=1e-4)
    else:
        np.testing.assert_allclose(outputs, run.predict_proba(given), atol=1e-5)
    np.testing.assert_allclose(tr.embed(run.folder, given[1]), features[1:2], atol=1e-5)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_nothing_gives_no_rows_of_the_right_width(run_of, kind):
    run = run_of(kind)
    assert run.predict_proba([]).shape == (0, 3)
    assert run.embed([]).shape == (0, WIDTH)


def test_what_cannot_be_read_is_named_and_not_left_out_of_an_array(run_of, photos, tmp_path):
    (tmp_path / "torn.png").write_bytes(picture()[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    given = [*photos, tmp_path / "torn.png", tmp_path / "empty.png"]
    for ask in (run_of().embed, run_of().predict_proba):
        with pytest.raises(
            DataError, match=r"2 of 5 pictures cannot be read: .*torn\.png: .*; .*empty\.png: the file has"
        ):
            ask(given)
    with pytest.raises(DataError, match=r"1 of 2 texts cannot be read: bad .*: it is not valid Unicode"):
        run_of("text").embed(["good", "bad \udcff"])
    assert [bool(one.error) for one in run_of().predict(given)] == [False, False, False, True, True]


def test_a_model_without_a_head_has_no_features(run_of, tmp_path, photos):
    given = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(given, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(given)))
    model.save(tmp_path / "model.keras")
    write_manifest(tmp_path, manifest_of(image_size=SIZE))
    with pytest.raises(RunError, match="has no head on pooled features"):
        tr.load_run(tmp_path).embed(photos)


def test_an_older_run_gives_probabilities_and_features():
    run, recorded = tr.load_run(OLD / "finished"), np.load(OLD / "predicted.npz")
    given = list(recorded["pixels"].astype(np.uint8))
    np.testing.assert_allclose(run.predict_proba(given), recorded["outputs"], atol=1e-4)
    assert run.embed(given).shape == (len(given), find_head(run.model).features.shape[-1])


FORMS = {
    "Series": pd.Series,
    "Series with an index": lambda files: pd.Series([str(file) for file in files], index=[9, 4, 7]),
    "DataFrame": lambda files: pd.DataFrame({"id": [1, 2, 3], "shot": list(map(str, files))}),
    "DataFrame, usual name": lambda files: pd.DataFrame({"Filename": list(map(str, files)), "id": [1, 2, 3]}),
    "table": lambda files: files[0].parent / "photos.csv",
    "array of paths": lambda files: np.array(list(map(str, files))),
    "array of Paths": lambda files: np.array(files, object),
    "generator": lambda files: (file for file in files),
    "bytes": lambda files: [file.read_bytes() for file in files],
    "open files": lambda files: [io.BytesIO(file.read_bytes()) for file in files],
    "dataset of paths": lambda files: tf.data.Dataset.from_tensor_slices(list(map(str, files))).batch(2),
    "dataset of files": lambda files: tf.data.Dataset.from_tensor_slices([file.read_bytes() for file in files]),
    "dataset of pixels with labels": lambda files: tf.data.Dataset.from_tensor_slices(
        (np.stack([np.asarray(Image.open(file)) for file in files]), [0, 1, 2])).batch(2),
    "dataset of dicts": lambda files: tf.data.Dataset.from_tensor_slices(
        {"image": np.stack([np.asarray(Image.open(file)) for file in files])}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_pictures_of_any_form_are_predicted_in_order(run_of, photos, form):
    expected = [one.top for one in run_of().predict(photos)]
    assert len(set(expected)) == 3
    found = run_of().predict(FORMS[form](photos))
    for one, top in zip(found, expected, strict=True):
        assert not one.error
        assert dict(one.top) == pytest.approx(dict(top), abs=1e-5)


def test_one_encoded_picture_is_one(run_of, photos):
    expected = run_of().predict(photos[0])
    stream = io.BytesIO()
    stream.write(photos[0].read_bytes())  # left at its end, as after `image.save(stream)`
    with photos[0].open("rb") as opened:
        for given in (photos[0].read_bytes(), bytearray(photos[0].read_bytes()), stream, opened):
            assert run_of().predict(given).top == expected.top
    assert run_of().predict(b"no picture").error
    assert stream.tell() == len(photos[0].read_bytes())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a.png"}, "got set"),
        ({"path": "a.png"}, "got dict"),
        (["x.png", None], "number 2 is None"),
        (pd.Series(["x.png", float("nan")], dtype=object), "number 2 is nan"),
        (pd.DataFrame({"id": [1], "shop": ["a.png"]}), "columns id, shop: which has the pictures"),
        (io.StringIO("a"), "opened in binary mode"),
        (tf.data.Dataset.from_tensors(np.zeros((8, 8, 3), np.uint8)).repeat(), "never ends"),
        (tf.data.Dataset.from_tensors({"picture": 1}), "expected 'image' in the tf.data.Dataset's dicts"),
        (3.5, "got float"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(run_of, photos, monkeypatch, tmp_path, given, words):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("x.png")
    with pytest.raises(DataError, match=words):
        run_of().predict(given)


def test_texts_in_a_dataset_are_predicted_in_order(run_of):
    expected = [one.top for one in run_of("text").predict(TEXTS)]
    plain = tf.data.Dataset.from_tensor_slices(TEXTS)
    for given in (plain, plain.batch(2), tf.data.Dataset.from_tensor_slices(({"text": TEXTS}, [1, 2, 3]))):
        found = run_of("text").predict(given)
        assert [one.name for one in found] == TEXTS
        for one, top in zip(found, expected, strict=True):
            assert dict(one.top) == pytest.approx(dict(top), abs=1e-5)
