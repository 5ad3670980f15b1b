"""Runs of an earlier version, commit fec8a74, load, predict, export and resume; `old_run/make.py` made them."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_world import colour_folder

import tfransfer as tr
from tfransfer.errors import DataError, RunError
from tfransfer.runs import job

OLD = Path(__file__).parent / "old_run"
DATA = {"per_class": 20, "size": 8, "suffix": ".bmp"}  # as in `make.py`


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The pictures that the old runs were trained on, byte for byte."""
    return colour_folder(tmp_path_factory.mktemp("data") / "data", **DATA)


@pytest.fixture
def old_run(tmp_path, data):
    """Copies an old run; its manifest then names the data's place on this machine."""

    def copy(name):
        folder = Path(shutil.copytree(OLD / name, tmp_path / name))
        manifest = folder / "manifest.json"
        manifest.write_text(manifest.read_text(encoding="utf-8").replace("DATA", data.as_posix()), encoding="utf-8")
        return folder

    return copy


def test_the_fixture_is_small_and_names_no_folder_of_the_machine_that_made_it():
    files = [path for path in OLD.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
    plain = [path.read_text(encoding="utf-8") for path in files if path.suffix in (".json", ".csv", ".toml")]
    assert len(plain) > 4
    assert not any("/tmp" in text or "/home" in text for text in plain)


def test_a_finished_run_loads_predicts_and_is_scored_as_it_was(old_run):
    run = tr.load_run(old_run("finished"))
    recorded = np.load(OLD / "predicted.npz")
    np.testing.assert_allclose(run.model.predict(recorded["pixels"], verbose=0), recorded["outputs"], atol=1e-5)
    said = run.predict(list(recorded["pixels"].astype(np.uint8)))
    assert [one.label for one in said] == [run.classes[i] for i in recorded["outputs"].argmax(axis=1)]
    assert run.manifest["plan"]["base"].endswith("small")
    before = run.metrics
    after = run.evaluate()
    assert {name: split["top1"] for name, split in after.items()} == {n: split["top1"] for n, split in before.items()}


def test_a_finished_run_is_exported(old_run):
    run = tr.load_run(old_run("finished"))
    (made,) = run.export("tflite")
    assert made.accuracy is not None, "the data was read again, so the file is scored"
    assert set(run.manifest["exports"]) == {"keras", "tflite"}


def test_a_stopped_run_resumes_to_the_end_that_an_undisturbed_one_had(old_run, data, monkeypatch):
    monkeypatch.setattr(job, "require_saving", lambda *arguments: None)
    folder = old_run("stopped")
    with pytest.raises(RunError, match="resume=True"):
        tr.load_run(folder)
    base = keras.models.load_model(OLD / "base.keras")
    run = tr.train(data, base, preprocessing="tf", out=folder, resume=True, exports=[])
    assert "progress" not in run.manifest
    undisturbed = tr.load_run(old_run("finished"))
    for row, other in zip(run.history, undisturbed.history, strict=True):
        assert (row["phase"], row["epoch"]) == (other["phase"], other["epoch"])
        assert float(row["val_loss"]) == pytest.approx(float(other["val_loss"]), rel=0.02, abs=0.01)


def test_a_url_is_no_picture_and_the_home_folder_is_expanded(old_run, data, monkeypatch):
    run = tr.load_run(old_run("finished"))
    for call in (run.predict, run.explain):
        with pytest.raises(DataError, match=r"https://x\.org/a\.jpg is a URL\. Nothing is downloaded here"):
            call("https://x.org/a.jpg")
    monkeypatch.setenv("HOME", str(data))
    monkeypatch.setenv("USERPROFILE", str(data))
    assert run.predict("~/blue/000.bmp").label in run.classes
    assert len(run.predict(["~/blue/000.bmp", data / "red" / "001.bmp"])) == 2


def test_pairs_are_scored_in_every_form_that_training_takes(old_run, data):
    run = tr.load_run(old_run("finished"))
    files = sorted(data.rglob("*.bmp"))
    names = [file.parent.name for file in files]
    numbers = np.array([run.classes.index(name) for name in names])
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    expected = run.evaluate((files, names))["all"]
    assert expected["n"] == len(files)
    forms = [
        (files, numbers), (tuple(map(str, files)), tuple(names)), (pixels, numbers.tolist()),
        (pixels, np.eye(3)[numbers]), (pixels, numbers.astype(np.float32)),
        tf.data.Dataset.from_tensor_slices((pixels, numbers)),
    ]  # fmt: skip
    for form in forms:
        assert run.evaluate(form)["all"]["top1"] == expected["top1"]
    with pytest.raises(DataError, match="class numbers that are 0 to 2 for the 3 classes; got 0 to 3"):
        run.evaluate((files, [3, *numbers[1:]]))


def test_texts_are_not_scored_by_a_run_on_pictures(old_run):
    with pytest.raises(DataError, match="holds texts; the run reads pictures"):
        tr.load_run(old_run("finished")).evaluate((["a text", "another one"], ["blue", "red"]))
