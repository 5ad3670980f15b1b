"""A run's folder: its location, its file names, and safe writing and replacing."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from tfransfer.data.index import Issue
from tfransfer.errors import RunExistsError, WriteError
from tfransfer.system.files import (
    REMEDY,
    is_half,
    out_remedy,
    read_json,
    remove_halves,
    replace_folder,
    replaced_name,
    restore,
    telling_write_failures,
    user_path,
    whole,
    write_text,
)
from tfransfer.system.interface import option
from tfransfer.system.plain_paths import plain_path
from tfransfer.system.spreadsheet import csv_text

MANIFEST, METRICS, HISTORY, RECIPE = "manifest.json", "metrics.json", "history.csv", "recipe.toml"
SPLITS, LABELS, MODEL, SAMPLES = "splits.csv", "labels.txt", "model.keras", "samples.npz"
BUNDLE = "bundle.zip"
RUNS_FOLDER = Path("saved_models")
DATA_ISSUES, PREDICTIONS, EXPORTS = "data_issues.csv", "predictions.csv", "exports.json"
# The report, and the model's outputs on the split that it shows.
REPORT, ANSWERS = "report.html", "answers.npz"
# The checkpoint that an unfinished run resumes from; see `training.checkpoint`.
STATE = "state.npz"
_LOCK, _PROBE = ".lock", ".tfransfer-"
# How often to try where another process keeps removing the folder.
_TRIES = 20
# Windows cannot move a folder that has an open file in it, such as the lock.
_MOVES_LOCKED = os.name != "nt"
# Errors of file systems without locks, where two processes in one folder go unnoticed.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def _elsewhere() -> str:
    """What to do where another process writes to a folder."""
    return f"wait, or choose another folder with {option('out')}."


def require_free(folder: Path, overwrite: bool) -> None:
    """Check that a run can be written to a folder, before any work is done.

    Raises:
        RunExistsError: The folder exists without `overwrite`, or holds files but no run.
        WriteError: The folder cannot be created or written to, or TensorFlow cannot load models from it.
    """
    plain_path(folder)
    with telling_write_failures(folder, out_remedy()):
        _require_replaceable(folder, overwrite)
        name = f"{_PROBE}{hashlib.sha1(str(folder).encode()).hexdigest()[:8]}"
        for existing in (folder, *folder.parents):
            with suppress(FileNotFoundError):
                (existing / name).write_bytes(b"")
                (existing / name).unlink(missing_ok=True)  # another process may have tried at the same time
                return


def _require_replaceable(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunExistsError(f"{folder} is a file: choose another folder with {option('out')}.")
    unfinished = aside_of(folder)
    if not overwrite and (unfinished / MANIFEST).is_file():
        raise RunExistsError(
            f"{unfinished} holds an unfinished run that was to replace {folder}: use {option('resume', True)} to "
            f"resume it, or {option('overwrite', True)} to start over."
        )
    if not folder.exists() or _is_hardly_begun(folder):
        return
    if not overwrite:
        hint = f" and is not finished: use {option('resume', True)} to resume it" if is_unfinished(folder) else ""
        raise RunExistsError(
            f"{folder} already exists{hint}. Choose another folder with {option('out')}, or use "
            f"{option('overwrite', True)} to replace it."
        )
    if not (folder / MANIFEST).is_file():
        raise RunExistsError(
            f"{folder} holds files but no run ({MANIFEST} is missing); it will not be replaced. "
            f"Choose another folder with {option('out')}."
        )


def is_unfinished(folder: Path) -> bool:
    """Whether a folder holds a run that can be resumed."""
    try:
        manifest = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and "progress" in manifest


def _is_hardly_begun(folder: Path) -> bool:
    """Whether a folder holds at most what a run writes before its manifest: the process was killed early."""
    early = {SPLITS, DATA_ISSUES, LABELS, RECIPE, _LOCK}
    try:
        return all(p.name in early or p.name.startswith(_PROBE) or is_half(p) for p in folder.iterdir())
    except FileNotFoundError:  # another process has just removed it
        return True


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but a lock, or is gone."""
    try:
        return all(path.name == _LOCK for path in folder.iterdir())
    except FileNotFoundError:
        return True


def place_for(name: str, out: str | Path | None, parent: Path = RUNS_FOLDER) -> Path:
    """The folder for a run or a sweep: `out`, or one named after the data in `saved_models` or another parent."""
    return user_path(out) if out else parent / name


def aside_of(place: Path) -> Path:
    """The temporary folder of a run that replaces the one in `place`, which stays intact until the new one is done."""
    return place.absolute().with_name(f".{place.absolute().name}.unfinished")


@contextmanager
def growing_folder(place: Path, overwrite: bool, data_root: Path, earlier: Path | None = None) -> Iterator[Path]:
    """Create the folder that a run is written to, and move it to its final place at the end.

    A run that fails or is stopped with a checkpoint stays; one that fails before that leaves nothing behind.

    Args:
        place: The run's final folder.
        overwrite: Whether an existing run may be replaced.
        data_root: The folder of the images; a folder that contains it is never replaced.
        earlier: The folder of an unfinished run to resume.

    Yields:
        The folder to write to: `place`, or a temporary one next to it if a run is to be replaced.

    Raises:
        RunExistsError: As in `require_free`, or the images are inside the folder.
        WriteError: The folder cannot be created.
    """
    if earlier is None:
        require_free(place, overwrite)
    if place.resolve() in (data_root.resolve(), *data_root.resolve().parents):
        raise RunExistsError(
            f"the data is in {place}: choose another folder with {option('out')}, so that none of it is replaced."
        )
    folder = earlier or _fresh(place)
    _require_unlocked(place if folder != place else aside_of(place))
    with alone_until_placed(folder, place, create=earlier is None):
        if earlier is None:
            _begin_anew(folder, place)
        try:
            yield folder
        except BaseException as error:
            has_manifest = (folder / MANIFEST).exists()
            failed = isinstance(error, Exception) and not (folder / STATE).exists() and folder != place
            if not has_manifest or failed:
                _empty(folder)  # there is nothing to resume from
            raise


