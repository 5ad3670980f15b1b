"""The real command, from pictures to files, which plain TensorFlow, Keras and LiteRT then read in another process."""

import csv
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from small_world import COLOURS, SEED, colour_folder, some_flowers

# Reads every file of a run the way a stranger's program would; `tfransfer` cannot even be imported here.
STRANGER = """
import io, json, sys, zipfile
sys.modules["tfransfer"] = None
from pathlib import Path
import numpy as np
from PIL import Image
run, *pictures = map(Path, sys.argv[1:])
labels = (run / "labels.txt").read_text(encoding="utf-8").splitlines()
import keras, tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
model = keras.saving.load_model(run / "model.keras")
size = model.input_shape[1]
pixels = np.stack([np.asarray(Image.open(p).convert("RGB").resize((size, size), Image.BILINEAR)) for p in pictures])
served = tf.saved_model.load(str(run / "saved_model"))
by_pixels = served.signatures["serving_default"](images=tf.constant(pixels))["probabilities"].numpy()
by_bytes = served.signatures["serve_bytes"](encoded=tf.constant([p.read_bytes() for p in pictures]))["probabilities"]
lite = Interpreter(str(run / "model.tflite"))
lite.allocate_tensors()
given, said = lite.get_input_details()[0], lite.get_output_details()[0]
by_lite = []
for one in pixels:
    lite.set_tensor(given["index"], one[None])
    lite.invoke()
    by_lite.append(lite.get_tensor(said["index"])[0].tolist())
print(json.dumps({
    "labels": labels, "size": size, "lite_input": [str(given["dtype"]), given["shape"].tolist()],
    "lite_labels": zipfile.ZipFile(run / "model.tflite").read("labels.txt").decode().splitlines(),
    "served_labels": (run / "saved_model/assets.extra/labels.txt").read_text(encoding="utf-8").splitlines(),
    "signatures": sorted(served.signatures), "keras": model.predict(pixels.astype("float32"), verbose=0).tolist(),
    "pixels": by_pixels.tolist(), "bytes": by_bytes.numpy().tolist(), "lite": by_lite,
    "custom": sorted({type(l).__module__.split(".")[0] for l in model._flatten_layers()}),
}))
"""
RUN_FILES = {
    "data_issues.csv", "history.csv", "labels.txt", "manifest.json", "metrics.json", "model.keras", "model.tflite",
    "exports.json", "recipe.toml", "samples.npz", "saved_model", "splits.csv", "answers.npz", "report.html",
}  # fmt: skip


def in_own_process(*words, fail=False, cwd=None):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    ran = subprocess.run(
        [sys.executable, "-m", "tfransfer", *map(str, words)],
        capture_output=True, text=True, env=environment, check=False, cwd=cwd,
    )  # fmt: skip
    assert fail or ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def as_a_stranger(run, pictures):
    ran = subprocess.run(
        [sys.executable, "-c", STRANGER, str(run), *map(str, pictures)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.strip().splitlines()[-1])


@pytest.fixture
def run_command(command):
    """The command line in this process, whose TensorFlow is loaded already."""

    def call(*words, fail=False):
        code, shown, errors = command(*words)
        assert fail or code == 0, shown + errors
        return subprocess.CompletedProcess(words, code, shown, errors)

    return call


def table(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def calibrated_weights(tmp_path_factory):
    """Weights of an untrained MobileNet whose BatchNormalization has seen pictures, so that signals get through."""
    model = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))
    noise = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(12):
        model(noise.uniform(-1, 1, (32, 1, 1, 3)) * np.ones((1, 32, 32, 1)), training=True)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    model.save_weights(path)
    return path


@pytest.fixture(scope="module")
def colours(tmp_path_factory, calibrated_weights):
    """A run of the real command on solid-colour pictures."""
    place = tmp_path_factory.mktemp("colours")
    data = colour_folder(place / "solid colours", per_class=40, size=40, noise=8, suffix=".jpg")
    shutil.copy(data / "red" / "000.jpg", data / "red" / "copy of 000.jpg")
    (data / "blue" / "broken.jpg").write_bytes((data / "blue" / "001.jpg").read_bytes()[:700])
    words = ["train", data, "--base", "mobilenet", "--weights", calibrated_weights, "--image-size", 32,
             "--unfreeze", 2, "--head-epochs", 10, "--fine-tune-epochs", 2, "--set", "head.learning_rate=0.005",
             "--set", "head.patience=0", "--seed", SEED,
             "--out", place / "run", "--json"]  # fmt: skip
    return data, place / "run", in_own_process(*words)


