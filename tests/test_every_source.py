"""Arrays, tf.data, DataFrames and TFDS, trained on and scored again by a run that finds its data."""

import numpy as np
import pytest
import tensorflow as tf
from small_world import tiny_model, usable_tfds

import tfransfer
from tfransfer.errors import DataError, DataNotFoundError, SettingError

SIZE = 16
pytestmark = pytest.mark.usefixtures("fresh_cache")
QUICK = {"preprocessing": "tf", "head_epochs": 2, "fine_tune_epochs": 0, "engine": "keras", "exports": ()}
COLOURS = np.array([[200, 40, 40], [40, 40, 200], [40, 180, 50]])


def coloured(count=90):
    """Noisy pictures of three colours, uint8 (n, 20, 20, 3), and their numbers."""
    random = np.random.default_rng(3)
    labels = np.arange(count) % 3
    noise = random.integers(-40, 41, (count, 20, 20, 3))
    return np.clip(COLOURS[labels][:, None, None] + noise, 0, 255).astype(np.uint8), labels


def train(data, place, **settings):
    return tfransfer.train(data, tiny_model(), out=place / "run", **QUICK, **settings)


def scored_again(run):
    """What another process, which only has the folder, says of the recorded splits."""
    return tfransfer.load_run(run.folder).evaluate()


def test_arrays(tmp_path):
    pictures, labels = coloured()
    data = tfransfer.load_data((pictures, labels), classes=("red", "blue", "green"))
    assert (data.classes, data.source, len(data.examples)) == (("red", "blue", "green"), "memory", 90)
    run = train(data, tmp_path)
    assert run.manifest["data"]["origin"] == {"name": "arrays"}
    assert scored_again(run) == run.metrics


@pytest.mark.slow
def test_arrays_of_several_classes_and_of_numbers(tmp_path):
    pictures, labels = coloured()
    several = np.stack([labels > 0, labels == 2, labels < 2], axis=1).astype(int)
    several = train((pictures, several), tmp_path / "several")
    assert several.task == "multi-label"
    number = train((pictures, labels / 2.0 + 0.25), tmp_path / "number")
    assert number.task == "regression"
    assert scored_again(number) == number.metrics


def test_tf_data_in_batches(tmp_path):
    pictures, labels = coloured()
    flow = tf.data.Dataset.from_tensor_slices((pictures, labels)).batch(7)
    run = train(flow, tmp_path)
    assert run.classes == ("0", "1", "2")
    assert scored_again(run) == run.metrics
    same = tfransfer.load_data((pictures, labels))
    sides = {e.content: e.split for e in same.examples}
    assert {e.content: e.split for e in run.data.examples} == sides


def test_a_dataframe_is_found_again(tmp_path, solid_folder, monkeypatch):
    pandas = pytest.importorskip("pandas")
    photos = solid_folder("photos", {"red": 20, "blue": 20})
    monkeypatch.chdir(photos)
    frame = pandas.DataFrame(
        {"path": [f"{c}/{n:03}.png" for c in ("red", "blue") for n in range(20)], "label": ["r"] * 20 + ["b"] * 20}
    )
    run = train(frame, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert scored_again(run) == run.metrics


@pytest.mark.filterwarnings("ignore")
def test_tfds_by_name_with_its_own_class_names(tmp_path):
    tfds = usable_tfds()
    with tfds.testing.mock_data(num_examples=60):
        data = tfransfer.load_data("tfds:tf_flowers")
        assert set(data.classes) <= {"dandelion", "daisy", "tulips", "sunflowers", "roses"}
        run = train(data, tmp_path)
        assert run.manifest["data"]["origin"]["data"] == "tfds:tf_flowers"
        assert scored_again(run) == run.metrics


@pytest.mark.filterwarnings("ignore")
def test_a_builder_of_a_folder_with_splits_is_data(tmp_path, solid_folder):
    tfds = usable_tfds()
    for split, count in {"train": 12, "test": 4}.items():
        solid_folder(f"shapes/{split}", {"red": count, "blue": count}, suffix=".jpg", size=30 + count)
    data = tfransfer.load_data(tfds.folder_dataset.ImageFolder(str(tmp_path / "shapes")))
    assert set(data.classes) == {"red", "blue"}
    assert sum(data.counts()["test"].values()) == 8
    assert data.counts()["validation"]  # which there was none of: cut from train


def test_the_command_trains_on_prepared_tfds(tmp_path, command, solid_folder):
    usable_tfds()
    code, _, errors = command("train", "tfds:no_such_set", "--out", tmp_path / "run")
    assert code == 1
    assert "no_such_set" in errors
    code, _, errors = command("train", "tfds:tf_flowers", "--split", "train", "--out", tmp_path / "run")
    assert code == 2
    assert "--split expects NAME=SPLIT" in errors


def test_arrays_that_are_gone_from_the_cache_are_asked_for(tmp_path, monkeypatch):
    run = train(coloured(), tmp_path)
    monkeypatch.setenv("TFRANSFER_CACHE", str(tmp_path / "another"))
    import shutil

    shutil.rmtree(run.data.root)
    with pytest.raises(DataNotFoundError):
        tfransfer.load_run(run.folder).evaluate()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "got int"),
        ((np.zeros((4, SIZE, SIZE, 3)), [0, 1]), "need as many targets"),
        ((np.full((4, SIZE, SIZE, 3), 0.5), [0, 1, 0, 1]), r"\[0, 255\]"),
    ],
)
def test_what_is_no_data_is_told_why(data, message):
    with pytest.raises((DataError, SettingError), match=message):
        tfransfer.load_data(data)


def test_a_table_can_be_scored_by_a_run_trained_on_a_folder(tmp_path, solid_folder):
    photos = solid_folder("photos", {"red": 20, "blue": 20})
    run = train(photos, tmp_path)
    (photos / "labels.csv").write_text("path,label\nred/001.png,red\nblue/002.png,blue\n")
    assert run.evaluate(photos / "labels.csv")["all"]["n"] == 2
    (photos / "labels.csv").write_text("path,label\nred/001.png,green\nblue/002.png,blue\n")
    with pytest.raises(DataError, match="has the class 'green', which the model does not know"):
        run.evaluate(photos / "labels.csv")
