"""The store: rows come back as they were kept, or they are missing; never something else."""

import contextlib
import errno
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import zlib
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from tfransfer.errors import WriteError
from tfransfer.features import store
from tfransfer.features.store import FACTS, FLOAT32, Collection

ROWS_PER_SHARD = 4
Files = namedtuple("Files", "header values")


def names_of(shard, owner="a"):
    return [f"{owner}{shard}.{row}:0" for row in range(ROWS_PER_SHARD)]


def values_of(names):
    """What stands in rows of these names: float32, shape (rows, 2, 3), exact in float16."""
    return np.array([np.arange(6).reshape(2, 3) + zlib.crc32(name.encode()) % 2000 for name in names], np.float32)


def all_of(rows):
    return rows.take(np.arange(len(rows)))


def files_of(collection, name):
    """The two files of the shard that has a row."""
    headers = [path for path in collection.folder.glob("*.json") if path.name != FACTS]
    (header,) = (path for path in headers if name in json.loads(path.read_text())["rows"])
    return Files(header, header.with_suffix(".npy"))


def make_old(path):
    os.utime(path, (time.time() - 86_400,) * 2)


@pytest.fixture
def opened(tmp_path):
    """Opens the collection of some facts, anew each time: `opened(base="b")`."""

    def open_it(dtype="float16", **facts):
        return Collection(tmp_path / "features", {"base": "tiny"} | facts, dtype)

    return open_it


@pytest.fixture
def three_shards(opened):
    """Names of the rows of three shards that an earlier run kept."""
    collection = opened()
    for number in range(3):
        collection.append(names_of(number), values_of(names_of(number)))
    return [name for number in range(3) for name in names_of(number)]


# Rows in, rows out.


def test_rows_are_taken_across_shards_in_any_order(three_shards, opened):
    order = random.Random(0).sample(three_shards, len(three_shards))
    collection = opened()
    assert collection.missing(order) == []
    rows = collection.rows(order)
    assert (len(rows), rows.shape) == (12, (2, 3))
    positions = np.array([11, 0, 5, 5, 2])
    taken = rows.take(positions)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, values_of(order)[positions])


def test_what_was_just_appended_can_be_taken_without_reopening(opened):
    collection = opened()
    collection.append(names_of(0), values_of(names_of(0)))
    assert collection.missing(names_of(0)) == []
    np.testing.assert_array_equal(all_of(collection.rows(names_of(0))), values_of(names_of(0)))


def test_missing_rows_are_told_once_and_in_the_order_asked(three_shards, opened):
    assert opened().missing(["z", three_shards[0], "b", "z", three_shards[9], "a", "b"]) == ["z", "b", "a"]


def test_looking_for_rows_writes_nothing(opened, tmp_path):
    assert opened().missing(["a"]) == ["a"]
    assert list(tmp_path.iterdir()) == []


def test_no_rows_can_be_taken_from_no_rows(three_shards, opened):
    assert len(opened().rows([]).take(np.arange(0))) == 0


@pytest.mark.parametrize("other", [{"base": "b"}, {"image_size": 32}, {"dtype": FLOAT32}], ids=str)
def test_other_facts_are_another_collection(other, three_shards, opened):
    collection = opened(**other)
    assert collection.folder != opened().folder
    assert collection.missing(three_shards) == three_shards


def test_facts_in_another_order_are_the_same_collection(tmp_path):
    folders = {Collection(tmp_path, dict(pairs)).folder for pairs in itertools.permutations([("a", 1), ("b", 2)])}
    assert len(folders) == 1


def test_facts_are_kept_beside_the_rows(three_shards, opened):
    said = json.loads((opened().folder / FACTS).read_text())
    assert said == {"base": "tiny", "dtype": "float16"}


def test_facts_are_kept_although_an_earlier_run_was_stopped_before_it_wrote_them(opened):
    opened().folder.mkdir(parents=True)
    opened().append(names_of(0), values_of(names_of(0)))
    assert json.loads((opened().folder / FACTS).read_text())["base"] == "tiny"


def test_rows_are_mapped_and_not_loaded(three_shards, opened):
    opened_again, just_written = opened(), opened()
    opened_again.missing(three_shards)
    just_written.append(["new"], values_of(["new"]))
    for rows in (opened_again.rows(three_shards), just_written.rows(["new"])):
        assert all(isinstance(shard, np.memmap) for shard in rows._shards)


# Values.


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_values_are_rounded_to_float16_unless_float32_is_asked_for(dtype, opened):
    values = np.array([[1 / 3, 1e-3, 5.0]], np.float32)
    collection = opened(dtype)
    collection.append(["a"], values)
    np.testing.assert_array_equal(all_of(collection.rows(["a"])), values.astype(dtype).astype(np.float32))
    assert np.load(files_of(collection, "a").values).dtype == dtype


def test_shard_with_a_value_beyond_float16_is_written_as_float32_and_counted(opened):
    collection = opened()
    collection.append(["big", "beside"], np.array([[1e6, 1 / 3], [1, 2]], np.float32))
    collection.append(["small"], np.array([[-65504, 1 / 3]], np.float32))
    assert collection.widened == 1
    assert np.load(files_of(collection, "small").values).dtype == np.float16
    reopened = opened()
    assert reopened.missing(["big"]) == []
    np.testing.assert_array_equal(all_of(reopened.rows(["big"])), np.array([[1e6, 1 / 3]], np.float32))


