"""LiteRT variants of a small trained model, read by LiteRT itself and by MediaPipe, and what happens to spoilt ones."""

import json
import shutil
import zipfile
from dataclasses import replace

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from small_world import SEED, SIZE, colour_folder, forget_data, tiny_model

from tfransfer import pipeline
from tfransfer.errors import ExportError, SettingError
from tfransfer.exports import formats, litert
from tfransfer.exports.signature import read_signatures
from tfransfer.runs import handover
from tfransfer.runs.manifest import update_manifest
from tfransfer.runs.prediction import predictor_of
from tfransfer.runs.run import load_run

QUANTIZED = ("tflite-dynamic", "tflite-int8", "tflite-int16x8")
VARIANTS = ("tflite", "tflite-fp16", *QUANTIZED)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return colour_folder(tmp_path_factory.mktemp("colours") / "data", per_class=220, noise=100)


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    made = pipeline.train(
        photos,
        tiny_model(),
        preprocessing="tf",
        out=out,
        head_epochs=4,
        fine_tune_epochs=4,
        unfreeze=2,
        seed=SEED,
        exports=(),
    )
    made.export(*VARIANTS)
    return made


@pytest.fixture
def copied(run, tmp_path):
    """The run somewhere else, as another process opens it."""
    return load_run(shutil.copytree(run.folder, tmp_path / "run"))


def measured(run, name):
    return json.loads((run.folder / "exports.json").read_text())[name]


@pytest.mark.learns
@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_scored_and_measured(run, name):
    found = measured(run, name)
    assert found["pictures_compared"] == len(run.data.split("validation"))
    assert found["top1_agreeing"] >= 0.8 * found["pictures_compared"]
    assert found["top1"] + found["drop"] == pytest.approx(run.metrics["validation"]["top1"])
    assert found["worst_class"] in run.classes
    assert set(found["latency_ms"]) == {"1", "2"}
    assert all(0 < ms < 1000 for ms in found["latency_ms"].values())
    assert 0 < found["peak_memory_mb"] < 200
    assert found == run.manifest["exports"][name]


def test_integers_take_a_fraction_of_the_bytes_and_pixels_stay_uint8(run):
    kinds = {}
    for name in VARIANTS:
        interpreter = Interpreter(model_path=str(run.folder / formats.find_format(name).file))
        interpreter.allocate_tensors()
        kinds[name] = tuple(f()[0]["dtype"] for f in (interpreter.get_input_details, interpreter.get_output_details))
    assert kinds["tflite"] == kinds["tflite-fp16"] == kinds["tflite-dynamic"] == (np.uint8, np.float32)
    assert kinds["tflite-int8"] == (np.uint8, np.uint8)
    assert kinds["tflite-int16x8"] == (np.float32, np.float32)
    interpreter = Interpreter(model_path=str(run.folder / "model_int8.tflite"))
    interpreter.allocate_tensors()
    assert not [t["name"] for t in interpreter.get_tensor_details() if t["dtype"] == np.float32], "all integers"


def test_each_file_says_what_it_takes_and_gives(run):
    ends = {}
    for name in ("keras", *VARIANTS):
        (one,) = read_signatures(measured(run, name)["signatures"])
        ends[name] = one.input.text, one.output.text
    floats = f"images: uint8 (1, {SIZE}, {SIZE}, 3)", "probabilities: float32 (1, 3)"
    assert ends == dict.fromkeys(("tflite", "tflite-fp16", "tflite-dynamic"), floats) | {
        "keras": (f"pixels: float32 (n, {SIZE}, {SIZE}, 3)", "probabilities: float32 (n, 3)"),
        "tflite-int8": (floats[0], "probabilities: uint8 (1, 3)"),
        "tflite-int16x8": (floats[0].replace("uint8", "float32"), floats[1]),
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_each_file_predicts_with_the_accuracy_that_was_measured(run, name):
    examples = run.data.split("validation")
    files = [run.data.root / one.path for one in examples]
    found = predictor_of(run, file=formats.find_format(name).file).predictions(files)
    right = [run.classes[one.label] == said.label for one, said in zip(examples, found, strict=True)]
    assert sum(right) / len(right) == pytest.approx(measured(run, name)["top1"])


def metadata_of(path):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    (entry,) = (entry for entry in model.metadata if entry.name == b"TFLITE_METADATA")
    return bytes(model.buffers[entry.buffer].data)


class Table:
    """Reads a flatbuffer by the positions of `metadata_schema.fbs`, which this test knows by itself."""

    def __init__(self, data, position=None):
        start = position if position is not None else flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0)
        self.data, self.table = data, flatbuffers.table.Table(data, start)

    def _at(self, slot):
        offset = self.table.Offset(4 + 2 * slot)
        return offset + self.table.Pos if offset else 0

    def text(self, slot):
        return self.table.String(self._at(slot)).decode()

    def number(self, slot, flags):
        return self.table.Get(flags, self._at(slot)) if self._at(slot) else 0

    def child(self, slot):
        return Table(self.data, self.table.Indirect(self._at(slot)))

    def children(self, slot):
        at = self._at(slot) - self.table.Pos
        return [
            Table(self.data, self.table.Indirect(self.table.Vector(at) + 4 * i))
            for i in range(self.table.VectorLen(at))
        ]

    def floats(self, slot):
        at = self._at(slot) - self.table.Pos
        flags = flatbuffers.number_types.Float32Flags
        return [self.table.Get(flags, self.table.Vector(at) + 4 * i) for i in range(self.table.VectorLen(at))]


