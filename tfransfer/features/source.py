"""The features of one dataset under one base: which rows are kept, which are missing, and how these are extracted."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import PIL
import tensorflow as tf

from tfransfer.base.build import BuiltBase
from tfransfer.base.fingerprint import fingerprint
from tfransfer.base.taps import Tap, model_to
from tfransfer.data import flow
from tfransfer.data.dataset import Dataset
from tfransfer.data.index import Example
from tfransfer.display.progress import Progress, quiet
from tfransfer.features.budget import store_home
from tfransfer.features.engines import Engine, identity
from tfransfer.features.memory import EngineMemory
from tfransfer.features.store import FLOAT16, Collection, Rows
from tfransfer.recipe import Augmentation

# Changes when the way from a file's bytes to pixels changes.
PIXELS_VERSION = 1
_BATCH = 64
_SHARD_BYTES, _SHARD_ROWS, _SHARD_SECONDS = 16 << 20, 1024, 20.0


@dataclass
class _Pending:
    """Rows that wait to be written to a collection."""

    names: list[str] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)


def row_name(example: Example, view: int) -> str:
    """What a row is called: the hash of the content it is of, and the view."""
    return f"{example.content}:{view}"


class FeatureSource:
    """What a base says of a dataset's pictures at some taps.

    Args:
        dataset: Whose pictures.
        base: Its layers must not be trained until everything is extracted.
        taps: What is wanted.
        augment: How views other than 0 are varied.
        dtype: "float16" or "float32": how values are kept.
    """

    def __init__(
        self, dataset: Dataset, base: BuiltBase, taps: Sequence[Tap], augment: Augmentation, dtype: str = FLOAT16
    ) -> None:
        self.dataset, self.base, self.taps, self.augment, self.dtype = dataset, base, tuple(taps), augment, dtype
        self.model: keras.Model = model_to(base, self.taps)
        self._prints = {tap.name: fingerprint(model_to(base, [tap])) for tap in self.taps}
        self._collections: dict[tuple[str, bool], Collection] = {}
        self.engine_name = ""

    @property
    def prints(self) -> dict[str, str]:
        """The fingerprint of the frozen part up to each tap, by the tap's name."""
        return dict(self._prints)

    def engine_memory(self) -> EngineMemory:
        """What is remembered of the engines for this frozen part."""
        return EngineMemory({"frozen": self.prints, "size": self.base.image_size, "base": self.base.name})

    def use_engine(self, name: str) -> None:
        """Look at what this engine extracted; rows of another engine are other rows."""
        if name != self.engine_name:
            self.engine_name, self._collections = name, {}

    def look_again(self) -> None:
        """Read anew what is kept: another process may have written."""
        self._collections = {}

    def collection(self, tap: Tap, varied: bool) -> Collection:
        """Where a tap's rows are kept: clean views apart from varied ones, which depend on the augmentation."""
        key = (tap.name, varied)
        if key not in self._collections:
            self._collections[key] = Collection(store_home(), self._facts(tap, varied), self.dtype)
        return self._collections[key]

    def collections(self) -> list[Collection]:
        """Those that were looked at."""
        return list(self._collections.values())

    def _facts(self, tap: Tap, varied: bool) -> dict[str, Any]:
        return {
            "base": self.base.name,
            "frozen": self._prints[tap.name],
            "kind": "activations" if tap.cut else "pooled features",
            "image_size": self.base.image_size,
            "preprocessing": self.base.preprocessing,
            "pixels": PIXELS_VERSION,
            "pillow": PIL.__version__,
            "tensorflow": tf.__version__,
            "augment": vars(self.augment) if varied else None,
        } | identity(self.engine_name, self.model)

    def missing(self, wanted: "Wanted") -> dict[str, set[str]]:
        """Names of the rows that must be extracted, by tap."""
        lacking: dict[str, set[str]] = {}
        for tap in self.taps:
            names: dict[bool, list[str]] = defaultdict(list)
            for example, view in wanted.of(tap):
                names[view > 0].append(row_name(example, view))
            found = [self.collection(tap, varied).missing(part) for varied, part in names.items()]
            lacking[tap.name] = {name for part in found for name in part}
        return lacking

    def extract(
        self, wanted: "Wanted", engine: Engine, progress: Progress = quiet, worker: int = 0, workers: int = 1
    ) -> int:
        """Run the frozen part over what is missing and keep what it says.

        Args:
            wanted: What is needed.
            engine: Whose name was given to `use_engine`.
            progress: Shows how far it is.
            worker: This process's number, from 0.
            workers: How many processes share the work; each takes the examples that fall to it by their content.

        Returns:
            How many pictures went through the engine.

        Raises:
            DataError: A picture cannot be read any more.
            WriteError: The disk is full or not writable.
        """
        lacking = self.missing(wanted)
        groups = _groups(wanted, set().union(*lacking.values()), worker, workers)
        rows = sum(len(views) * len(examples) for views, examples in groups.items())
        if not rows:
            return 0
        writer = _Writer(self, lacking)
        with flow.telling_lost_pictures(), progress("extracting features", rows, self.dataset.modality.unit) as advance:
            for views, examples in groups.items():
                names = [(example, view) for example in examples for view in views]
                batches = flow.view_flow(self.dataset, examples, views, self.augment, self.base.image_size, _BATCH)
                for number, pixels in enumerate(batches.as_numpy_iterator()):
                    writer.add(names[number * _BATCH : (number + 1) * _BATCH], engine.run(pixels))
                    advance(len(pixels))
            writer.flush()
        return rows

    def rows(self, tap: Tap, examples: Sequence[Example], view: int) -> Rows:
        """The kept rows of one view of some examples, in their order."""
        return self.collection(tap, view > 0).rows([row_name(example, view) for example in examples])


