"""`tfransfer predict`: what is given is predicted, or named with what to do."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from manifests import manifest_of
from PIL import Image
from serving_world import SIZE, picture_model, text_model

import tfransfer as tr
from tfransfer.exports.formats import FORMATS
from tfransfer.runs import prediction_table
from tfransfer.runs.manifest import DataRecord, write_manifest
from tfransfer.tasks.prediction import Prediction

OLD_RUN = Path(__file__).parent.parent / "runs" / "old_run" / "finished"


@pytest.fixture
def photos(tmp_path):
    """Two pictures that are read, and three that are not."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.tif"):
        Image.new("RGB", (8, 8), "red").save(folder / name)
    for name in ("c.jxl", "d.JXL", "e.svg"):
        (folder / name).write_bytes(b"anything")
    return folder


def test_pictures_of_a_folder_that_are_not_read_are_listed_and_counted(photos, command):
    code, said, _ = command("predict", OLD_RUN, photos)
    assert code == 1
    assert all(name in said for name in ("a.png", "b.tif", "c.jxl", "d.JXL", "e.svg"))
    assert "3 of 5 pictures cannot be read:" in said
    assert "2 pictures: .jxl is not read here; convert it to one of JPEG" in said
    assert "1 picture: .svg is not read here" in said


def lines_of(file):
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_predictions_are_written_to_a_table_with_a_line_for_each_input(photos, command, tmp_path):
    (photos / "=1+1.png").write_bytes((photos / "a.png").read_bytes())
    table = tmp_path / "new" / "predictions.csv"
    code, said, _ = command("predict", OLD_RUN, photos, "--out", table)
    assert code == 1
    assert f"{table}: 6 pictures" in said
    assert "3 of 6 pictures cannot be read:" in said
    assert "top 1" not in said
    assert table.read_text().splitlines()[0] == "input,predicted,probability,sure,error"
    found = lines_of(table)
    run = tr.load_run(OLD_RUN)
    for line, one in zip(found, run.predict(photos), strict=True):
        assert (line["input"], line["predicted"], line["error"]) == (one.name, one.label, one.error)
        assert line["probability"] == (f"{one.probability:.6f}" if not one.error else "")
        assert line["sure"] == ("true" if not one.error else "")


def test_a_table_of_predictions_is_safe_in_a_spreadsheet(text_run, command, tmp_path):
    table = tmp_path / "predictions.csv"
    assert command("predict", text_run, "=HYPERLINK(1)", 'a, "b"', "--out", table)[0] == 0
    assert [line["input"] for line in lines_of(table)] == ["'=HYPERLINK(1)", 'a, "b"']


def test_a_table_of_predictions_is_replaced_and_nothing_else_is(text_run, command, tmp_path):
    table = tmp_path / "predictions.csv"
    for text in ("one", "two"):
        assert command("predict", text_run, text, "--out", table)[0] == 0
    assert [line["input"] for line in lines_of(table)] == ["two"]
    for content in ("path,label\na.jpg,red\n", "notes\n"):
        table.write_text(content)
        code, _, said = command("predict", text_run, "three", "--out", table)
        assert code == 1
        assert f"{table} is another file and will not be replaced" in said
        assert table.read_text() == content


def test_a_table_is_not_left_half_written(text_run, command, tmp_path, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction_table, "_line", stop)
    assert command("predict", text_run, "one", "--out", tmp_path / "predictions.csv")[0] == 1
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_unicode_does_not_cost_the_others(text_run, command, tmp_path):
    table = tmp_path / "predictions.csv"
    assert command("predict", text_run, "good", "bad \udcff", "--out", table)[0] == 1
    assert [line["input"] for line in lines_of(table)] == ["good", "bad \\udcff"]


@pytest.mark.parametrize(("task", "predicted"), [("multi-label", "b;a"), ("multi-label", ""), ("regression", "0.25")])
def test_a_table_has_the_same_columns_for_every_task(task, predicted, tmp_path):
    table = tmp_path / "predictions.csv"
    value = 0.25 if task == "regression" else None
    with prediction_table.table_of_predictions(table) as write:
        write(Prediction("x.jpg", "" if value else predicted, 0.0 if value else 0.75, (("b", 0.75),), value=value))
    (line,) = lines_of(table)
    sure = {"probability": "", "sure": ""} if value else {"probability": "0.750000", "sure": "true"}
    assert line == {"input": "x.jpg", "predicted": predicted, "error": ""} | sure


def test_json_is_quiet_on_standard_error(photos, command, tmp_path):
    for name in ("c.jxl", "d.JXL", "e.svg"):
        (photos / name).unlink()
    code, said, elsewhere = command("predict", OLD_RUN, photos, "--json")
    assert (code, elsewhere) == (0, "")
    assert [one["error"] for one in json.loads(said)["predictions"]] == [None, None]
    code, said, elsewhere = command("predict", OLD_RUN, photos, "--json", "--out", tmp_path / "p.csv")
    assert (code, elsewhere) == (0, "")
    assert json.loads(said) == {"table": str(tmp_path / "p.csv"), "count": 2, "failed": 0}


