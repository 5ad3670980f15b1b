"""What the store may take of the disk, what goes first, and what is never removed."""

import errno
import json
import os
import threading
from collections import namedtuple

import numpy as np
import pytest

from tfransfer.errors import WriteError
from tfransfer.features import budget, store
from tfransfer.features.store import FACTS, Collection

pytestmark = pytest.mark.usefixtures("fresh_cache")

GB = 10**9
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def keep():
    """Keeps rows as a run did so many seconds after 2001: `keep("a", used=5)` gives the collection's folder."""

    def kept(base, used=0, rows=4):
        collection = Collection(budget.store_home(), {"base": base})
        names = [f"{number}:0" for number in range(rows)]
        collection.append(names, np.ones((rows, 100), np.float32))
        os.utime(collection.folder / FACTS, (GB + used, GB + used))
        return collection.folder

    return kept


@pytest.fixture
def disk(monkeypatch):
    """Pretends a disk of some size and free space, in bytes."""

    def pretend(total, free):
        monkeypatch.setattr(budget.shutil, "disk_usage", lambda path: Usage(total, total - free, free))

    return pretend


def bases():
    return [entry.facts["base"] for entry in budget.entries()]


def values_file(folder):
    (path,) = folder.glob("*.npy")
    return path


# What is there.


def test_collections_are_listed_from_the_one_used_longest_ago(keep):
    for base, used in [("b", 200), ("a", 300), ("c", 100)]:
        keep(base, used)
    assert bases() == ["c", "b", "a"]


def test_opening_a_collection_is_using_it(keep):
    keep("a", 100)
    keep("b", 200)
    Collection(budget.store_home(), {"base": "a"})
    assert bases() == ["b", "a"]


def test_an_entry_says_what_is_kept_and_what_it_takes(keep):
    folder = keep("a", 100, rows=7)
    (entry,) = budget.entries()
    assert (entry.folder, entry.rows, entry.used) == (folder, 7, GB + 100)
    assert entry.facts == {"base": "a", "dtype": "float16"}
    assert entry.size == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("facts", [b"", b"\xff", b"[1]"])
def test_collection_whose_facts_are_damaged_is_listed_without_them(facts, keep):
    (keep("a") / FACTS).write_bytes(facts)
    (entry,) = budget.entries()
    assert (entry.facts, entry.rows) == ({}, 4)


def test_a_cache_that_was_never_used_is_empty(fresh_cache):
    assert budget.entries() == []
    assert budget.size_of(fresh_cache) == 0
    assert budget.room(10**6) == 10**6
    assert budget.clear() == 0
    assert not fresh_cache.exists()


def test_size_counts_the_files_in_folders_below(tmp_path):
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "a").write_bytes(bytes(10))
    (tmp_path / "deep" / "deeper" / "b").write_bytes(bytes(300))
    assert budget.size_of(tmp_path) == 310


def test_collections_can_be_listed_while_another_run_writes():
    stopped = threading.Event()
    collection = Collection(budget.store_home(), {"base": "a"})
    collection.append(["a:0"], np.ones((1, 2), np.float32))

    def write():
        while not stopped.is_set():
            collection.append(["a:0"], np.ones((1, 2), np.float32))

    other_run = threading.Thread(target=write)
    other_run.start()
    try:
        for _ in range(100):
            budget.entries()
    finally:
        stopped.set()
        other_run.join()
    assert bases() == ["a"]


# Room.


def test_without_a_budget_a_quarter_of_the_free_disk_may_be_taken(disk):
    disk(1000 * GB, 400 * GB)
    assert budget.room(None) == 100 * GB


