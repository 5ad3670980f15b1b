"""Disk budget of the feature store; the least recently used collections are removed first."""

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfransfer.features import store
from tfransfer.system.cache_home import cache_home
from tfransfer.system.files import read_json, telling_write_failures

# Folders in the cache directory. Nothing else there is ever removed.
PARTS = ("features", "engines", "index")
# Share of the disk space that is free or already taken by the store.
_SHARE = 0.25
# Left free whatever the budget is.
_LEAST_FREE_BYTES, _LEAST_FREE_SHARE = 2 * 10**9, 0.05


def store_home() -> Path:
    """The folder of all collections."""
    return cache_home() / PARTS[0]


@dataclass(frozen=True)
class Entry:
    """One collection on disk.

    Attributes:
        folder: Its folder.
        facts: What its values depend on.
        rows: Number of pictures, over all views.
        size: Bytes.
        used: When it was last used, in seconds since 1970.
    """

    folder: Path
    facts: dict[str, Any]
    rows: int
    size: int
    used: float


def entries() -> list[Entry]:
    """All collections, least recently used first."""
    home = store_home()
    folders = home.iterdir() if home.is_dir() else ()
    collections = [_entry(folder) for folder in folders if folder.is_dir() and _is_ours(folder)]
    return sorted(collections, key=lambda entry: entry.used)


def _is_ours(path: Path) -> bool:
    """Whether a name looks like the store's own; anything else is the user's, and is neither counted nor removed."""
    return re.fullmatch("[0-9a-f]{24,32}", path.stem) is not None or path.name.startswith(store.UNFINISHED)


def _entry(folder: Path) -> Entry:
    try:
        facts = read_json(folder / store.FACTS)
        used = (folder / store.FACTS).stat().st_mtime
    except (OSError, ValueError):
        facts, used = {}, 0.0
    shards = [store.read_header(path) for path in store.headers(folder)]
    rows = sum(len(shard.names) for shard in shards if shard)
    return Entry(folder, facts if isinstance(facts, dict) else {}, rows, size_of(folder), used)


def size_of(folder: Path) -> int:
    """Total size of the files in a folder in bytes; 0 if it does not exist."""
    total = 0
    for inside, _, names in os.walk(folder):  # skips what another process removes meanwhile
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(inside, name)).st_size
    return total


def room(budget: int | None) -> int:
    """Bytes that new rows may take if everything not in use is removed.

    Args:
        budget: Limit for the whole store in bytes; None takes a quarter of the disk's free space.
    """
    disk, used = _disk(), sum(entry.size for entry in entries())
    allowed = int(_SHARE * (disk.free + used)) if budget is None else budget
    return max(0, min(allowed, disk.free + used - _least_free(disk)))


def make_room(needed: int, budget: int | None, in_use: Iterable[Path]) -> int:
    """Remove the least recently used collections until there is room for new rows.

    Args:
        needed: Bytes that will be written.
        budget: As for `room`.
        in_use: Folders that must not be removed.

    Returns:
        Number of collections removed.
    """
    protected, removed = set(in_use), 0
    limit = room(budget)
    collections = entries()
    used = sum(entry.size for entry in collections)
    for entry in collections:
        if used + needed <= limit:
            break
        if entry.folder not in protected and discard(entry.folder):
            used -= entry.size
            removed += 1
    return removed


def discard(folder: Path) -> bool:
    """Remove a collection; False if that fails (it is in use on Windows, or not writable)."""
    try:
        store.remove(folder)
    except OSError:
        return False
    return True


def clear() -> int:
    """Remove everything cached between runs; all of it can be computed again.

    Returns:
        Bytes freed.

    Raises:
        WriteError: A part cannot be removed.
    """
    home = cache_home()
    before = size_of(home)
    for name in PARTS:
        if (home / name).exists():
            with telling_write_failures(home / name):
                for path in (home / name).iterdir():
                    if _is_ours(path):
                        store.remove(path)
                if not (home / name).is_symlink() and not any((home / name).iterdir()):
                    (home / name).rmdir()
    return before - size_of(home)


def verify() -> list[tuple[Path, str]]:
    """Check every shard's size and checksum.

    Returns:
        Path and reason for each damaged shard.
    """
    damaged = []
    for entry in entries():
        for header in store.headers(entry.folder):
            shard = store.read_header(header)
            if shard is None:
                damaged.append((header, "cannot be read"))
            elif problem := shard.problem():
                damaged.append((shard.values, problem))
    return damaged


def _disk() -> Any:
    existing = next(path for path in (store_home(), *store_home().parents) if path.exists())
    return shutil.disk_usage(existing)


def _least_free(disk: Any) -> int:
    return min(int(disk.total * _LEAST_FREE_SHARE), _LEAST_FREE_BYTES)
