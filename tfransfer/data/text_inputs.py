"""Read the inputs of `predict` for a model of texts: texts, and files and tables of texts.

A word that is taken for a file and a file that is taken for a word both give an answer that looks fine. So a string
that names a file is one, and what is neither a text nor a file of texts is refused.
"""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from tfransfer.data.sources.arrays import examples_of, is_tf_dataset
from tfransfer.data.sources.kinds import TABLE_SUFFIXES, is_frame
from tfransfer.data.sources.paths import are_paths, is_file, is_picture_path
from tfransfer.data.sources.picture_files import is_picture, is_unread
from tfransfer.data.sources.table import TEXTS, Columns, Line, frame_lines, read_lines
from tfransfer.data.sources.table_files import read_text
from tfransfer.errors import DataError, DataNotFoundError
from tfransfer.system.files import user_path

_LINES = ".txt"
_FILES = f"{_LINES} (a text in each line), {' or '.join(TABLE_SUFFIXES)}"
_IF_TEXT = "If it is a text, end it with a full stop."


def names_file(given: Any) -> bool:
    """Whether this is a path, or a string that is one: there is such a file or folder, or it ends like a file of texts.

    Args:
        given: What a user typed.
    """
    if isinstance(given, os.PathLike) or is_picture_path(given):
        return True
    if not isinstance(given, str) or not given.strip() or "\n" in given or "\0" in given:
        return False
    return Path(given).suffix.lower() in (_LINES, *TABLE_SUFFIXES) or _exists(given)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long for a path, or half of a surrogate pair
        return False


def read_texts(given: Any, columns: Columns) -> list[str]:
    """Read texts of any form.

    Args:
        given: A text, the path of a .txt file or a table, a DataFrame, a tf.data.Dataset, with or without labels, or
            several texts and Paths: a list, a Series, an array, a generator. A string that names a file is a path
            unless it is one of several.
        columns: The columns of the model's training data: a table is expected to have the same column of texts, or one
            with a usual name.

    Raises:
        DataNotFoundError: A path does not exist.
        DataError: It is no text and no file of texts, or paths of pictures.
    """
    if isinstance(given, str | Path) and str(given).startswith("~") and is_file(user_path(given)):
        given = user_path(given)
    if names_file(given):
        return _of_file(Path(given), columns)
    if isinstance(given, str):
        return [given]
    if is_frame(given):
        return _in_table(frame_lines(given), columns, "the DataFrame")
    if is_tf_dataset(given) and not isinstance(given, Mapping):
        given = [one.decode(errors="surrogateescape") if isinstance(one, bytes) else one
                 for one in examples_of(given, "text")]  # fmt: skip
    several = isinstance(given, Iterable) and getattr(given, "ndim", 1) > 0
    if not several or isinstance(given, bytes | Mapping | Set):
        raise DataError(f"expected a text, several, or a file of texts; got {_named(given)}.")
    values = list(given)
    _require_texts(values)
    texts: list[str] = []
    for value in values:
        texts += [value] if isinstance(value, str) else _of_file(Path(value), columns)
    return texts


def why_no_text(text: str) -> str:
    """Why a model cannot read a text; "" if it can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return ""


def _require_texts(values: list[Any]) -> None:
    for number, value in enumerate(values, 1):
        if not isinstance(value, str | os.PathLike):
            raise DataError(f"expected texts; number {number} of {len(values)} is {_named(value)}.")
    texts = [value for value in values if isinstance(value, str)]
    if texts and are_paths(texts):
        raise DataError(
            f"{texts[0][:200]!r} is a path, but the model reads texts. Give Path(...) for a file of texts. {_IF_TEXT}"
        )


def _named(value: Any) -> str:
    hint = ": decode it first, as in text.decode()" if isinstance(value, bytes) else ""
    return f"{'None' if value is None else type(value).__name__}{hint}"


def _of_file(path: Path, columns: Columns) -> list[str]:
    if is_picture(path.name) or is_unread(path.name):
        raise DataError(f"{path} is a picture, but the model reads texts. {_IF_TEXT}")
    if not _exists(str(path)):
        raise DataNotFoundError(f"the file {path} does not exist. {_IF_TEXT}")
    suffix = path.suffix.lower()
    if not is_file(path) or suffix not in (_LINES, *TABLE_SUFFIXES):
        what = "folder" if path.is_dir() else "file"
        raise DataError(f"{path} is a {what}; texts are read from {_FILES} files. {_IF_TEXT}")
    if suffix != _LINES:
        numbered = bool(columns.text and columns.text.isdigit())
        return _in_table(read_lines(path, numbered), columns, str(path))
    texts = [line for line in read_text(path).split("\n") if line.strip()]
    if not texts:
        raise DataError(f"{path} has no texts; expected one in each line.")
    if are_paths(texts):
        raise DataError(f"{path} holds paths of pictures, such as {texts[0][:200]!r}, but the model reads texts.")
    return texts


def _in_table(lines: Sequence[Line], columns: Columns, name: str) -> list[str]:
    """The texts of a table, which needs no labels."""
    if not lines:
        raise DataError(f"the table {name} has no lines below its header.")
    known = {column.lower(): column for column in reversed(list(lines[0].cells))}
    column = columns.text if columns.text in lines[0].cells else next((known[n] for n in TEXTS if n in known), None)
    if column is None:
        raise DataError(
            f"{name} has the columns {', '.join(lines[0].cells)}: which has the texts? Name that one "
            f"{columns.text or TEXTS[0]!r}."
        )
    texts = [line.cells[column] for line in lines]
    if are_paths([text.strip() for text in texts]):
        raise DataError(f"the column {column!r} of {name} holds paths of pictures, but the model reads texts.")
    return texts