def test_what_the_store_takes_already_counts_as_free(keep, disk):
    keep("a", rows=400)
    disk(10**6, 10**6 // 2)
    taken = budget.size_of(budget.store_home())
    assert taken > 80_000
    assert budget.room(None) == int(0.25 * (10**6 // 2 + taken))


def test_a_budget_is_what_the_store_may_take_in_all(disk):
    disk(1000 * GB, 400 * GB)
    assert budget.room(300 * GB) == 300 * GB
    assert budget.room(0) == 0


@pytest.mark.parametrize(
    ("total", "free", "room"),
    [
        (1000 * GB, 50 * GB, 48 * GB),
        (20 * GB, 10 * GB, 9 * GB),
        (1000 * GB, 1 * GB, 0),
    ],
)
def test_the_last_of_the_disk_is_never_taken_whatever_the_budget(total, free, room, disk):
    disk(total, free)
    assert budget.room(10**15) == room


def test_without_a_budget_the_last_of_the_disk_is_not_taken_either(disk):
    disk(1000 * GB, 2.1 * GB)
    assert budget.room(None) == pytest.approx(0.1 * GB)


# Making room.


@pytest.fixture
def three(keep):
    """Folders of three collections of one size, the one used longest ago first; not in the order of their names."""
    folders = [keep(base, used) for base, used in [("b", 100), ("a", 200), ("c", 300)]]
    assert len({budget.size_of(folder) for folder in folders}) == 1
    return folders


def test_what_was_used_longest_ago_is_removed_first_and_no_more_than_needed(three):
    size = budget.size_of(three[0])
    assert budget.make_room(size, 3 * size, []) == 1
    assert bases() == ["a", "c"]
    assert budget.make_room(size + 1, 3 * size, []) == 1
    assert bases() == ["c"]


def test_nothing_is_removed_where_there_is_room(three):
    size = budget.size_of(three[0])
    assert budget.make_room(size, 4 * size, []) == 0
    assert bases() == ["b", "a", "c"]


def test_what_is_in_use_is_never_removed(three):
    size = budget.size_of(three[0])
    assert budget.make_room(size, 3 * size, [three[0]]) == 1
    assert bases() == ["b", "c"]
    assert budget.make_room(100 * GB, 0, [three[0], three[2]]) == 0
    assert bases() == ["b", "c"]


def test_without_a_budget_room_is_made_when_the_disk_is_nearly_full(three, disk):
    disk(1000 * GB, 1 * GB)
    assert budget.make_room(1, None, [three[1]]) == 2
    assert bases() == ["a"]


def test_collection_that_cannot_be_removed_is_passed_over(three, monkeypatch):
    remove, size = store.remove, budget.size_of(three[0])

    def refuse(path):
        if path == three[0]:
            raise PermissionError(errno.EACCES, "Permission denied")
        remove(path)

    monkeypatch.setattr(store, "remove", refuse)
    assert budget.make_room(size, 3 * size, []) == 1
    assert bases() == ["b", "c"]


# Verification.


def change_header(folder, **said):
    header = values_file(folder).with_suffix(".json")
    header.write_text(json.dumps(json.loads(header.read_text()) | said))


def flip(folder):
    content = bytearray(values_file(folder).read_bytes())
    content[-1] ^= 1
    values_file(folder).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "suffix", "reason"),
    [
        (lambda f: values_file(f).with_suffix(".json").write_text("{"), ".json", "cannot be read"),
        (lambda f: change_header(f, rows=None), ".json", "cannot be read"),
        (lambda f: values_file(f).unlink(), ".npy", "is missing"),
        (lambda f: os.truncate(values_file(f), 700), ".npy", "has 700 bytes, 928 were written"),
        (flip, ".npy", "does not match its checksum"),
        (lambda f: change_header(f, rows=["0:0"]), "", ""),
    ],
    ids=["header", "rows", "missing", "size", "sum", "row count"],
)
def test_verify_names_each_damaged_file_and_why(damage, suffix, reason, keep):
    keep("whole")
    damaged = keep("damaged")
    (header,) = (path for path in damaged.glob("*.json") if path.name != FACTS)
    damage(damaged)
    ((path, said),) = budget.verify()
    assert path.with_suffix("") == header.with_suffix("")
    assert path.suffix.endswith(suffix)
    assert reason in said


def test_verify_finds_nothing_wrong_with_what_was_just_kept(keep):
    keep("a")
    keep("b")
    assert budget.verify() == []


def test_verify_removes_nothing(keep):
    flip(keep("a"))
    before = sorted(budget.store_home().rglob("*"))
    budget.verify()
    assert sorted(budget.store_home().rglob("*")) == before


# Clearing.


def test_clear_removes_every_part_and_says_how_much(keep, fresh_cache):
    keep("a")
    for part in ("engines", "index"):
        (fresh_cache / part).mkdir()
        (fresh_cache / part / f"{'a1' * 12}.json").write_bytes(bytes(50))
    taken = budget.size_of(fresh_cache)
    assert budget.clear() == taken > 900
    assert list(fresh_cache.iterdir()) == []


def test_clear_leaves_what_is_not_ours(keep, fresh_cache):
    keep("a")
    (fresh_cache / "thesis").mkdir()
    (fresh_cache / "thesis" / "final.doc").write_bytes(bytes(1000))
    (fresh_cache / "notes.txt").write_bytes(bytes(1000))
    assert budget.clear() < 2000
    assert budget.size_of(fresh_cache) == 2000
    assert sorted(path.name for path in fresh_cache.iterdir()) == ["notes.txt", "thesis"]


def test_clear_does_not_follow_links_out_of_the_cache(keep, fresh_cache, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "only copy.jpg").write_bytes(b"picture")
    (keep("a") / "link").symlink_to(photos)
    budget.clear()
    assert (photos / "only copy.jpg").read_bytes() == b"picture"
    assert budget.entries() == []


def test_features_on_another_disk_behind_a_link_can_be_used_and_cleared(keep, fresh_cache, tmp_path):
    fresh_cache.mkdir()
    (tmp_path / "big disk").mkdir()
    (fresh_cache / "features").symlink_to(tmp_path / "big disk")
    keep("a")
    assert bases() == ["a"]
    budget.clear()
    assert budget.entries() == []
    keep("b")
    assert bases() == ["b"]


def test_clear_says_what_cannot_be_removed(keep, fresh_cache, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    keep("a")
    monkeypatch.setattr(store, "remove", refuse)
    with pytest.raises(WriteError, match="features cannot be written: Permission denied"):
        budget.clear()
