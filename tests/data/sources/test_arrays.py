"""NumPy arrays and tf.data.Datasets, unpacked."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfransfer.data.sources import arrays
from tfransfer.data.sources.arrays import open_arrays, open_tf_dataset
from tfransfer.data.sources.unpacked import PixelEncoder
from tfransfer.errors import DataError

pytestmark = pytest.mark.usefixtures("fresh_cache")

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 1, 0])


def written(found) -> list[np.ndarray]:
    return [np.asarray(Image.open(found.root / row.path)) for row in found.rows]


def targets(found) -> list:
    return [row.target for row in found.rows]


def test_pixels_are_kept_without_loss():
    found = open_arrays(PIXELS, LABELS)
    np.testing.assert_array_equal(written(found), PIXELS)
    assert (targets(found), found.classes, found.task) == (["0", "1", "1", "0"], ("0", "1"), "single-label")


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        (PIXELS[..., 0], PIXELS[..., 0]),
        (PIXELS[..., :1], PIXELS[..., 0]),
        (PIXELS.astype(np.float32) * 0.999, PIXELS),
        (np.concatenate([PIXELS, PIXELS[..., :1]], axis=-1), np.concatenate([PIXELS, PIXELS[..., :1]], axis=-1)),
        (PIXELS.astype(np.int64), PIXELS),
        (tf.constant(PIXELS), PIXELS),
    ],
    ids=["grey", "one channel", "floats", "transparent", "integers", "a tensor"],
)
def test_pictures_come_in_many_forms(pictures, expected):
    np.testing.assert_array_equal(written(open_arrays(pictures, LABELS)), expected)


def test_a_list_may_mix_sizes_and_a_nearly_black_picture_is_one():
    pictures = [PIXELS[0], PIXELS[1, :3].astype(np.float64), np.full((2, 2), 1.0), PIXELS[3]]
    assert [p.shape for p in written(open_arrays(pictures, LABELS))] == [(5, 6, 3), (3, 6, 3), (2, 2), (5, 6, 3)]


def test_texts_stay_texts():
    found = open_arrays(np.array(["good", "bad, ☹", "fine"]), ["+", "-", "+"])
    assert [row.text for row in found.rows] == ["good", "bad, ☹", "fine"]
    assert found.classes == ("+", "-")
    assert open_arrays([b"good", b"bad"], [1, 0]).rows[0].text == "good"


@pytest.mark.parametrize(
    ("given", "classes", "task", "names", "expected"),
    [
        ([2, 10, 2, 3], None, "single-label", ("02", "03", "10"), ["02", "10", "02", "03"]),
        ([[1], [0], [0], [1]], None, "single-label", ("0", "1"), ["1", "0", "0", "1"]),
        ([0, 1, 1, 0], ["dog", "cat"], "single-label", ("dog", "cat"), ["dog", "cat", "cat", "dog"]),
        ([0.0, 1.0, 1.0, 0.0], ["dog", "cat"], "single-label", ("dog", "cat"), ["dog", "cat", "cat", "dog"]),
        ([True, False, True, True], None, "single-label", ("0", "1"), ["1", "0", "1", "1"]),
        (["b", "a", "a", "b"], None, "single-label", ("a", "b"), ["b", "a", "a", "b"]),
        (["b", "a", "a", "b"], ["b", "a"], "single-label", ("b", "a"), ["b", "a", "a", "b"]),
        (np.eye(4)[[3, 0, 1, 2]], None, "single-label", ("0", "1", "2", "3"), ["3", "0", "1", "2"]),
        ([[1, 1], [0, 1], [0, 0], [1, 0]], ["x", "y"], "multi-label", ("x", "y"), [("x", "y"), ("y",), (), ("x",)]),
        ([0.5, -1.25, 3.0, 1e9], None, "regression", (), [0.5, -1.25, 3.0, 1e9]),
    ],
)
def test_targets_say_the_task(given, classes, task, names, expected):
    found = open_arrays(PIXELS, given, classes)
    assert (found.task, found.classes, targets(found)) == (task, names, expected)


def test_whole_floats_are_a_regression_and_said_to_be():
    assert "for classes give integers" in open_arrays(PIXELS, [0.0, 1.0, 1.0, 0.0]).notes[0]
    assert open_arrays(PIXELS, [0.5, 1.0, 1.0, 0.0]).notes == ()


def test_splits_are_kept():
    found = open_arrays(PIXELS, LABELS, splits=["train", "val", "test", ""])
    assert [row.split for row in found.rows] == ["train", "validation", "test", ""]


def test_the_same_arrays_are_unpacked_once(monkeypatch):
    first = open_arrays(PIXELS, LABELS)
    monkeypatch.setattr(PixelEncoder, "png", None)
    assert open_arrays(PIXELS.copy(), list(LABELS)) == first


@pytest.mark.parametrize(
    "other",
    [
        lambda: open_arrays(255 - PIXELS, LABELS),
        lambda: open_arrays(PIXELS.reshape(4, 6, 5, 3), LABELS),
        lambda: open_arrays(PIXELS, 1 - LABELS),
        lambda: open_arrays(PIXELS, LABELS, ["1", "0"]),
        lambda: open_arrays(PIXELS, LABELS, splits=["train"] * 4),
    ],
    ids=["pixels", "shape", "labels", "classes", "splits"],
)
def test_other_arrays_are_another_folder(other):
    assert other().root != open_arrays(PIXELS, LABELS).root


def test_classes_in_another_order_are_another_folder():
    names = ["a", "b", "b", "a"]
    assert [open_arrays(PIXELS, names, order).classes for order in (["a", "b"], ["b", "a"])] == [("a", "b"), ("b", "a")]


@pytest.mark.parametrize(
    ("pictures", "labels", "options", "message"),
    [
        (PIXELS, [0, 1], {}, r"4 pictures or texts need as many targets; there are 2"),
        (PIXELS, LABELS, {"splits": ["train"]}, r"need as many splits; there are 1"),
        (PIXELS, LABELS, {"splits": ["trian"] * 4}, r"'trian' is not a split; expected train, .* Did you mean train\?"),
        (PIXELS, LABELS, {"splits": ["test", "", "", ""]}, r"none of the splits , test is train"),
        (PIXELS[:0], [], {}, r"there are no pictures or texts"),
        ([], [], {}, r"there are no pictures or texts"),
        (PIXELS / 255, LABELS, {}, r"expected in \[0, 255\]; this array holds 0 to 1\. Multiply by 255"),
        (PIXELS * np.nan, LABELS, {}, r"this array holds nan to nan"),
        (PIXELS - 128.0, LABELS, {}, r"this array holds -128 to"),
        (PIXELS * 256.0, LABELS, {}, r"this array holds .* to 6"),
        (PIXELS[0, 0], LABELS, {}, r"expected pictures as an array \(n, height, width\).* got an array \(6, 3\)"),
        (np.zeros((4, 5, 6, 2)), LABELS, {}, r"expected a picture as an array.* got float64 \(5, 6, 2\)"),
        ([np.zeros(3)] * 4, LABELS, {}, r"expected a picture as an array.* got float64 \(3,\)"),
        ([PIXELS[0], "text"], [0, 1], {}, r"pictures only or texts only; 1 of 2 are strings"),
        ([b"\xff\xd8", b"b"], [0, 1], {}, r"text number 0 is not UTF-8"),
        (["a", "\ud800"], [0, 1], {}, r"text number 1 is not UTF-8"),
        (PIXELS, [0.5, np.nan, np.inf, 1.0], {}, r"got 2 that are NaN or infinite"),
        (PIXELS, [0, 1, 2, 0], {"classes": ["a", "b"]}, r"numbers that are 0 to 1 for the 2 classes; got 0 to 2"),
        (PIXELS, [0, -1, 2, 0], {}, r"expected class numbers that are 0 or more; got -1 to 2\. Leave out"),
        (PIXELS, [0.5, 1, 1, 0], {"classes": ["a", "b"]}, r"not whole, such as 0\.5, and classes"),
        (PIXELS, ["cat", "dog", "dgo", "cat"], {"classes": ["cat", "dog"]}, r"class 'dgo', .* Did you mean dog\?"),
        (PIXELS, ["cat", None, "dog", "cat"], {}, r"got None among names"),
        (PIXELS, [[1, 0], [0, 2], [0, 1], [1, 1]], {}, r"a table of shape \(4, 2\) with 2 in it"),
        (PIXELS, [[1, 0], [0, 1], [0, 1], [1, 1]], {"classes": ["a"]}, r"have 2 columns, but there are 1 classes"),
        (PIXELS, [[1, 0], [0], [0, 1], [1, 1]], {}, r"got rows of different lengths"),
        (PIXELS, np.zeros((4, 2, 2)), {}, r"got float64 of shape \(4, 2, 2\)"),
        (PIXELS, LABELS, {"classes": ["a", "a"]}, r"'a' is empty, has a line break or is repeated"),
        (PIXELS, LABELS, {"classes": ["a", "b\nc"]}, r"has a line break"),
    ],
)
def test_bad_arrays_are_refused_with_what_to_do(pictures, labels, options, message, fresh_cache):
    with pytest.raises(DataError, match=message):
        open_arrays(pictures, labels, **options)
    assert not list(fresh_cache.rglob("*.png"))


@pytest.mark.parametrize(
    "dataset",
    [
        lambda pairs: pairs,
        lambda pairs: pairs.batch(3),
        lambda pairs: pairs.map(lambda x, y: {"label": y, "image": x, "id": 1}),
        lambda pairs: pairs.map(lambda x, y: (tf.cast(x, tf.float32), y)).batch(2, drop_remainder=True),
        lambda pairs: pairs.map(lambda x, y: (x, tf.one_hot(y, 2))).batch(3),
        lambda pairs: pairs.map(lambda x, y: (x, tf.one_hot(y, 2))),
        lambda pairs: pairs.map(lambda x, y: (x, y[None])),
    ],
    ids=["pairs", "batches", "dicts", "floats", "one-hot batches", "one-hot", "labels (1,)"],
)
def test_datasets_come_in_many_forms(dataset):
    found = open_tf_dataset(dataset(tf.data.Dataset.from_tensor_slices((PIXELS, LABELS))))
    np.testing.assert_array_equal(written(found), PIXELS)
    assert (targets(found), found.classes, found.task) == (["0", "1", "1", "0"], ("0", "1"), "single-label")


def test_batches_of_grey_pictures_are_no_colour_pictures():
    found = open_tf_dataset(tf.data.Dataset.from_tensor_slices((PIXELS[..., 0], LABELS)).batch(4))
    np.testing.assert_array_equal(written(found), PIXELS[..., 0])
    single = open_tf_dataset(tf.data.Dataset.from_tensor_slices((PIXELS[..., 0], LABELS)))
    assert single == found


def test_datasets_of_texts_numbers_and_several_classes():
    texts = tf.data.Dataset.from_tensor_slices((["a", "é"], ["x", "y"]))
    assert [(r.text, r.target) for r in open_tf_dataset(texts.batch(2)).rows] == [("a", "x"), ("é", "y")]
    assert open_tf_dataset(tf.data.Dataset.from_tensor_slices((["a", "b"], [0.5, 2.0]))).task == "regression"
    several = open_tf_dataset(tf.data.Dataset.from_tensor_slices((["a", "b"], [[1, 1], [0, 1]])), ["p", "q"])
    assert targets(several) == [("p", "q"), ("q",)]


def test_a_shuffled_dataset_is_kept_once(fresh_cache):
    pairs = tf.data.Dataset.from_tensor_slices((PIXELS, LABELS))
    first = open_tf_dataset(pairs)
    assert open_tf_dataset(pairs.map(lambda x, y: (x[::1], y)).shuffle(4, seed=3)) == first
    assert open_tf_dataset(pairs.map(lambda x, y: (x, 1 - y))) != first
    assert len(list((fresh_cache / "data" / "arrays").iterdir())) == 2


def test_a_dict_of_datasets_says_the_splits():
    pairs = tf.data.Dataset.from_tensor_slices((PIXELS, LABELS))
    found = open_tf_dataset({"train": pairs.take(2), "val": pairs.skip(2).take(1), "test": pairs.skip(3)})
    assert [row.split for row in found.rows] == ["train", "train", "validation", "test"]
    assert {row.split for row in open_tf_dataset({"train": pairs}).rows} == {""}


def test_class_names_noted_by_keras_are_taken(solid_folder):
    import keras

    folder = solid_folder("colours", {"red": 2, "blue": 2})
    dataset = keras.utils.image_dataset_from_directory(folder, image_size=(8, 8), verbose=False, label_mode="binary")
    found = open_tf_dataset(dataset)
    assert found.classes == ("blue", "red")
    for picture, target in zip(written(found), targets(found), strict=True):
        assert picture[0, 0].argmax() == {"red": 0, "blue": 2}[target] or target == "blue"


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (lambda p: p.repeat(), r"never ends: drop its \.repeat\(\), or cut it with \.take"),
        (lambda p: p.take(0), r"the tf\.data\.Dataset is empty"),
        (lambda p: p.map(lambda x, y: x), r"expected a tf\.data\.Dataset of .*got TensorSpec\(shape=\(5, 6, 3\)"),
        (lambda p: p.map(lambda x, y: (x, y, y)), r"expected a tf\.data\.Dataset of .*got \(TensorSpec"),
        (lambda p: p.map(lambda x, y: {"x": x, "label": y}), r"expected a tf\.data\.Dataset of .*'x': TensorSpec"),
        (lambda p: p.map(lambda x, y: (x, tf.zeros((2, 2)))), r"expected a tf\.data\.Dataset of"),
        (lambda p: p.map(lambda x, y: (x[0, 0], y)), r"expected a tf\.data\.Dataset of"),
        (lambda p: p.map(lambda x, y: (tf.cast(x, tf.float32) / 255, y)), r"holds 0 to 1\. Multiply by 255"),
        (lambda p: p.map(lambda x, y: (tf.io.encode_png(x), y)), r"text number 0 .* pictures must be arrays of pixels"),
        (lambda p: {"train": p, "tset": p}, r"'tset' is not a split; expected .* Did you mean test\?"),
        (lambda p: {"validation": p, "test": p}, r"none of the splits test, validation is train"),
    ],
)
def test_bad_datasets_are_refused_with_what_to_do(dataset, message, fresh_cache):
    with pytest.raises(DataError, match=message):
        open_tf_dataset(dataset(tf.data.Dataset.from_tensor_slices((PIXELS, LABELS))))
    assert not list(fresh_cache.rglob("*.png"))


def test_predicates_tell_sources_apart():
    pairs = tf.data.Dataset.from_tensor_slices((PIXELS, LABELS))
    assert arrays.is_arrays((PIXELS, LABELS)) and arrays.is_arrays((["a"], [0]))
    assert not any(map(arrays.is_arrays, [PIXELS, ("a", "b"), "ab", (PIXELS,), [PIXELS, LABELS], (pairs, pairs)]))
    assert arrays.is_tf_dataset(pairs) and arrays.is_tf_dataset({"train": pairs})
    assert not any(map(arrays.is_tf_dataset, [PIXELS, {}, {"train": PIXELS}, "digits", {"a": {"b": pairs}}]))


def test_predicates_need_no_tensorflow():
    code = (
        "import sys; from tfransfer.data.sources import arrays; "
        "assert not arrays.is_tf_dataset('digits') and not arrays.is_arrays('digits'); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
