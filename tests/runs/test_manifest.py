"""The typed manifest: what is written is read again, also by a run that was opened before; damage is named."""

import json
from dataclasses import replace

import pytest
from manifests import manifest_of

from tfransfer.errors import RunError
from tfransfer.runs.manifest import (
    Abstention,
    RunProgress,
    parse_manifest,
    read_manifest,
    read_values,
    update_manifest,
    write_manifest,
)
from tfransfer.runs.run import Run

WHOLE = manifest_of(
    ("a", "b", "c"), task="multi-label", versions={"keras": "3"}, seeds={"seed": 1}, measures={"loss": None},
    progress=RunProgress(done=("head",), phase="fine_tune", epoch=2, kept={"val_loss": 0.5}),
    phases={"head": {"epochs": 2}}, kept="head", temperature=1.5, thresholds=(0.5, 0.25, 1.0), seconds=3.5,
    abstention=Abstention(threshold=0.5, precision=0.9), exports={"tflite": {"file": "model.tflite"}}, model_hash="x",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    write_manifest(tmp_path, WHOLE)
    return tmp_path


def change(folder, **values):
    """Write plain values over those of the file, as another program would."""
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_what_is_written_is_read_again(folder):
    assert read_manifest(folder) == WHOLE
    assert json.loads((folder / "manifest.json").read_text()) == WHOLE.to_dict()


def test_the_file_has_the_layout_that_it_always_had(folder):
    values = json.loads((folder / "manifest.json").read_text())
    assert values["schema"] == 1
    assert values["plan"]["features"] == WHOLE.features.to_dict()
    assert (values["data"]["kind"], values["progress"]["done"]) == ("image", ["head"])
    assert WHOLE["plan"] == values["plan"]


def test_what_is_not_known_yet_is_not_in_the_file():
    values = manifest_of().to_dict()
    assert set(values) == {"schema", "task", "classes", "data", "plan", "temperature"}
    assert "progress" not in manifest_of()
    with pytest.raises(KeyError):
        manifest_of()["progress"]


def test_a_run_shows_what_was_written_since_it_was_opened(folder):
    run = Run(folder, read_manifest(folder))
    update_manifest(folder, exports={"onnx": {"file": "model.onnx"}}, progress=None)
    assert list(run.manifest.exports) == ["onnx"]
    assert run.manifest.finished
    (folder / "manifest.json").unlink()
    assert list(run.manifest.exports) == ["onnx"], "a run in memory outlives its folder"


def test_a_run_whose_manifest_was_damaged_says_so(folder):
    run = Run(folder, read_manifest(folder))
    (folder / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        run.manifest  # noqa: B018


def test_keys_of_a_newer_version_are_written_back(folder):
    newer = {"later": [1], "plan": WHOLE.to_dict()["plan"] | {"later": 2}}
    newer["plan"]["features"]["later"] = {"x": 3}
    change(folder, **newer)
    update_manifest(folder, seconds=9.0)
    values = json.loads((folder / "manifest.json").read_text())
    assert (values["later"], values["plan"]["later"], values["plan"]["features"]["later"]) == ([1], 2, {"x": 3})
    assert values["seconds"] == 9
    assert replace(read_manifest(folder), further={}) == replace(WHOLE, seconds=9.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema": 2}, "written with manifest schema 2; this tfransfer reads 1. Update it"),
        ({"plan": {}}, "plan.features must be an object"),
        ({"plan": {"features": {}, "base": "x"}}, "plan.weights is missing"),
        ({"progress": None}, "progress must be an object"),
        ({"data": {"kind": "image"}}, "data.root is missing"),
        ({"data": {"root": "/x", "kind": "sound"}}, "data.kind must be one of image, text; it is 'sound'"),
        ({"task": "juggling"}, "task must be one of"),
        ({"exports": []}, "exports must be an object"),
        ({"kept": 3}, "kept must be a text; it is 3"),
    ],
)
def test_a_damaged_manifest_is_named(folder, values, message):
    change(folder, **values)
    with pytest.raises(RunError) as told:
        parse_manifest(read_values(folder), folder / "manifest.json")
    assert message in str(told.value)
    assert str(folder) in str(told.value)
