"""The feature store: a frozen part's outputs on disk, in shards that are written atomically and memory-mapped.

A collection holds the rows that share one set of facts (weights, engine, size, versions, ...); a row belongs to one
view of one content. A shard is a `.npy` file with the values and a `.json` file with its row names, size and checksum.
The `.json` file is written last: a shard without it does not count. A shard with a wrong size or checksum is removed,
and its rows are extracted again.
"""

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from tfransfer.system.cache_home import REMEDY
from tfransfer.system.files import file_hash, read_json, telling_write_failures, whole, write_json
from tfransfer.system.interface import option

FACTS = "collection.json"
FLOAT16, FLOAT32 = "float16", "float32"
UNFINISHED = ".writing-"
_STALE_SECONDS = 3600.0


def _remedy() -> str:
    """What to do where the cache cannot be written."""
    return f"{REMEDY} Or train with {option('cache', False)}."


@dataclass(frozen=True)
class Shard:
    """A shard as its header describes it.

    Attributes:
        values: The `.npy` file.
        header: The `.json` file.
        names: Names of its rows.
        size: Bytes of the `.npy` file.
        sum: Checksum of the names and the values.
    """

    values: Path
    header: Path
    names: tuple[str, ...]
    size: int
    sum: str

    def problem(self) -> str:
        """What is wrong with the values' file; empty if it is intact.

        Raises:
            OSError: It exists but cannot be read now.
        """
        try:
            size = self.values.stat().st_size
            if size != self.size:
                return f"has {size} bytes, {self.size} were written"
            return "" if _sum(self.names, file_hash(self.values)) == self.sum else "does not match its checksum"
        except FileNotFoundError:
            return "is missing"


