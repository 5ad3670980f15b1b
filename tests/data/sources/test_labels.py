"""What label columns mean: classes, numbers, missing labels, columns of 0 and 1; and what is said about a choice."""

import unicodedata

import pytest

from tfransfer.data.loading import load_data
from tfransfer.data.sources.load import load_known
from tfransfer.data.sources.table import Columns, lines_source
from tfransfer.data.sources.table_files import read_lines
from tfransfer.display.progress import quiet, silent
from tfransfer.errors import DataError

COUNT = 40


def read(tmp_path, header, rows, suffix=".csv", **columns):
    """The source that a table of texts gives; each row is the cells after the text."""
    file = tmp_path / f"table{suffix}"
    cells = "".join(f"a text {number},{row}\n" for number, row in enumerate(rows))
    file.write_text(f"text,{header}\n{cells}", encoding="utf-8")
    return lines_source(read_lines(file), Columns(**columns), "the table", tmp_path)


def targets(source):
    return [row.target for row in source.rows]


def test_one_and_one_point_zero_are_one_class(tmp_path):
    source = read(tmp_path, "label", ["1", "1.0", "2", "2.0", "10.0"] * 4)
    assert source.classes == ("1", "2", "10")
    assert targets(source)[:5] == ["1", "1", "2", "2", "10"]
    assert any("'1', '1.0'" in note for note in source.notes)


def test_numbers_as_classes_are_sorted_by_value_and_leading_zeros_stay(tmp_path):
    assert read(tmp_path, "label", ["-1", "0", "10", "9"] * 5).classes == ("-1", "0", "9", "10")
    assert read(tmp_path, "label", ["007", "008"] * 5).classes == ("007", "008")


@pytest.mark.parametrize("names", [("①", "②"), ("²", "³"), ("٣", "٤"), ("½", "¼")])
def test_digits_of_other_kinds_are_names(tmp_path, names):
    assert set(read(tmp_path, "label", list(names) * 10).classes) == set(names)


@pytest.mark.parametrize("word", ["none", "None", "NA", "n/a", "null"])
def test_a_frequent_word_for_missing_is_a_class_and_that_is_said(tmp_path, word):
    source = read(tmp_path, "severity", ["mild", word, "severe", word] * 10, label="severity")
    assert set(source.classes) == {"mild", word, "severe"}
    (note,) = source.notes
    assert f"20 labels '{word}'" in note and f"missing_labels='{word}'" in note
    source = read(tmp_path, "severity", ["mild", word, "severe", "mild"] * 10, label="severity", missing=(word,))
    assert set(source.classes) == {"mild", "severe"}
    assert len(source.issues) == 10


def test_a_rare_word_for_missing_is_missing_and_that_is_said(tmp_path):
    rows = ["cat", "dog"] * 20 + ["NA", "NA"]
    source = read(tmp_path, "label", rows)
    assert set(source.classes) == {"cat", "dog"}
    assert "2 labels 'NA'" in source.notes[0] and "missing_labels=''" in source.notes[0]
    assert set(read(tmp_path, "label", rows, missing=()).classes) == {"cat", "dog", "NA"}


def test_words_for_missing_among_numbers_are_missing(tmp_path):
    source = read(tmp_path, "label", ["1.5", "2.5", "none", "NA"] * 10)
    assert source.task == "regression"
    assert len(source.rows) == 20


def test_a_folder_called_none_stays_a_class(solid_folder):
    assert load_data(solid_folder("severity", {"none": 4, "mild": 4})).classes == ("mild", "none")


@pytest.mark.parametrize("yes, no", [("1", "0"), ("TRUE", "FALSE"), ("yes", "no"), ("T", "F"), ("x", ""), ("1", "")])
def test_columns_of_yes_and_no_are_classes_in_every_spelling(tmp_path, yes, no):
    source = read(tmp_path, "red,blue", [f"{yes},{no}", f"{no},{yes}", f"{yes},{yes}", f"{no},{no}"] * 10)
    assert (source.task, source.classes) == ("multi-label", ("red", "blue"))
    assert targets(source)[:4] == [("red",), ("blue",), ("red", "blue"), ()]
    assert any("label_column" in note for note in source.notes)
    assert any("empty cells" in note for note in source.notes) == (no == "")


def test_an_empty_cell_beside_zeros_is_missing(tmp_path):
    source = read(tmp_path, "red,blue", ["1,0", "0,1", "1,1", ",1"] * 10, label="red,blue")
    assert len(source.rows) == 30
    assert {issue.kind for issue in source.issues} == {"no label"}


