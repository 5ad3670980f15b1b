"""`tfransfer predict`: what is given is predicted, or named with what to do."""

import json
from pathlib import Path

import pytest
from manifests import manifest_of
from PIL import Image
from serving_world import text_model

from tfransfer.runs.manifest import DataRecord, write_manifest

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
    assert code == 0
    assert all(name in said for name in ("a.png", "b.tif", "c.jxl", "d.JXL", "e.svg"))
    assert "3 of 5 pictures cannot be read:" in said
    assert "2 pictures: .jxl is not read here; convert it to one of JPEG" in said
    assert "1 picture: .svg is not read here" in said


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
    assert (code, good["error"], broken["error"]) == (0, None, "it is not valid Unicode")
