"""What is found in a folder: classes, pictures, groups; and what is passed over, named or refused."""

import os
import socket

import pytest
from PIL import Image

from tfransfer.data.loading import load_data
from tfransfer.data.sources import folder as folders
from tfransfer.data.sources.folder import find_pictures, list_pictures, load_labelled
from tfransfer.errors import DataError, DataNotFoundError


@pytest.fixture
def animals(solid_folder):
    return solid_folder("animals", {"cat": 6, "dog": 6})


def found(root):
    return [(f.path, f.target, f.split) for f in find_pictures(root)]


def test_each_folder_is_a_class_in_the_order_of_their_names(solid_folder):
    dataset = load_data(solid_folder("data", {"zebra": 4, "Ape": 4, "cat": 4}))
    assert dataset.classes == ("Ape", "cat", "zebra")
    assert [e.path for e in dataset.examples] == sorted(e.path for e in dataset.examples)
    assert all(dataset.classes[e.label] == e.path.split("/")[0] for e in dataset.examples)
    assert len(dataset.examples) == 12


def test_what_is_known_of_a_picture_is_what_its_file_says(tmp_path, photo, encode):
    picture = Image.fromarray(photo)
    exif = picture.getexif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        for number in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{number}.jpg").write_bytes(encode(picture, "JPEG", exif=exif) + name.encode() * number)
    example = load_data(tmp_path).examples[-1]
    assert (example.width, example.height, example.orientation, example.reader) == (80, 60, 6, "tensorflow")


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".WebP", ".tif", ".TIFF"])
def test_each_format_is_found_by_its_suffix_in_any_case(suffix, solid_folder):
    assert len(load_data(solid_folder("data", {"a": 3, "b": 3}, suffix=suffix)).examples) == 6


def test_hidden_files_and_what_systems_leave_behind_are_ignored(animals):
    before = load_data(animals)
    for name in (".DS_Store", "._000.png", ".hidden.png", "Thumbs.db", "desktop.ini", "notes.txt"):
        (animals / "cat" / name).write_text("no picture")
    for name in (".git", ".ipynb_checkpoints", "__MACOSX"):
        (animals / name).mkdir()
        Image.new("RGB", (8, 8)).save(animals / name / "a.png")
    after = load_data(animals)
    assert (after.examples, after.classes, after.issues) == (before.examples, before.classes, ())


LITTER = ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "@__thumb", "LOST.DIR",
          "Previews.lrdata", "_vti_cnf", "RECYCLER", "@Recycle")  # fmt: skip


@pytest.mark.parametrize("name", LITTER)
def test_pictures_that_programs_leave_behind_are_no_data_and_that_is_said(animals, name):
    before = load_data(animals)
    for place in (animals / name, animals / "cat" / name / "000.png"):
        place.mkdir(parents=True)
        Image.new("RGB", (8, 8), "pink").save(place / "SYNOPHOTO_THUMB_M.jpg")
    dataset = load_data(animals)
    assert (dataset.examples, dataset.classes, dataset.issues) == (before.examples, before.classes, before.issues)
    assert any(f"ignored 2 pictures in folders '{name}'" in note for note in dataset.notes)


def test_folders_that_look_like_splits_are_no_classes(animals):
    (animals / "cat").rename(animals / "train")
    (animals / "dog").rename(animals / "test1")
    with pytest.raises(DataError, match="look like splits, but there are no class folders"):
        load_data(animals)


def test_a_folder_of_unlabeled_pictures_is_left_out_and_named(animals):
    for number in range(7):
        (animals / "unlabeled").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(animals / "unlabeled" / f"{number}.png")
    dataset = load_data(animals)
    assert dataset.classes == ("cat", "dog")
    assert [(i.path, i.kind, i.set_aside) for i in dataset.issues] == [("unlabeled", "unlabeled", False)]
    assert any("7 pictures in 'unlabeled' have no labels" in note for note in dataset.notes)


def test_pictures_in_nested_folders_belong_to_the_class_above_them(animals):
    deep = animals / "cat" / "2024" / "may"
    deep.mkdir(parents=True)
    Image.new("RGB", (8, 8), "pink").save(deep / "x.png")
    assert ("cat/2024/may/x.png", "cat", "") in found(animals)
    assert load_data(animals).classes == ("cat", "dog")


def test_pictures_outside_the_class_folders_are_named(animals):
    Image.new("RGB", (8, 8), "pink").save(animals / "stray.png")
    said = []
    (issue,) = load_data(animals, say=said.append).issues
    assert (issue.path, issue.kind, issue.set_aside) == ("stray.png", "no class", True)
    assert any("stray.png" in line for line in said)


