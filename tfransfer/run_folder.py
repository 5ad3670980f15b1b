"""A run's folder: where it stands, that nothing is lost there, and what its files are called."""

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.data.index import Issue
from tfransfer.errors import RunExistsError
from tfransfer.files import telling_write_failures, whole, write_text

SCHEMA = 1
MANIFEST, METRICS, HISTORY, RECIPE = "manifest.json", "metrics.json", "history.csv", "recipe.toml"
SPLITS, LABELS, MODEL, SAMPLES = "splits.csv", "labels.txt", "model.keras", "samples.npz"
RUNS_FOLDER = Path("saved_models")
DATA_ISSUES, PREDICTIONS = "data_issues.csv", "predictions.csv"


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
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise RunExistsError(
            f"{folder} exists already. Name another folder with --out, or say --overwrite to replace it."
        )
    if not (folder / MANIFEST).is_file():
        raise RunExistsError(
            f"{folder} holds files but no run ({MANIFEST} is missing); it will not be replaced. "
            "Name another folder with --out."
        )


def place_for(name: str, out: str | Path | None, overwrite: bool) -> Path:
    """The folder for a run, seen to be free: `out`, or one below `saved_models` with the data's name.

    Raises:
        RunExistsError: Something is there, and `overwrite` was not said.
        WriteError: It cannot be written to.
    """
    place = Path(out) if out else RUNS_FOLDER / name
    require_free(place, overwrite)
    return place


@contextmanager
def fresh_folder(folder: Path, overwrite: bool, data_root: Path) -> Iterator[None]:
    """Make a run's folder; a run that is there is set aside until the new one is finished, and put back if it fails.

    Args:
        folder: The run's folder.
        overwrite: Whether a run that is there may be replaced.
        data_root: Where the pictures are; a folder that holds them is never replaced.

    Raises:
        RunExistsError: As `require_free`, or the pictures are inside the folder.
        WriteError: The folder cannot be made.
    """
    require_free(folder, overwrite)
    if folder.resolve() in (data_root.resolve(), *data_root.resolve().parents):
        raise RunExistsError(f"the pictures are in {folder}; name another folder with --out, so that none is replaced.")
    folder = Path(os.path.abspath(folder))
    aside = folder.with_name(f".{folder.name}.replaced")
    with telling_write_failures(folder):
        _set_aside(folder, aside)
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if overwrite and aside.exists():
            shutil.rmtree(folder)
            aside.rename(folder)
        elif not (folder / MANIFEST).exists():
            shutil.rmtree(folder)  # nothing worth keeping was written
        raise
    if overwrite:
        shutil.rmtree(aside, ignore_errors=True)


def _set_aside(folder: Path, aside: Path) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        return
    if aside.exists() and not (folder / MODEL).exists():
        shutil.rmtree(folder)  # left unfinished by a killed replacement, whose older run is still aside
        return
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


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
