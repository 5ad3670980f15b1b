"""The store: what a frozen part says of pictures, on disk in shards that are whole or not there, mapped when read.

A collection holds the rows that one set of facts decides (weights, engine, size, versions, ...); a row belongs to one
view of one content. A shard is a `.npy` file with the values and a `.json` file with its rows' names, its size and its
sum. The `.json` file is written last: without it a shard does not exist. A shard whose size or sum is off is removed,
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

FACTS = "collection.json"
FLOAT16, FLOAT32 = "float16", "float32"
UNFINISHED = ".writing-"
_STALE_SECONDS = 3600.0
_REMEDY = f"{REMEDY} Or train with --no-cache."


@dataclass(frozen=True)
class Shard:
    """A shard as its header describes it.

    Attributes:
        values: The `.npy` file.
        header: The `.json` file.
        names: Of its rows.
        size: Bytes of the `.npy` file.
        sum: Of the names and the values.
    """

    values: Path
    header: Path
    names: tuple[str, ...]
    size: int
    sum: str

    def problem(self) -> str:
        """What is wrong with the values' file; empty where it is as it was written.

        Raises:
            OSError: It is there, but cannot be read now.
        """
        try:
            size = self.values.stat().st_size
            if size != self.size:
                return f"has {size} bytes, {self.size} were written"
            return "" if _sum(self.names, file_hash(self.values)) == self.sum else "has another sum than was written"
        except FileNotFoundError:
            return "is missing"


class Collection:
    """Rows of one kind.

    Args:
        home: The folder of all collections.
        facts: Everything besides the example that decides a value; plain values.
        dtype: "float16" or "float32"; a shard with a value beyond float16 is written as float32.

    Attributes:
        damaged: Shards that were found damaged and removed.
        widened: Shards that were written as float32 because a value is beyond float16.
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
            with suppress(OSError):  # a store that may only be read, or a file that is mapped on Windows
                path.unlink(missing_ok=True)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Which rows are not here, in the order given, each once; the shards of those that are have been checked."""
        wanted = list(dict.fromkeys(names))
        for shard in {id(s): s for n in wanted if n in self._places for s, _ in (self._places[n],)}.values():
            if shard.values not in self._mapped and not self._map(shard):
                self._drop(shard.header, shard.values)
                self._places = {name: place for name, place in self._places.items() if place[0] is not shard}
        return [name for name in wanted if name not in self._places]

    def _map(self, shard: Shard) -> bool:
        """Check a shard, then map it."""
        if shard.problem():
            return False
        try:
            values = _mapped(shard.values)
        except (FileNotFoundError, ValueError):
            return False
        self._mapped[shard.values] = values
        return len(values) == len(shard.names)

    def append(self, names: Sequence[str], values: np.ndarray) -> None:
        """Write rows as one shard, whole or not at all.

        Args:
            names: A name per row.
            values: float32, shape (rows, ...).

        Raises:
            WriteError: The disk is full or not writable.
        """
        kept = self._narrowed(values)
        with telling_write_failures(self.folder, _REMEDY):
            try:
                shard = self._write(names, kept)
            except FileNotFoundError:  # another process cleared the cache in this moment
                shard = self._write(names, kept)
        self._places.update({name: (shard, row) for row, name in enumerate(names)})

    def _write(self, names: Sequence[str], kept: np.ndarray) -> Shard:
        place = self.folder / f"{uuid4().hex}.npy"
        header = place.with_suffix(".json")
        if not (self.folder / FACTS).exists():
            write_json(self.folder / FACTS, self.facts, _REMEDY)
        with whole(place, _REMEDY) as temporary:
            with temporary.open("wb") as stream:
                # np.save loses what a full disk says: its last bytes go through a stream of its own.
                np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(kept))
                stream.write(np.ascontiguousarray(kept).data.cast("B"))
            size, total = temporary.stat().st_size, _sum(names, file_hash(temporary))
        try:
            write_json(header, {"rows": list(names), "bytes": size, "blake2b": total}, _REMEDY)
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
        """The rows of these names, in this order; all of them must be here (see `missing`)."""
        shards = {id(shard): shard for shard, _ in (self._places[name] for name in names)}
        order = {key: number for number, key in enumerate(shards)}
        where = np.array([(order[id(s)], row) for s, row in (self._places[n] for n in names)], np.int64)
        return Rows([self._mapped[shard.values] for shard in shards.values()], where.reshape(-1, 2))


class Rows:
    """Some rows of a collection, read from mapped files when asked for.

    Args:
        shards: Mapped values.
        where: int64, shape (n, 2): the shard and the row in it.
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
        found = np.empty((len(where), *self.shape), np.float32)
        for number in np.unique(where[:, 0]):
            chosen = np.flatnonzero(where[:, 0] == number)
            found[chosen] = self._shards[number][where[chosen, 1]]
        return found


def headers(folder: Path) -> list[Path]:
    """The `.json` files of a collection's shards, in order of their names."""
    return sorted(path for path in folder.glob("*.json") if path.name != FACTS)


def read_header(header: Path) -> Shard | None:
    """What a shard's `.json` file says; None where it is damaged."""
    try:
        said = read_json(header)
        names = tuple(said["rows"])
        "".join(names)  # a TypeError where one is no text
        return Shard(header.with_suffix(".npy"), header, names, int(said["bytes"]), str(said["blake2b"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _sum(names: Sequence[str], values: str) -> str:
    """One sum of a shard's names and of its values' sum."""
    return hashlib.blake2b("\n".join([*names, values]).encode(), digest_size=16).hexdigest()


def _mapped(path: Path) -> np.ndarray:
    """Map an array. What is mapped counts as an open file, of which macOS allows 256 unless it is asked for more."""
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
    """Note that a collection is used now."""
    try:
        os.utime(folder / FACTS)
    except OSError:
        return  # a store that may only be read can still be used


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left half-written, once it is surely nobody's any more."""
    for path in folder.iterdir():
        lonely = path.suffix == ".npy" and not path.with_suffix(".json").exists()
        if lonely or path.name.startswith(UNFINISHED):
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