def _fresh(place: Path) -> Path:
    """The folder that a new run grows in: its place, or one beside it if a run is there."""
    if replaced_name(place.absolute()).exists():  # a process was killed as it put another run into this place
        with alone_in(aside_of(place), create=True, remedy=_elsewhere()):
            restore(place.absolute())
    return aside_of(place) if place.exists() and not _is_hardly_begun(place) else place


def _begin_anew(folder: Path, place: Path) -> None:
    """Empty a locked folder of what is left of an earlier start, and remove one that lies aside in vain."""
    if folder == place and not _is_hardly_begun(folder):
        raise RunExistsError(
            f"another process has just written to {folder}: choose another folder with {option('out')}."
        )
    with telling_write_failures(place, out_remedy()):
        _empty(folder)
        if folder == place and aside_of(place).exists():
            with alone_in(aside_of(place), remedy=_elsewhere()):
                _empty(aside_of(place))


def _empty(folder: Path) -> None:
    """Remove all of a folder but its lock, without which another process could come into it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path, create: bool = False, remedy: str = "wait until it is done.") -> Iterator[None]:
    """Lock a run's folder against other processes, and remove partial files of a killed one.

    The operating system releases the lock however this process ends. A folder that is empty at the end is removed.

    Args:
        folder: The folder.
        create: Whether to make it.
        remedy: What the user should do if another process writes to it.

    Raises:
        RunExistsError: Another process writes to the folder.
        WriteError: The folder is not writable.
    """
    lock = _acquired(folder, create, remedy)
    own = _file_number(folder / _LOCK)
    try:
        remove_halves(folder)
        yield
    finally:
        # If the folder was moved, another process may have made it anew by now, with a lock of its own.
        if own is not None and _file_number(folder / _LOCK) == own:
            with suppress(PermissionError):  # Windows cannot delete an open file; there, releasing the lock deletes it
                (folder / _LOCK).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def alone_until_placed(folder: Path, place: Path, create: bool = False) -> Iterator[None]:
    """Lock a run's folder, and move it to its final place at the end, while it is still locked.

    Args:
        folder: The folder.
        place: The run's final place; a run that is there is deleted once the new one has its place.
        create: Whether to make the folder.

    Raises:
        RunExistsError: Another process writes to the folder.
        WriteError: The folder is not writable.
    """
    with alone_in(folder, create, _elsewhere()):
        yield
        if _MOVES_LOCKED:
            put_in_place(folder, place)
    if not _MOVES_LOCKED:
        put_in_place(folder, place)


def _require_unlocked(folder: Path) -> None:
    if (folder / _LOCK).is_file():
        with suppress(FileNotFoundError):  # the other process has just finished
            _acquired(folder, False, _elsewhere()).release()


def _acquired(folder: Path, create: bool, remedy: str) -> FileLock:
    """The lock of a folder, made where that is wanted however often another process removes it."""
    for attempt in range(_TRIES if create else 1):
        lock = FileLock(folder / _LOCK)
        try:
            with telling_write_failures(folder, out_remedy() if create else REMEDY):
                if create:
                    folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=0)
            return lock
        except Timeout as error:
            raise RunExistsError(f"another process is writing to {folder}: {remedy}") from error
        except (FileNotFoundError, WriteError):
            if attempt == _TRIES - 1 or not create or folder.exists():
                raise
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return lock
    raise RunExistsError(f"another process keeps removing {folder}: {remedy}")


def _file_number(file: Path) -> int | None:
    """What tells a file from another of the same name; None if there is none."""
    try:
        return file.stat().st_ino
    except OSError:
        return None


def put_in_place(folder: Path, place: Path) -> None:
    """Move a finished run to its final place; a run that is there is deleted only after that."""
    folder, place = folder.absolute(), place.absolute()
    if folder == place:
        return
    with telling_write_failures(place, out_remedy()):
        replace_folder(folder, place)
        with suppress(PermissionError):
            (place / _LOCK).unlink(missing_ok=True)


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as a CSV file; missing values are empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    write_text(path, csv_text(lines if rows else []))


def write_issues(path: Path, issues: Sequence[Issue]) -> None:
    """Write the issues found in the data: a CSV file with the columns path, kind, detail, set_aside."""
    lines = [["path", "kind", "detail", "set_aside"]]
    lines += [[i.path, i.kind, i.detail, str(i.set_aside).lower()] for i in issues]
    write_text(path, csv_text(lines))


def write_samples(path: Path, pictures: np.ndarray) -> None:
    """Save a few held-out images, uint8 (n, size, size, 3), to check later exports without the data."""
    with whole(path) as temporary:
        np.savez_compressed(temporary, pictures=pictures)