def test_whole_run_folder_is_written(colours):
    _, run, _ = colours
    assert {p.name for p in run.iterdir()} == RUN_FILES


def test_json_is_all_that_stands_on_standard_output(colours):
    _, run, ran = colours
    said = json.loads(ran.stdout)
    assert said["run"] == str(run)
    assert said["metrics"] == json.loads((run / "metrics.json").read_text())
    assert "head 1/10" in ran.stderr


@pytest.mark.learns
def test_solid_colours_are_learned(colours):
    _, run, _ = colours
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["top1"] >= 0.7
    assert set(metrics["test"]["per_class"]) == set(COLOURS)


@pytest.mark.learns
def test_files_answer_alike_to_a_stranger(colours):
    data, run, _ = colours
    rows = [r for r in table(run / "splits.csv") if r["split"] == "test"]
    said = as_a_stranger(run, [data / r["path"] for r in rows])
    assert said["labels"] == said["lite_labels"] == said["served_labels"] == sorted(COLOURS)
    assert said["lite_input"] == ["<class 'numpy.uint8'>", [1, 32, 32, 3]]
    assert said["signatures"] == ["serve_bytes", "serving_default"]
    assert said["custom"] == ["keras"]
    top1 = json.loads((run / "metrics.json").read_text())["test"]["top1"]
    for way in ("keras", "pixels", "lite", "bytes"):
        named = [said["labels"][max(range(3), key=row.__getitem__)] for row in said[way]]
        right = sum(name == r["label"] for name, r in zip(named, rows, strict=True)) / len(rows)
        assert right == pytest.approx(top1, abs=0.11), way
    for a, b in zip(said["keras"], said["lite"], strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def test_broken_file_is_listed_and_training_went_on(colours):
    data, run, ran = colours
    issues = {row["path"]: row for row in table(run / "data_issues.csv")}
    assert issues["blue/broken.jpg"]["kind"] == "truncated"
    assert issues["blue/broken.jpg"]["set_aside"] == "true"
    assert (data / "blue" / "broken.jpg").exists()
    assert "skipped: 1 file (truncated): blue/broken.jpg" in ran.stderr


def test_splits_hold_every_good_file_once(colours):
    data, run, _ = colours
    rows = table(run / "splits.csv")
    listed = [row["path"] for row in rows]
    good = {p.relative_to(data).as_posix() for p in data.rglob("*.jpg")} - {"blue/broken.jpg"}
    assert len(listed) == len(set(listed))
    assert set(listed) == good
    sides = {row["path"]: row["split"] for row in rows}
    assert sides["red/000.jpg"] == sides["red/copy of 000.jpg"]


def test_manifest_holds_plan_versions_and_seeds(colours):
    _, run, _ = colours
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["schema"] == 1
    assert manifest["plan"]["image_size"] == 32
    assert manifest["plan"]["unfrozen"] == ["block_12", "block_13"]
    assert manifest["versions"]["keras"]
    assert manifest["seeds"] == {"seed": SEED, "split_seed": 0}
    assert manifest["kept"] in manifest["phases"]
    history = table(run / "history.csv")
    assert [row["phase"] for row in history].count("head") == 10


def test_run_answers_without_its_training_data(colours, tmp_path, run_command):
    data, run, _ = colours
    elsewhere = tmp_path / "moved run"
    shutil.copytree(run, elsewhere)
    shutil.rmtree(elsewhere / "saved_model")
    photo = tmp_path / "a photo.png"
    shutil.copy(data / "green" / "004.jpg", photo)
    said = json.loads(in_own_process("predict", elsewhere, photo, "--top", 2, "--json").stdout)["predictions"]
    assert said[0]["picture"] == str(photo)
    assert said[0]["top"][0]["label"] == "green"
    assert len(said[0]["top"]) == 2
    ran = run_command("export", elsewhere, "--to", "savedmodel")
    assert "saved_model" in ran.stdout
    assert (elsewhere / "saved_model" / "saved_model.pb").exists()


def test_predict_names_what_it_cannot_read_and_goes_on(colours, tmp_path, run_command):
    data, run, _ = colours
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(data / "red" / "005.jpg", folder / "good.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    ran = run_command("predict", run, folder, fail=True)
    assert ran.returncode == 1
    assert "good.jpg" in ran.stdout
    assert "zero bytes" in ran.stdout
    assert "1 of 2 pictures cannot be read" in ran.stdout
    assert run_command("predict", run, folder / "empty.jpg", fail=True).returncode == 1


def test_evaluate_scores_again_the_same(colours, run_command):
    _, run, _ = colours
    before = json.loads((run / "metrics.json").read_text())
    again = json.loads(run_command("evaluate", run, "--predictions", "--json").stdout)
    assert again["test"]["confusion_matrix"] == before["test"]["confusion_matrix"]
    assert again["test"]["log_loss"] == pytest.approx(before["test"]["log_loss"], rel=1e-4)
    predictions = table(run / "predictions.csv")
    (run / "predictions.csv").unlink()
    assert len(predictions) == again["test"]["n"] + again["validation"]["n"]
    right = [row["label"] == row["predicted"] for row in predictions if row["split"] == "test"]
    assert sum(right) / len(right) == pytest.approx(again["test"]["top1"])


def test_evaluate_scores_a_new_folder(colours, tmp_path, run_command):
    _, run, _ = colours
    data = colour_folder(tmp_path / "new", per_class=3)
    said = json.loads(run_command("evaluate", run, data, "--json").stdout)
    assert said["all"]["n"] == 9
    (data / "violet").mkdir()
    shutil.copy(data / "red" / "000.png", data / "violet" / "1.png")
    ran = run_command("evaluate", run, data, fail=True)
    assert ran.returncode == 1
    assert "'violet', which the model does not know" in ran.stderr


@pytest.mark.slow
def test_splits_can_be_followed(colours, tmp_path, run_command):
    data, run, _ = colours
    words = ["train", data, "--base", "mobilenet", "--weights", "random", "--image-size", 32, "--head-epochs", 1,
             "--unfreeze", "none", "--split-seed", 9, "--splits", run / "splits.csv", "--export", "none",
             "--out", tmp_path / "run"]  # fmt: skip
    run_command(*words)
    assert (tmp_path / "run" / "splits.csv").read_text() == (run / "splits.csv").read_text()
    assert not (tmp_path / "run" / "model.tflite").exists()
    ran = run_command(*words, fail=True)
    assert ran.returncode == 1
    assert "already exists" in ran.stderr
    assert "--overwrite" in ran.stderr


@pytest.fixture(scope="module")
def photos(tmp_path_factory, flower_photos):
    """25 real photos a class."""
    return some_flowers(flower_photos, tmp_path_factory.mktemp("photos"), 25)[0].parent.parent


@pytest.mark.slow
@pytest.mark.learns
def test_real_photos_and_real_weights(photos, mobilenet_v2_weights, tmp_path):
    run = tmp_path / "run"
    words = ["train", photos, "--base", "mobilenet_v2", "--weights", mobilenet_v2_weights, "--image-size", 160,
             "--head-epochs", 8, "--fine-tune-epochs", 4, "--seed", SEED, "--out", run]  # fmt: skip
    shown = in_own_process(*words).stdout
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["top1"] >= 0.4, shown
    phases = json.loads((run / "manifest.json").read_text())["phases"]
    kept = json.loads((run / "manifest.json").read_text())["kept"]
    assert phases[kept]["validation"]["top1"] >= phases["head"]["validation"]["top1"]
    rows = [r for r in table(run / "splits.csv") if r["split"] == "test"]
    said = as_a_stranger(run, [photos / r["path"] for r in rows])
    for way in ("keras", "pixels", "lite", "bytes"):
        named = [said["labels"][max(range(5), key=row.__getitem__)] for row in said[way]]
        right = sum(name == r["label"] for name, r in zip(named, rows, strict=True)) / len(rows)
        assert right >= metrics["test"]["top1"] - 0.21, way
