"""Find the picture files that a table names: as they are, without their suffix, or in a folder beside the table."""

import os
import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfransfer.data.sources.kinds import SPLIT_TABLES
from tfransfer.data.sources.paths import is_file
from tfransfer.data.sources.picture_files import is_picture
from tfransfer.errors import DataError

# Where the pictures of a table of bare names usually are, beside folders with the names of splits.
_FOLDERS = ("images", "image", "imgs", "img", "photos", "pictures", "pics")
# As many cells tell in which folder the files are, and whether a column names files.
_SAMPLE = 200
_MOST = 0.9


@dataclass(frozen=True)
class Located:
    """The files of a table's cells.

    Attributes:
        paths: For each cell its file, relative to the root with forward slashes, or the cell itself if there is none.
        reasons: Why there is none, for those with an unusual reason, by path.
        notes: What the user should know.
    """

    paths: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def locate(cells: Sequence[str], root: Path, split: str = "") -> Located:
    """Find the files that cells name.

    Args:
        cells: Paths of pictures, relative to `root`.
        root: The table's folder.
        split: The split that the table is for, where its folder is preferred.

    Raises:
        DataError: The files are in several folders beside the table.
    """
    search = _Search(root)
    given = [Path(cell.strip()).as_posix() for cell in cells]
    folder = search.folder_of(given, split)
    notes = [f"the pictures are read from the folder {folder!r} beside the table"] if folder else []
    found = [search.find(posixpath.join(folder, path)) or search.find(path) for path in given]
    reasons = {path: reason for path in given if (reason := search.reasons.get(posixpath.join(folder, path)))}
    bare = [(path, name) for path, name in zip(given, found, strict=True) if name and not name.endswith(path)]
    if bare:
        notes.append(f"{len(bare)} pictures are named without their suffix: {bare[0][0]!r} is read as {bare[0][1]!r}")
    paths = tuple(name or path for path, name in zip(given, found, strict=True))
    return Located(paths, reasons, tuple(notes))


def picture_column(lines: Sequence[Mapping[str, str]], root: Path) -> str | None:
    """The only column whose cells name pictures that exist, such as ids of files; None if there is none or several.

    Args:
        lines: The cells of each line by column.
        root: The table's folder.
    """
    some = lines[:: max(1, len(lines) // _SAMPLE)]
    found = []
    for column in lines[0]:
        cells = [path for line in some if (path := line[column].strip())]
        try:
            paths = locate(cells, root).paths
        except DataError:
            continue
        if cells and sum(is_picture(path) and is_file(root / path) for path in paths) >= _MOST * len(cells):
            found.append(column)
    return found[0] if len(found) == 1 else None


class _Search:
    """Looks for files below a folder, each of whose subfolders is listed at most once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stems: dict[str, dict[str, list[str]]] = {}
        # Why a path is no file, where that is unusual.
        self.reasons: dict[str, str] = {}

    def find(self, path: str) -> str:
        """The file at a path, or the only picture with that name and a suffix; "" if there is none."""
        if path in ("", ".") or is_file(self._root / path):
            return path
        folder, name = posixpath.split(path)
        names = self._pictures(folder).get(name, [])
        if len(names) > 1:
            self.reasons[path] = f"it has no suffix, and there are {', '.join(names[:4])}"
        return posixpath.join(folder, names[0]) if len(names) == 1 else ""

    def folder_of(self, paths: Sequence[str], split: str) -> str:
        """The folder beside the table that has most of the files, "" for the table's own."""
        some = paths[:: max(1, len(paths) // _SAMPLE)]
        if self._count("", some):
            return ""
        counts = {name: self._count(name, some) for name in self._folders()}
        likely = [name for name, count in counts.items() if 2 * count > len(some)]
        own = [name for name in likely if split and SPLIT_TABLES.get(name.lower()) == split]
        if len(own or likely) > 1:
            raise DataError(
                f"the pictures, such as {some[0]!r}, are in {' and in '.join(map(repr, own or likely))}: write the "
                "folder before each name in the table."
            )
        return (own or likely or [""])[0]

    def _count(self, folder: str, paths: Sequence[str]) -> int:
        return sum(bool(self.find(posixpath.join(folder, path))) for path in paths if path != ".")

    def _folders(self) -> list[str]:
        with os.scandir(self._root) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
        return [name for name in names if name.lower() in (*_FOLDERS, *SPLIT_TABLES)]

    def _pictures(self, folder: str) -> dict[str, list[str]]:
        """The pictures in a folder by their name without its suffix."""
        if folder not in self._stems:
            stems: dict[str, list[str]] = defaultdict(list)
            try:
                for name in sorted(os.listdir(self._root / folder)):
                    if is_picture(name):
                        stems[os.path.splitext(name)[0]].append(name)
            except (OSError, ValueError):  # no such folder, or no path at all
                pass
            self._stems[folder] = stems
        return self._stems[folder]
