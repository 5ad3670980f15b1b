"""How much of the disk the store may take, and what goes first when it is full: the collections used longest ago."""

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

# The folders in the cache's home. Nothing else there is ever removed.
PARTS = ("features", "engines", "index")
# Of what is free, or taken by the store already.
_SHARE = 0.25
# Left free whatever the budget says.
_LEAST_FREE_BYTES, _LEAST_FREE_SHARE = 2 * 10**9, 0.05


def store_home() -> Path:
    """The folder of all collections."""
    return cache_home() / PARTS[0]


@dataclass(frozen=True)
class Entry:
    """One collection on disk.

    Attributes:
        folder: Where it is.
        facts: What decides its values.
        rows: Pictures, over all views.
        size: Bytes.
        used: When it was used last, seconds since 1970.
    """

    folder: Path
    facts: dict[str, Any]
    rows: int
    size: int
    used: float


def entries() -> list[Entry]:
    """All collections, the one used longest ago first."""
    home = store_home()
    folders = home.iterdir() if home.is_dir() else ()
    found = [_entry(folder) for folder in folders if folder.is_dir() and _is_ours(folder)]
    return sorted(found, key=lambda entry: entry.used)


def _is_ours(path: Path) -> bool:
    """Whether something is called as what is kept is called, so that nothing of a user's own is counted or removed."""
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
    """Bytes of all files in a folder; 0 where there is none."""
    total = 0
    for inside, _, names in os.walk(folder):  # passes over what another process removes meanwhile
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(inside, name)).st_size
    return total


def room(budget: int | None) -> int:
    """Bytes that new rows may take, when everything that is not in use goes.

    Args:
        budget: What the store may take in all, in bytes; None takes a quarter of the disk's free space.
    """
    disk, used = _disk(), sum(entry.size for entry in entries())
    allowed = int(_SHARE * (disk.free + used)) if budget is None else budget
    return max(0, min(allowed, disk.free + used - _least_free(disk)))


def make_room(needed: int, budget: int | None, in_use: Iterable[Path]) -> int:
    """Remove the collections used longest ago until there is room for new rows.

    Args:
        needed: Bytes that will be written.
        budget: As `room` takes it.
        in_use: Folders that stay.

    Returns:
        How many collections were removed.
    """
    kept, removed = set(in_use), 0
    limit = room(budget)
    listed = entries()
    used = sum(entry.size for entry in listed)
    for entry in listed:
        if used + needed <= limit:
            break
        if entry.folder not in kept and discard(entry.folder):
            used -= entry.size
            removed += 1
    return removed


def discard(folder: Path) -> bool:
    """Remove a collection; False where it cannot be (in use on Windows, or not ours to write)."""
    try:
        store.remove(folder)
    except OSError:
        return False
    return True


def clear() -> int:
    """Remove everything that is kept between runs: it can all be computed again.

    Returns:
        Bytes that were freed.

    Raises:
        WriteError: A part of it cannot be removed.
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
    """Check every shard's size and sum.

    Returns:
        Path and reason for each that is damaged.
    """
    bad = []
    for entry in entries():
        for header in store.headers(entry.folder):
            shard = store.read_header(header)
            if shard is None:
                bad.append((header, "cannot be read"))
            elif problem := shard.problem():
                bad.append((shard.values, problem))
    return bad


def _disk() -> Any:
    standing = next(path for path in (store_home(), *store_home().parents) if path.exists())
    return shutil.disk_usage(standing)


def _least_free(disk: Any) -> int:
    return min(int(disk.total * _LEAST_FREE_SHARE), _LEAST_FREE_BYTES)
