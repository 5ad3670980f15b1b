"""Tables of pictures and texts: what is read, what is set aside, and what each bad table is told."""

import csv
import os
import shutil
from pathlib import Path

import pytest

from tfransfer import load_data
from tfransfer.data.sources.table_files import read_lines
from tfransfer.data.splits import write_splits
from tfransfer.errors import DataError, DataNotFoundError, SettingError

pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.fixture
def photos(solid_folder):
    """Twenty pictures of red, twenty of blue."""
    return solid_folder("photos", {"red": 20, "blue": 20})


@pytest.fixture
def table(photos):
    """Writes a table beside the pictures: `table(rows)`; a row is a dict."""

    def write(rows, name="table.csv", delimiter=",", header=True):
        path = photos / name
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
            if header:
                writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def every(label=lambda folder, number: folder, **more):
    return [
        {"path": f"{folder}/{number:03}.png", "label": label(folder, number), **more}
        for folder in ("red", "blue")
        for number in range(20)
    ]


SENTENCES = [{"sentence": f"{'good' if n % 2 else 'bad'} film number {n}", "label": n % 2} for n in range(40)]


def test_paths_and_labels_make_a_dataset_like_a_folder(table, photos):
    data, folder = load_data(table(every())), load_data(photos)
    assert (data.task, data.kind, data.source) == ("single-label", "image", "table")
    assert {(e.path, e.label, e.split) for e in data.examples} == {(e.path, e.label, e.split) for e in folder.examples}


