"""A bundle is used by somebody who has only the zip; and what a hostile or damaged one can do."""

import json
import os
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
from tfransfer.exports import bundle as bundle_parts
from tfransfer.exports import parity
from tfransfer.exports.model_card import model_card
from tfransfer.runs.run import load_run
from tfransfer.tasks.single_label import CLASSIFICATION


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


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_loader_prints_no_sequences_that_control_the_terminal(unpacked, run, tmp_path):
    model = tmp_path / "model.tflite"
    shutil.copy(unpacked / "model.tflite", model)
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("labels.txt", "".join(f"\x1b[31m{name}\u2028é\n" for name in run.classes))
    photos = sorted((unpacked / "examples").iterdir())[:2]
    ran = subprocess.run(
        [sys.executable, unpacked / "load_model.py", model, *photos], capture_output=True, check=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    lines = ran.stdout.decode().split("\n")
    assert len(lines) == 3 and not lines[2]
    assert all("\\x1b[31m" in line and "\\u2028é" in line and "\x1b" not in line for line in lines[:2])


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


def edit(folder, name, change):
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def test_what_is_not_a_number_agrees_with_nothing(unpacked, tmp_path):
    edit(unpacked, "expected.json", lambda content: content["outputs"]["tflite"][3].__setitem__(0, float("nan")))
    by_format = {one.format: one for one in pipeline.verify(packed(unpacked, tmp_path / "nan"))}
    assert by_format["tflite"].wrong == "some of the recorded outputs are not finite"
    assert by_format["tflite-dynamic"].wrong == ""


@pytest.mark.parametrize("key", ["models", "examples"])
def test_a_bundle_that_holds_nothing_to_check_is_not_agreed_to(unpacked, tmp_path, key):
    if key == "models":
        edit(unpacked, "bundle.json", lambda content: content["models"].clear())
    else:
        edit(unpacked, "expected.json", lambda content: content.update(texts=[], outputs={"tflite": []}))
        edit(
            unpacked,
            "bundle.json",
            lambda content: [content["models"].pop(n) for n in ("savedmodel", "tflite-dynamic")],
        )
    with pytest.raises(ExportError, match=r"holds no models|expected outputs for tflite have shape"):
        pipeline.verify(packed(unpacked, tmp_path / "empty"))


def test_a_strangers_saved_model_is_run_only_if_it_is_trusted(unpacked, tmp_path, command, monkeypatch):
    """A bundle that was not written here: its other files are checked all the same."""
    stranger = packed(unpacked, tmp_path / "stranger")
    run = []
    replay = parity.replay_file
    monkeypatch.setattr(parity, "replay_file", lambda kind, *given: run.append(kind.reader) or replay(kind, *given))
    code, out, _ = command("verify", stranger)
    assert (code, run) == (1, ["tflite", "tflite"])
    assert out.count("as recorded") == 2 and "--trust" in " ".join(out.split())
    code, out, _ = command("verify", stranger, "--trust")
    assert (code, out.count("as recorded")) == (0, 3)


def test_a_keras_file_in_a_bundle_is_checked_before_it_is_read(unpacked, tmp_path):
    (unpacked / "model.keras").write_bytes(b"")
    with zipfile.ZipFile(unpacked / "model.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"module": "os", "class_name": "system", "config": {}}))
    (unpacked / "bundle.json").write_text(
        json.dumps({"schema": 1, "task": "single-label", "models": {"keras": {"file": "model.keras", "hashes": {}}}})
    )
    edit(unpacked, "expected.json", lambda content: content["outputs"].update(keras=content["outputs"]["tflite"]))
    (verdict,) = pipeline.verify(packed(unpacked, tmp_path / "keras"))
    assert "'os.system', which is no layer" in verdict.wrong


CLOSE = np.full((4, 50), 0.02, np.float32)  # many classes: every output is within what another machine explains


@pytest.mark.parametrize(
    ("name", "change", "wrong"),
    [
        ("tflite", lambda said: said, ""),
        ("tflite", lambda said: said + 1e-4, ""),
        ("tflite", lambda said: said * np.nan, "not finite"),
        ("tflite", lambda said: np.roll(said, 1, axis=1), "it predicts another class on 4 of 4 examples"),
        ("tflite-int8", lambda said: np.roll(said, 1, axis=1), "it agrees on 0% of 4 examples; 75% is required"),
        ("tflite-int8", lambda said: np.concatenate([said[:3], np.roll(said[3:], 1, axis=1)]), ""),
    ],
)
def test_agreement_is_of_classes_too(name, change, wrong):
    expected = CLOSE.copy()
    expected[:, 7] += 1e-3
    model = bundle_parts._Model(name, "model.tflite", {}, expected)
    examples = bundle_parts._Examples(np.zeros(4), [], CLASSIFICATION)
    verdict = bundle_parts._compare(model, {"first": change(expected)}, examples)
    assert (wrong in verdict.wrong) if wrong else not verdict.wrong, verdict


def test_a_bundle_that_is_nested_too_deep_is_said(unpacked, tmp_path):
    (unpacked / "bundle.json").write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(ExportError, match="nested too deep"):
        pipeline.verify(packed(unpacked, tmp_path / "deep"))


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