def test_a_column_of_true_and_false_in_several_cases_has_two_classes(tmp_path):
    assert set(read(tmp_path, "label", ["True", "FALSE", "true", "False"] * 10).classes) == {"True", "FALSE"}


def test_more_than_half_without_a_label_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"33 of the 40 rows of the table have no label in 'label'.*label_column"):
        read(tmp_path, "label", ["cat"] * 4 + ["dog"] * 3 + [""] * 33)


def test_one_name_with_the_separator_does_not_split_a_whole_table(tmp_path):
    source = read(tmp_path, "band", ["Queen", "Abba"] * 20 + ["AC;DC"] * 3, label="band")
    assert (source.task, set(source.classes)) == ("single-label", {"Queen", "Abba", "AC;DC"})
    assert "task='multi-label'" in source.notes[0]


@pytest.mark.parametrize("rows", [["red;blue", "red", "blue"] * 9, ["a;b"] * 10 + ["c;d"] * 10, ["a;", "b;c", "c"] * 9])
def test_parts_that_stand_elsewhere_are_several_classes_and_that_is_said(tmp_path, rows):
    source = read(tmp_path, "label", rows)
    assert source.task == "multi-label"
    assert "task='single-label'" in source.notes[0]


def test_the_same_letters_in_two_forms_of_unicode_are_one_class(tmp_path, solid_folder):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    rows = [composed, apart, "tea", "tea"] * 10
    assert read(tmp_path, "label", rows).classes == (composed, "tea")
    dataset = load_data(solid_folder("cafes", {composed: 4, apart: 5, "tea": 4}))
    assert dataset.classes == (composed, "tea")
    assert len(dataset.examples) == 13
    assert any("spelled in two ways" in note for note in dataset.notes)


def test_names_that_differ_in_case_are_asked_about(solid_folder):
    dataset = load_data(solid_folder("animals", {"Cat": 4, "cat": 4, "dog": 4}))
    assert dataset.classes == ("Cat", "cat", "dog")
    assert any("differ in case only" in note for note in dataset.notes)


@pytest.mark.parametrize("name", ["cat\u2028", "c\u2028at", "cat\x85", "cat\x1c"])
def test_a_name_that_would_be_two_lines_in_labels_txt_is_refused(solid_folder, name):
    with pytest.raises(DataError, match="line break"):
        load_data(solid_folder("animals", {name: 4, "dog": 4}))
    with pytest.raises(DataError, match="line break"):
        load_data((["a text", "another"] * 10, [name, "dog"] * 10))


