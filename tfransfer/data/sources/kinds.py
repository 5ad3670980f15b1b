"""Recognise the kind of a source by its name alone, without reading it or importing TensorFlow."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfransfer.data.dataset import Dataset
from tfransfer.data.sources.layout import is_generic
from tfransfer.data.sources.paths import local
from tfransfer.data.sources.picture_files import holds_pictures, is_litter, is_picture
from tfransfer.data.sources.table_files import TABLE_SUFFIXES, read_rows
from tfransfer.errors import DataError, SettingError
from tfransfer.system.files import user_path

DIGITS, FOLDER, TABLE, TFDS, MEMORY = "digits", "folder", "table", "tfds", "memory"
TFDS_PREFIX = "tfds:"
# Of the pictures in a folder, so many must be listed in its tables for these to describe it.
_MOST = 0.9
SPLIT_TABLES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "dev": "validation",
    "eval": "validation",
}


def as_given(data: Any) -> Any:
    """Data as a user gives it, with `~` in a path expanded.

    Raises:
        DataError: It is a URL.
    """
    if not isinstance(data, str | Path) or _kind_without_file(data):
        return data
    return local(data)


def source_of(data: Any, read_as: str | None = None) -> str:
    """The kind of a source: "digits", "folder", "table", "tfds", or "memory" for data without a file.

    "digits" is built in, unless there is a folder of that name.

    Args:
        data: What the user gave.
        read_as: "folder" or "table" for a folder that could be either; None prefers class folders with pictures.

    Raises:
        SettingError: `read_as` is something else.
    """
    if read_as not in (None, FOLDER, TABLE):
        raise SettingError(f"a folder is read as {FOLDER!r} or {TABLE!r}; got {read_as!r}.")
    if kind := _kind_without_file(data):
        return kind
    path = user_path(data)
    if not path.is_dir():
        return TABLE if path.suffix.lower() in TABLE_SUFFIXES else FOLDER
    if read_as:
        return read_as
    tables = split_tables(path)
    return TABLE if tables and (not class_folders(path) or _list_pictures(tables.values(), path)) else FOLDER


def _kind_without_file(data: Any) -> str:
    """The kind of what is not a file or folder of the user's; "" for one that is."""
    if not isinstance(data, str | Path):
        return MEMORY
    if str(data) == DIGITS and not Path(data).exists():
        return DIGITS
    return TFDS if str(data).startswith(TFDS_PREFIX) else ""


def is_frame(value: Any) -> bool:
    """Whether this is a pandas DataFrame; does not import pandas."""
    return hasattr(value, "columns") and hasattr(value, "isna")


def _list_pictures(tables: Iterable[Path], folder: Path) -> bool:
    """Whether tables list nearly all pictures of a folder, so that they belong to these and are no stray ones."""
    cells: set[str] = set()
    for table in tables:
        with contextlib.suppress(DataError):  # it is read again, with its message
            rows = read_rows(table)
            cells.update(cell.strip().replace("\\", "/").removeprefix("./") for _, row in rows for cell in row)
    pictures = [
        Path(place, name).relative_to(folder).as_posix()
        for place, _, names in os.walk(folder) for name in names if is_picture(name)
    ]  # fmt: skip
    return bool(pictures) and sum(path in cells for path in pictures) >= _MOST * len(pictures)


def class_folders(folder: Path) -> list[str]:
    """Subfolders with pictures that can be classes: two or more, and not all with names like "images" and "train"."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not is_litter(entry.name))
    names = [name for name in names if holds_pictures(folder / name)]
    return names if len(names) > 1 and not all(map(is_generic, names)) else []


def split_tables(folder: Path) -> dict[str, Path]:
    """The tables of a folder that are named like splits, by split; empty if none is for training."""
    if not folder.is_dir():
        return {}
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in TABLE_SUFFIXES and path.is_file())
    by_split = {SPLIT_TABLES[path.stem.lower()]: path for path in tables if path.stem.lower() in SPLIT_TABLES}
    return by_split if "train" in by_split else {}


def name_of(data: Any) -> str:
    """The default name of a run on this data."""
    if isinstance(data, Dataset):
        return str(data.origin.get("name") or Path(data.root).absolute().name)
    kind = _kind_without_file(data)  # whether a folder is read as a table makes no difference to its name
    if kind == TFDS:
        return str(data).removeprefix(TFDS_PREFIX).partition(":")[0].replace("/", "-")
    if kind == MEMORY:
        return "arrays"
    path = user_path(data).resolve()
    return path.stem if path.suffix.lower() in TABLE_SUFFIXES else path.name
