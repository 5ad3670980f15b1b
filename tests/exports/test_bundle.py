"""A bundle is used by somebody who has only the zip; and what a hostile or damaged one can do."""

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image
from small_world import colour_folder, tiny_model

from tfransfer import pipeline
from tfransfer.errors import DataNotFoundError, ExportError
from tfransfer.exports.model_card import model_card
from tfransfer.runs.run import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    photos = colour_folder(tmp_path_factory.mktemp("colours") / "data", per_class=60)
    out = tmp_path_factory.mktemp("runs") / "run"
    return pipeline.train(
        photos, tiny_model(), preprocessing="tf", out=out, head_epochs=4, fine_tune_epochs=2, unfreeze=2,
        exports=("savedmodel", "tflite", "tflite-dynamic"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(run):
    return pipeline.bundle(run)


@pytest.fixture
def unpacked(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked"


def packed(folder, place):
    return shutil.make_archive(place, "zip", folder)


def test_a_bundle_holds_what_somebody_else_needs(unpacked, run):
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert names >= {
        "bundle.json", "expected.json", "labels.txt", "model_card.md", "load_model.py", "Classifier.kt",
        "model.tflite", "model_dynamic.tflite", "saved_model/saved_model.pb", "examples/01.png", "examples/10.png",
    }  # fmt: skip
    assert (unpacked / "labels.txt").read_text().split() == list(run.classes)
    expected = json.loads((unpacked / "expected.json").read_text())
    pixels = np.asarray(Image.open(unpacked / expected["examples"][0]))
    said = run.model(pixels[None].astype(np.float32), training=False)
    np.testing.assert_allclose(expected["outputs"]["tflite"][0], said[0], atol=1e-5)


def test_every_model_in_it_says_here_what_it_said_there(bundle, command):
    code, out, _ = command("verify", bundle)
    assert code == 0, out
    assert out.count("10/10") == 3
    assert out.count("as recorded") == 3


def test_the_loader_names_the_examples(unpacked, run):
    photos = sorted((unpacked / "examples").iterdir())
    ran = subprocess.run(
        [sys.executable, unpacked / "load_model.py", unpacked / "model.tflite", *photos],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    named = [line.split("  ")[1].split(" ")[0] for line in ran.stdout.splitlines()]
    outputs = np.array(json.loads((unpacked / "expected.json").read_text())["outputs"]["tflite"])
    assert named == [run.classes[i] for i in outputs.argmax(axis=1)]


def test_the_card_says_data_classes_metrics_files_and_limits(unpacked, run):
    card = (unpacked / "model_card.md").read_text()
    for wanted in (*run.classes, "top-1", "model_dynamic.tflite", "EXIF", "keras ", "which were used for no choice"):
        assert wanted in card, wanted


def test_a_class_name_cannot_break_the_cards_tables(run):
    manifest = run.manifest.to_dict()
    manifest["data"]["counts"] = {"train": {"a|b\n<script>": 3}}
    assert "a\\|b <script>" in model_card(manifest, run.metrics, {})


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda folder: (folder / "model.tflite").write_bytes(b"other"), "not the file that was bundled"),
        (lambda folder: (folder / "labels.txt").write_text("x\ny\nz\n"), "labels are not those"),
        (lambda folder: swap_outputs(folder), "its outputs differ"),
    ],
)
def test_what_was_changed_is_found(unpacked, tmp_path, harm, found):
    harm(unpacked)
    verdicts = pipeline.verify(packed(unpacked, tmp_path / "changed"))
    assert any(found in one.wrong for one in verdicts), verdicts


def swap_outputs(folder):
    expected = json.loads((folder / "expected.json").read_text())
    expected["outputs"] = {name: np.roll(said, 1, axis=1).tolist() for name, said in expected["outputs"].items()}
    (folder / "expected.json").write_text(json.dumps(expected))


def test_a_bundle_cannot_write_outside_itself(unpacked, tmp_path):
    hostile = tmp_path / "hostile.zip"
    with zipfile.ZipFile(hostile, "w") as archive:
        archive.writestr("../escaped.txt", "out")
        archive.write(unpacked / "bundle.json", "bundle.json")
    with pytest.raises(ExportError, match="names a file outside itself"):
        pipeline.verify(hostile)
    assert not (tmp_path.parent / "escaped.txt").exists()


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("tfransfer.exports.bundle._LARGEST", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"0" * 5000)
    with pytest.raises(ExportError, match="unpacks to more"):
        pipeline.verify(tmp_path / "bomb.zip")


@pytest.mark.parametrize("key", ["models", "task", "schema"])
def test_a_damaged_bundle_is_said(unpacked, tmp_path, key):
    inside = json.loads((unpacked / "bundle.json").read_text())
    inside[key] = {"models": ["x"], "task": None, "schema": 99}[key]
    if key == "task":
        del inside["task"]
    (unpacked / "bundle.json").write_text(json.dumps(inside))
    with pytest.raises(ExportError, match=r"damaged|schema 99"):
        pipeline.verify(packed(unpacked, tmp_path / "damaged"))


def test_what_is_no_bundle_is_said(tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ExportError, match="no bundle"):
        pipeline.verify(tmp_path / "text.zip")
    with pytest.raises(DataNotFoundError):
        pipeline.verify(tmp_path / "gone.zip")


def test_formats_that_are_missing_are_exported_first(run, tmp_path):
    copied = load_run(shutil.copytree(run.folder, tmp_path / "run"))
    place = pipeline.bundle(copied, "tflite-fp16")
    with zipfile.ZipFile(place) as archive:
        assert "model_fp16.tflite" in archive.namelist()
        assert "model.tflite" not in archive.namelist()
