"""A run's folder: its location, its file names, and safe writing and replacing."""

import csv
import errno
import hashlib
import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from tfransfer.data.index import Issue
from tfransfer.errors import RunExistsError
from tfransfer.system.files import is_half, read_json, remove_halves, telling_write_failures, whole, write_text

MANIFEST, METRICS, HISTORY, RECIPE = "manifest.json", "metrics.json", "history.csv", "recipe.toml"
SPLITS, LABELS, MODEL, SAMPLES = "splits.csv", "labels.txt", "model.keras", "samples.npz"
BUNDLE = "bundle.zip"
RUNS_FOLDER = Path("saved_models")
DATA_ISSUES, PREDICTIONS, EXPORTS = "data_issues.csv", "predictions.csv", "exports.json"
# The report, and the model's outputs on the split that it shows.
REPORT, ANSWERS = "report.html", "answers.npz"
# The checkpoint that an unfinished run resumes from; see `training.checkpoint`.
STATE = "state.npz"
_LOCK = ".lock"
# Errors of file systems without locks, where two processes in one folder go unnoticed.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def require_free(folder: Path, overwrite: bool) -> None:
    """Check that a run can be written to a folder, before any work is done.

    Raises:
        RunExistsError: The folder exists without `overwrite`, or holds files but no run.
        WriteError: The folder cannot be created or written to.
    """
    with telling_write_failures(folder):
        _require_replaceable(folder, overwrite)
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        probe = existing / f".tfransfer-{hashlib.sha1(str(folder).encode()).hexdigest()[:8]}"
        probe.write_bytes(b"")
        probe.unlink()


def _require_replaceable(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunExistsError(f"{folder} is a file: choose another folder with --out.")
    unfinished = aside_of(folder)
    if not overwrite and (unfinished / MANIFEST).is_file():
        raise RunExistsError(
            f"{unfinished} holds an unfinished run that was to replace {folder}: use --resume to resume it, or "
            "--overwrite to start over."
        )
    if not folder.exists() or _is_hardly_begun(folder):
        return
    if not overwrite:
        hint = " and is not finished: use --resume to resume it" if is_unfinished(folder) else ""
        raise RunExistsError(
            f"{folder} already exists{hint}. Choose another folder with --out, or use --overwrite to replace it."
        )
    if not (folder / MANIFEST).is_file():
        raise RunExistsError(
            f"{folder} holds files but no run ({MANIFEST} is missing); it will not be replaced. "
            "Choose another folder with --out."
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
    return all(path.name in early or is_half(path) for path in folder.iterdir())


def place_for(name: str, out: str | Path | None, parent: Path = RUNS_FOLDER) -> Path:
    """The folder for a run or a sweep: `out`, or one named after the data in `saved_models` or another parent."""
    return Path(out) if out else parent / name


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
        raise RunExistsError(f"the images are in {place}: choose another folder with --out, so that none is replaced.")
    for folder in (place, aside_of(place)):
        _require_unlocked(folder)
    folder = earlier or _fresh(place)
    try:
        with alone_in(folder):
            yield folder
    except BaseException as error:
        has_manifest = (folder / MANIFEST).exists()
        failed = isinstance(error, Exception) and not (folder / STATE).exists() and folder != place
        if not has_manifest or failed:
            shutil.rmtree(folder)  # there is nothing to resume from
        raise
    put_in_place(folder, place)


def _fresh(place: Path) -> Path:
    with telling_write_failures(place):
        shutil.rmtree(aside_of(place), ignore_errors=True)
        if place.exists() and _is_hardly_begun(place):
            shutil.rmtree(place)
        folder = aside_of(place) if place.exists() else place
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock a run's folder against other processes, and remove partial files of a killed one.

    The operating system releases the lock however this process ends.

    Raises:
        RunExistsError: Another process writes to the folder.
        WriteError: The folder is not writable.
    """
    lock = FileLock(folder / _LOCK)
    _acquire(lock, folder)
    try:
        remove_halves(folder)
        yield
    finally:
        with suppress(PermissionError):  # Windows cannot delete an open file; there, releasing the lock deletes it
            (folder / _LOCK).unlink(missing_ok=True)
        lock.release()


def _require_unlocked(folder: Path) -> None:
    if (folder / _LOCK).is_file():
        lock = FileLock(folder / _LOCK)
        _acquire(lock, folder)
        lock.release()


def _acquire(lock: FileLock, folder: Path) -> None:
    try:
        with telling_write_failures(folder):
            lock.acquire(timeout=0)
    except Timeout as error:
        raise RunExistsError(f"another process is writing to {folder}: wait, or choose another --out.") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def put_in_place(folder: Path, place: Path) -> None:
    """Move a finished run to its final place; a run that is there is deleted only after that."""
    folder, place = folder.absolute(), place.absolute()
    if folder == place:
        return
    older = place.with_name(f".{place.name}.replaced")
    with telling_write_failures(place):
        if place.exists():
            shutil.rmtree(older, ignore_errors=True)
            place.rename(older)
        try:
            folder.rename(place)
        except BaseException:
            if older.exists():
                older.rename(place)
            raise
        shutil.rmtree(older, ignore_errors=True)


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as a CSV file; missing values are empty."""
    stream = io.StringIO()
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(path, stream.getvalue())


def write_issues(path: Path, issues: Sequence[Issue]) -> None:
    """Write the issues found in the data: a CSV file with the columns path, kind, detail, set_aside."""
    lines = [["path", "kind", "detail", "set_aside"]]
    lines += [[i.path, i.kind, i.detail, str(i.set_aside).lower()] for i in issues]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    write_text(path, stream.getvalue())


def write_samples(path: Path, pictures: np.ndarray) -> None:
    """Save a few held-out images, uint8 (n, size, size, 3), to check later exports without the data."""
    with whole(path) as temporary:
        np.savez_compressed(temporary, pictures=pictures)
