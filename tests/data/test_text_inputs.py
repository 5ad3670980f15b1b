"""What a model of texts takes: texts and files of texts; nothing else becomes an answer."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tfransfer.data.sources.table import Columns
from tfransfer.data.text_inputs import names_file, read_texts
from tfransfer.errors import DataError, DataNotFoundError

NO_COLUMNS = Columns()


@pytest.mark.parametrize(
    "given", [["a", "b"], ("a", "b"), np.array(["a", "b"]), pd.Series(["a", "b"]), (one for one in "ab"),
              pd.DataFrame({"label": [1, 2], "text": ["a", "b"]})]
)  # fmt: skip
def test_several_texts_of_any_form_are_read(given):
    assert read_texts(given, NO_COLUMNS) == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["a good film", "3.5 stars", "", " ", "see photo.jpg for more", "a\nb.txt", "x" * 9999]
)
def test_a_text_is_one(text):
    assert read_texts(text, NO_COLUMNS) == [text]
    assert not names_file(text)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "got None"),
        (b"words", r"got bytes: decode it first"),
        (3.5, "got float"),
        ({"text": "a"}, "got dict"),
        ({"a", "b"}, "got set"),
        (["a", None], "number 2 of 2 is None"),
        (["a", float("nan")], "number 2 of 2 is float"),
        (["a", b"b"], "number 2 of 2 is bytes: decode it first"),
        (np.array([b"a", b"b"]), "number 1 of 2 is bytes_: decode"),
        ([["a"]], "number 1 of 1 is list"),
        (np.array(3), "got ndarray"),
        (["a.jpg", "b.jpg"], "'a.jpg' is a path, but the model reads texts"),
    ],
)
def test_what_is_no_text_is_refused(given, words):
    with pytest.raises(DataError, match=words):
        read_texts(given, NO_COLUMNS)


def test_a_path_among_texts_is_read_and_a_string_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("secret.txt").write_text("one\r\ntwo\r\n", newline="")
    texts = [f"a good film {i}" for i in range(20)]
    assert read_texts([*texts, Path("secret.txt")], NO_COLUMNS) == [*texts, "one", "two"]
    assert read_texts([*texts, "secret.txt"], NO_COLUMNS) == [*texts, "secret.txt"]
    with pytest.raises(DataNotFoundError):
        read_texts(Path("absent.txt"), NO_COLUMNS)


def test_a_table_without_a_header_is_read_by_the_number_of_its_column(tmp_path):
    (tmp_path / "a.tsv").write_text("1\tgood film\n2\tbad film\n")
    assert read_texts(tmp_path / "a.tsv", Columns(text="2")) == ["good film", "bad film"]


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(tmp_path / "pipe.txt")
    for name, words in {
        "a.txt": "cannot be read in UTF-16",
        "pipe.txt": "pipe.txt is a file; texts are",
    }.items():
        with pytest.raises(DataError, match=words):
            read_texts(tmp_path / name, NO_COLUMNS)