@pytest.mark.parametrize("name", VARIANTS)
def test_metadata_and_labels_read_back(run, name):
    path = run.folder / formats.find_format(name).file
    data = metadata_of(path)
    assert data[4:8] == b"M001"
    small, large = flatbuffers.number_types.Uint8Flags, flatbuffers.number_types.Uint32Flags
    (graph,) = Table(data).children(3)
    (picture,), (scores,) = graph.children(2), graph.children(3)
    assert picture.text(0) == "image"
    content = picture.child(3)
    assert content.number(0, small) == 2  # ImageProperties
    assert content.child(1).number(0, small) == 1  # RGB
    assert [content.child(1).child(1).number(slot, large) for slot in (0, 1)] == [SIZE, SIZE]
    (unit,) = picture.children(4)
    assert unit.number(0, small) == 1  # NormalizationOptions
    assert (unit.child(1).floats(0), unit.child(1).floats(1)) == ([0.0], [1.0])
    (file,) = scores.children(6)
    assert (file.text(0), file.number(2, small)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(path) as packed:
        assert packed.namelist() == ["labels.txt"]
        assert packed.read("labels.txt").decode().splitlines() == list(run.classes)


def test_weights_stand_where_kernels_expect_them(run):
    content = (run.folder / "model.tflite").read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    starts = [
        model.Buffers(i)._tab.Vector(model.Buffers(i)._tab.Offset(4))
        for i in range(model.BuffersLength())
        if model.Buffers(i).DataLength()
    ]
    assert starts
    assert not [start for start in starts if start % 16]


def test_onnx_says_what_the_model_says(copied):
    runtime = pytest.importorskip("onnxruntime")
    (made,) = copied.export("onnx")
    session = runtime.InferenceSession(str(made.path))
    assert session.get_modelmeta().custom_metadata_map["labels.txt"].splitlines() == list(copied.classes)
    held = handover.subject_of(copied, ["onnx"]).held.first(5)
    for part in (slice(0, 1), slice(0, 5)):  # any batch
        (said,) = session.run(["probabilities"], {"images": held.given[part]})
        np.testing.assert_allclose(said, held.expected[part], atol=1e-5)
    (one,) = made.parity.signatures
    ends = f"images: uint8 (n, {SIZE}, {SIZE}, 3)", "probabilities: float32 (n, 3)"
    assert (one.input.text, one.output.text) == ends
    rows = predictor_of(copied, file="model.onnx").rows(list(held.given))
    np.testing.assert_allclose([row.output for row in rows], held.expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8"])
def test_mediapipe_names_the_pictures(run, name):
    try:
        import mediapipe
        from mediapipe.tasks import python as tasks
        from mediapipe.tasks.python import vision
    except (ImportError, OSError) as error:  # it loads graphics libraries that a server may lack
        pytest.skip(f"MediaPipe does not load here: {error}")
    options = vision.ImageClassifierOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(run.folder / formats.find_format(name).file))
    )
    held = handover.subject_of(run, ["tflite"]).held.first(12)
    named = []
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for pixels in held.given:
            said = classifier.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels.copy()))
            named.append(said.classifications[0].categories[0].category_name)
    expected = [run.classes[i] for i in held.expected.argmax(axis=1)]
    assert sum(a == b for a, b in zip(named, expected, strict=True)) >= 11


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_size": 10}, "over 10 bytes"),
        ({"max_size": "1 kB"}, "over 1.0 kB"),
        ({"max_latency": 1e-9}, "one example takes"),
    ],
)
def test_a_file_over_a_limit_is_not_kept(copied, limits, reason):
    (copied.folder / "model.tflite").write_bytes(b"the old one")
    with pytest.raises(ExportError, match=reason):
        copied.export("tflite", **limits)
    assert (copied.folder / "model.tflite").read_bytes() == b"the old one"


def spoilt(kind, how):
    """A format whose writer spoils the head first: the outputs trade places, or all become noise."""

    def write(model, classes, path, representative):
        head = model.get_layer("logits")
        before = head.get_weights()
        head.set_weights(how(before))
        try:
            kind.write(model, classes, path, representative)
        finally:
            head.set_weights(before)

    return replace(kind, write=write)


@pytest.mark.parametrize("name", ["tflite-int8", "tflite-dynamic"])
def test_law_3_a_quantized_file_with_outputs_mixed_up_is_refused(copied, monkeypatch, name):
    (copied.folder / formats.find_format(name).file).unlink()
    mixed = lambda weights: [np.roll(weights[0], 1, axis=1), np.roll(weights[1], 1)]  # noqa: E731
    monkeypatch.setitem(formats.FORMATS, name, spoilt(formats.FORMATS[name], mixed))
    with pytest.raises(ExportError, match="its outputs are reordered"):
        copied.export(name)
    assert not (copied.folder / formats.find_format(name).file).exists()