def test_a_folder_has_a_progress_display_and_a_single_picture_has_none(photos, command):
    assert "predicting: 5 images in " in command("predict", OLD_RUN, photos)[1]
    assert "predicting" not in command("predict", OLD_RUN, photos / "a.png")[1]


def test_an_exported_file_predicts_with_its_run_and_alone(lite_run, photos, command, tmp_path):
    photo = photos / "a.png"
    _, said, _ = command("predict", lite_run, photo, "--json")
    expected = json.loads(said)["predictions"][0]
    alone = shutil.copy(lite_run / "model.tflite", tmp_path)
    for words in ([lite_run, photo, "--file", "model.tflite"], [lite_run / "model.tflite", photo],
                  [alone, photo], [lite_run, photo, "--file", "model.keras"]):  # fmt: skip
        code, said, elsewhere = command("predict", *words, "--json")
        assert (code, elsewhere) == (0, "")
        (one,) = json.loads(said)["predictions"]
        assert one["label"] == expected["label"]
        assert [two["probability"] for two in one["top"]] == pytest.approx(
            [two["probability"] for two in expected["top"]], abs=1e-3
        )


def test_a_lite_file_in_a_runs_folder_uses_the_runs_thresholds(photos, command, tmp_path):
    model, classes = picture_model(3, "sigmoid", "probabilities"), ("a", "b", "c")
    model.save(tmp_path / "model.keras")
    FORMATS["tflite"].write(model, classes, tmp_path / "model.tflite", None)
    manifest = manifest_of(classes, task="multi-label", thresholds=(0.0, 0.0, 1.0), image_size=SIZE)
    write_manifest(tmp_path, manifest)
    _, said, _ = command("predict", tmp_path / "model.tflite", photos / "a.png", "--json")
    assert json.loads(said)["predictions"][0]["label"] == "a;b"
    (tmp_path / "manifest.json").unlink()
    _, said, _ = command("predict", tmp_path / "model.tflite", photos / "a.png")
    assert "the file has no thresholds: a class applies from 0.5 on" in said


def test_a_file_and_a_file_is_wrong_usage(command, tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"")
    code, _, said = command("predict", tmp_path / "model.tflite", "a.png", "--file", "model.tflite")
    assert code == 2
    assert "give the run's folder with --file" in said


@pytest.fixture(scope="module")
def text_run(tmp_path_factory):
    """A run on texts, without a training; its column of texts was called "words"."""
    folder = tmp_path_factory.mktemp("runs") / "words"
    folder.mkdir()
    text_model(2).save(folder / "model.keras")
    data = DataRecord(root="nowhere", kind="text", origin={"columns": {"text": "words"}})
    write_manifest(folder, manifest_of(("bad", "good"), image_size=0, data=data))
    return folder


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "good film\nno, bad\u2028really\n\n"),
        ("a.csv", 'id,words\n1,good film\n2,"no, bad\u2028really"\n'),
        ("a.tsv", "Text\tid\ngood film\t1\nno, bad\u2028really\t2\n"),
    ],
)
def test_files_of_texts_are_read(name, content, text_run, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(content)
    code, said, _ = command("predict", text_run, name, "--json")
    assert code == 0
    assert [one["text"] for one in json.loads(said)["predictions"]] == ["good film", "no, bad\u2028really"]
    code, said, _ = command("predict", text_run, name, "a third one", "--json")
    assert len(json.loads(said)["predictions"]) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("absent.csv", "absent.csv does not exist. If it is a text, end it with a full stop."),
        ("my texts.txt", "my texts.txt does not exist"),
        ("photo.jpg", "photo.jpg is a picture, but the model reads texts"),
        ("film.heic", "film.heic is a picture"),
        (".", "is a folder; texts are read from .txt"),
        ("a.pdf", "a.pdf is a file; texts are read from .txt"),
        ("paths.txt", "holds paths of pictures, such as 'a/1.jpg'"),
        ("paths.csv", "the column 'text' of paths.csv holds paths of pictures"),
        ("other.csv", "has the columns id, remark: which has the texts? Name that one 'words'"),
        ("header.csv", "has no lines below its header"),
        ("blank.txt", "blank.txt has no texts"),
    ],
)
def test_what_is_no_text_is_refused(given, words, text_run, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.pdf").write_bytes(b"%PDF")
    Path("paths.txt").write_text("a/1.jpg\na/2.jpg\n")
    Path("paths.csv").write_text("text,label\na/1.jpg,a\na/2.jpg,a\n")
    Path("other.csv").write_text("id,remark\n1,good film\n")
    Path("header.csv").write_text("id,text\n")
    Path("blank.txt").write_text("\n\n")
    code, out, said = command("predict", text_run, given)
    assert (code, out) == (1, "")
    assert words in said


def test_a_text_that_is_not_unicode_is_named_and_does_not_stop_the_others(text_run, command):
    code, said, _ = command("predict", text_run, "good", "bad \udcff", "--json")
    good, broken = json.loads(said)["predictions"]
    assert (code, good["error"], broken["error"]) == (1, None, "it is not valid Unicode")
