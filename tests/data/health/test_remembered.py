"""What reading the files told is remembered between runs, and never told of a file that is another one now."""

import os
import time
from types import SimpleNamespace

import pytest
from PIL import Image

from tfransfer.data.health import audit, remembered
from tfransfer.data.health.audit import examine_all
from tfransfer.data.health.remembered import RememberedFacts
from tfransfer.data.index import FileFacts, Issue
from tfransfer.data.loading import load_data

pytestmark = pytest.mark.usefixtures("fresh_cache")

YESTERDAY = time.time_ns() - 86_400 * 10**9


@pytest.fixture
def clock(monkeypatch):
    """The time as the memory sees it stands a minute ahead, where the files of a test are not new any more."""
    now, ahead = time.time(), SimpleNamespace(seconds=60)
    monkeypatch.setattr(remembered, "time", SimpleNamespace(time=lambda: now + ahead.seconds))
    return ahead


@pytest.fixture
def opened(monkeypatch):
    """Paths of the files that were read, in order; to be cleared between runs."""
    examine, paths = audit.examine, []

    def spy(root, path, max_pixels):
        paths.append(path)
        return examine(root, path, max_pixels)

    monkeypatch.setattr(audit, "examine", spy)
    return paths


@pytest.fixture
def photos(solid_folder):
    """Two folders of two pictures."""
    return solid_folder("photos", {"cat": 2, "dog": 2}, suffix=".bmp")


CAT, OTHER_CAT, *DOGS = PATHS = ["cat/000.bmp", "cat/001.bmp", "dog/000.bmp", "dog/001.bmp"]


@pytest.fixture
def read_once(photos, clock, opened):
    """What a first run found out about each file."""
    found = examine_all(photos, PATHS)
    opened.clear()
    return found


def paint(path, colour):
    """Write another picture of the same size in bytes."""
    before = path.stat().st_size
    Image.new("RGB", (12, 12), colour).save(path)
    assert path.stat().st_size == before


# The same files.


def test_second_run_opens_nothing_and_finds_the_same(read_once, photos, opened):
    again = examine_all(photos, PATHS)
    assert opened == []
    assert list(again.items()) == list(read_once.items())
    assert all(isinstance(fact, FileFacts) for fact in again.values())


def test_order_asked_for_is_the_order_told(read_once, photos):
    assert list(examine_all(photos, PATHS[::-1])) == PATHS[::-1]


def test_progress_is_shown_only_where_something_is_read(read_once, photos):
    again = examine_all(photos, PATHS, progress=lambda *arguments: pytest.fail("nothing is to be read"))
    assert again == read_once


def test_bad_files_stay_named_on_the_second_run(solid_folder, clock, opened):
    photos = solid_folder("photos", {"cat": 6, "dog": 6})
    (photos / "cat" / "cut.png").write_bytes((photos / "cat" / "000.png").read_bytes()[:45])
    (photos / "cat" / "text.png").write_text("no picture")
    (photos / "cat" / "empty.jpg").write_bytes(b"")
    first = load_data(photos)
    opened.clear()
    second = load_data(photos)
    assert opened == []
    assert {issue.path for issue in first.issues} == {"cat/cut.png", "cat/text.png", "cat/empty.jpg"}
    assert second == first


def test_file_that_could_not_be_read_is_tried_again(photos, clock, opened):
    (photos / "cat" / "folder.png").mkdir()
    for _ in range(2):
        opened.clear()
        found = examine_all(photos, [*PATHS, "cat/folder.png"])
        assert found["cat/folder.png"].kind == "unreadable"
        assert "cat/folder.png" in opened


# Files that changed.


def test_file_of_another_size_is_read_again(read_once, photos, opened):
    Image.new("RGB", (20, 20)).save(photos / CAT)
    os.utime(photos / CAT, ns=(YESTERDAY, YESTERDAY))
    found = examine_all(photos, PATHS)
    assert opened == [CAT]
    assert found[CAT].width == 20
    assert [found[path] for path in PATHS[1:]] == [read_once[path] for path in PATHS[1:]]


def test_file_of_another_time_is_read_again(read_once, photos, opened):
    os.utime(photos / CAT, ns=(YESTERDAY, YESTERDAY))
    assert examine_all(photos, PATHS) == read_once
    assert opened == [CAT]