def test_class_folder_without_pictures_is_said(animals):
    (animals / "elk").mkdir()
    dataset = load_data(animals)
    assert dataset.classes == ("cat", "dog")
    assert any("'elk' has no" in note for note in dataset.notes)


def test_pictures_in_formats_that_are_not_read_are_named(animals):
    (animals / "cat" / "scan.JXL").write_bytes(b"anything")
    (issue,) = load_data(animals).issues
    assert (issue.path, issue.kind) == ("cat/scan.JXL", "format")
    assert "convert" in issue.detail


def test_a_class_in_a_format_that_is_not_read_is_named_with_what_to_do(animals):
    for path in (animals / "dog").iterdir():
        path.rename(path.with_suffix(".jxl"))
    said = []
    with pytest.raises(DataError, match=r"only one class, 'cat'.* also has 6 \.jxl files: \.jxl is not read here; "):
        load_data(animals, say=said.append)
    assert any(line.startswith("skipped: 6 files (format): dog/000.jxl") for line in said)
    dataset = load_data(animals, strict=False)
    assert any("'dog' has no" in note and "it has 6 .jxl files" in note for note in dataset.notes)
    for path in (animals / "cat").iterdir():
        path.rename(path.with_suffix(".psd"))
    with pytest.raises(DataError, match=r"found 2 folders and 6 \.jxl files: .*; 6 \.psd files: "):
        load_data(animals)


def test_data_to_be_scored_names_what_is_not_read(animals):
    (animals / "cat" / "scan.jxl").write_bytes(b"anything")
    said = []
    (issue,) = load_labelled(animals, ("cat", "dog"), say=said.append).issues
    assert (issue.path, issue.kind) == ("cat/scan.jxl", "format")
    assert any("cat/scan.jxl" in line for line in said)


def test_a_symlink_loop_is_walked_once(animals):
    kept = found(animals)
    (animals / "cat" / "up").symlink_to(animals)
    (animals / "again").symlink_to(animals)
    (animals / "dog" / "other").symlink_to(animals / "dog")
    assert {f for f in found(animals) if "/up/" not in f[0]} == set(kept)
    assert len(found(animals)) <= 3 * len(kept)
    assert load_data(animals).classes == ("cat", "dog")


def test_links_that_point_at_themselves_or_at_nothing_do_no_harm(animals):
    kept = found(animals)
    (animals / "self").symlink_to("self")
    (animals / "cat" / "self").symlink_to("self")
    (animals / "nowhere").symlink_to("absent")
    assert found(animals) == kept
    (animals / "cat" / "self.png").symlink_to("self.png")
    (animals / "cat" / "gone.png").symlink_to("absent.png")
    dataset = load_data(animals)
    assert {(i.path, i.kind) for i in dataset.issues} == {
        ("cat/self.png", "unreadable"),
        ("cat/gone.png", "unreadable"),
    }
    assert len(dataset.examples) == len(kept)


def test_pipes_and_sockets_that_are_called_like_pictures_are_named(animals):
    kept = found(animals)
    os.mkfifo(animals / "cat" / "pipe.png")
    os.mkfifo(animals / "cat" / "notes")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(animals / "dog" / "socket.jpg"))
        dataset = load_data(animals)
    assert {(i.path, i.kind) for i in dataset.issues} == {
        ("cat/pipe.png", "unreadable"),
        ("dog/socket.jpg", "unreadable"),
    }
    assert all("not a regular file" in i.detail for i in dataset.issues)
    assert len(dataset.examples) == len(kept)


def test_symlinked_folders_and_files_are_followed(animals, tmp_path):
    root = tmp_path / "linked"
    root.mkdir()
    (root / "cat").symlink_to(animals / "cat")
    (root / "hund").symlink_to(animals / "dog", target_is_directory=True)
    (root / "hund2").mkdir()
    for number in range(3):
        (root / "hund2" / f"{number}.png").symlink_to(animals / "dog" / f"{number:03}.png")
    dataset = load_data(root)
    assert dataset.classes == ("cat", "hund", "hund2")
    assert len(dataset.examples) == 15


def test_an_unreadable_folder_is_an_error_and_no_missing_class(animals, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    with pytest.raises(DataError, match="dog cannot be read: Permission denied"):
        load_data(animals)


def test_file_names_that_are_not_utf8_are_set_aside(animals):
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (8, 8), "pink").save(animals / "cat" / "new.png")
    (animals / "cat" / "new.png").rename(animals / "cat" / name)
    (issue,) = load_data(animals).issues
    assert (issue.path, issue.kind) == ("cat/caf\\udce9.png", "name")
    issue.path.encode("utf-8")


def test_class_names_with_a_line_break_are_refused(animals):
    (animals / "cat").rename(animals / "c\nat")
    with pytest.raises(DataError, match=r"'c\\nat'.*rename"):
        load_data(animals)


