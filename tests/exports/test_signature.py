"""What an exported file takes and gives: read from the file, and the same wherever it is shown."""

import json
from pathlib import Path

import numpy as np
import pytest
from serving_world import text_model

from tfransfer.display.progress import quiet, silent
from tfransfer.evaluation.report.page import render
from tfransfer.exports.exporting import Subject, export_model
from tfransfer.exports.held_out import HeldOut
from tfransfer.exports.signature import Signature, Tensor, read_signatures, signature_table
from tfransfer.runs.report import gather
from tfransfer.runs.run import load_run

PIXELS = "RGB pictures of 8 x 8 pixels, values 0 to 255, not scaled or normalized: preprocessing is inside the file"
BYTES = "JPEG, PNG, BMP or GIF files of any size, upright"
ENDS = {
    "savedmodel": [("images: uint8 (n, 8, 8, 3)", "probabilities: float32 (n, 3)"),
                   ("encoded: string (n,)", "probabilities: float32 (n, 3)")],
    "tflite": [("images: uint8 (1, 8, 8, 3)", "probabilities: float32 (1, 3)")],
    "tflite-int8": [("images: uint8 (1, 8, 8, 3)", "probabilities: uint8 (1, 3)")],
}  # fmt: skip


def recorded(run, name):
    return json.loads((run.folder / "exports.json").read_text(encoding="utf-8"))[name]


@pytest.mark.parametrize("name", ENDS)
def test_the_signature_is_recorded_from_the_file_itself(exported_run, name):
    signatures = recorded(exported_run, name)["signatures"]
    assert [(one.input.text, one.output.text) for one in read_signatures(signatures)] == ENDS[name]
    for one in signatures:
        assert one["input"].get("range") == (None if one["input"]["name"] == "encoded" else [0, 255])
        assert one["takes"] == (
            PIXELS if "range" in one["input"] else "JPEG, PNG, BMP or GIF files of any size, upright"
        )
        assert one["gives"].startswith("probabilities from 0 to 1, in the order of labels.txt")
        assert (one["output"].get("scale"), one["output"].get("zero_point")) == (
            (1 / 256, 0) if name == "tflite-int8" else (None, None)
        )


@pytest.mark.parametrize("name", ENDS)
def test_the_accuracy_of_an_export_says_its_split(exported_run, name):
    assert recorded(exported_run, name)["split"] == "validation"


def test_terminal_and_report_show_the_same_description(exported_run, command):
    run = load_run(exported_run.folder)
    code, said, _ = command("export", run.folder, "--to", "tflite")
    assert code == 0
    assert "validation top-1" in said
    assert "images: uint8 (1, 8, 8, 3)" in said
    assert f"images: {PIXELS}" in said
    page = render(gather(run, 0, quiet, silent))
    assert "validation top-1" in page
    table = signature_table(run.manifest.exports)
    assert len(table["rows"]) >= len(ENDS)
    for text in (*(cell for row in table["rows"] for cell in row), *table["words"]):
        assert text in page


def test_the_documentation_shows_the_same_description(exported_run):
    documented = " ".join((Path(__file__).parents[2] / "docs" / "files.md").read_text("utf-8").split())
    found = signature_table({name: exported_run.manifest.exports[name] for name in ENDS})
    for row in found["rows"]:
        cells = [cell.replace("8, 8, 3)", "224, 224, 3)").replace(", 3)", ", 5)") for cell in row]
        cells[1] = cells[1].replace("224, 5)", "224, 3)")
        assert "| " + " | ".join(f"`{cell}`" for cell in cells) + " |" in documented
    for words in found["words"]:
        assert words.partition(": ")[2].replace("8 x 8", "224 x 224") in documented


def test_nothing_is_said_of_files_of_earlier_versions():
    assert signature_table({"tflite": {"file": "model.tflite", "bytes": 3}})["rows"] == []


def test_a_file_of_texts_says_so(tmp_path):
    model = text_model(2)
    held = HeldOut.of(model, np.array(["good", "bad film"]))
    (one,) = export_model(Subject(model, ("bad", "good"), held), "savedmodel", tmp_path).parity.signatures
    assert (one.input.text, one.takes) == ("text: string (n,)", "texts in UTF-8")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (Tensor("values", (1, 1), "float32"), "numbers in the unit of the labels, in the order of labels.txt"),
        (Tensor("probabilities", (1, 2), "uint8", 0.5, 0), "in the order of labels.txt: 0.5 x value"),
        (Tensor("probabilities", (1, 2), "int8", 0.5, -128), "0.5 x (value - -128)"),
    ],
)
def test_words_for_outputs(output, words):
    one = Signature(Tensor("images", (1, 8, 8, 3), "uint8"), output)
    assert one.gives.endswith(words)
    assert read_signatures([json.loads(json.dumps(one.to_dict()))]) == (one,)
