"""No cell of a table that people open in a spreadsheet is a formula, and what is read back is what was written."""

import ast
import csv
import random
from pathlib import Path

import pytest
from PIL import Image

from tfransfer.data.loading import load_data
from tfransfer.data.splits import read_splits, write_splits
from tfransfer.runs import run_folder
from tfransfer.runs.doctor import check
from tfransfer.system.spreadsheet import csv_text, escaped, unescaped

PACKAGE = Path(__file__).parent.parent.parent / "tfransfer"
STARTS = tuple("=+-@\t\r\n＝＋－＠")
FORMULA = "=HYPERLINK(1)"


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "－1", "'=1", "''@a", "-", "--1"]
)
def test_what_looks_like_a_formula_gets_an_apostrophe(text):
    assert escaped(text) == "'" + text


@pytest.mark.parametrize(
    ("text", "written"), [("a;=cmd", "a;'=cmd"), ("=a;b;@c", "'=a;b;'@c"), ("a;-1;b", "a;-1;b"), (";=1", ";'=1")]
)
def test_behind_a_semicolon_a_cell_begins_where_the_decimal_sign_is_a_comma(text, written):
    assert escaped(text) == written
    assert unescaped(written) == text


@pytest.mark.parametrize("value", ["cat", "", "'", "'tis", "-1.5", "+1", "-1e-05", "-.5", "1-2", -1.5, None, 7])
def test_numbers_and_words_stay_as_they_are(value):
    assert escaped(value) == value


def test_whatever_is_written_is_read_back():
    draw = random.Random(5)
    for _ in range(20_000):
        signs = ["'", *STARTS, "1", ".", "e", "a", " ", ",", ";"]
        text = "".join(draw.choice(signs) for _ in range(draw.randint(0, 5)))
        assert unescaped(escaped(text)) == text
        for part in escaped(text).split(";"):
            assert not part.startswith(STARTS) or float(part) is not None


def cells(file):
    with file.open(encoding="utf-8", newline="") as stream:
        return [cell for row in csv.reader(stream) for cell in row]


@pytest.fixture
def hostile(tmp_path):
    """Classes and files that are called like formulas; one file is damaged, one is there twice."""
    for name in (FORMULA, "@dog", "-2+3"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (8, 8), (40 * number, 80 * len(name) % 251, 9)).save(folder / f"={number}.png")
        (folder / "=bad.png").write_bytes(b"")
        (folder / "=again.png").write_bytes((folder / "=0.png").read_bytes())
    return tmp_path / "data"


def test_no_table_of_a_run_has_a_formula(hostile, tmp_path):
    dataset = load_data(hostile)
    run_folder.write_issues(tmp_path / "data_issues.csv", dataset.issues)
    write_splits(tmp_path / "splits.csv", dataset)
    run_folder.write_table(tmp_path / "predictions.csv", [{"path": e.path, FORMULA: -1.5} for e in dataset.examples])
    check(hostile, suspects=False).write_csv(tmp_path / "check.csv")
    for name in ("data_issues.csv", "splits.csv", "predictions.csv", "check.csv"):
        found = cells(tmp_path / name)
        assert any(cell.startswith("'=") for cell in found), name
        assert not [cell for cell in found if cell.startswith(STARTS) and cell != "-1.5"], name


def test_splits_with_such_names_are_used_as_they_were(hostile, tmp_path):
    dataset = load_data(hostile)
    write_splits(tmp_path / "splits.csv", dataset)
    again = load_data(hostile, splits_file=tmp_path / "splits.csv")
    assert [(e.path, e.label, e.split) for e in again.examples] == [
        (e.path, e.label, e.split) for e in dataset.examples
    ]
    by_hand = (tmp_path / "splits.csv").read_text().replace("'=", "=").replace("'@", "@").replace("'-", "-")
    (tmp_path / "by_hand.csv").write_text(by_hand)
    assert read_splits(tmp_path / "by_hand.csv") == read_splits(tmp_path / "splits.csv")


def test_every_csv_file_is_written_here():
    """Except for what is only read again by this project."""
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in PACKAGE.rglob("*.py")}
    writers = {
        file.relative_to(PACKAGE).as_posix()
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("csv.writer", "csv.DictWriter")
    }
    assert writers == {"system/spreadsheet.py", "data/sources/table.py"}


def test_text_of_a_table():
    assert csv_text([["a", "b"], ["=1", -2]]) == "a,b\n'=1,-2\n"
