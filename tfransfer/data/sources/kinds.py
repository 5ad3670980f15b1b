"""Recognise the kind of a source by its name alone, without reading it or importing TensorFlow."""

from pathlib import Path
from typing import Any

from tfransfer.data.dataset import Dataset

DIGITS, FOLDER, TABLE, TFDS, MEMORY = "digits", "folder", "table", "tfds", "memory"
TFDS_PREFIX = "tfds:"
TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
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


def source_of(data: Any) -> str:
    """The kind of a source: "digits", "folder", "table", "tfds", or "memory" for data without a file.

    "digits" is built in, unless there is a folder of that name.
    """
    if not isinstance(data, str | Path):
        return MEMORY
    if str(data) == DIGITS and not Path(data).exists():
        return DIGITS
    if str(data).startswith(TFDS_PREFIX):
        return TFDS
    path = Path(data)
    return TABLE if path.suffix.lower() in TABLE_SUFFIXES or split_tables(path) else FOLDER


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
    kind = source_of(data)
    if kind == TFDS:
        return str(data).removeprefix(TFDS_PREFIX).partition(":")[0].replace("/", "-")
    if kind == MEMORY:
        return "arrays"
    path = Path(data).resolve()
    return path.stem if path.suffix.lower() in TABLE_SUFFIXES else path.name