def test_list_pictures_finds_every_picture_whatever_its_place(animals):
    Image.new("RGB", (8, 8), "pink").save(animals / "stray.png")
    (animals / "readme.txt").write_text("")
    assert list_pictures(animals) == sorted([path for path, _, _ in found(animals)] + ["stray.png"])


# Groups.


def write_metadata(root, heading, rows):
    (root / "metadata.csv").write_text("\n".join([heading, *rows]) + "\n", encoding="utf-8-sig")


@pytest.mark.parametrize("column", ["file_name", "path"])
def test_group_column_keeps_groups_on_one_side(column, solid_folder):
    root = solid_folder("data", {"cat": 40, "dog": 40})
    rows = [f"{i % 2},patient {i % 8},{path}" for i, (path, _, _) in enumerate(found(root))]
    write_metadata(root, f"sex,patient,{column}", rows)
    dataset = load_data(root, group_column="patient")
    sides = {}
    for example in dataset.examples:
        sides.setdefault(example.group, set()).add(example.split)
    assert set(sides) == {f"patient {i}" for i in range(8)}
    assert all(len(found_in) == 1 for found_in in sides.values())
    assert not dataset.issues


def test_group_function_keeps_groups_on_one_side(solid_folder):
    root = solid_folder("data", {"cat": 40, "dog": 40})
    dataset = load_data(root, group=lambda path: path[-6:-4])
    names = {e.group for e in dataset.examples}
    assert names == {f"{number:02}" for number in range(40)}
    for name in names:
        assert len({e.split for e in dataset.examples if e.group == name}) == 1


def test_pictures_without_a_group_stand_alone_and_are_counted(animals):
    write_metadata(animals, "file_name,patient", ["cat/000.png,p1", "cat/001.png,p1", "dog/000.png,"])
    dataset = load_data(animals, group_column="patient")
    assert [e.path for e in dataset.examples if e.group] == ["cat/000.png", "cat/001.png"]
    assert any("10 pictures have no patient" in note for note in dataset.notes)


def test_group_column_without_metadata_says_what_to_write(animals):
    with pytest.raises(DataNotFoundError, match=r"metadata\.csv, which does not exist.*file_name.*patient"):
        load_data(animals, group_column="patient")


def test_misspelt_group_column_is_asked_back(animals):
    write_metadata(animals, "file_name,patient", ["cat/000.png,p1"])
    with pytest.raises(DataError, match=r"file_name and patiend; it has file_name, patient\. Did you mean patient\?"):
        load_data(animals, group_column="patiend")


def test_metadata_without_file_names_is_refused(animals):
    write_metadata(animals, "picture,patient", ["cat/000.png,p1"])
    with pytest.raises(DataError, match="needs the columns file_name and patient; it has picture, patient"):
        load_data(animals, group_column="patient")


def test_metadata_that_fits_no_picture_is_refused(animals):
    write_metadata(animals, "file_name,patient", ["000.png,p1", "001.png,p2"])
    with pytest.raises(DataError, match=r"none of the 12 pictures.*'cat/000\.png'.*got '000\.png'"):
        load_data(animals, group_column="patient")


def test_metadata_that_is_no_text_is_refused(animals):
    (animals / "metadata.csv").write_bytes(b"file_name,patient\n\xff\xfe\x00")
    with pytest.raises(DataError, match=r"metadata\.csv cannot be read in UTF-8"):
        load_data(animals, group_column="patient")


# Folders to be scored.


def test_labelled_folder_takes_the_order_of_the_known_classes(animals):
    dataset = load_labelled(animals, ("dog", "elk", "cat"))
    assert {(e.path[:3], e.label) for e in dataset.examples} == {("cat", 2), ("dog", 0)}
    assert len(dataset.examples) == 12


def test_labelled_folder_with_an_unknown_class_is_refused(animals):
    with pytest.raises(DataError, match=r"class 'dog', which the model does not know.*Did you mean dogs\?"):
        load_labelled(animals, ("cat", "dogs"))


@pytest.mark.parametrize("place", ["images", "."])
def test_a_table_beside_pictures_without_class_folders_is_pointed_out(solid_folder, place):
    root = solid_folder("data", {"images": 8})
    for file in (root / "images").iterdir():
        file.rename(root / place / file.name)
    (root / "labels.csv").write_text("path,label\n" + "".join(f"{n:03}.png,{n % 2}\n" for n in range(8)))
    with pytest.raises(DataError, match=r"If labels\.csv has their labels, give that table: .*labels\.csv"):
        load_data(root)
    assert len(load_data(root / "labels.csv").examples) == 8
