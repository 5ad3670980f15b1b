"""Sources that are no folder, unpacked into the cache."""

import json

import pytest

from tfransfer.data.index import Row
from tfransfer.data.sources import unpacked
from tfransfer.data.sources.unpacked import Contents
from tfransfer.errors import DataError, DataNotFoundError, WriteError

pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.fixture
def source():
    """A source of pictures that counts how often it was read: `source(b"one", b"two")` gives a Fill."""

    def make(*pictures: bytes, fails: Exception | None = None, order: int = 1):
        def fill(writer):
            fill.read += 1
            rows = tuple(Row(writer.picture(p, ".jpg"), f"class{p[0] % 2}", "train") for p in pictures[::order])
            if fails:
                raise fails
            return Contents(rows, ("class1", "class0"), "single-label", ("a note",))

        fill.read = 0
        return fill

    return make


def test_bytes_classes_and_notes_stand_as_they_came(source):
    found = unpacked.unpack("tfds", {"name": "a"}, source(b"one", b"two"))
    assert [(found.root / row.path).read_bytes() for row in found.rows] == [b"one", b"two"]
    assert [row.path for row in found.rows] == ["pictures/000/000000.jpg", "pictures/000/000001.jpg"]
    assert (found.classes, found.task, found.notes) == (("class1", "class0"), "single-label", ("a note",))


def test_a_second_call_does_not_touch_the_source(source, fresh_cache):
    fill = source(b"one", b"two")
    first = unpacked.unpack("tfds", {"name": "a", "splits": None}, fill)
    assert unpacked.unpack("tfds", {"splits": None, "name": "a"}, fill) == first
    assert fill.read == 1
    assert first.root.parent == fresh_cache / "data" / "tfds"


def test_other_facts_are_another_folder(source):
    fill = source(b"one")
    assert unpacked.unpack("tfds", {"a": 1}, fill).root != unpacked.unpack("tfds", {"a": 2}, fill).root


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: (root / "rows.json").write_text('{"rows": [["pictures'),
        lambda root: (root / "rows.json").write_text("[]"),
        lambda root: (root / "rows.json").write_text((root / "rows.json").read_text().replace("train", "trian")),
        lambda root: (root / "rows.json").unlink(),
        lambda root: (root / "pictures" / "000" / "000001.jpg").unlink(),
    ],
    ids=["cut", "other json", "unknown split", "no rows", "no picture"],
)
def test_what_is_damaged_is_unpacked_anew(source, damage):
    fill = source(b"one", b"two")
    first = unpacked.unpack("tfds", {"name": "a"}, fill)
    damage(first.root)
    with pytest.raises(DataNotFoundError, match=r"is damaged; expected rows\.json and the pictures"):
        unpacked.reopen(first.root)
    assert unpacked.unpack("tfds", {"name": "a"}, fill) == first
    assert fill.read == 2
    assert (first.root / "pictures/000/000001.jpg").read_bytes() == b"two"


@pytest.mark.parametrize("how", [lambda fill: unpacked.unpack("arrays", {}, fill), None], ids=["facts", "content"])
def test_a_source_that_fails_leaves_nothing(source, fresh_cache, how):
    how = how or (lambda fill: unpacked.unpack_by_content("arrays", fill))
    with pytest.raises(DataError, match="broken"):
        how(source(b"one", fails=DataError("broken")))
    assert list((fresh_cache / "data" / "arrays").iterdir()) == []


def test_a_full_disk_says_so(source, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpacked.Path, "write_bytes", full)
    with pytest.raises(WriteError, match="the disk is full"):
        unpacked.unpack_by_content("arrays", source(b"one"))


def test_folders_hold_a_thousand_files_at_most(tmp_path):
    writer = unpacked.Writer(tmp_path / "many")
    paths = [writer.picture(b"x", ".png") for _ in range(1001)]
    assert paths[-2:] == ["pictures/000/000999.png", "pictures/001/001000.png"]
    assert len(list((tmp_path / "many/pictures/000").iterdir())) == 1000


def test_reopen_gives_what_unpack_gave(source):
    first = unpacked.unpack("tfds", {"name": "a"}, source(b"one"))
    assert unpacked.reopen(first.root) == first


def test_reopen_says_what_to_do_where_the_folder_is_gone(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"gone does not exist; .* Open the source again"):
        unpacked.reopen(tmp_path / "gone")


def test_texts_and_several_targets_come_back(tmp_path):
    def fill(writer):
        rows = (Row(writer.text("héllo\n"), ("a", "b"), text="héllo\n"), Row(writer.text(""), (), "test", text=""))
        return Contents(rows, ("a", "b"), "multi-label")

    first = unpacked.unpack("arrays", {}, fill)
    assert unpacked.reopen(first.root) == first
    assert [row.text for row in first.rows] == ["héllo\n", ""]
    assert not (first.root / "pictures").exists()


def test_numbers_come_back_exactly():
    def fill(writer):
        return Contents((Row(writer.text("a"), 0.1 + 0.2, text="a"),), (), "regression")

    first = unpacked.unpack("arrays", {}, fill)
    assert unpacked.reopen(first.root).rows[0].target == 0.1 + 0.2


def test_rows_are_no_program(source):
    first = unpacked.unpack("tfds", {}, source(b"one"))
    assert set(json.loads((first.root / "rows.json").read_text())) == {"classes", "task", "notes", "rows"}


def test_the_same_content_in_another_order_is_kept_once(source):
    first = unpacked.unpack_by_content("arrays", source(b"one", b"two", b"three"))
    again = unpacked.unpack_by_content("arrays", source(b"one", b"two", b"three", order=-1))
    assert again == first
    assert [p.name for p in first.root.parent.iterdir()] == [first.root.name]
    assert unpacked.unpack_by_content("arrays", source(b"one", b"two")).root != first.root


@pytest.mark.parametrize(
    ("start", "suffix"),
    [
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"\x89PNG\r\n", ".png"),
        (b"GIF89a", ".gif"),
        (b"RIFF\0\0\0\0WEBP", ".webp"),
        (b"II*\0", ".picture"),
    ],
)
def test_a_suffix_says_the_format(start, suffix):
    assert unpacked.suffix_of(start) == suffix
