"""The built-in data."""

import os

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tfransfer.data.sources import digits, kinds
from tfransfer.data.sources.load import is_same, load, load_again
from tfransfer.errors import DataNotFoundError, WriteError

pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_digits_are_a_dataset_like_any_other():
    data = load("digits")
    assert data.classes == tuple("0123456789")
    assert len(data.examples) == 1797
    assert data.source == "digits"
    assert not [issue for issue in data.issues if issue.set_aside]
    assert {e.split for e in data.examples} == {"train", "validation", "test"}


def test_pictures_are_those_of_scikit_learn():
    folder = digits.write_digits()
    found = load_digits()
    for number in (0, 900, 1796):
        pixels = np.asarray(Image.open(folder / str(found.target[number]) / f"{number:04}.png"))
        np.testing.assert_array_equal(pixels, np.rint(found.images[number] * 255 / 16).astype(np.uint8))


def test_digits_are_written_once():
    folder = digits.write_digits()
    before = os.stat(folder / "0" / "0000.png").st_mtime_ns
    assert digits.write_digits() == folder
    assert os.stat(folder / "0" / "0000.png").st_mtime_ns == before


def test_writing_that_fails_leaves_nothing(monkeypatch):
    def full(*given, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(digits.Path, "rename", full)
    with pytest.raises(WriteError, match="full"):
        digits.write_digits()
    assert list(digits.digits_folder().parent.iterdir()) == []


def test_a_folder_of_that_name_wins(solid_folder):
    solid_folder("digits", {"red": 5, "blue": 5})
    assert kinds.source_of("digits") == "folder"
    assert load("digits").classes == ("blue", "red")


def test_a_run_finds_its_digits_again_after_the_cache_was_cleared(tmp_path, monkeypatch):
    from tfransfer.data.splits import write_splits

    first = load("digits")
    write_splits(tmp_path / "splits.csv", first)
    monkeypatch.setenv("TFRANSFER_CACHE", str(tmp_path / "another"))
    again = load_again("digits", str(first.root), {}, tmp_path / "splits.csv")
    assert [(e.path, e.split) for e in again.examples] == [(e.path, e.split) for e in first.examples]
    assert again.source == "digits"
    with pytest.raises(DataNotFoundError):
        load_again("folder", str(tmp_path / "gone"), {}, tmp_path / "splits.csv")


def test_digits_are_the_same_in_every_cache(tmp_path):
    assert is_same("digits", "digits", str(tmp_path / "another" / "digits"), {})
    assert not is_same(str(tmp_path), "digits", str(tmp_path / "another" / "digits"), {})
