"""What `predict` reads: every file of a folder that is a picture, read or named with what to do."""

import io

import numpy as np
import pytest
from PIL import Image

from tfransfer.data.inputs import read_inputs
from tfransfer.data.sources import picture_files
from tfransfer.data.sources.picture_files import READS_AVIF, READS_HEIF, is_picture

HEIC_START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
AVIF_START = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(40)


def read(place):
    return {picture.name.rpartition("/")[2]: picture for picture in read_inputs(place, 8)}


def test_each_picture_of_a_folder_is_read_or_named_with_what_to_do(tmp_path):
    Image.new("RGB", (9, 9), "red").save(tmp_path / "a.jpg")
    Image.new("RGB", (9, 9), (255, 0, 0)).save(tmp_path / "b.TIF", "TIFF")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "raw.dng", "TIFF")
    (tmp_path / "c.jxl").write_bytes(b"\xff\x0a" + bytes(40))
    (tmp_path / "d.heic").write_bytes(HEIC_START)
    (tmp_path / "notes.txt").write_text("no picture")
    found = read(tmp_path)
    assert list(found) == ["a.jpg", "b.TIF", "c.jxl", "d.heic", "raw.dng"]
    np.testing.assert_array_equal(found["b.TIF"].pixels[0, 0], [255, 0, 0])
    assert found["a.jpg"].pixels is not None
    for name, words in {"c.jxl": "convert it to one of JPEG", "raw.dng": "convert it to one of JPEG"}.items():
        assert (found[name].pixels, found[name].issue.kind) == (None, "format")
        assert words in found[name].issue.detail
    assert found["d.heic"].issue.kind in (("damaged", "no picture") if READS_HEIF else ("format",))


@pytest.mark.skipif(READS_HEIF, reason="HEIC is read here")
def test_heic_under_any_name_is_named_with_the_extra_that_reads_it(tmp_path):
    for name in ("a.heic", "b.jpg"):
        (tmp_path / name).write_bytes(HEIC_START)
        (picture,) = read_inputs(tmp_path / name, 8)
        assert picture.issue.kind == "format"
        assert 'pip install "tfransfer[heif]"' in picture.issue.detail


@pytest.mark.skipif(not READS_HEIF, reason="the extra heif is not installed")
def test_heic_is_read(tmp_path):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.heic")
    assert is_picture("a.heic")
    assert read(tmp_path)["a.heic"].pixels[4, 4].tolist() == pytest.approx([255, 0, 0], abs=8)


@pytest.mark.skipif(not READS_AVIF, reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.avif")
    assert read(tmp_path)["a.avif"].pixels[4, 4].tolist() == pytest.approx([255, 0, 0], abs=8)


def test_without_a_reader_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(picture_files, "READS_HEIF", False)
    monkeypatch.setattr(picture_files, "READS_AVIF", False)
    assert "install the extra heif" in picture_files.why_unread(".heic")
    assert "Pillow 11.3" in picture_files.why_unread(".avif")


def test_formats_are_known_by_their_first_bytes():
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "TIFF")
    given = {".heic": HEIC_START, ".avif": AVIF_START, ".jxl": b"\xff\x0a", ".tif": stream.getvalue(), "": b"ftyp"}
    assert {suffix: picture_files.format_of(start[:64]) for suffix, start in given.items()} == {s: s for s in given}


def test_a_tiff_that_is_not_read_is_said_to_be_one(tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "TIFF")
    (tmp_path / "bands.tif").write_bytes(stream.getvalue()[:8] + bytes(60))
    (picture,) = read_inputs(tmp_path / "bands.tif", 8)
    assert (picture.pixels, picture.issue.kind in ("format", "damaged")) == (None, True)