def test_tabs_semicolons_and_a_byte_order_mark_are_read(table):
    expected = load_data(table(every())).examples
    assert load_data(table(every(), "t.tsv", "\t")).examples == expected
    assert load_data(table(every(), "s.csv", ";")).examples == expected
    path = table(every(), "bom.csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_data(path).examples == expected


def test_columns_may_have_numbers_where_there_is_no_line_of_names(table):
    path = table(every(), "plain.csv", header=False)
    assert len(load_data(path, path_column="1", label_column="2").examples) == 40


def test_whole_numbers_are_classes_in_the_order_of_their_value(table):
    data = load_data(table(every(lambda folder, number: 2 if folder == "red" else 10)))
    assert (data.task, data.classes) == ("single-label", ("2", "10"))


def test_several_classes_in_a_cell_make_a_multi_label_task(table):
    data = load_data(table(every(lambda folder, number: f"{folder};even" if number % 2 == 0 else folder)))
    assert (data.task, data.classes) == ("multi-label", ("blue", "even", "red"))
    first = next(e for e in data.examples if e.path == "red/000.png")
    assert first.target == (0.0, 1.0, 1.0)
    assert data.label_text(first) == "even;red"


def test_columns_of_zeros_and_ones_make_a_multi_label_task(table):
    rows = [{"path": r["path"], "warm": int(r["label"] == "red"), "even": n % 2} for n, r in enumerate(every())]
    data = load_data(table(rows))
    assert (data.task, data.classes) == ("multi-label", ("warm", "even"))
    named = load_data(table(rows), label_column="even,warm")
    assert named.classes == ("even", "warm")


def test_numbers_make_a_regression(table):
    data = load_data(table(every(lambda folder, number: number / 7)))
    assert (data.task, data.classes) == ("regression", ("label",))
    assert {e.target[0] for e in data.examples if e.path.endswith("007.png")} == {1.0}


def test_splits_and_groups_of_the_table_are_followed(table):
    rows = every()
    for number, row in enumerate(rows):
        row["split"] = ("train", "dev", "test", "train")[number % 4]
        row["who"] = f"person {number // 8}"
    data = load_data(table(rows))
    assert {e.split for e in data.examples} == {"train", "validation", "test"}
    assert all(e.split == "validation" for e in data.examples if e.path.endswith("001.png"))
    for row in rows:
        del row["split"]
    grouped = load_data(table(rows), group_column="who")
    sides = {}
    for example in grouped.examples:
        sides.setdefault(example.group, set()).add(example.split)
    assert len(sides) == 5
    assert all(len(side) == 1 for side in sides.values())


def test_texts_are_split_by_content_and_found_again(table, tmp_path):
    data = load_data(table(SENTENCES, "reviews.tsv", "\t"))
    assert (data.kind, data.classes) == ("text", ("0", "1"))
    moved = load_data(table([{"sentence": "another new one", "label": 0}, *reversed(SENTENCES)]))
    sides = {e.text: e.split for e in data.examples}
    assert sum(sides[e.text] != e.split for e in moved.examples if e.text in sides) <= 2
    write_splits(tmp_path / "splits.csv", data)
    again = load_data(table(list(reversed(SENTENCES))), splits_file=tmp_path / "splits.csv")
    assert {e.text: e.split for e in again.examples} == sides


def test_a_folder_with_a_table_per_split_keeps_the_splits(table, photos):
    for name in ("red", "blue"):
        shutil.rmtree(photos / name)
    for name, rows in {"train": SENTENCES[:20], "dev": SENTENCES[20:30], "test": SENTENCES[30:]}.items():
        table(rows, f"{name}.tsv", "\t")
    counts = load_data(photos).counts()
    assert {split: sum(count.values()) for split, count in counts.items()} == {
        "train": 20,
        "validation": 10,
        "test": 10,
    }


def test_equal_texts_stay_on_one_side(table):
    data = load_data(table(SENTENCES * 3))
    sides = {}
    for example in data.examples:
        sides.setdefault(example.text, set()).add(example.split)
    assert len(data.examples) == 120
    assert all(len(side) == 1 for side in sides.values())


def test_an_unclosed_quotation_mark_in_tabs_swallows_nothing(table):
    rows = [*SENTENCES, {"sentence": '"a film', "label": 1}]
    path = table(rows[:2], "quotes.tsv", "\t")
    path.write_text("sentence\tlabel\n" + "".join(f"{r['sentence']}\t{r['label']}\n" for r in rows))
    assert len(load_data(path).examples) == 41


def issues_of(data):
    return {(issue.path, issue.kind) for issue in data.issues}


def test_missing_files_repeated_rows_and_missing_labels_are_named_and_counted(table, photos):
    rows = every()
    rows += [{"path": "red/gone.png", "label": "red"}, dict(rows[0]), {"path": "red/001.png", "label": "blue"}]
    rows[5]["label"] = "NaN"
    (photos / "blue" / "000.png").write_bytes(b"no picture at all")
    said = []
    data = load_data(table(rows), say=said.append)
    assert issues_of(data) == {
        ("red/gone.png", "missing"), ("red/000.png", "duplicate"), ("red/001.png", "contradiction"),
        ("red/005.png", "no label"), ("blue/000.png", "no picture"),
    }  # fmt: skip
    assert len(data.examples) == 38
    assert "skipped: 1 file (contradiction): red/001.png" in said
    contradiction = next(issue for issue in data.issues if issue.kind == "contradiction")
    assert contradiction.detail == "table.csv, line 44: listed with another label or split in table.csv, line 3 already"


def test_pandas_frames_are_tables(photos, monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(photos)
    frame = pandas.DataFrame(every())
    frame.loc[3, "label"] = None
    data = load_data(frame)
    assert len(data.examples) == 39
    assert issues_of(data) == {("red/003.png", "no label")}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda rows: [r | {"label": ""} for r in rows], {}, "the label column 'label' is empty in all 40 lines"),
        (lambda rows: rows, {"label_column": "labl"}, r"no column 'labl'; it has path, label. Did you mean label\?"),
        (lambda rows: [{"a": "x", "label": r["label"]} for r in rows], {}, "Give it with path_column or text_column"),
        (lambda rows: [{"path": r["path"], "word": "x"} for r in rows], {}, "Give it with label_column"),
        (lambda rows: [r | {"split": "holdout"} for r in rows], {}, "line 2: split 'holdout' is not one of train"),
        (lambda rows: [r | {"path": "no/" + r["path"]} for r in rows], {}, "40 of the 40 pictures in .* do not exist"),
        (lambda rows: [r | {"label": "red"} for r in rows], {}, "only one class, 'red'"),
        (lambda rows: [r | {"label": "0.5"} for r in rows], {}, "all numbers in .* are equal"),
        (lambda rows: [r | {"label": "a\nb"} for r in rows], {}, "has a line break in its name"),
        (lambda rows: rows, {"task": "regression"}, "line 2: label must be a number; it is 'red'"),
        (lambda rows: [r | {"b": 2, "c": 1} for r in rows], {"label_column": "b,c"}, "b must be 0 or 1; got '2'"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_told_why(table, change, options, message):
    with pytest.raises(DataError, match=message):
        load_data(table(change(every())), **options)


def test_whole_numbers_that_may_be_measurements_are_asked_about(table):
    rows = [{"sentence": f"text {n}", "label": n} for n in range(40)]
    with pytest.raises(SettingError, match="40 different whole numbers: are they classes"):
        load_data(table(rows))
    assert load_data(table(rows), task="regression").task == "regression"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"path,label\n", "no lines below its header"),
        (b"path,path\na,b\n", "two columns 'path'"),
        (b"path,label\na\n", "line 2: expected 2 cells, got 1"),
        (b"\xff\xfe\x00", "cannot be read in UTF-16"),
        (b'path,label\n"a,b\nc\n', "cannot be read as a table"),
    ],
)
def test_a_file_that_is_no_table_is_told_why(tmp_path, content, message):
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "bad.csv")