def test_values_that_are_no_numbers_are_kept_and_widen_nothing(opened):
    values = np.array([[np.nan, np.inf, -np.inf, 1.5]], np.float32)
    collection = opened()
    collection.append(["odd"], values)
    np.testing.assert_array_equal(all_of(collection.rows(["odd"])), values)
    assert collection.widened == 0


def test_value_beyond_float16_survives_beside_a_nan(opened):
    values = np.array([[np.nan, 1.0], [1e6, 1.0]], np.float32)
    collection = opened()
    collection.append(["odd", "big"], values)
    np.testing.assert_array_equal(all_of(collection.rows(["odd", "big"])), values)
    assert collection.widened == 1


# Damage.


def flip_a_byte(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def rewrite_header(files, change):
    said = json.loads(files.header.read_text())
    files.header.write_text(json.dumps(change(said)))


def rename_rows(files, rename):
    rewrite_header(files, lambda said: said | {"rows": [rename(name) for name in said["rows"]]})


DAMAGES = {
    "a flipped byte in the values": lambda f: flip_a_byte(f.values, -3),
    "a flipped byte in the shape": lambda f: flip_a_byte(f.values, 60),
    "values cut short": lambda f: os.truncate(f.values, f.values.stat().st_size - 5),
    "values too long": lambda f: f.values.write_bytes(f.values.read_bytes() + b"x"),
    "no values": lambda f: f.values.unlink(),
    "empty values": lambda f: f.values.write_bytes(b""),
    "a header cut short": lambda f: os.truncate(f.header, 20),
    "an empty header": lambda f: f.header.write_bytes(b""),
    "a header that is no text": lambda f: f.header.write_bytes(b"\xff\xfe\x00"),
    "a header without a sum": lambda f: rewrite_header(f, lambda said: {"rows": said["rows"], "bytes": said["bytes"]}),
    "a header that is a list": lambda f: rewrite_header(f, lambda said: [said]),
    "a header with names that are no text": lambda f: rename_rows(f, lambda name: [name]),
    "a row too few": lambda f: rewrite_header(f, lambda said: said | {"rows": said["rows"][:-1]}),
    "a row too many": lambda f: rewrite_header(f, lambda said: said | {"rows": [*said["rows"], "new:0"]}),
    "another row's name": lambda f: rename_rows(f, lambda name: name.replace(":0", ":2")),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_shard_is_removed_and_only_its_rows_are_missing(damage, three_shards, opened):
    damaged = files_of(opened(), names_of(1)[0])
    damage(damaged)
    wanted = [*three_shards, "new:0", *(name.replace(":0", ":2") for name in names_of(1))]
    collection = opened()
    assert collection.missing(wanted) == [*names_of(1), *wanted[len(three_shards) :]]
    assert collection.damaged == 1
    assert not damaged.header.exists()
    assert not damaged.values.exists()
    others = names_of(2) + names_of(0)
    np.testing.assert_array_equal(all_of(collection.rows(others)), values_of(others))


def test_rows_of_a_damaged_shard_can_be_kept_again(three_shards, opened):
    flip_a_byte(files_of(opened(), names_of(1)[0]).values, -1)
    collection = opened()
    lost = collection.missing(three_shards)
    collection.append(lost, values_of(lost))
    reopened = opened()
    assert reopened.missing(three_shards) == []
    np.testing.assert_array_equal(all_of(reopened.rows(three_shards)), values_of(three_shards))


def test_values_without_a_header_are_not_trusted_and_removed_once_they_are_old(three_shards, opened):
    files = files_of(opened(), names_of(0)[0])
    files.header.unlink()
    assert opened().missing(three_shards) == names_of(0)
    assert files.values.exists(), "another process may be about to write the header"
    make_old(files.values)
    opened()
    assert not files.values.exists()
    assert opened().missing(three_shards) == names_of(0)


def test_half_written_folders_are_ignored_and_removed_only_once_they_are_old(three_shards, opened):
    folder = opened().folder
    fresh, old = folder / ".writing-fresh", folder / ".writing-old"
    for half_written in (fresh, old):
        half_written.mkdir()
        (half_written / "0.npy").write_bytes(b"half")
        (half_written / "0.json").write_text("{")
    make_old(old)
    collection = opened()
    assert (fresh.exists(), old.exists()) == (True, False)
    assert (collection.missing(three_shards), collection.damaged) == ([], 0)


def test_old_shards_stay(three_shards, opened):
    for path in opened().folder.iterdir():
        make_old(path)
    opened()
    assert opened().missing(three_shards) == []


def test_shards_that_cannot_be_opened_now_are_not_removed(three_shards, opened, monkeypatch):
    def too_many_open_files(*arguments, **named):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(store.np, "load", too_many_open_files)
        with contextlib.suppress(OSError):  # saying so is as good as calling them missing
            opened().missing(three_shards)
    assert opened().missing(three_shards) == []


def test_collection_of_more_shards_than_files_may_be_open_can_be_used(opened):
    names = [f"{number}:0" for number in range(60)]
    collection = opened()
    for name in names:
        collection.append([name], values_of([name]))
    del collection
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, before[1]))
    try:
        reopened = opened()
        missing = reopened.missing(names)
        right = not missing and np.array_equal(all_of(reopened.rows(names)), values_of(names))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert missing == []
    assert right


