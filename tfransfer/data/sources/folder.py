"""A folder of pictures as a Dataset: one folder per class, with or without train/validation/test above the classes."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tfransfer.data import indexing
from tfransfer.data.dataset import Dataset
from tfransfer.data.health import audit
from tfransfer.data.index import Issue, Row
from tfransfer.data.indexing import Source
from tfransfer.data.sources.layout import Layout, read_known, read_layout
from tfransfer.data.sources.picture_files import (
    READABLE,
    is_litter,
    is_picture,
    is_unread,
    pictures_below,
    unread_counts,
    why_unread,
)
from tfransfer.data.sources.table_files import TABLE_SUFFIXES, read_lines
from tfransfer.display.progress import Progress, Say, quiet, silent
from tfransfer.errors import DataError, DataNotFoundError, did_you_mean
from tfransfer.system.interface import option
from tfransfer.tasks.labels import has_line_break

METADATA = "metadata.csv"
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")
_FRAMES = (".parquet", ".feather", ".arrow", ".json", ".jsonl", ".ndjson")

GroupOf = Callable[[str], str | None]


def folder_source(root: Path, group: GroupOf | None = None, group_column: str | None = None) -> Source:
    """The contents of a folder, before any picture is opened.

    Args:
        root: A folder with one subfolder per class, or train/validation/test folders above these.
        group: From a path relative to `root` to the name of its group, or None; a group stays in one split.
        group_column: Column of `metadata.csv` in `root` (beside a column `file_name` or `path`) with the groups.

    Raises:
        DataNotFoundError: `root` or its `metadata.csv` does not exist.
        DataError: There are no class folders with pictures.
    """
    _require_folder(root)
    litter: Counter[str] = Counter()
    files = _files(root, litter)
    notes = [
        f"ignored {count} pictures in folders {name!r}, which a program left there" for name, count in litter.items()
    ]
    layout = read_layout(str(root), _pictures(files))
    rows = list(layout.rows)
    _require_no_table(root, rows, files)
    _require_classes(root, rows, files)
    _require_plain_names(rows)
    empty = _empty_classes(root, layout, files)
    notes += [f"the folder {issue.path!r} has no {issue.detail.removeprefix('it has no ')}" for issue in empty]
    notes += [*layout.notes, *(_unlabeled_note(*left_out) for left_out in layout.unlabeled.items())]
    if group is None and group_column:
        group = _groups_from_metadata(root, group_column, rows, notes)
    if group:
        rows = [replace(row, group=group(row.path)) for row in rows]
    issues = [*_skipped(files, layout), *empty]
    return Source(root, tuple(rows), str(root), issues=issues, notes=notes)


def load_labelled(
    root: Path,
    classes: tuple[str, ...],
    max_pixels: int = audit.MAX_PIXELS,
    progress: Progress = quiet,
    say: Say = silent,
) -> Dataset:
    """Index a folder to be scored as a whole: its class folders must be known, and no splits are decided.

    Args:
        root: As for `folder_source`; split folders above the classes are ignored.
        classes: The known classes, in the order of a model's outputs.
        max_pixels: Pictures with more pixels are skipped.
        progress: Shows the progress of reading.
        say: Called with lines about skipped files.

    Raises:
        DataNotFoundError: `root` does not exist.
        DataError: A class is not known, or no picture can be read.
    """
    _require_folder(root)
    files = _files(root)
    rows = list(read_known(_pictures(files), classes))
    _require_classes(root, rows, files)
    source = Source(root, tuple(rows), str(root), issues=_unread(files))
    return indexing.index_known(source, classes, max_pixels, progress, say)


def find_pictures(root: Path) -> list[Row]:
    """The picture files in class folders, by their suffix, sorted by path; nothing is opened."""
    return list(read_layout(str(root), list_pictures(root)).rows)


def _unlabeled_note(folder: str, count: int) -> str:
    return f"{count} pictures in {folder!r} have no labels and are left out; if that is a class, rename the folder"


def list_pictures(root: Path, unread: bool = False) -> list[str]:
    """All pictures below a folder at any depth, sorted; paths are relative to `root`.

    Args:
        root: The folder.
        unread: Whether to list pictures in formats that are not read here, too.
    """
    return [path for path in _files(root) if is_picture(path) or (unread and is_unread(path))]


def _pictures(files: list[str]) -> list[str]:
    return [path for path in files if is_picture(path)]


def _files(root: Path, litter: Counter[str] | None = None) -> list[str]:
    return sorted(_walk(root, root, set(), litter))


def _walk(root: Path, folder: Path, above: set[tuple[int, int]], litter: Counter[str] | None = None) -> Iterator[str]:
    """Files below a folder; links are followed, but never into one of the folders above.

    Pictures in folders that a program left there are counted in `litter`, by the folder's name; hidden folders are not.
    """
    try:
        status = folder.stat()
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda e: e.name)
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be read: {error.strerror}. Make it readable, or move it out of {root}."
        ) from error
    here = above | {(status.st_dev, status.st_ino)}
    for entry in entries:
        if is_litter(entry.name):
            if litter is not None and not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                litter += Counter({entry.name: pictures_below(Path(entry.path))})
            continue
        if _is_folder(entry):
            target = entry.stat()
            if (target.st_dev, target.st_ino) not in here:
                yield from _walk(root, Path(entry.path), here, litter)
        else:  # of a pipe or a device that is called like a picture, the audit says that it is none
            yield Path(entry.path).relative_to(root).as_posix()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: if it has a picture's suffix, the audit reports it
        return False


def _folders(root: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(root) if _is_folder(e) and not is_litter(e.name))


def _skipped(files: list[str], layout: Layout) -> list[Issue]:
    """Issues for pictures in unsupported formats, without labels, and outside the class folders."""
    placed = {row.path for row in layout.rows}
    outside = [p for p in _pictures(files) if p not in placed and not layout.is_unlabeled(p)]
    return [
        *_unread(files),
        *(Issue(p, "unlabeled", _unlabeled_note(p, n), set_aside=False) for p, n in layout.unlabeled.items()),
        *(Issue(p, "no class", "it is not in a class folder") for p in outside),
    ]


def _unread(files: list[str]) -> list[Issue]:
    """Issues for pictures in formats that are not read here."""
    return [Issue(p, "format", why_unread(Path(p).suffix.lower())) for p in files if is_unread(p)]


def _empty_classes(root: Path, layout: Layout, files: list[str]) -> list[Issue]:
    """Issues for class folders without pictures, which would otherwise be dropped silently."""
    names = {name for parent in layout.parents for name in _folders(root / parent)}
    classes = {row.target for row in layout.rows}
    issues = []
    for name in sorted(names - classes - {Path(place).name for place in layout.unlabeled}):
        unread = unread_counts(path for path in files if name in path.split("/")[:-1])
        detail = f"it has no {READABLE} pictures, so it is not a class{unread and f'; it has {unread}'}"
        issues.append(Issue(name, "empty class", detail, set_aside=False))
    return issues


def _groups_from_metadata(root: Path, column: str, rows: list[Row], notes: list[str]) -> GroupOf:
    file = root / METADATA
    if not file.is_file():
        raise DataNotFoundError(
            f"{option('group_column', column)} needs {file}, which does not exist: "
            "write a CSV file with the columns file_name (relative to the folder) and " + column + "."
        )
    table = [line.cells for line in read_lines(file, notes=notes)]
    columns = list(table[0]) if table else []
    name = next((c for c in ("file_name", "path") if c in columns), None)
    if name is None or column not in columns:
        raise DataError(
            f"{file} needs the columns file_name and {column}; it has {', '.join(columns) or 'none'}."
            + did_you_mean(column, columns)
        )
    groups = {row[name]: row[column] for row in table if row[column]}
    ungrouped = [f.path for f in rows if f.path not in groups]
    if len(ungrouped) == len(rows):
        raise DataError(
            f"{file} has a {column} for none of the {len(rows)} pictures; expected paths relative to {root} such as "
            f"{rows[0].path!r}, got {', '.join(map(repr, list(groups)[:3])) or 'none'}."
        )
    if ungrouped:
        notes.append(
            f"{len(ungrouped)} pictures have no {column} in {METADATA}, such as {ungrouped[0]!r}: each is its own group"
        )
    return groups.get


def _require_folder(root: Path) -> None:
    if not root.exists():
        parent = root.parent if root.parent.is_dir() else Path(".")
        hint = did_you_mean(root.name, _folders(parent))
        raise DataNotFoundError(f"the folder {root} does not exist.{hint}")
    if not root.is_dir():
        raise DataError(f"{root} is {_file_in_words(root)}")


def _file_in_words(file: Path) -> str:
    """What a file is that was given as data, and what to give in its place."""
    suffix = file.suffix.lower()
    if suffix in _ARCHIVES:
        return "an archive: unpack it, and give the folder."
    if suffix in _SPREADSHEETS:
        return "a spreadsheet: save it as CSV (in Excel: CSV UTF-8), and give that file."
    if suffix in _FRAMES:
        return "not read here: save it as CSV, or read it with pandas and give the DataFrame in Python."
    return "a file; expected a folder with one subfolder of pictures per class, or a table (.csv, .tsv)."


def _require_plain_names(rows: list[Row]) -> None:
    broken = next((f.target for f in rows if has_line_break(str(f.target))), None)
    if broken is not None:
        raise DataError(
            f"the class folder {broken!r} has a line break in its name: rename it, label files have a class per line."
        )


def _require_no_table(root: Path, rows: list[Row], files: list[str]) -> None:
    """Check that pictures without class folders have no table beside them, which then has their labels."""
    loose = len(_pictures(files))
    tables = [name for name in files if "/" not in name and Path(name).suffix.lower() in TABLE_SUFFIXES]
    if loose and tables and len({row.target for row in rows}) < 2:
        raise DataError(
            f"{root} has {loose} pictures but no two subfolders that are classes. If {tables[0]} has their labels, "
            f"give that table: {root / tables[0]}."
        )


def _require_classes(root: Path, rows: list[Row], files: list[str]) -> None:
    if rows:
        return
    loose = len(_pictures(files))
    if loose:
        raise DataError(
            f"{root} has {loose} pictures but no subfolder per class: put the pictures of each class into a "
            f"subfolder named after it, for example {root}/cat/1.jpg and {root}/dog/2.jpg."
        )
    unread = unread_counts(files)
    raise DataError(
        f"no pictures below {root}: expected one subfolder per class with {READABLE} files, "
        f"found {len(_folders(root))} folders{unread and f' and {unread}'}."
    )