def test_a_table_that_is_not_there_is_looked_for_under_similar_names(table, photos):
    table(every(), "labels.csv")
    with pytest.raises(DataNotFoundError, match=r"does not exist. Did you mean labels.csv\?"):
        load_data(photos / "label.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "ranking"}, "task must be single-label"),
        ({"path_column": "path", "text_column": "path"}, "either a path column or a text column"),
        ({"task": "regression", "label_column": "label,path"}, "2 label columns make a multi-label task"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(table, options, message):
    with pytest.raises(SettingError, match=message):
        load_data(table(every()), **options)


def test_columns_of_a_folder_are_refused(photos):
    with pytest.raises(SettingError, match="apply to tables"):
        load_data(photos, label_column="label")


# Rows: quotation marks, newlines and long cells.


def rows_of(tmp_path, content, name="t.tsv"):
    (tmp_path / name).write_bytes(content.encode())
    return [list(line.cells.values()) for line in read_lines(tmp_path / name)]


def test_lone_quotation_marks_at_the_start_of_cells_merge_no_rows(tmp_path):
    cells = [f"review {n}" for n in range(40)]
    cells[3], cells[30] = '"what a film', '"never again'
    for name, separator in (("t.tsv", "\t"), ("t.csv", ",")):
        content = f"text{separator}label\n" + "".join(f"{cell}{separator}{n % 2}\n" for n, cell in enumerate(cells))
        assert rows_of(tmp_path, content, name) == [[cell, str(n % 2)] for n, cell in enumerate(cells)]


def test_one_lone_mark_and_much_text_behind_it_is_read(tmp_path):
    content = 'text\tlabel\n"a mark\t0\n' + "".join(f"{'long ' * 50}{n}\t1\n" for n in range(1000))
    assert len(rows_of(tmp_path, content)) == 1001


def test_a_very_long_cell_is_read(tmp_path):
    text = "word " * 60_000
    assert rows_of(tmp_path, f"text,label\n{text},0\nshort,1\n", "t.csv") == [[text, "0"], ["short", "1"]]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_rows_end_at_newlines_only(tmp_path, sign):
    for end in ("\n", "\r\n"):
        content = end.join(["text,label", f"one{sign}two,0", "three,1", ""])
        assert rows_of(tmp_path, content, "t.csv") == [[f"one{sign}two", "0"], ["three", "1"]]


def test_properly_quoted_cells_lose_their_marks_in_both_kinds_of_table(tmp_path):
    expected = [['He said "no"', "0"], ["plain", "1"]]
    assert rows_of(tmp_path, 'text\tlabel\n"He said ""no"""\t0\nplain\t1\n') == expected
    assert rows_of(tmp_path, 'text,label\n"He said ""no""",0\nplain,1\n', "t.csv") == expected
    assert rows_of(tmp_path, 'text\tlabel\n"two\nlines\tand a tab"\t0\nplain\t1\n')[0] == ["two\nlines\tand a tab", "0"]
    assert rows_of(tmp_path, 'text,label\n"two\nlines, and a comma",0\n', "t.csv") == [["two\nlines, and a comma", "0"]]


# Tables and class folders side by side.


def test_class_folders_are_preferred_to_a_stray_table_and_that_is_said(table, photos):
    table([{"path": "red/000.png", "label": "other"}, {"path": "blue/001.png", "label": "more"}], "train.csv")
    dataset = load_data(photos)
    assert (dataset.source, dataset.classes, len(dataset.examples)) == ("folder", ("blue", "red"), 40)
    assert any("train.csv beside them is not used: read_as='table'" in note for note in dataset.notes)


def test_the_table_is_read_where_the_user_says_so(table, photos):
    table(every(lambda folder, number: f"dark {folder}"), "train.csv")
    dataset = load_data(photos, read_as="table")
    assert (dataset.source, dataset.classes) == ("table", ("dark blue", "dark red"))
    assert any("red are not taken as classes" in note for note in dataset.notes)
    assert load_data(photos, read_as="folder").source == "folder"
    with pytest.raises(SettingError, match="'folder' or 'table'; got 'tree'"):
        load_data(photos, read_as="tree")


def test_tables_of_a_competition_are_read_although_there_are_folders_of_pictures(photos):
    (photos / "red").rename(photos / "train")
    (photos / "blue").rename(photos / "test")
    rows = "".join(f"train/{n:03}.png,{'dark' if n < 10 else 'light'}\n" for n in range(20))
    (photos / "train.csv").write_text(f"path,label\n{rows}")
    (photos / "test.csv").write_text("path\n" + "".join(f"test/{n:03}.png\n" for n in range(20)))
    dataset = load_data(photos)
    assert (dataset.source, dataset.classes, len(dataset.examples)) == ("table", ("dark", "light"), 20)
    assert any("test.csv has no column 'label', so its 20 rows are left out" in note for note in dataset.notes)


# Encodings, delimiters and signs of other programs.


def texts_of(tmp_path, content, name="t.csv"):
    (tmp_path / name).write_bytes(content)
    notes = []
    return [list(line.cells.values()) for line in read_lines(tmp_path / name, notes=notes)], notes


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(tmp_path, encoding):
    rows, notes = texts_of(tmp_path, "text,label\ncafé 猫,кот\n".encode(encoding))
    assert rows == [["café 猫", "кот"]]
    assert notes == [f"t.csv is read as {encoding.upper()}"]


@pytest.mark.parametrize("text", ["Käse für 3 €", "garçon – l’été", "¿Qué? ¡Sí!", "50 µm², Nº 3"])
def test_windows_1252_and_latin_1_are_read_and_that_is_said(tmp_path, text):
    rows, (note,) = texts_of(tmp_path, f"text;label\n{text};a\n".encode("cp1252"))
    assert rows == [[text, "a"]]
    assert "is read as Windows-1252" in note and "save it as UTF-8" in note


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("кот и собака", "cp1251"), ("кот", "koi8-r"), ("γάτα", "cp1253"), ("狗 和 猫", "gbk"), ("犬と猫", "shift-jis"),
     ("łódka", "cp1250"), ("été", "mac-roman"), ("grün", "cp850"), ("ağaç", "cp1254")],
)  # fmt: skip
def test_other_encodings_are_refused_with_the_remedy(tmp_path, text, encoding):
    with pytest.raises(DataError, match=r"cannot be read in UTF-8: .* Save it as UTF-8: in Excel as 'CSV UTF-8'"):
        texts_of(tmp_path, f"text,label\n{text},a\n".encode(encoding))


