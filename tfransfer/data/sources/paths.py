"""Tell paths of pictures from texts: a text model that learns file names looks perfect, as these hold the labels."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfransfer.data.sources.picture_files import is_picture, is_unread
from tfransfer.errors import DataError
from tfransfer.system.files import DOWNLOAD_FIRST, is_url, user_path

# From this share of the strings on they are paths, and below the lower one they are texts; between, nobody can tell.
_PATHS_FROM, _TEXTS_BELOW = 0.9, 0.1
# No file system takes longer names, and asking it about a whole document would be slow.
_LONGEST_PATH = 4096


def is_picture_path(value: Any) -> bool:
    """Whether this is a path: a Path, or a string that ends like a picture's name or is an existing file."""
    if isinstance(value, os.PathLike):
        return True
    if not isinstance(value, str) or not value or len(value) > _LONGEST_PATH or "\n" in value or "\0" in value:
        return False
    name = Path(value).name
    return is_picture(name) or is_unread(name) or is_file(value)


def local(given: Any) -> Any:
    """Paths of pictures as a user gives them, one or several, with `~` expanded; anything else as it is.

    Raises:
        DataError: One is a URL.
    """
    if isinstance(given, list | tuple):
        return [local(one) for one in given]
    if is_url(given):
        raise DataError(f"{given} is a URL. {DOWNLOAD_FIRST}")
    return user_path(given) if isinstance(given, str | Path) and str(given).startswith("~") else given


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether this is a file; False for what cannot be a path, such as a name that is too long."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def are_paths(values: Sequence[Any]) -> bool:
    """Whether strings are paths of pictures rather than texts.

    Args:
        values: Strings or Paths.

    Raises:
        DataError: A part of them are paths, more than a few and less than nearly all.
    """
    count = sum(map(is_picture_path, values))
    if count >= _PATHS_FROM * len(values):
        return True
    if count <= _TEXTS_BELOW * len(values):
        return False
    path = next(value for value in values if is_picture_path(value))
    text = next(value for value in values if not is_picture_path(value))
    raise DataError(
        f"{count} of {len(values)} strings are paths of pictures, such as {str(path)[:80]!r}, and the others are not, "
        f"such as {str(text)[:80]!r}: give pictures only or texts only."
    )


def paths_among_texts(values: Sequence[Any]) -> list[str]:
    """What a user should know where a few of many texts look like paths of pictures."""
    found = [value for value in values if is_picture_path(value)]
    if not found:
        return []
    return [f"{len(found)} of {len(values)} texts look like paths of pictures, such as {str(found[0])[:80]!r}"]