class Collection:
    """Rows of one kind.

    Args:
        home: The folder of all collections.
        facts: Everything besides the example that a value depends on, as plain values.
        dtype: "float16" or "float32"; a shard with a value beyond float16 is written as float32.

    Attributes:
        damaged: Number of damaged shards, which were removed.
        widened: Number of shards written as float32 because of a value beyond float16.
    """

    def __init__(self, home: Path, facts: dict[str, Any], dtype: str = FLOAT16) -> None:
        self.facts, self.dtype = facts | {"dtype": dtype}, dtype
        text = json.dumps(self.facts, sort_keys=True)
        self.folder = home / hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self.damaged, self.widened = 0, 0
        self._places: dict[str, tuple[Shard, int]] = {}
        self._mapped: dict[Path, np.ndarray] = {}
        if self.folder.is_dir():
            touch(self.folder)
            for header in headers(self.folder):
                self._list(header)
            remove_unfinished(self.folder)

    def _list(self, header: Path) -> None:
        shard = read_header(header)
        if shard is None:
            self._drop(header, header.with_suffix(".npy"))
            return
        self._places.update({name: (shard, row) for row, name in enumerate(shard.names)})

    def _drop(self, header: Path, values: Path) -> None:
        self.damaged += 1
        for path in (header, values):
            with suppress(OSError):  # a read-only store, or a file that is mapped on Windows
                path.unlink(missing_ok=True)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Rows that are not in the collection, in the given order, each once; checks the shards of all others."""
        wanted = list(dict.fromkeys(names))
        for shard in {id(s): s for n in wanted if n in self._places for s, _ in (self._places[n],)}.values():
            if shard.values not in self._mapped and not self._map(shard):
                self._drop(shard.header, shard.values)
                self._places = {name: place for name, place in self._places.items() if place[0] is not shard}
        return [name for name in wanted if name not in self._places]

    def _map(self, shard: Shard) -> bool:
        """Check a shard and map it."""
        if shard.problem():
            return False
        try:
            values = _mapped(shard.values)
        except (FileNotFoundError, ValueError):
            return False
        self._mapped[shard.values] = values
        return len(values) == len(shard.names)

    def append(self, names: Sequence[str], values: np.ndarray) -> None:
        """Write rows as one shard, atomically.

        Args:
            names: A name per row.
            values: float32, shape (rows, ...).

        Raises:
            WriteError: The disk is full or not writable.
        """
        stored = self._narrowed(values)
        with telling_write_failures(self.folder, _remedy()):
            try:
                shard = self._write(names, stored)
            except FileNotFoundError:  # another process has just cleared the cache
                shard = self._write(names, stored)
        self._places.update({name: (shard, row) for row, name in enumerate(names)})

    def _write(self, names: Sequence[str], stored: np.ndarray) -> Shard:
        place = self.folder / f"{uuid4().hex}.npy"
        header = place.with_suffix(".json")
        if not (self.folder / FACTS).exists():
            write_json(self.folder / FACTS, self.facts, _remedy())
        with whole(place, _remedy()) as temporary:
            with temporary.open("wb") as stream:
                # np.save can miss that the disk is full: it writes its last bytes through a stream of its own.
                np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(stored))
                stream.write(np.ascontiguousarray(stored).data.cast("B"))
            size, total = temporary.stat().st_size, _sum(names, file_hash(temporary))
        try:
            write_json(header, {"rows": list(names), "bytes": size, "blake2b": total}, _remedy())
        except BaseException:
            place.unlink(missing_ok=True)
            raise
        self._mapped[place] = _mapped(place)
        return Shard(place, header, tuple(names), size, total)

    def _narrowed(self, values: np.ndarray) -> np.ndarray:
        if self.dtype == FLOAT32:
            return np.ascontiguousarray(values, np.float32)
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float16)
        if (np.isfinite(narrow) == np.isfinite(values)).all():
            return narrow
        self.widened += 1
        return np.ascontiguousarray(values, np.float32)

    def rows(self, names: Sequence[str]) -> "Rows":
        """The rows with these names, in this order; none of them may be missing (see `missing`)."""
        shards = {id(shard): shard for shard, _ in (self._places[name] for name in names)}
        order = {key: number for number, key in enumerate(shards)}
        where = np.array([(order[id(s)], row) for s, row in (self._places[n] for n in names)], np.int64)
        return Rows([self._mapped[shard.values] for shard in shards.values()], where.reshape(-1, 2))


class Rows:
    """Some rows of a collection, read from mapped files on demand.

    Args:
        shards: Mapped values.
        where: int64, shape (n, 2): index of the shard, and of the row in it.
    """

    def __init__(self, shards: list[np.ndarray], where: np.ndarray) -> None:
        self._shards, self._where = shards, where

    def __len__(self) -> int:
        return len(self._where)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return tuple(self._shards[0].shape[1:]) if self._shards else ()

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Values of the rows at some positions: float32, shape (len(positions), ...)."""
        where = self._where[positions]
        values = np.empty((len(where), *self.shape), np.float32)
        for number in np.unique(where[:, 0]):
            selected = np.flatnonzero(where[:, 0] == number)
            values[selected] = self._shards[number][where[selected, 1]]
        return values


def headers(folder: Path) -> list[Path]:
    """The `.json` files of a collection's shards, in order of their names."""
    return sorted(path for path in folder.glob("*.json") if path.name != FACTS)


def read_header(header: Path) -> Shard | None:
    """Read a shard's `.json` file; None if it is damaged."""
    try:
        content = read_json(header)
        names = tuple(content["rows"])
        "".join(names)  # raises TypeError if one is not a string
        return Shard(header.with_suffix(".npy"), header, names, int(content["bytes"]), str(content["blake2b"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _sum(names: Sequence[str], values: str) -> str:
    """Checksum of a shard's names and of its values' checksum."""
    return hashlib.blake2b("\n".join([*names, values]).encode(), digest_size=16).hexdigest()


def _mapped(path: Path) -> np.ndarray:
    """Map an array. A mapped file counts as open, and macOS allows only 256 unless the limit is raised."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    import resource  # here, because Windows has neither the module nor the limit

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return np.load(path, mmap_mode="r", allow_pickle=False)


def touch(folder: Path) -> None:
    """Mark a collection as used now."""
    try:
        os.utime(folder / FACTS)
    except OSError:
        return  # a read-only store can still be used


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left half-written, once it is old enough that no process can be writing it."""
    for path in folder.iterdir():
        orphaned = path.suffix == ".npy" and not path.with_suffix(".json").exists()
        if orphaned or path.name.startswith(UNFINISHED):
            try:
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    remove(path)
            except OSError:
                continue


def remove(path: Path) -> None:
    """Remove a file, or a folder with the files in it."""
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
