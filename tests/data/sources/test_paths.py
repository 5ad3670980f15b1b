"""Strings that are paths are pictures, whatever they come in; texts stay texts; a mixture is refused."""

import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfransfer.data.loading import load_data
from tfransfer.data.sources.paths import are_paths, is_picture_path
from tfransfer.errors import DataError

pytestmark = pytest.mark.usefixtures("fresh_cache")
TEXTS = [
    "a good film",
    "not worth it. Really",
    "see photo.jpg for more",
    "3.5 stars",
    "http://a.b/c",
    "x" * 5000,
    "a\nb.jpg",
]


@pytest.fixture
def photos(solid_folder):
    root = solid_folder("photos", {"cat": 20, "dog": 20})
    return sorted(root.rglob("*.png"))


def labels(photos):
    return [photo.parent.name for photo in photos]


GIVEN = {
    "strings": lambda photos: ([str(p) for p in photos], labels(photos)),
    "paths": lambda photos: (list(photos), labels(photos)),
    "an array": lambda photos: (np.array([str(p) for p in photos]), np.array(labels(photos))),
    "an array of objects": lambda photos: (np.array(photos, object), labels(photos)),
    "bytes": lambda photos: ([str(p).encode() for p in photos], labels(photos)),
    "tf.data": lambda photos: tf.data.Dataset.from_tensor_slices(([str(p) for p in photos], labels(photos))),
    "tf.data in batches": lambda photos: tf.data.Dataset.from_tensor_slices(
        ([str(p) for p in photos], [int("dog" in str(p)) for p in photos])
    ).batch(7),
}


@pytest.mark.parametrize("form", GIVEN)
def test_paths_are_pictures(photos, form):
    dataset = load_data(GIVEN[form](photos))
    assert (dataset.kind, len(dataset.examples), len(dataset.classes)) == ("image", 40, 2)
    assert {e.width for e in dataset.examples} == {12}
    assert {Path(e.path).name.partition("-")[2] for e in dataset.examples} == {p.name for p in photos}
    named = {e.content: dataset.classes[e.label] for e in load_data(photos[0].parent.parent).examples}
    again = {e.content: dataset.classes[e.label] for e in dataset.examples}
    assert again.keys() == named.keys()
    if "0" not in dataset.classes:
        assert again == named


def test_relative_paths_are_looked_up_where_the_user_is(photos, monkeypatch):
    monkeypatch.chdir(photos[0].parent.parent)
    dataset = load_data(([f"{p.parent.name}/{p.name}" for p in photos], labels(photos)))
    assert len(dataset.examples) == 40


def test_paths_without_a_file_are_left_out_named_and_counted(photos):
    given = [*map(str, photos[:-2]), "gone/1.jpg", "no path at all"]
    dataset = load_data((given, labels(photos)))
    assert len(dataset.examples) == 38
    assert any("2 of 40 paths have no file" in note and "gone/1.jpg" in note for note in dataset.notes)
    with pytest.raises(DataError, match=r"40 of the 40 paths have no file, for example 'nowhere/000\.png'"):
        load_data(([f"nowhere/{p.name}" for p in photos], labels(photos)))


def test_a_mixture_is_refused(photos):
    with pytest.raises(DataError, match="20 of 40 strings are paths of pictures"):
        load_data(([*map(str, photos[:20]), *["a good film"] * 20], labels(photos)))
    with pytest.raises(DataError, match="20 of 40 are strings"):
        load_data(([*map(str, photos[:20]), *[np.zeros((8, 8, 3), np.uint8)] * 20], labels(photos)))


def test_a_few_paths_among_texts_are_texts_and_counted():
    texts = [f"a good film {i}" for i in range(38)] + ["a.jpg", "b.png"]
    dataset = load_data((texts, ["good", "bad"] * 20))
    assert dataset.kind == "text"
    assert any("2 of 40 texts look like paths of pictures, such as 'a.jpg'" in note for note in dataset.notes)


def test_a_column_of_texts_that_holds_paths_is_refused(photos):
    table = photos[0].parent.parent / "t.csv"
    table.write_text("text,label\n" + "".join(f"{p.parent.name}/{p.name},{p.parent.name}\n" for p in photos))
    with pytest.raises(DataError, match=r"'text' of .* holds paths of pictures: give path_column='text'"):
        load_data(table)
    assert load_data(table, path_column="text").kind == "image"


@pytest.mark.parametrize("seed", range(200))
def test_any_mixture_is_pictures_texts_or_refused(seed, tmp_path):
    """Nine of ten and more are pictures, one of ten and fewer are texts, and nothing between is guessed."""
    draw = random.Random(seed)
    count = draw.randint(1, 60)
    share = draw.choice([0.0, 1.0, draw.random(), 0.05, 0.95])
    suffixes = [".jpg", ".JPEG", ".png", ".webp", ".tif", ".heic"]
    strings = [
        draw.choice(["", "a/", "./", "/data/x y/", "C:\\p\\"]) + f"{draw.randint(0, 999)}{draw.choice(suffixes)}"
        if draw.random() < share
        else draw.choice(TEXTS[:2] + TEXTS[3:])
        for _ in range(count)
    ]
    paths = sum(map(is_picture_path, strings))
    if 0.1 * count < paths < 0.9 * count:
        with pytest.raises(DataError, match="paths of pictures"):
            are_paths(strings)
    else:
        assert are_paths(strings) == (paths >= 0.9 * count)


@pytest.mark.parametrize("text", [t for t in TEXTS if not t.endswith("more")])
def test_texts_are_no_paths(text):
    assert not is_picture_path(text)