def test_lists_in_a_frame_are_classes(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.setenv("TFRANSFER_CACHE", str(tmp_path))
    values = [["red", "blue"], ["red"], [], ["blue"]] * 10
    for labels in (values, [tuple(v) for v in values], [set(v) for v in values]):
        dataset = load_data(pandas.DataFrame({"text": [f"text {i}" for i in range(40)], "label": labels}))
        assert (dataset.task, dataset.classes) == ("multi-label", ("blue", "red"))
        assert {e.target for e in dataset.examples} == {(1, 1), (0, 1), (0, 0), (1, 0)}
    with pytest.raises(DataError, match="';' in its name"):
        load_data(pandas.DataFrame({"text": ["a", "b"], "label": [["AC;DC"], ["x"]]}))


# Numbers and tags as other programs write them.


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("task", [None, "regression"])
@pytest.mark.parametrize(
    ("numbers", "first"), [(["3,5", "-2,75", "4", "1,234"], 3.5), (["1.234,5", "2,0", ",25", "1e3"], 1234.5)]
)
def test_decimal_commas_are_read_and_that_is_said(tmp_path, separator, task, numbers, first):
    file = tmp_path / ("table.csv" if separator == ";" else "table.tsv")
    lines = "".join(f"text {n}{separator}{number}\n" for n, number in enumerate(numbers * 5))
    file.write_text(f"text{separator}price\n{lines}")
    source = lines_source(read_lines(file), Columns(label="price", task=task), "the table", tmp_path)
    assert (source.task, source.rows[0].target) == ("regression", first)
    assert source.notes == [f"commas in 'price' are decimal signs: {numbers[0]!r} is {first}"]


def quoted(cells):
    return [f'"{cell}"' for cell in cells]


def test_commas_between_thousands_are_read_and_that_is_said(tmp_path):
    source = read(tmp_path, "label", quoted(["1,234.5", "7", "1,234,567"] * 7), label="label")
    assert (source.task, targets(source)[:3]) == ("regression", [1234.5, 7.0, 1234567.0])
    assert "commas in 'label' are between thousands: '1,234.5' is 1234.5" in source.notes


@pytest.mark.parametrize("numbers", [["1,234", "12,500"], ["3,5", "2.5"], ["1,234", "7", "2"]])
@pytest.mark.parametrize("task", [None, "regression"])
def test_commas_that_may_be_either_are_asked_about(tmp_path, numbers, task):
    with pytest.raises(DataError, match=r"a decimal sign, or between thousands[?] Write .* task='single-label'"):
        read(tmp_path, "label", quoted(numbers * 10), task=task)
    assert read(tmp_path, "label", quoted(numbers * 10), task="single-label").task == "single-label"


def test_missing_words_beside_decimal_commas_are_missing(tmp_path):
    source = read(tmp_path, "label", quoted(["1,5", "2,25", "none", "NA"] * 10))
    assert (source.task, len(source.rows)) == ("regression", 20)


TAGGED = ["haze{0}road", "haze", "road{0}water{0}haze", "water", "clear", "clear{0}road"]


@pytest.mark.parametrize("separator", ["|", ",", " "])
@pytest.mark.parametrize("task", [None, "multi-label"])
def test_tags_with_other_signs_between_them_are_told_and_that_is_said(tmp_path, separator, task):
    source = read(tmp_path, "tags", quoted(one.format(separator) for one in TAGGED * 5), task=task)
    assert (source.task, source.classes) == ("multi-label", ("clear", "haze", "road", "water"))
    assert source.separator == separator
    assert f"have {separator!r} between them; separator changes that" in source.notes[0]


@pytest.mark.parametrize(
    "names", [["golden retriever", "black cat", "poodle"], ["red car", "red bus", "blue car", "blue bus"],
              ["Smith, John", "Smith, Ann", "Lee, Ann", "Lee, John"]],
)  # fmt: skip
def test_names_of_several_words_stay_classes(tmp_path, names):
    source = read(tmp_path, "label", quoted(names * 5))
    assert (source.task, set(source.classes)) == ("single-label", set(names))
    assert all("separator" in note for note in source.notes)
    assert bool(source.notes) == (len(names) == 4), "said where each part recurs"


def test_an_inferred_separator_is_recorded_for_other_tables_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TFRANSFER_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "table.csv"
    file.write_text("text,tags\n" + "".join(f"a text {n},{one.format('|')}\n" for n, one in enumerate(TAGGED * 5)))
    dataset = load_data(file)
    assert dataset.origin["columns"]["separator"] == "|"
    file.write_text("text,tags\nnew,haze|water\n")
    again = load_known(file, dataset.classes, dataset.task, dataset.origin, quiet, silent)
    assert again.examples[0].target == (0.0, 1.0, 0.0, 1.0)


def test_columns_that_would_be_two_lines_in_labels_txt_are_refused(tmp_path):
    for header, rows in (("r\u2028ed,blue", ["1,0", "0,1", "1,1", "0,0"] * 10), ("a\u2028b", ["1.5", "2.5"] * 20)):
        file = tmp_path / "table.csv"
        file.write_text(f"text,{header}\n" + "".join(f"text {n},{row}\n" for n, row in enumerate(rows)))
        with pytest.raises(DataError, match="has a line break in its name"):
            load_data(file, label_column=header)


def test_messages_about_data_to_be_scored_name_no_option_of_training(tmp_path):
    file = tmp_path / "table.csv"
    origin = {"columns": {"label": "grade", "split": "fold", "separator": ";"}}

    def known(content):
        file.write_text(content)
        return load_known(file, ("a", "b"), "single-label", origin, quiet, silent)

    assert len(known("text,grade\none,a\ntwo,b\n").examples) == 2, "no splits are needed"
    for content, message in (
        ("text,label\none,a\ntwo,b\n", "has no column 'grade'; it has text, label"),
        ("words,grade\none,a\ntwo,b\n", "the texts[?] Name it as in the table that the model was trained on"),
        ("text,grade\none,a\ntwo,\nthree,\n", "Leave these rows out of the table[.]"),
    ):
        with pytest.raises(DataError, match=message) as refused:
            known(content)
        assert "_column" not in str(refused.value)


def test_how_data_to_be_scored_was_read_is_said(tmp_path):
    file = tmp_path / "table.csv"
    file.write_bytes("text,label\nKäse,a\nBrot,b\n".encode("cp1252"))
    said = []
    load_known(file, ("a", "b"), "single-label", {}, quiet, said.append)
    assert any("read as Windows-1252" in line for line in said)
