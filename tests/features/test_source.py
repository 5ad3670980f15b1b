"""What is extracted, and what is found again."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_world import SIZE, colour_folder, tiny_base, tiny_model

from tfransfer.base.build import base_from_model
from tfransfer.base.taps import POOLED_TAP, Tap, model_to
from tfransfer.data import flow
from tfransfer.data.loading import load_data
from tfransfer.errors import DataError
from tfransfer.features import budget
from tfransfer.features.engines import KerasEngine
from tfransfer.features.source import FeatureSource, Wanted
from tfransfer.recipe import Augmentation

pytestmark = pytest.mark.usefixtures("fresh_cache")

VARIED = Augmentation()


def tap_of(base, block=-1):
    cut = base.blocks[block].cut_below
    return Tap(cut.name, cut)


def extract(dataset, base=None, taps=None, views=(0, 1), augment=VARIED, dtype="float32", engine="keras"):
    """How many pictures went through the engine, and the source."""
    base = base or tiny_base()
    taps = taps or [tap_of(base), POOLED_TAP]
    source = FeatureSource(dataset, base, taps, augment, dtype)
    source.use_engine(engine)
    wanted = Wanted({tap.name: ((dataset.split("train"), views), (dataset.split("validation"), (0,))) for tap in taps})
    return source.extract(wanted, KerasEngine(source.model)), source


def count(dataset, views=2):
    return len(dataset.split("train")) * views + len(dataset.split("validation"))


def test_kept_values_are_what_the_frozen_part_says_of_each_view(dataset):
    _, source = extract(dataset)
    train = dataset.split("train")[:5]
    assert source.taps
    for tap in source.taps:
        frozen = model_to(source.base, [tap])
        for view in (0, 1):
            pixels = next(iter(flow.view_batches(dataset, train, [view], VARIED, SIZE, 5)))
            expected = frozen(tf.cast(pixels, tf.float32), training=False)
            np.testing.assert_allclose(source.rows(tap, train, view).take(np.arange(5)), expected, atol=1e-5)


def test_same_photos_again_extract_nothing(dataset):
    assert extract(dataset)[0] == count(dataset)
    assert extract(dataset)[0] == 0


def test_ten_more_photos_extract_ten(tmp_path):
    folder = colour_folder(tmp_path / "photos")
    before = load_data(folder)
    extract(before, views=(0,))
    random = np.random.default_rng(99)
    for number in range(10):
        Image.fromarray(random.integers(0, 256, (24, 24, 3)).astype(np.uint8)).save(folder / f"red/new{number}.png")
    after = load_data(folder)
    known = {e.content for e in before.split("train") + before.split("validation")}
    new = [e for e in after.split("train") + after.split("validation") if e.content not in known]
    assert extract(after, views=(0,))[0] == len(new) <= 10
    assert len(new) >= 6


def test_photos_that_moved_or_were_renamed_are_found_again(tmp_path):
    folder = colour_folder(tmp_path / "photos")
    extract(load_data(folder))
    for file in sorted((folder / "red").iterdir()):
        file.rename(file.with_name("renamed-" + file.name))
    folder.rename(tmp_path / "elsewhere")
    assert extract(load_data(tmp_path / "elsewhere"))[0] == 0


def test_a_weight_of_the_frozen_part_changed_reuses_nothing(dataset):
    extract(dataset)
    base = tiny_base()
    kernel = base.model.get_layer("b1_conv").kernel
    kernel.assign(kernel + 1e-3)
    assert extract(dataset, base)[0] == count(dataset)


def test_a_fine_tuned_top_still_finds_its_activations(dataset):
    base = tiny_base()
    taps = [tap_of(base)]
    extract(dataset, base, taps)
    kernel = base.model.get_layer("b3_conv").kernel
    kernel.assign(kernel + 1.0)
    base.model.trainable = False
    assert extract(dataset, base, taps)[0] == 0
    assert extract(dataset, base, [POOLED_TAP])[0] == count(dataset)


def test_other_augmentation_keeps_the_clean_view(dataset):
    extract(dataset)
    other = replace(VARIED, rotate=25.0)
    assert extract(dataset, augment=other)[0] == len(dataset.split("train"))


@pytest.mark.parametrize("change", ["dtype", "engine", "cut", "preprocessing", "versions"])
def test_whatever_decides_a_value_is_part_of_the_key(dataset, monkeypatch, change):
    base = tiny_base()
    extract(dataset, base, [tap_of(base)])
    options = {}
    if change == "dtype":
        options["dtype"] = "float16"
    elif change == "engine":
        options["engine"] = "litert"
    elif change == "preprocessing":
        base = base_from_model(tiny_model(), "torch")
    elif change == "versions":
        from tfransfer.features import source

        monkeypatch.setattr(source, "PIXELS_VERSION", 99)
    tap = tap_of(base, -2 if change == "cut" else -1)
    assert extract(dataset, base, [tap], **options)[0] == count(dataset)


def test_equal_files_are_extracted_once(tmp_path):
    folder = colour_folder(tmp_path / "photos", per_class=8)
    for file in list((folder / "red").iterdir()):
        (folder / "red" / f"copy-{file.name}").write_bytes(file.read_bytes())
    dataset = load_data(folder)
    contents = {e.content for e in dataset.split("train")}
    held_out = {e.content for e in dataset.split("validation")}
    assert len(contents) < len(dataset.split("train"))
    assert extract(dataset, views=(0,))[0] == len(contents | held_out)


def test_only_the_view_that_is_missing_is_extracted(dataset):
    extract(dataset, views=(0,))
    assert extract(dataset, views=(0, 1, 2))[0] == 2 * len(dataset.split("train"))


def test_a_damaged_shard_is_extracted_again_and_never_returned(dataset):
    _, source = extract(dataset, views=(0,))
    train = dataset.split("train")
    before = source.rows(POOLED_TAP, train, 0).take(np.arange(len(train)))
    for values in budget.store_home().rglob("*.npy"):
        content = bytearray(values.read_bytes())
        content[200] ^= 0xFF
        values.write_bytes(content)
    rows, again = extract(dataset, views=(0,))
    assert rows == count(dataset, 1)
    np.testing.assert_array_equal(again.rows(POOLED_TAP, train, 0).take(np.arange(len(train))), before)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import numpy as np
from small_world import tiny_base
from tfransfer.base.taps import POOLED_TAP
from tfransfer.data.loading import load_data
from tfransfer.features import source as sources
from tfransfer.features.engines import KerasEngine
from tfransfer.recipe import Augmentation

sources._BATCH, sources._SHARD_ROWS = 4, 8
dataset = load_data(Path(sys.argv[1]))
source = sources.FeatureSource(dataset, tiny_base(), [POOLED_TAP], Augmentation(), "float32")
source.use_engine("keras")
engine = KerasEngine(source.model)
class Slow:
    name = "keras"
    def run(self, pixels):
        import time
        time.sleep(0.05)
        return engine.run(pixels)
wanted = sources.Wanted({"pooled": ((dataset.split("train"), (0, 1)),)})
print("begin", flush=True)
print(source.extract(wanted, Slow()), flush=True)
"""


