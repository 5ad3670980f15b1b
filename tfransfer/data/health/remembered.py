"""Cache the facts about a folder's files between runs, so that a second run on the same photos starts at once.

As in `git`, a file with the same size and change times is taken to be unchanged. A file that was changed just before it
was read is read again, because a later change could then leave the same time.
"""

import hashlib
import json
import os
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

import PIL
import tensorflow as tf

from tfransfer.data.index import FileFacts, Issue
from tfransfer.errors import WriteError
from tfransfer.system.cache_home import cache_home
from tfransfer.system.files import read_json, write_text

_FORMAT = 3
_FACTS, _ISSUE = "facts", "issue"
_SETTLED_SECONDS = 2.0
Stamp = tuple[int, int, int]


class RememberedFacts:
    """Cached facts about one folder's files by path, each with the file's size and change times.

    Args:
        root: The folder.
        max_pixels: The audit's limit; facts found under another limit are not used.
    """

    def __init__(self, root: Path, max_pixels: int) -> None:
        self.root, self._start = root, time.time()
        self._conditions = [_FORMAT, max_pixels, tf.__version__, PIL.__version__]
        name = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=12).hexdigest()
        self.file = cache_home() / "index" / f"{name}.json"
        self._known: dict[str, list[Any]] = self._load()
        self._fresh: dict[str, list[Any]] = {}

    def _load(self) -> dict[str, list[Any]]:
        try:
            content = read_json(self.file)
            files = dict(content["files"])
            return files if content["decides"] == self._conditions and content["blake2b"] == _checksum(files) else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # an unreadable cache counts as empty

    def stamp(self, path: str) -> Stamp | None:
        """A file's size, modification time and status change time; None if they cannot be read."""
        try:
            status = os.stat(self.root / path)
        except (OSError, ValueError):
            return None
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def recall(self, path: str, stamp: Stamp | None) -> FileFacts | Issue | None:
        """The cached facts or issue, if the file is unchanged."""
        known = self._known.get(path)
        if known is None or stamp is None or tuple(known[:3]) != stamp:
            return None
        try:
            fact = FileFacts(*known[4:]) if known[3] == _FACTS else Issue(*known[4:])
        except TypeError:
            return None
        self._fresh[path] = known
        return fact

    def keep(self, path: str, stamp: Stamp | None, fact: FileFacts | Issue) -> None:
        """Cache a file's facts or issue."""
        settled = stamp is not None and min(abs(self._start - t / 1e9) for t in stamp[1:]) > _SETTLED_SECONDS
        if stamp is not None and settled and (isinstance(fact, FileFacts) or fact.kind not in ("unreadable", "name")):
            self._fresh[path] = [*stamp, _FACTS if isinstance(fact, FileFacts) else _ISSUE, *astuple(fact)]

    def save(self) -> None:
        """Write the cache if anything changed; a failure to write is ignored, as it only costs time later."""
        if self._fresh == self._known:
            return
        try:
            content = {"decides": self._conditions, "blake2b": _checksum(self._fresh), "files": self._fresh}
            write_text(self.file, json.dumps(content))
        except (OSError, WriteError):
            return


def _checksum(files: dict[str, list[Any]]) -> str:
    return hashlib.blake2b(json.dumps(files).encode(), digest_size=16).hexdigest()