def test_null_characters_are_refused(tmp_path):
    with pytest.raises(DataError, match="UTF-16 without a byte order mark"):
        texts_of(tmp_path, "text,label\none,a\n".encode("utf-16-le"))


def test_the_line_of_excel_that_names_the_delimiter_is_no_header(tmp_path):
    for first, sign in (("sep=;", ";"), ('"sep=,"', ","), ("sep=\t", "\t"), ("SEP=|", "|")):
        (tmp_path / "t.csv").write_text(f"{first}\ntext{sign}label\none{sign}a\n")
        (line,) = read_lines(tmp_path / "t.csv")
        assert (line.cells, line.place) == ({"text": "one", "label": "a"}, "t.csv, line 3")


def test_tabs_in_a_csv_file_are_read(tmp_path):
    assert rows_of(tmp_path, "text\tlabel\none, two; three\ta\n", "t.csv") == [["one, two; three", "a"]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"x\.csv cannot be read: it is a named pipe"):
        load_data(tmp_path / "x.csv")
    with pytest.raises(DataError, match=r"zero\.csv cannot be read: it is a device"):
        load_data(tmp_path / "zero.csv")


# Where a table's pictures are.


def test_ids_without_a_suffix_are_pictures(table, photos):
    rows = [{"id": row["path"].removesuffix(".png"), "label": row["label"]} for row in every()]
    data = load_data(table(rows))
    assert {e.path for e in data.examples} == {row["path"] for row in every()}
    assert any("'red/000' is read as 'red/000.png'" in note for note in data.notes)
    assert any("the column 'id' names the pictures" in note for note in data.notes)


def test_an_id_of_two_pictures_is_skipped_and_that_is_said(table, photos):
    shutil.copy(photos / "red" / "000.png", photos / "red" / "000.jpg")
    rows = [row | {"path": row["path"].removesuffix(".png")} for row in every()]
    (issue,) = load_data(table(rows)).issues
    assert (issue.path, issue.kind) == ("red/000", "missing")
    assert "it has no suffix, and there are 000.jpg, 000.png" in issue.detail


