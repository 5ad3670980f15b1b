"""TensorFlow Datasets as a source; nothing is downloaded."""

import builtins
import os
import socket

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_world import usable_tfds

from tfransfer.data.sources.tfds import open_builder, open_tfds
from tfransfer.errors import DataError, DataNotFoundError, SettingError, WriteError

tfds = usable_tfds()
pytestmark = pytest.mark.usefixtures("fresh_cache")
F = tfds.features
JPEG = tf.io.encode_jpeg(np.full((6, 5, 3), 90, np.uint8)).numpy()


def builder_of(folder, name: str, features: dict, splits: dict[str, list[dict]], keys=None, prepare=True):
    """A builder of these examples, prepared in `folder` and then forgotten by TensorFlow Datasets' register."""

    class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=F.FeaturesDict(features), supervised_keys=keys)

        def _split_generators(self, downloads):
            return {split: enumerate(examples) for split, examples in splits.items()}

        def _generate_examples(self):
            """Not asked: each split brings its own."""

    Small.name = name
    builder = Small(data_dir=folder)
    if prepare:
        builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A prepared dataset `small_shapes`: JPEG pictures, named labels of which one is unknown, three splits and one."""
    folder = tmp_path_factory.mktemp("prepared")
    file = folder / "picture.jpg"
    file.write_bytes(JPEG)
    labels = {"train": [0, 1, 0, -1], "valid": [1, 0], "test": [0, 1], "unsupervised": [-1]}
    splits = {s: [{"image": str(file), "kind": label} for label in found] for s, found in labels.items()}
    features = {"image": F.Image(), "kind": F.ClassLabel(names=["zebra", "ant"])}
    builder_of(folder, "small_shapes", features, splits, ("image", "kind"))
    return folder


def small(tmp_path, features: dict, examples: list[dict], keys=None):
    return builder_of(tmp_path / "prepared", "small", features, {"train": examples}, keys)


def pixels_of(found) -> np.ndarray:
    return np.asarray(Image.open(found.root / found.rows[0].path))


@pytest.mark.parametrize("name", ["small_shapes", "small_shapes:1.0.0"])
def test_a_prepared_dataset_is_opened_by_name(shapes, name):
    found = open_tfds(name, shapes)
    assert found.classes == ("zebra", "ant")
    assert found.task == "single-label"
    sides = {"train": ["ant", "zebra", "zebra"], "validation": ["ant", "zebra"], "test": ["ant", "zebra"]}
    for split, targets in sides.items():
        assert sorted(row.target for row in found.rows if row.split == split) == targets
    assert len(found.rows) == 7
    assert any("unsupervised" in note for note in found.notes)
    assert any("1 examples with no known label" in note for note in found.notes)


def test_jpeg_stays_jpeg(shapes):
    found = open_tfds("small_shapes", shapes)
    assert {(found.root / row.path).read_bytes() for row in found.rows} == {JPEG}
    assert {row.path[-4:] for row in found.rows} == {".jpg"}


def test_records_are_read_once(shapes, monkeypatch):
    first = open_tfds("small_shapes", shapes)
    monkeypatch.setattr("tfransfer.data.sources.tfds._read", None)
    assert open_tfds("small_shapes", shapes) == first
    file = next((shapes / "small_shapes").rglob("*train.tfrecord*"))
    os.utime(file, (1, 1))
    with pytest.raises(TypeError):
        open_tfds("small_shapes", shapes)


def test_slices_of_splits_are_taken(shapes):
    asked = {"train": "train[:50%]", "validation": "train[50%:]+valid", "test": "test"}
    found = open_tfds("small_shapes", shapes, asked)
    sizes = [sum(row.split == split for row in found.rows) for split in asked]
    assert sum(sizes) == 7 and sizes[2] == 2 and sizes[1] >= 3
    assert {row.split for row in open_tfds("small_shapes", shapes, {"train": "train+test"}).rows} == {""}


def test_progress_is_told_of_every_example(shapes):
    from contextlib import contextmanager

    told = []

    @contextmanager
    def progress(what, total, unit):
        told.append(total)
        yield lambda done: told.append(done)

    open_tfds("small_shapes", shapes, progress=progress)
    assert told == [8] + [1] * 8


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": "trian"}, r"cannot read the split 'trian': Unknown split.* It has the splits .*train.* slices of"),
        ({"train": "train["}, r"cannot read the split 'train\['"),
        ({"training": "train"}, r"'training' is not a split here; expected train, validation, test"),
        ({"test": "test"}, r"of which none is read as train: give one"),
    ],
)
def test_bad_splits_are_refused(shapes, splits, message):
    with pytest.raises(DataError, match=message):
        open_tfds("small_shapes", shapes, splits)


def test_a_builder_without_train_is_refused(tmp_path):
    examples = [{"text": "a", "label": 0}]
    features = {"text": F.Text(), "label": F.ClassLabel(num_classes=2)}
    builder = builder_of(tmp_path, "odd", features, {"one": examples, "two": examples})
    with pytest.raises(DataError, match=r"odd/1\.0\.0 has the splits one, two, of which none is read as train"):
        open_builder(builder)
    assert open_builder(builder, {"train": "one", "test": "two"}).rows[1].split == "test"


def test_numbers_are_a_regression(tmp_path):
    examples = [{"image": np.zeros((4, 4, 3), np.uint8), "age": age} for age in (1.5, np.nan, 3.0)]
    found = open_builder(small(tmp_path, {"image": F.Image(), "age": np.float32}, examples, ("image", "age")))
    assert (found.task, found.classes) == ("regression", ())
    assert sorted(row.target for row in found.rows) == [1.5, 3.0]
    assert "1 examples with no known label" in found.notes[0]
    assert {row.split for row in found.rows} == {""}


def test_lists_of_labels_are_several_classes_and_parts_not_asked_for_are_left_alone(tmp_path):
    features = {
        "photo": F.Image(),
        "seen": F.Sequence(F.ClassLabel(names=["sun", "sea", "snow"])),
        "objects": F.Sequence({"box": F.BBoxFeature(), "of": F.Text()}),
        "name": F.Text(),
    }
    rest = {"photo": np.zeros((4, 4, 3), np.uint8), "objects": [], "name": "a"}
    found = open_builder(small(tmp_path, features, [{**rest, "seen": [2, 0]}, {**rest, "seen": []}]))
    assert (found.task, found.classes) == ("multi-label", ("sun", "sea", "snow"))
    assert sorted(row.target for row in found.rows) == [(), ("sun", "snow")]


def test_texts_are_kept_in_the_rows(tmp_path):
    features = {"sentence": F.Text(), "label": F.ClassLabel(names=["bad", "good"]), "idx": np.int32}
    examples = [{"sentence": "schön ☺", "label": 1, "idx": 0}, {"sentence": b"\xff", "label": 0, "idx": 1}]
    found = open_builder(small(tmp_path, features, examples))
    assert [(row.text, row.target) for row in found.rows] == [("schön ☺", "good")]
    assert found.notes == ("left out: 1 examples with a text that is not UTF-8",)


def test_pixels_that_are_no_picture_file_become_png(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    features = {"x": F.Tensor(shape=(4, 5, 3), dtype=np.uint8), "y": F.ClassLabel(num_classes=3)}
    found = open_builder(small(tmp_path, features, [{"x": pixels, "y": 1}], ("x", "y")))
    np.testing.assert_array_equal(pixels_of(found), pixels)
    assert found.rows[0].target == "1"


def test_pictures_of_floats_are_decoded_and_scaled_ones_refused(tmp_path):
    features = {"x": F.Image(shape=(4, 5, 1), dtype=np.float32), "y": F.ClassLabel(num_classes=2)}
    grey = np.linspace(0, 255, 20, dtype=np.float32).reshape(4, 5, 1)
    found = open_builder(small(tmp_path / "a", features, [{"x": grey, "y": 0}], ("x", "y")))
    np.testing.assert_array_equal(pixels_of(found), np.rint(grey[..., 0]))
    with pytest.raises(DataError, match=r"expected in \[0, 255\]"):
        open_builder(small(tmp_path / "b", features, [{"x": grey / 255, "y": 0}], ("x", "y")))


@pytest.mark.parametrize(
    ("features", "example", "keys"),
    [
        ({"image": F.Image(), "mask": F.Image()}, {"image": 0, "mask": 0}, ("image", "mask")),
        (
            {"image": F.Image(), "other": F.Image(), "label": F.ClassLabel(num_classes=2)},
            {"image": 0, "other": 0},
            None,
        ),
        ({"a": F.Text(), "b": F.Text(), "label": F.ClassLabel(num_classes=2)}, {"a": "", "b": ""}, None),
        ({"image": F.Image(), "is": np.bool_}, {"image": 0, "is": True}, ("image", "is")),
    ],
    ids=["picture to picture", "two pictures", "two texts", "a switch"],
)
def test_other_features_are_refused_and_listed(tmp_path, features, example, keys):
    example = {k: np.zeros((4, 4, 3), np.uint8) if v is not True and v == 0 else v for k, v in example.items()}
    builder = small(tmp_path, features, [example | ({"label": 1} if "label" in features else {})], keys)
    with pytest.raises(DataError, match=r"small/1\.0\.0 cannot be used: expected a picture or a text.*: \w+: \w+, \w+"):
        open_builder(builder)


def test_no_known_label_at_all_is_refused(tmp_path):
    features = {"text": F.Text(), "label": F.ClassLabel(num_classes=2)}
    builder = small(tmp_path, features, [{"text": "a", "label": -1}])
    with pytest.raises(DataError, match="has no example with a known label"):
        open_builder(builder)


def test_an_image_folder_of_tensorflow_datasets(tmp_path):
    for split in ("train", "test"):
        for name in ("b", "a"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "x.jpg").write_bytes(JPEG)
    found = open_builder(tfds.folder_dataset.ImageFolder(tmp_path))
    assert sorted((row.split, row.target) for row in found.rows) == [
        ("test", "a"), ("test", "b"), ("train", "a"), ("train", "b"),
    ]  # fmt: skip
    assert (found.root / found.rows[0].path).read_bytes() == JPEG
    with pytest.raises(DataError, match=r"cannot read the split 'train\[:50%\]'"):
        open_builder(tfds.folder_dataset.ImageFolder(tmp_path), {"train": "train[:50%]"})


def test_stand_in_data_of_tensorflow_datasets(tmp_path):
    with tfds.testing.mock_data(num_examples=3):
        found = open_tfds("tf_flowers", tmp_path)
    assert len(found.rows) == 3
    assert found.classes == ("dandelion", "daisy", "tulips", "sunflowers", "roses")
    assert pixels_of(found).ndim == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tf_flower", r"has no dataset 'tf_flower' and .* has nothing prepared .* Did you mean tf_flowers"),
        ("small_shapes:2.0.0", r"no dataset 'small_shapes' and .* Prepared there: small_shapes:1\.0\.0"),
        ("tf_flowers:9.9.9", r"tfds:tf_flowers:9\.9\.9 cannot be opened: .* only: 3\.0\.1"),
        ("tf_flowers/odd", r"tfds:tf_flowers/odd cannot be opened: .*odd not found"),
        ("mnist//", r"cannot be opened|has no dataset"),
    ],
)
def test_unknown_names_are_refused(shapes, name, message):
    with pytest.raises(DataNotFoundError, match=message):
        open_tfds(name, shapes)


@pytest.fixture
def no_network(monkeypatch):
    def unknown(*given, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("urllib.request.getproxies", dict)


HOW = r"`tfds build mnist --data_dir DIR`.* give data_dir=DIR; or put the archives \(t10k-.*downloads/manual"


def test_without_network_what_to_do_is_said_at_once(tmp_path, no_network, monkeypatch):
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)
    with pytest.raises(DataNotFoundError, match=r"tfds:mnist is not prepared in .* cannot be reached\. .*" + HOW):
        open_tfds("mnist", tmp_path)


def test_archives_at_hand_are_tried_without_network(tmp_path, no_network, monkeypatch):
    def failing(builder):
        raise ValueError("of another checksum\nand more")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", failing)
    (tmp_path / "downloads" / "manual").mkdir(parents=True)
    (tmp_path / "downloads" / "manual" / "t10k-images-idx3-ubyte.gz").touch()
    said = []
    with pytest.raises(DataNotFoundError, match=r"could not be downloaded: of another checksum\. .*" + HOW):
        open_tfds("mnist", tmp_path, say=said.append)
    assert said == [f"tfds:mnist is not prepared in {tmp_path}: downloading it"]


def test_with_network_a_download_is_tried(tmp_path, no_network, monkeypatch):
    def failing(builder):
        raise ConnectionError("the server is away")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **options: [])
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", failing)
    with pytest.raises(DataNotFoundError, match=r"could not be downloaded: the server is away\. .*" + HOW):
        open_tfds("mnist", tmp_path)


def test_a_full_disk_while_downloading_is_said(tmp_path, no_network, monkeypatch):
    def full(builder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **options: [])
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", full)
    with pytest.raises(WriteError, match="the disk is full"):
        open_tfds("mnist", tmp_path)


def test_a_builder_that_is_not_prepared_says_how(tmp_path):
    features = {"text": F.Text(), "label": F.ClassLabel(num_classes=2)}
    with pytest.raises(DataNotFoundError, match=r"tfds:small/1\.0\.0 is not prepared in .*tfds build small"):
        open_builder(builder_of(tmp_path, "small", features, {}, prepare=False))


def test_a_missing_package_is_said(monkeypatch):
    imported = builtins.__import__

    def without(name, *given, **options):
        if name == "tensorflow_datasets":
            raise ImportError("No module named 'tensorflow_datasets'")
        return imported(name, *given, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingError, match=r'pip install "tfransfer\[tfds\]"'):
        open_tfds("mnist")
