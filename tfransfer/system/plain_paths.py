"""Links to files whose paths TensorFlow would take for patterns.

TensorFlow looks for a SavedModel's variables by a pattern: in a path with `[`, `*`, `?` or a backslash it finds
nothing, or the files of another folder. Such a path is reached through a link in a temporary folder. The link lasts as
long as the process: a loaded module's vocabularies are read from it again when a model with that module is saved.
"""

import atexit
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tfransfer.errors import WriteError
from tfransfer.system.cache_home import cache_home

_PATTERN = "[*?" if os.name == "nt" else "[*?\\"
# Where links are made: in the first of these whose own path is plain.
_PLACES: tuple[Callable[[], str | Path], ...] = (tempfile.gettempdir, cache_home, Path.home, lambda: "/tmp")
# The folder of links of each process: a fork must not remove its parent's.
_FOLDERS: dict[int, Path] = {}
_LINKS: dict[tuple[Path, Path], Path] = {}
_NUMBERS = itertools.count()


def is_plain(path: Path) -> bool:
    """Whether TensorFlow takes a path as it is."""
    return not set(str(path.absolute())) & set(_PATTERN)


def plain_path(path: Path) -> Path:
    """A path to the same file or folder that TensorFlow does not take for a pattern.

    Args:
        path: A file or folder; if it does not exist yet, its parent must.

    Returns:
        The path itself, or one through a link that is removed when the process ends.

    Raises:
        WriteError: The path would be taken for a pattern, and links cannot be made.
    """
    if is_plain(path):
        return path
    path = path.absolute()
    if not set(path.name) & set(_PATTERN) and path.parent.is_dir():
        return _link_to(path.parent) / path.name
    return _link_to(path)


def _link_to(path: Path) -> Path:
    try:
        folder = _folder_of_links()
        if (folder, path) not in _LINKS:
            link = folder / str(next(_NUMBERS))
            os.symlink(path, link, target_is_directory=True)
            _LINKS[folder, path] = link
        return _LINKS[folder, path]
    except OSError as error:
        raise WriteError(
            f"TensorFlow cannot load models from {path}: it takes {' '.join(_PATTERN)} in a path for a pattern, "
            f"and a link to it cannot be made ({error}): choose a folder without these characters."
        ) from error


def _folder_of_links() -> Path:
    known = _FOLDERS.get(os.getpid())
    if known is not None and known.is_dir():
        return known
    places = [Path(place()) for place in _PLACES]
    place = next((p for p in places if is_plain(p) and os.access(p, os.W_OK)), None)
    if place is None:
        raise OSError("no temporary folder has a plain path")
    folder = Path(tempfile.mkdtemp(prefix="tfransfer-links-", dir=place))
    _FOLDERS[os.getpid()] = folder
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