def test_file_of_the_same_size_whose_time_was_set_back_is_read_again(read_once, photos, opened):
    status = (photos / CAT).stat()
    time.sleep(0.02)
    paint(photos / CAT, "pink")
    os.utime(photos / CAT, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (photos / CAT).stat().st_mtime_ns == status.st_mtime_ns
    found = examine_all(photos, PATHS)
    assert opened == [CAT]
    assert found[CAT].content != read_once[CAT].content


@pytest.mark.parametrize("position", range(3), ids=["size", "time of the content", "time of the entry"])
def test_size_and_both_times_must_be_the_same(position, read_once, photos):
    memory = RememberedFacts(photos, audit.MAX_PIXELS)
    stamp = memory.stamp(CAT)
    assert memory.recall(CAT, stamp) == read_once[CAT]
    changed = tuple(value + (place == position) for place, value in enumerate(stamp))
    assert memory.recall(CAT, changed) is None


def test_file_that_was_mended_is_no_issue_any_more(photos, clock):
    (photos / CAT).write_bytes(b"")
    assert isinstance(examine_all(photos, PATHS)[CAT], Issue)
    Image.new("RGB", (12, 12)).save(photos / CAT)
    assert isinstance(examine_all(photos, PATHS)[CAT], FileFacts)


def test_new_file_is_read_and_a_removed_one_forgotten(read_once, photos, opened):
    (photos / CAT).rename(photos / "cat" / "new.bmp")
    found = examine_all(photos, ["cat/new.bmp", *PATHS[1:]])
    assert opened == ["cat/new.bmp"]
    assert found["cat/new.bmp"] == read_once[CAT]
    assert set(RememberedFacts(photos, audit.MAX_PIXELS)._known) == set(found)


# Files that were just written: a later change could leave the same time.


def test_files_that_were_just_written_are_read_again(photos, clock, opened):
    clock.seconds = 0
    for _ in range(2):
        opened.clear()
        examine_all(photos, PATHS)
        assert sorted(opened) == PATHS


def test_just_written_file_is_read_again_whatever_its_own_time_says(photos, clock, opened):
    clock.seconds = 0
    for moment in (YESTERDAY, YESTERDAY + 2 * 86_400 * 10**9):
        os.utime(photos / CAT, ns=(moment, moment))
        for _ in range(2):
            opened.clear()
            examine_all(photos, PATHS)
            assert CAT in opened


def test_just_written_file_is_read_again_however_long_the_others_took(photos, clock, opened, monkeypatch):
    examine = audit.examine

    def slow(root, path, max_pixels):
        if path == PATHS[0]:
            clock.seconds += 60
        return examine(root, path, max_pixels)

    clock.seconds = 0
    monkeypatch.setattr(audit, "examine", slow)
    examine_all(photos, PATHS)
    opened.clear()
    examine_all(photos, PATHS)
    assert sorted(opened) == PATHS


# Memories.


def test_another_limit_of_pixels_is_another_memory(read_once, photos, opened):
    refused = examine_all(photos, PATHS, max_pixels=100)
    assert sorted(opened) == PATHS
    assert {fact.kind for fact in refused.values()} == {"too large"}
    assert examine_all(photos, PATHS) == read_once


def test_another_version_of_a_decoder_is_another_memory(read_once, photos, opened, monkeypatch):
    monkeypatch.setattr(remembered.PIL, "__version__", "next")
    examine_all(photos, PATHS)
    assert sorted(opened) == PATHS


def test_another_folder_is_another_memory(read_once, photos, opened):
    photos.rename(photos.with_name("moved"))
    examine_all(photos.with_name("moved"), PATHS)
    assert sorted(opened) == PATHS


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: '{"files": {}}',
        lambda text: text.replace('"files": {', '"files": [{').removesuffix("}") + "]}",
        lambda text: text.replace(', "pillow", ', ", "),
        lambda text: text.replace(', "facts"', ""),
        lambda text: text.replace(', "facts", ', ', "issue", '),
        lambda text: text.split('"files"')[0] + '"files": {' + ", ".join(f'"{path}": 3' for path in PATHS) + "}}",
    ],
    ids=["empty", "half", "list", "no versions", "files in a list", "fields", "short", "kind", "numbers"],
)
def test_damaged_memory_is_none(damage, read_once, photos, fresh_cache, opened):
    (file,) = (fresh_cache / "index").iterdir()
    damaged = damage(file.read_text())
    assert damaged != file.read_text()
    file.write_text(damaged)
    assert examine_all(photos, PATHS) == read_once
    assert sorted(opened) == PATHS
    opened.clear()
    assert examine_all(photos, PATHS) == read_once
    assert opened == []


def test_flipped_byte_in_the_memory_changes_no_fact(read_once, photos, fresh_cache):
    (file,) = (fresh_cache / "index").iterdir()
    content = read_once[CAT].content
    file.write_text(file.read_text().replace(content, ("0" if content[0] == "1" else "1") + content[1:]))
    assert examine_all(photos, PATHS) == read_once


def test_cache_that_cannot_be_written_stops_nothing(photos, clock, fresh_cache, opened):
    fresh_cache.write_text("a file where the folder should be")
    for _ in range(2):
        opened.clear()
        assert all(isinstance(fact, FileFacts) for fact in examine_all(photos, PATHS).values())
        assert sorted(opened) == PATHS
    assert fresh_cache.read_text() == "a file where the folder should be"


def test_memory_is_left_alone_where_nothing_changed(read_once, photos, fresh_cache):
    (file,) = (fresh_cache / "index").iterdir()
    os.utime(file, ns=(YESTERDAY, YESTERDAY))
    examine_all(photos, PATHS)
    assert file.stat().st_mtime_ns == YESTERDAY


def test_nothing_is_written_beside_the_pictures(read_once, photos):
    assert sorted(str(path.relative_to(photos)) for path in photos.rglob("*.*")) == PATHS
