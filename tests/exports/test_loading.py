"""An exported file predicts in this process as it did when it was measured, and only what is surely its own."""

import shutil

import numpy as np
import pytest
from manifests import manifest_of
from serving_world import picture, picture_model, text_model

import tfransfer as tr
from tfransfer.display.progress import quiet, silent
from tfransfer.errors import DataNotFoundError, ExportError, RunError
from tfransfer.exports import litert
from tfransfer.exports.formats import FORMATS
from tfransfer.exports.loading import load_file
from tfransfer.runs.manifest import DataRecord, write_manifest
from tfransfer.runs.prediction import predictor_of, predictor_of_file
from tfransfer.runs.scoring import recorded_data


@pytest.fixture(scope="module")
def validation(exported_run):
    """The files of the validation split, and the number of each one's class."""
    data = recorded_data(exported_run, quiet, silent)
    examples = data.split("validation")
    return [data.root / one.path for one in examples], np.array([one.label for one in examples])


@pytest.mark.parametrize("name", ["savedmodel", "tflite", "tflite-int8"])
def test_a_file_predicts_with_the_accuracy_that_was_recorded(exported_run, validation, name):
    recorded = exported_run.manifest["exports"][name]
    files, labels = validation
    predictor = predictor_of(exported_run, file=recorded["file"], trust=True)
    found = list(predictor.predictions(files))
    right = np.array([exported_run.classes[label] for label in labels]) == [one.label for one in found]
    assert recorded["pictures_compared"] == len(files)
    assert right.mean() == pytest.approx(recorded["top1"])
    for one in found:
        assert sum(probability for _, probability in one.top) == pytest.approx(1, abs=0.02)
    model = exported_run.predict_proba(files)
    rows = np.stack([row.output for row in predictor.rows(files)])
    assert np.abs(rows - model).max() == pytest.approx(recorded["largest_difference"], abs=2e-3)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    file = tmp_path_factory.mktemp("photos") / "photo.png"
    file.write_bytes(picture(5))
    return file


@pytest.mark.parametrize("name", ["model.tflite", "model_int8.tflite"])
def test_a_lite_file_alone_predicts_with_the_labels_that_are_packed_in(exported_run, photo, tmp_path, name):
    alone = shutil.copy(exported_run.folder / name, tmp_path / "renamed.tflite")
    (one,) = predictor_of_file(tmp_path / "renamed.tflite").predictions([photo])
    (same,) = predictor_of(exported_run, file=name).predictions([photo])
    assert (one.top, one.label) == (same.top, same.label)
    assert list(predictor_of(exported_run, file=str(alone)).predictions([photo])) == [same]


@pytest.mark.parametrize(
    ("outputs", "activation", "output", "task"),
    [(3, "softmax", "probabilities", "single-label"), (3, "sigmoid", "probabilities", "multi-label"),
     (1, "sigmoid", "probabilities", "multi-label"), (1, None, "values", "regression")],
)  # fmt: skip
def test_a_lite_file_alone_tells_its_task(tmp_path, photo, outputs, activation, output, task):
    model, classes = picture_model(outputs, activation, output), ("a", "b", "c")[:outputs]
    FORMATS["tflite"].write(model, classes, tmp_path / "model.tflite", None)
    loaded = load_file(tmp_path / "model.tflite")
    assert (loaded.task.name, loaded.labels) == (task, classes)
    predictor = predictor_of_file(tmp_path / "model.tflite")
    assert ("from 0.5 on" in predictor.note) == (task == "multi-label")
    (row,) = predictor.rows(photo)
    (pixels,) = (one.value for one in predictor.inputs(photo))
    np.testing.assert_allclose(row.output, model(pixels[np.newaxis].astype(np.float32)).numpy()[0], atol=1e-4)


def test_a_lite_file_of_somebody_else_is_refused(tmp_path):
    file = tmp_path / "other.tflite"
    file.write_bytes(litert.convert(picture_model(3, "softmax", "probabilities"), litert.FLOAT32))
    for content in (file.read_bytes(), b"no model", b""):
        file.write_bytes(content)
        with pytest.raises(ExportError, match="is not a LiteRT file that tfransfer wrote, so what pixels it takes"):
            load_file(file)


def test_a_file_that_is_not_the_runs_is_refused(exported_run, tmp_path):
    with pytest.raises(DataNotFoundError, match=r"neither a path nor in .*Did you mean model_int8\.tflite"):
        predictor_of(exported_run, file="model_int.tflite")
    other = tmp_path / "other"
    other.mkdir()
    model = picture_model(3, "softmax", "probabilities")
    FORMATS["tflite"].write(model, ("red", "green", "blue"), other / "model.tflite", None)
    with pytest.raises(RunError, match="its labels are red, green, blue, those of the run are blue, green, red"):
        predictor_of(exported_run, file=str(other / "model.tflite"))
    model.save(other / "model.keras")
    with pytest.raises(RunError, match="has no labels, so whether it is of"):
        predictor_of(exported_run, file=str(other / "model.keras"))
    FORMATS["tflite"].write(picture_model(2, "softmax", "probabilities"), ("a", "b"), other / "model.tflite", None)
    with pytest.raises(RunError, match="its input or output is another"):
        predictor_of(exported_run, file=str(other / "model.tflite"))
    with pytest.raises(ExportError, match=r"expected a \.tflite, \.onnx or \.keras file"):
        predictor_of(exported_run, file="labels.txt")


def test_a_saved_model_is_a_program_and_is_run_only_when_trusted(exported_run):
    with pytest.raises(ExportError, match="is a program: it is run only with trust=True"):
        predictor_of(exported_run, file="saved_model")


def test_a_keras_file_alone_does_not_say_its_classes(exported_run):
    with pytest.raises(ExportError, match="does not say what its outputs are"):
        predictor_of_file(exported_run.folder / "model.keras")


@pytest.mark.parametrize("name", ["keras", "savedmodel"])
def test_files_of_a_run_on_texts_predict_texts(tmp_path, name):
    classes, model = ("bad", "good"), text_model(2)
    model.save(tmp_path / "model.keras")
    write_manifest(tmp_path, manifest_of(classes, image_size=0, data=DataRecord(root="nowhere", kind="text")))
    FORMATS[name].write(model, classes, tmp_path / FORMATS[name].file, None)
    run = tr.load_run(tmp_path)
    predictor = predictor_of(run, file=FORMATS[name].file, trust=True)
    for one, same in zip(predictor.predictions(["a good film", "no"]), run.predict(["a good film", "no"]), strict=True):
        assert dict(one.top) == pytest.approx(dict(same.top), abs=1e-5)