@pytest.mark.parametrize("folder", ["images", "IMG", "photos", "train"])
@pytest.mark.parametrize("suffix", [".png", ""])
def test_pictures_in_a_folder_beside_the_table_are_found(table, photos, folder, suffix):
    (photos / "red").rename(photos / folder)
    rows = [{"file": f"{n:03}{suffix}", "label": "odd" if n % 2 else "even"} for n in range(20)]
    data = load_data(table(rows, "labels.csv"))
    assert {e.path for e in data.examples} == {f"{folder}/{n:03}.png" for n in range(20)}
    assert any(f"from the folder '{folder}'" in note for note in data.notes)


def test_pictures_in_two_folders_beside_the_table_are_asked_about(table, photos):
    (photos / "red").rename(photos / "images")
    (photos / "blue").rename(photos / "train")
    rows = [{"path": f"{n:03}.png", "label": "odd" if n % 2 else "even"} for n in range(20)]
    with pytest.raises(DataError, match=r"'000.png', are in 'images' and in 'train': write the folder before"):
        load_data(table(rows, "labels.csv"))


def test_each_split_table_prefers_its_own_folder(photos):
    (photos / "red").rename(photos / "train")
    (photos / "blue").rename(photos / "test")
    for name in ("train", "test"):
        rows = "".join(f"{n:03}.png,{'dark' if n < 10 else 'light'}\n" for n in range(20))
        (photos / f"{name}.csv").write_text(f"path,label\n{rows}")
    data = load_data(photos, read_as="table")
    assert {e.path.split("/")[0] for e in data.split("test")} == {"test"}
    assert {e.path.split("/")[0] for e in data.split("train") + data.split("validation")} == {"train"}


# What is no table and no folder.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photos.zip", "an archive: unpack it, and give the folder"),
        ("photos.tar.gz", "an archive"),
        ("labels.xlsx", "a spreadsheet: save it as CSV"),
        ("labels.parquet", "read it with pandas and give the DataFrame"),
        ("photo.jpg", r"expected a folder .*, or a table \(.csv, .tsv\)"),
    ],
)
def test_other_files_are_refused_with_the_remedy(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / name)


@pytest.mark.parametrize("url", ["https://example.org/flowers.zip", "gs://bucket/photos"])
def test_urls_are_refused_with_the_remedy(url):
    for given in (url, Path(url)):
        with pytest.raises(DataError, match=r"is a URL\. Nothing is downloaded here: download the files first"):
            load_data(given)
    with pytest.raises(DataError, match="is a URL"):
        load_data(([f"{url}/{n}.jpg" for n in range(10)], ["a", "b"] * 5))


def test_urls_in_a_column_of_pictures_are_refused_with_the_remedy(table):
    with pytest.raises(DataError, match=r"40 of the 40 pictures .* download the files first"):
        load_data(table([row | {"path": f"https://x.org/{row['path']}"} for row in every()]))


def test_the_home_folder_is_expanded(table, photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos.parent))
    monkeypatch.setenv("USERPROFILE", str(photos.parent))
    table(every(), "labels.csv")
    assert len(load_data("~/photos").examples) == len(load_data("~/photos/labels.csv").examples) == 40
    paths = [f"~/photos/{row['path']}" for row in every()]
    assert len(load_data((paths, [row["label"] for row in every()])).examples) == 40


# How columns are named.


def test_columns_are_numbers_too(table):
    path = table(every(who="me"), "plain.csv", header=False)
    assert len(load_data(path, path_column=1, label_column=2).examples) == 40
    path = table(SENTENCES, "plain.tsv", "\t", header=False)
    assert load_data(path, text_column=1, label_column=2).kind == "text"


def test_several_label_columns_may_be_a_list(table):
    rows = [{"path": r["path"], "warm": int(r["label"] == "red"), "even": n % 2} for n, r in enumerate(every())]
    assert load_data(table(rows), label_column=["even", "warm"]).classes == ("even", "warm")


@pytest.mark.parametrize("option", ["path_column", "text_column", "label_column", "split_column", "group_column"])
@pytest.mark.parametrize("given", [True, 1.5, {"a": 1}])
def test_columns_that_are_no_names_are_refused_in_words(table, option, given):
    with pytest.raises(SettingError, match=f"{option} takes the name of a column, or its number"):
        load_data(table(every()), **{option: given})