@pytest.mark.slow
def test_killed_extraction_loses_at_most_the_shard_being_written(colour_photos, dataset, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    arguments = [sys.executable, str(script), str(colour_photos), os.path.dirname(__file__) + "/.."]
    total = 2 * len(dataset.split("train"))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == "begin\n"
        shards = []
        while process.poll() is None and len(shards) < 4:
            shards = list(budget.store_home().glob("*/*.npy"))  # below that, files come and go
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = sum(entry.rows for entry in budget.entries())
    assert 3 * 8 <= kept < total
    finished = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert int(finished.stdout.split()[1]) == total - kept
    assert not budget.verify()


@pytest.mark.slow
def test_two_extractions_at_once_do_not_corrupt(colour_photos, dataset, tmp_path):
    script = tmp_path / "both.py"
    script.write_text(KILLED)
    arguments = [sys.executable, str(script), str(colour_photos), os.path.dirname(__file__) + "/.."]
    both = [subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate()[1][-500:] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert not budget.verify()
    base = tiny_base()
    rows, source = extract(dataset, base, [POOLED_TAP], views=(0, 1))
    assert rows == len(dataset.split("validation"))
    train = dataset.split("train")
    pixels = next(iter(flow.view_batches(dataset, train, [1], VARIED, SIZE, len(train))))
    expected = model_to(base, [POOLED_TAP])(tf.cast(pixels, tf.float32), training=False)
    np.testing.assert_allclose(source.rows(POOLED_TAP, train, 1).take(np.arange(len(train))), expected, atol=1e-5)


def test_view_zero_is_clean_and_views_follow_content_alone(dataset):
    train = dataset.split("train")[:6]

    def view(number, settings=VARIED, examples=train):
        return next(iter(flow.view_batches(dataset, examples, [number], settings, SIZE, 6)))

    clean = next(iter(flow.evaluation_flow(dataset, train, np.zeros((6, 1)), SIZE, 6).batches))[0].numpy()
    np.testing.assert_array_equal(view(0), clean)
    assert (view(1) != clean).any(axis=(1, 2, 3)).all()
    assert (view(1) != view(2)).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(view(1), view(1))
    np.testing.assert_array_equal(view(1)[::-1], view(1, examples=train[::-1]))


def swapped(photos, dataset, other=None):
    """Give a training photo the bytes of another one, or of no picture; its own bytes are returned."""
    one, another = (photos / example.path for example in dataset.split("train")[:2])
    own = one.read_bytes()
    one.write_bytes(another.read_bytes() if other is None else other)
    return one, own


@pytest.mark.parametrize("other", [None, b"no picture"], ids=["another photo", "no picture"])
def test_photo_that_changes_between_index_and_extraction_does_not_poison_the_cache(tmp_path, other):
    photos = colour_folder(tmp_path / "photos", per_class=12)
    dataset = load_data(photos)
    one, own = swapped(photos, dataset, other)
    with pytest.raises(DataError, match=rf"{dataset.split('train')[0].path} has changed"):
        extract(dataset)
    one.write_bytes(own)  # changed back: the index is right again
    _, source = extract(dataset)
    train = dataset.split("train")
    pixels = next(flow.view_batches(dataset, train, [0], VARIED, SIZE, len(train)))
    expected = model_to(source.base, [POOLED_TAP])(tf.cast(pixels, tf.float32), training=False)
    np.testing.assert_allclose(source.rows(POOLED_TAP, train, 0).take(np.arange(len(train))), expected, atol=1e-5)