def test_a_file_that_is_less_sure_than_it_is_right_is_written_once_more(copied, monkeypatch):
    unsure = lambda weights: [weight / 8 for weight in weights]  # noqa: E731
    monkeypatch.setitem(formats.FORMATS, "tflite-int8", spoilt(formats.FORMATS["tflite-int8"], unsure))
    before = copied.model.get_layer("logits").get_weights()
    every = copied.export("tflite-int8")
    (made,) = every
    assert "array" not in repr(made)
    assert "<td" in every._repr_html_()
    assert made.temperature < 0.7
    assert measured(copied, "tflite-int8")["temperature"] == made.temperature
    for one, other in zip(before, copied.model.get_layer("logits").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_the_data_floats_are_compared_on_kept_pictures_and_integers_say_what_they_need(copied):
    forget_data(copied.folder)
    said = []
    (made,) = pipeline.export(copied, "tflite-fp16", say=said.append)
    assert made.accuracy is None
    assert made.parity.pictures == 16
    assert any("accuracy is not measured" in line for line in said)
    with pytest.raises(ExportError, match="calibrated on training images"):
        copied.export("tflite-int8")
    with pytest.raises(ExportError, match="its accuracy drop is unknown"):
        copied.export("tflite", max_drop=1)


@pytest.mark.slow
def test_the_best_file_within_a_budget_is_kept_and_the_others_are_not(copied, run):
    for name in VARIANTS:
        (copied.folder / formats.find_format(name).file).unlink()
    size = measured(run, "tflite-fp16")["bytes"] + 1
    found = pipeline.export_within([copied], f"{size / 1000} kB, drop 50, 1000ms")
    assert found.kept.size <= size
    fitting = [one for _, one in found.tried if one.size <= size]
    assert found.kept.accuracy.value == max(one.accuracy.value for one in fitting)
    kept = [name for name in VARIANTS if (copied.folder / formats.find_format(name).file).exists()]
    assert kept == [found.kept.format]
    assert [one.format for _, one in found.tried] == list(formats.TRIED)
    assert repr(found) == f"Search(4 files tried; best: {found.kept.format} of {copied.folder})"
    assert found._repr_html_().count("<tr>") == 1 + len(found.tried)


@pytest.mark.slow
def test_the_better_of_two_runs_wins_and_gets_the_file(copied, photos, tmp_path):
    (copied.folder / "model.tflite").unlink()
    other = pipeline.train(
        photos, tiny_model(), preprocessing="tf", out=tmp_path / "other", head_epochs=1, fine_tune_epochs=0, exports=()
    )
    found = pipeline.export_within([other, copied], "50MB", ["tflite", "tflite-dynamic"])
    assert [made.folder for made, _ in found.tried] == [other.folder, other.folder, copied.folder, copied.folder]
    scores = {(made.folder, one.format): one.accuracy.value for made, one in found.tried}
    assert scores[found.run.folder, found.kept.format] == max(scores.values())
    assert min(scores[copied.folder, kind] - scores[other.folder, kind] for kind in ("tflite", "tflite-dynamic")) > 0
    assert found.run.folder == copied.folder
    assert (copied.folder / found.kept.path.name).is_file()
    assert not list(other.folder.glob("*.tflite"))


def test_where_nothing_keeps_to_the_budget_nothing_is_kept(copied, command):
    (copied.folder / "model.tflite").unlink()
    code, _, err = command("export", copied.folder, "--budget", "1kB", "--to", "tflite")
    assert code == 1
    assert "none of 1 files is within 1kB" in err
    assert not (copied.folder / "model.tflite").exists()


@pytest.mark.parametrize(
    "words",
    [("--to", "tflite", "--budget", "4 apples"), ("--budget", "4MB, 5MB"), (), ("--budget", "4MB", "--max-drop", "1")],
)
def test_wrong_usage_of_export_is_said(copied, command, words):
    assert command("export", copied.folder, *words)[0] == 2


def test_runs_of_other_classes_do_not_compete(copied, run):
    other = load_run(run.folder)
    update_manifest(other.folder, classes=("x", "y", "z"))
    with pytest.raises(SettingError, match="differ in task or classes"):
        pipeline.export_within([copied, other], "4MB")


def test_representative_pictures_are_of_every_class(run):
    pictures = handover.representative(run, run.data).pictures
    assert pictures.dtype == np.uint8
    means = pictures.reshape(len(pictures), -1, 3).mean(axis=1)
    counts = np.bincount(means.argmax(axis=1), minlength=3)
    assert counts.max() - counts.min() <= 0.2 * len(pictures)


def test_calibration_needs_pictures():
    with pytest.raises(ValueError, match="needed to calibrate"):
        litert.convert(tiny_model(), litert.INT8)
