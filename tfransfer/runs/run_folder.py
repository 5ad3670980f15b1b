"""A run's folder: where it stands, that nothing is lost there, and what its files are called."""

import csv
import errno
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from tfransfer.data.index import Issue
from tfransfer.errors import RunExistsError
from tfransfer.system.files import is_half, remove_halves, telling_write_failures, whole, write_text

MANIFEST, METRICS, HISTORY, RECIPE = "manifest.json", "metrics.json", "history.csv", "recipe.toml"
SPLITS, LABELS, MODEL, SAMPLES = "splits.csv", "labels.txt", "model.keras", "samples.npz"
BUNDLE = "bundle.zip"
RUNS_FOLDER = Path("saved_models")
DATA_ISSUES, PREDICTIONS, EXPORTS = "data_issues.csv", "predictions.csv", "exports.json"
# The report, and what a model said of the split that it shows.
REPORT, ANSWERS = "report.html", "answers.npz"
# From which an unfinished run goes on; see `training.checkpoint`.
STATE = "state.npz"
_LOCK = ".lock"
# What file systems without locks answer; there, two processes in one folder are not noticed.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def require_free(folder: Path, overwrite: bool) -> None:
    """See that a run can be written to a folder, before any work is done.

    Raises:
        RunExistsError: Something is there and `overwrite` was not said, or what is there is no run.
        WriteError: The folder cannot be made or written to.
    """
    with telling_write_failures(folder):
        _require_replaceable(folder, overwrite)
        standing = next(p for p in (folder, *folder.parents) if p.exists())
        probe = standing / f".tfransfer-{hashlib.sha1(str(folder).encode()).hexdigest()[:8]}"
        probe.write_bytes(b"")
        probe.unlink()


def _require_replaceable(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunExistsError(f"{folder} is a file; name another folder with --out.")
    aside = aside_of(folder)
    if not overwrite and (aside / MANIFEST).is_file():
        raise RunExistsError(
            f"{aside} holds a run that was to replace {folder} and did not come to its end: say --resume to go on with "
            "it, or --overwrite to begin anew."
        )
    if not folder.exists() or _is_hardly_begun(folder):
        return
    if not overwrite:
        unfinished = is_unfinished(folder)
        raise RunExistsError(
            f"{folder} exists already{' and is not finished: say --resume to go on with it' if unfinished else ''}. "
            "Name another folder with --out, or say --overwrite to replace it."
        )
    if not (folder / MANIFEST).is_file():
        raise RunExistsError(
            f"{folder} holds files but no run ({MANIFEST} is missing); it will not be replaced. "
            "Name another folder with --out."
        )


def is_unfinished(folder: Path) -> bool:
    """Whether a folder holds a run that can be gone on with."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and "progress" in manifest


def _is_hardly_begun(folder: Path) -> bool:
    """Whether there is at most what a run writes before its manifest, as a killed process leaves it."""
    early = {SPLITS, DATA_ISSUES, LABELS, RECIPE, _LOCK}
    return all(path.name in early or is_half(path) for path in folder.iterdir())


def place_for(name: str, out: str | Path | None, parent: Path = RUNS_FOLDER) -> Path:
    """The folder for a run or a sweep: `out`, or one with the data's name below `saved_models` or another parent."""
    return Path(out) if out else parent / name


def aside_of(place: Path) -> Path:
    """Where a run grows that is to replace the one in `place`, which stays whole until the new one is."""
    return place.absolute().with_name(f".{place.absolute().name}.unfinished")


@contextmanager
def growing_folder(place: Path, overwrite: bool, data_root: Path, earlier: Path | None = None) -> Iterator[Path]:
    """Make the folder that a run grows in, and put it where it belongs at the end.

    What fails or is stopped with a state to go on from stays; what fails before that leaves nothing behind.

    Args:
        place: Where the run shall stand.
        overwrite: Whether a run that is there may be replaced.
        data_root: Where the pictures are; a folder that holds them is never replaced.
        earlier: The folder of an unfinished run that goes on.

    Yields:
        The folder to write to: `place`, or the one beside it where a run is to be replaced.

    Raises:
        RunExistsError: As `require_free`, or the pictures are inside the folder.
        WriteError: The folder cannot be made.
    """
    if earlier is None:
        require_free(place, overwrite)
    if place.resolve() in (data_root.resolve(), *data_root.resolve().parents):
        raise RunExistsError(f"the pictures are in {place}; name another folder with --out, so that none is replaced.")
    for folder in (place, aside_of(place)):
        _require_unlocked(folder)
    folder = earlier or _fresh(place)
    try:
        with alone_in(folder):
            yield folder
    except BaseException as error:
        begun = (folder / MANIFEST).exists()
        failed = isinstance(error, Exception) and not (folder / STATE).exists() and folder != place
        if not begun or failed:
            shutil.rmtree(folder)  # nothing worth keeping was written
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
    """Keep other processes from writing to a run's folder, and remove what one that was killed left half-written.

    The system lets go of the folder however this process ends.

    Raises:
        RunExistsError: Another process writes to it.
        WriteError: The folder may not be written to.
    """
    lock = FileLock(folder / _LOCK)
    _acquire(lock, folder)
    try:
        remove_halves(folder)
        yield
    finally:
        with suppress(PermissionError):  # Windows removes no file that is open; there the lock does it when it goes
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
        raise RunExistsError(f"another process is writing to {folder}; wait for it, or name another --out.") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def put_in_place(folder: Path, place: Path) -> None:
    """Let a finished run stand where it belongs; the run that was there goes then, not before."""
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
    """Write rows as a CSV file; a column that a row lacks stays empty there."""
    stream = io.StringIO()
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(path, stream.getvalue())


def write_issues(path: Path, issues: Sequence[Issue]) -> None:
    """Write what was set aside: a CSV file with the columns path, kind, detail, set_aside."""
    lines = [["path", "kind", "detail", "set_aside"]]
    lines += [[i.path, i.kind, i.detail, str(i.set_aside).lower()] for i in issues]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    write_text(path, stream.getvalue())


def write_samples(path: Path, pictures: np.ndarray) -> None:
    """Keep a few held-out pictures, uint8 (n, size, size, 3), so that later exports can be checked without the data."""
    with whole(path) as temporary:
        np.savez_compressed(temporary, pictures=pictures)
