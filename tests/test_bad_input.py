"""Bad input gets a clear error or a named, counted set-aside; nothing is lost and nothing of the user's is touched."""

import csv
import errno
import itertools
import os
import resource
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import keras
import pytest
from PIL import Image
from small_world import tiny_model

from tfransfer import pipeline
from tfransfer.data import pictures
from tfransfer.data.health import audit
from tfransfer.data.index import Issue
from tfransfer.data.sources.picture_files import READS_HEIF
from tfransfer.errors import (
    BaseModelError,
    DataError,
    DataNotFoundError,
    RunExistsError,
    SettingError,
    TransferError,
    WriteError,
)
from tfransfer.system import files


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs go to `saved_models` in the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(command):
    """Sees a command fail with one error message, of which it gives the text."""

    def call(code, *arguments):
        came, _, said = command(*arguments)
        assert came == code
        assert said.startswith("tfransfer: error: ")
        assert "Traceback" not in said
        return said

    return call


@pytest.fixture
def data(solid_folder):
    return solid_folder("photos", {"cat": 6, "dog": 6})


def contents(root):
    """Everything below a folder: names, bytes and times."""
    return {p: (p.lstat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in sorted(root.rglob("*"))}


def huge_png(side):
    """A real black-and-white PNG of side x side pixels: some hundred kilobytes."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, row = zlib.compressobj(1), bytes(1 + -(-side // 8))
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


# Data.


def empty(data):
    for path in [*data.glob("*/*"), *data.glob("*")]:
        path.unlink() if path.is_file() else path.rmdir()


def empty_class_folders(data):
    for path in data.glob("*/*"):
        path.unlink()


def without_class_folders(data):
    for path in data.glob("cat/*"):
        path.rename(data / path.name)
    for path in data.glob("dog/*"):
        path.unlink()


def one_class(data):
    for path in data.glob("dog/*"):
        path.unlink()
    (data / "dog").rmdir()


def a_class_too_small(data):
    for path in sorted(data.glob("dog/*"))[2:]:
        path.unlink()


def most_unreadable(data):
    for path in sorted(data.glob("*/*"))[::3]:
        path.write_bytes(path.read_bytes()[:45])
    for path in sorted(data.glob("*/*"))[1::3]:
        path.write_text("not a picture")


def a_class_unreadable(data):
    for path in data.glob("dog/*"):
        path.write_bytes(b"")


BAD_DATA = {
    empty: ["no pictures below", "one subfolder per class", "JPEG, PNG, GIF, BMP, WebP"],
    empty_class_folders: ["no pictures below", "one subfolder per class", "found 2 folders"],
    without_class_folders: ["6 pictures but no subfolder per class", "put the pictures of each class into a subfolder"],
    one_class: ["only one class, 'cat'", "add a folder with pictures of what is not 'cat'"],
    a_class_too_small: ["class 'dog' has 2 different pictures", "at least 3", "add pictures"],
    most_unreadable: ["8 of 12 pictures", "more than half", "cat/000.png", "4 no picture", "check how the files"],
    a_class_unreadable: ["no readable picture is left in 'dog'", "see the skipped files"],
}


@pytest.mark.parametrize("spoil", BAD_DATA, ids=lambda f: f.__name__)
def test_data_that_cannot_be_used_is_refused_with_what_to_do_and_left_alone(spoil, data, refused):
    spoil(data)
    before = contents(data)
    with pytest.raises(DataError) as caught:
        pipeline.load_data(data)
    said = refused(1, "train", data, "--out", "run")
    assert str(caught.value) in said
    assert str(data) in said or "class 'dog'" in said or "'dog'" in said
    assert all(words in said for words in BAD_DATA[spoil]), said
    assert contents(data) == before
    assert not Path("run").exists()


def test_missing_folder_is_named_and_the_one_that_resembles_it(data, refused):
    said = refused(1, "train", data.parent / "fotos")
    assert "the folder" in said
    assert "fotos does not exist. Did you mean photos?" in said
    with pytest.raises(DataNotFoundError):
        pipeline.load_data(data.parent / "fotos")


def test_file_in_place_of_a_folder_is_refused(data, refused):
    said = refused(1, "train", data / "cat" / "000.png")
    assert "000.png is a file; expected a folder" in said


def test_folder_around_the_data_is_recognized(data, tmp_path, refused):
    (tmp_path / "outer").mkdir()
    data.rename(tmp_path / "outer" / "photos")
    said = refused(1, "train", tmp_path / "outer")
    assert f"Did you mean {tmp_path / 'outer' / 'photos'}, which has 2 folders?" in said


def test_half_unreadable_is_not_more_than_half(solid_folder):
    root = solid_folder("half", {"cat": 10, "dog": 10})
    for path in [*sorted(root.glob("cat/*"))[::2], *sorted(root.glob("dog/*"))[::2]]:
        path.write_bytes(b"")
    assert len(pipeline.load_data(root).examples) == 10
    (root / "cat" / "001.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"11 of 20 pictures.*more than half"):
        pipeline.load_data(root)


@pytest.fixture
def partly_bad(data):
    """Eight bad files of all kinds beside good ones, with names that are hard to write down."""
    picture = Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 20).convert("RGB")
    for name in ("whole, \"and\" 'quoted'.jpg", "größe 猫.png"):
        picture.save(data / "cat" / name)
    picture.save(data / "cat" / "truncated.jpg")
    picture.save(data / "cat" / "truncated.png")
    for name in ("truncated.jpg", "truncated.png"):
        whole = (data / "cat" / name).read_bytes()
        (data / "cat" / name).write_bytes(whole[: len(whole) // 2])
    (data / "dog" / "zero, 'bytes'.jpg").write_bytes(b"")
    (data / "dog" / "renamed.jpg").write_text("<html>404 Not Found</html>")
    (data / "dog" / "renamed.tif.png").write_bytes(b"II*\x00" + bytes(40))
    (data / "dog" / "ünreadable.png").symlink_to("absent")
    (data / "dog" / "huge.png").write_bytes(huge_png(30_000))
    (data / "dog" / "photo.heic").write_bytes(b"ftypheic")
    return data


BAD_FILES = {
    "cat/truncated.jpg": "truncated",
    "cat/truncated.png": "truncated",
    "dog/zero, 'bytes'.jpg": "empty",
    "dog/renamed.jpg": "no picture",
    "dog/renamed.tif.png": None,  # "format" or "damaged", as far as Pillow reads it
    "dog/ünreadable.png": "unreadable",
    "dog/huge.png": "too large",
    "dog/photo.heic": "no picture" if READS_HEIF else "format",
}


def test_bad_files_are_set_aside_named_and_counted_and_training_goes_on(partly_bad):
    before = contents(partly_bad)
    said = []
    run = pipeline.train(
        partly_bad, tiny_model(), preprocessing="tf", out="run", head_epochs=1, fine_tune_epochs=0, exports=[],
        say=said.append,
    )  # fmt: skip
    assert len(run.history) == 1
    with open("run/data_issues.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["path"] for row in rows} == set(BAD_FILES)
    assert all(row["kind"] == (BAD_FILES[row["path"]] or row["kind"]) for row in rows)
    assert all(row["detail"] and row["set_aside"] == "true" for row in rows)
    assert run.manifest["data"]["set_aside"] == len(BAD_FILES)
    assert len(run.data.examples) == 14
    assert "skipped: 2 files (truncated): cat/truncated.jpg, cat/truncated.png" in said
    assert "skipped: 1 file (too large): dog/huge.png" in said
    assert contents(partly_bad) == before


def test_picture_of_30000_by_30000_pixels_is_refused_by_its_header(tmp_path, monkeypatch):
    (tmp_path / "huge.png").write_bytes(huge_png(30_000))
    assert (tmp_path / "huge.png").stat().st_size < 1_000_000

    def forbidden(*arguments):
        raise AssertionError("the picture was decoded")

    monkeypatch.setattr(pictures, "decode_full", forbidden)
    monkeypatch.setattr(pictures, "through_pillow", forbidden)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    issue = audit.examine_all(tmp_path, ["huge.png"])["huge.png"]
    assert isinstance(issue, Issue)
    assert issue.kind == "too large"
    assert "100,000,000 pixels" in issue.detail
    assert time.perf_counter() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_pixel_limit_is_the_users(data):
    Image.new("RGB", (40, 40), "pink").save(data / "cat" / "larger.png")
    assert not pipeline.load_data(data, max_pixels=1600).issues
    (issue,) = pipeline.load_data(data, max_pixels=1599).issues
    assert (issue.path, issue.kind) == ("cat/larger.png", "too large")
    assert "40 x 40 pixels, the limit is 1,599" in issue.detail


def test_symlink_loop_does_not_hang(data, refused):
    (data / "cat" / "loop").symlink_to(data)
    (data / "loop").symlink_to("loop")
    for path in data.glob("dog/*"):
        path.unlink()
    assert "only one class, 'cat'" in refused(1, "train", data)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--splits", "absent.csv"], "splits file absent.csv does not exist"),
        (["--group-column", "patient"], "metadata.csv, which does not exist"),
        (["--recipe", "absent.toml"], "recipe file absent.toml does not exist"),
    ],
)
def test_files_that_are_named_but_absent_are_an_error(arguments, words, data, refused):
    assert words in refused(1, "train", data, *arguments)


# Base, image size, weights.


def test_misspelt_base_is_asked_back_before_pictures_are_read(data, refused, monkeypatch):
    monkeypatch.setattr(pipeline, "load_data", lambda *a, **k: pytest.fail("pictures were read"))
    said = refused(2, "train", data, "--base", "mobilnet_v2")
    assert "unknown base 'mobilnet_v2': did you mean mobilenet_v2?" in said
    with pytest.raises(SettingError):
        pipeline.train(data, "mobilnet_v2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "augment.flp=true"], ["augment.flp", "Did you mean flip?"]),
        (["--set", "head.epochs=many"], ["head.epochs", "a whole number", "'many'"]),
        (["--set", "epochs"], ["--set takes KEY=VALUE"]),
        (["--image-size", "4"], ["image_size must be 8 pixels or more; it is 4"]),
        (["--export", "tflit"], ["tflit", "tflite"]),
    ],
)
def test_wrong_settings_are_wrong_usage(arguments, words, data, refused):
    said = refused(2, "train", data, *arguments)
    assert all(word in said for word in words), said
    assert not Path("saved_models").exists()


def test_image_size_below_the_bases_smallest_is_refused_with_the_smallest(data, refused):
    said = refused(2, "train", data, "--base", "mobilenet_v2", "--weights", "random", "--image-size", 31)
    assert "image size 31 is below the smallest that mobilenet_v2 takes, 32 pixels" in said
    assert not Path("saved_models").exists()


def test_weights_of_another_architecture_are_refused(data, refused):
    other = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.25)
    other.save_weights("other.weights.h5")
    said = refused(1, "train", data, "--weights", "other.weights.h5", "--image-size", 32)
    assert "other.weights.h5 does not hold the weights of mobilenet_v2" in said
    assert "--base" in said
    assert not Path("saved_models").exists()


def test_real_weights_of_another_architecture_are_refused(data, test_data):
    file = test_data / "mobilenet_v2_1.0_224_no_top.weights.h5"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    with pytest.raises(BaseModelError, match=r"does not hold the weights of mobilenet without its top"):
        pipeline.train(data, "mobilenet", weights=str(file), image_size=32)


def test_weights_that_are_no_weights_or_absent_are_refused(data, refused):
    Path("text.weights.h5").write_text("no weights")
    said = refused(1, "train", data, "--weights", "text.weights.h5", "--image-size", 32)
    assert "text.weights.h5 does not hold the weights" in said
    said = refused(1, "train", data, "--weights", "absent.weights.h5", "--image-size", 32)
    assert "weights file absent.weights.h5 does not exist" in said


# Where the run goes.


def test_existing_run_is_refused_before_pictures_are_read_and_stays(data, refused, monkeypatch):
    monkeypatch.setattr(pipeline, "load_data", lambda *a, **k: pytest.fail("pictures were read"))
    Path("run").mkdir()
    Path("run/manifest.json").write_text("{}")
    before = contents(Path("run"))
    said = refused(1, "train", data, "--out", "run")
    assert "run already exists" in said
    assert "--overwrite" in said
    assert contents(Path("run")) == before
    with pytest.raises(RunExistsError):
        pipeline.train(data, out="run")


def test_folder_that_is_no_run_is_not_even_overwritten(data, refused):
    before = contents(data)
    said = refused(1, "train", data, "--out", data, "--overwrite")
    assert "holds files but no run" in said
    assert "--out" in said
    assert contents(data) == before


def test_file_in_place_of_the_run_folder_is_refused(data, refused):
    Path("run").write_text("mine")
    assert "run is a file: choose another folder with --out" in refused(1, "train", data, "--out", "run")
    said = refused(1, "train", data, "--out", "run/below/it")
    assert "run/below/it cannot be written" in said
    assert "--out" in said
    assert Path("run").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM], ids=errno.errorcode.get)
def test_read_only_output_is_refused_before_pictures_are_read(number, data, refused, monkeypatch):
    # Tests may run as root, whom permissions do not stop: the system's answer is put in its place.
    def refuse(self, content):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(pipeline, "load_data", lambda *a, **k: pytest.fail("pictures were read"))
    monkeypatch.setattr(Path, "write_bytes", refuse)
    said = refused(1, "train", data, "--out", "run")
    assert f"run cannot be written: {os.strerror(number)}" in said
    assert "--out" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_folder_without_permission_is_refused(data, refused, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    assert "cannot be written: Permission denied" in refused(1, "train", data, "--out", tmp_path / "locked" / "run")


# A disk that fills.


class full_disk:
    """While it lasts, no file may grow beyond some bytes: the system then answers as with a disk quota."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *raised):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def write_big_text(path):
    files.write_text(path, "x" * 100_000)


def write_json(path):
    files.write_json(path, list(range(30_000)))


def write_model(path):
    with files.whole(path) as temporary:
        tiny_model().save(temporary)


def write_folder(path):
    with files.whole(path) as temporary:
        temporary.mkdir()
        (temporary / "first").write_bytes(b"small")
        (temporary / "second").write_bytes(bytes(100_000))


@pytest.mark.parametrize("write", [write_big_text, write_json, write_model], ids=lambda f: f.__name__)
def test_a_disk_that_fills_is_said_and_the_previous_file_stays_whole(write, tmp_path):
    path = tmp_path / "out" / "result.keras"
    files.write_text(path, "what was there")
    with full_disk(4096), pytest.raises(WriteError, match=r"disk is full.*result\.keras.*Free some space"):
        write(path)
    assert path.read_text() == "what was there"
    assert [p.name for p in path.parent.iterdir()] == ["result.keras"], "nothing half-written is left"
    write(path)
    assert path.stat().st_size > 4096


def test_free_space_is_measured_while_what_was_written_is_still_there(tmp_path, monkeypatch):
    """It was measured after half of the file had been removed: "the disk is full: 3.1 MB free"."""

    def usage(place):
        written = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
        return shutil._ntuple_diskusage(5000, written, 5000 - written)

    monkeypatch.setattr(files.shutil, "disk_usage", usage)
    with full_disk(4096), pytest.raises(WriteError, match=r"904 bytes free"):
        write_big_text(tmp_path / "a.txt")
    with (
        full_disk(4096),
        pytest.raises(WriteError, match=r"904 bytes free"),
        files.temporary_folder(tmp_path, tmp_path) as f,
    ):
        (f / "filled").write_bytes(bytes(100_000))
    assert not list(tmp_path.iterdir())


def test_only_commands_with_an_option_for_the_place_name_it(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (lambda path: files.write_json(path, {}), lambda path: files.write_text(path, ""), write_folder):
        with pytest.raises(WriteError) as caught:
            write(tmp_path / "file" / "a")
        assert "writable folder with out" not in str(caught.value)
        assert "Make its folder writable" in str(caught.value)


def test_a_disk_that_fills_leaves_the_previous_folder_whole(tmp_path):
    path = tmp_path / "saved"
    path.mkdir()
    (path / "mine").write_text("what was there")
    with full_disk(4096), pytest.raises(WriteError, match="disk is full"):
        write_folder(path)
    assert (path / "mine").read_text() == "what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]
    write_folder(path)
    assert sorted(p.name for p in path.iterdir()) == ["first", "second"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_previous_one(tmp_path, monkeypatch):
    path, rename = tmp_path / "saved", Path.rename
    path.mkdir()
    (path / "mine").write_text("what was there")

    def failing(self, target):
        if (self / "first").exists():
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        write_folder(path)
    assert (path / "mine").read_text() == "what was there"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG], ids=errno.errorcode.get)
def test_a_disk_that_is_full_only_at_the_last_moment_is_said_too(number, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(number, "in the words of another language")

    files.write_text(tmp_path / "a.txt", "what was there")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(WriteError, match="disk is full"):
        files.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "what was there"


def test_other_failures_are_not_called_a_full_disk(tmp_path):
    with pytest.raises(ZeroDivisionError), files.whole(tmp_path / "a"):
        raise ZeroDivisionError
    with pytest.raises(OSError, match="Input/output") as caught, files.whole(tmp_path / "a"):
        raise OSError(errno.EIO, "Input/output error")
    assert not isinstance(caught.value, WriteError)
    assert not list(tmp_path.glob("*"))


# The real command, in a process of its own.


def in_a_process(*arguments, size_limit=None):
    def limit():
        if size_limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size_limit, size_limit))

    command = [sys.executable, "-m", "tfransfer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, preexec_fn=limit)


def test_real_command_exits_with_2_for_wrong_usage(data):
    done = in_a_process("train", data, "--base", "mobilnet_v2")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "tfransfer: error: unknown base 'mobilnet_v2': did you mean mobilenet_v2?\n"


def test_real_command_exits_with_1_when_the_disk_fills(data):
    before = contents(data)
    done = in_a_process(
        "train", data, "--base", "mobilenet", "--weights", "random", "--image-size", 32, "--out", "run", size_limit=200
    )
    assert done.returncode == 1
    assert "tfransfer: error: the disk is full (or a size limit was reached) while writing run/" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(data) == before


def test_each_error_is_also_a_familiar_one():
    kinds = [BaseModelError, DataError, DataNotFoundError, RunExistsError, SettingError, WriteError]
    assert all(issubclass(kind, TransferError) for kind in kinds)
    familiar = [ValueError, ValueError, FileNotFoundError, FileExistsError, ValueError, OSError]
    assert all(issubclass(kind, parent) for kind, parent in zip(kinds, familiar, strict=True))
    assert not any(issubclass(a, b) for a, b in itertools.permutations(kinds, 2))
