"""Where data comes from: what a user writes for it, and what a run's manifest says of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tfransfer.data.digits import NAME as DIGITS
from tfransfer.data.digits import digits_folder, write_digits
from tfransfer.data.folder import load_folder
from tfransfer.data.index import Dataset

FOLDER = "folder"


def source_of(data: str | Path) -> str:
    """What kind of source this is: "digits" is built in, unless a folder of that name is here; else a folder."""
    return DIGITS if str(data) == DIGITS and not Path(data).exists() else FOLDER


def root_of(data: str | Path) -> Path:
    """The folder that the data's paths are relative to; the built-in data's need not be written yet."""
    return digits_folder() if source_of(data) == DIGITS else Path(data)


def load(data: str | Path, **options: Any) -> Dataset:
    """Index data from any source.

    Args:
        data: A folder, or "digits".
        **options: As for `load_folder`.

    Raises:
        DataNotFoundError: The folder does not exist.
        DataError: It has no usable classes or pictures.
    """
    if source_of(data) == DIGITS:
        return replace(load_folder(write_digits(), **options), source=DIGITS)
    return load_folder(Path(data), **options)


def load_again(source: str, root: str, splits_file: Path, **options: Any) -> Dataset:
    """Index the data of an earlier run with its recorded splits; built-in data is written anew where it is gone.

    Args:
        source: As `Dataset.source` was.
        root: As `Dataset.root` was; built-in data may stand elsewhere now.
        splits_file: The recorded `splits.csv`.
        **options: As for `load_folder`.
    """
    folder = write_digits() if source == DIGITS else Path(root)
    return replace(load_folder(folder, splits_file=splits_file, **options), source=source)