class _Writer:
    """Gathers rows and writes them as shards, at the latest every few seconds."""

    def __init__(self, source: FeatureSource, lacking: dict[str, set[str]]) -> None:
        self._source, self._lacking = source, lacking
        self._pending: dict[tuple[Tap, bool], _Pending] = defaultdict(_Pending)
        self._began = time.perf_counter()

    def add(self, names: list[tuple[Example, int]], values: list[np.ndarray]) -> None:
        """Take one batch's values at each tap."""
        for tap, found in zip(self._source.taps, values, strict=True):
            for (example, view), row in zip(names, found, strict=True):
                name = row_name(example, view)
                if name in self._lacking[tap.name]:
                    waiting = self._pending[tap, view > 0]
                    waiting.names.append(name)
                    waiting.values.append(row)
        if self._full() or time.perf_counter() - self._began > _SHARD_SECONDS:
            self.flush()

    def _full(self) -> bool:
        return any(
            len(waiting.names) >= _SHARD_ROWS or len(waiting.names) * waiting.values[0].nbytes // 2 >= _SHARD_BYTES
            for waiting in self._pending.values()
            if waiting.names
        )

    def flush(self) -> None:
        """Write what waits."""
        for (tap, varied), waiting in self._pending.items():
            if waiting.names:
                self._source.collection(tap, varied).append(waiting.names, np.stack(waiting.values))
        self._pending.clear()
        self._began = time.perf_counter()


@dataclass(frozen=True)
class Wanted:
    """Which views of which examples are needed at each tap.

    Attributes:
        needs: For each tap's name, pairs of examples and numbers of views.
    """

    needs: dict[str, tuple[tuple[tuple[Example, ...], tuple[int, ...]], ...]]

    def of(self, tap: Tap) -> Iterable[tuple[Example, int]]:
        """Every (example, view) that a tap needs; equal contents come once."""
        seen = set()
        for examples, views in self.needs.get(tap.name, ()):
            for example in examples:
                for view in views:
                    if (example.content, view) not in seen:
                        seen.add((example.content, view))
                        yield example, view


def _groups(wanted: Wanted, lacking: set[str], worker: int, workers: int) -> dict[tuple[int, ...], list[Example]]:
    """Examples with something lacking, by the views that lack, so that each file is decoded once."""
    views: dict[str, set[int]] = defaultdict(set)
    first: dict[str, Example] = {}
    for needs in wanted.needs.values():
        for examples, numbers in needs:
            for example in examples:
                first.setdefault(example.content, example)
                views[example.content].update(n for n in numbers if row_name(example, n) in lacking)
    groups: dict[tuple[int, ...], list[Example]] = defaultdict(list)
    for content, lack in views.items():
        if lack and first[content].content_key % workers == worker:
            groups[tuple(sorted(lack))].append(first[content])
    return dict(groups)