# Stores that cannot be written.


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_store_that_may_only_be_read_is_read(three_shards, opened):
    folder = opened().folder
    flip_a_byte(files_of(opened(), names_of(1)[0]).values, -1)
    folder.chmod(0o555)
    try:
        collection = opened()
        assert collection.missing(three_shards) == names_of(1)
        np.testing.assert_array_equal(all_of(collection.rows(names_of(0))), values_of(names_of(0)))
        with pytest.raises(WriteError, match="cannot be written: Permission denied"):
            collection.append(names_of(1), values_of(names_of(1)))
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize("damage", ["values cut short", "an empty header"])
def test_damaged_shard_that_cannot_be_removed_is_passed_over(damage, three_shards, opened, monkeypatch):
    def refuse(*arguments, **named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    DAMAGES[damage](files_of(opened(), names_of(1)[0]))
    for name in ("touch", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    collection = opened()
    assert collection.missing(three_shards) == names_of(1)
    np.testing.assert_array_equal(all_of(collection.rows(names_of(2))), values_of(names_of(2)))


@pytest.mark.parametrize(
    ("rows", "prefix", "limit"),
    [
        pytest.param(4, "", 100, id="before the values"),
        pytest.param(4, "", 170, id="in values that fit a buffer"),
        pytest.param(4000, "", 20_000, id="in the values"),
        pytest.param(4000, "long name" * 10, 50_000, id="in the header"),
    ],
)
def test_a_disk_that_fills_is_said_and_leaves_no_half_shard(rows, prefix, limit, three_shards, opened):
    collection, names = opened(), [f"{prefix}{number}:0" for number in range(rows)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(WriteError, match="disk is full"):
            collection.append(names, values_of(names))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for found in (collection, opened()):
        assert found.missing([*names, *three_shards]) == names
        assert found.damaged == 0
    assert len(list(collection.folder.glob("*.json"))) == 4
    assert not list(collection.folder.glob(".writing-*"))
    collection.append(names, values_of(names))
    assert opened().missing(names) == []


def test_removal_of_the_files_does_not_hurt_who_reads_them(three_shards, opened):
    collection = opened()
    collection.missing(three_shards)
    rows = collection.rows(three_shards)
    store.remove(collection.folder)
    assert not collection.folder.exists()
    np.testing.assert_array_equal(all_of(rows), values_of(three_shards))


def test_rows_can_be_appended_after_another_process_removed_the_collection(three_shards, opened):
    collection = opened()
    store.remove(collection.folder)
    collection.append(names_of(7), values_of(names_of(7)))
    assert opened().missing([*three_shards, *names_of(7)]) == three_shards
    assert json.loads((opened().folder / FACTS).read_text())["base"] == "tiny"


# Several processes. This file, run by itself, is the one that writes.


def append_shards(home, owner, shards):
    """Append one shard after the other, and tell of each that is whole."""
    collection = Collection(Path(home), {"base": "tiny"})
    for number in shards:
        collection.append(names_of(number, owner), values_of(names_of(number, owner)))
        print(number, flush=True)


def writer(home, owner, shards):
    package = Path(store.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, __file__, str(home), owner, str(shards)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(package)},
    )


def test_killed_process_loses_at_most_the_shard_it_was_writing(opened, tmp_path):
    moments = random.Random(0)
    for owner in "abcdef":
        process = writer(tmp_path / "features", owner, 100_000)
        process.stdout.readline()
        time.sleep(moments.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        whole = 1 + len(process.communicate()[0].splitlines())
        collection = opened()
        finished = [name for number in range(whole) for name in names_of(number, owner)]
        assert collection.missing(finished) == []
        np.testing.assert_array_equal(all_of(collection.rows(finished)), values_of(finished))
        lost = collection.missing(names_of(whole, owner))
        assert lost in ([], names_of(whole, owner)), "a shard is whole or not there"
        assert collection.damaged == 0


def test_two_processes_may_write_the_same_collection_at_once(opened, tmp_path):
    writers = [writer(tmp_path / "features", "a", 40) for _ in range(2)]
    assert [process.communicate()[0].split() for process in writers] == [[str(n) for n in range(40)]] * 2
    collection, names = opened(), [name for number in range(40) for name in names_of(number)]
    assert len(list(collection.folder.glob("*.npy"))) == 80, "each row twice"
    assert (collection.missing(names), collection.damaged) == ([], 0)
    np.testing.assert_array_equal(all_of(collection.rows(names)), values_of(names))
    assert not list(collection.folder.glob(".writing-*"))


if __name__ == "__main__":
    append_shards(sys.argv[1], sys.argv[2], range(int(sys.argv[3])))
