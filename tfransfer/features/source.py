"""The features of one dataset from one base: which rows are cached or missing, and how missing ones are extracted."""

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

# Increment when decoding or resizing changes, because cached features depend on it.
PIXELS_VERSION = 1
# Texts come in larger batches, of which an engine makes batches of similar length.
_BATCH, _TEXTS = 64, 512
_SHARD_BYTES, _SHARD_ROWS, _SHARD_SECONDS = 16 << 20, 1024, 20.0


@dataclass
class _Pending:
    """Rows to be written to a collection."""

    names: list[str] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)


def row_name(example: Example, view: int) -> str:
    """A row's name: the hash of the example's content, and the view."""
    return f"{example.content}:{view}"


class FeatureSource:
    """The outputs of a base at some taps, for a dataset's examples.

    Args:
        dataset: The dataset.
        base: The base; its layers must not be trained until everything is extracted.
        taps: Where outputs are taken.
        augment: How views other than 0 are augmented.
        dtype: "float16" or "float32", for values on disk.
    """

    def __init__(
        self, dataset: Dataset, base: BuiltBase, taps: Sequence[Tap], augment: Augmentation, dtype: str = FLOAT16
    ) -> None:
        self.dataset, self.base, self.taps, self.augment, self.dtype = dataset, base, tuple(taps), augment, dtype
        self.model: keras.Model = model_to(base, self.taps)
        self._fingerprints = {tap.name: fingerprint(model_to(base, [tap])) for tap in self.taps}
        self._collections: dict[tuple[str, bool], Collection] = {}
        self.engine_name = ""

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of the frozen part up to each tap, by the tap's name."""
        return dict(self._fingerprints)

    def engine_memory(self) -> EngineMemory:
        """Engine rates and conversions remembered for this frozen part."""
        return EngineMemory({"frozen": self.fingerprints, "size": self.base.image_size, "base": self.base.name})

    def use_engine(self, name: str) -> None:
        """Switch to the rows of this engine; each engine has its own."""
        if name != self.engine_name:
            self.engine_name, self._collections = name, {}

    def reload(self) -> None:
        """Read the collections again: another process may have written to them."""
        self._collections = {}

    def collection(self, tap: Tap, varied: bool) -> Collection:
        """The collection of a tap's rows; augmented views have their own, because they depend on the augmentation."""
        key = (tap.name, varied)
        if key not in self._collections:
            self._collections[key] = Collection(store_home(), self._facts(tap, varied), self.dtype)
        return self._collections[key]

    def collections(self) -> list[Collection]:
        """The collections used so far."""
        return list(self._collections.values())

    def _facts(self, tap: Tap, varied: bool) -> dict[str, Any]:
        return {
            "base": self.base.name,
            "frozen": self._fingerprints[tap.name],
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
        missing: dict[str, set[str]] = {}
        for tap in self.taps:
            names: dict[bool, list[str]] = defaultdict(list)
            for example, view in wanted.of(tap):
                names[view > 0].append(row_name(example, view))
            lists = [self.collection(tap, varied).missing(part) for varied, part in names.items()]
            missing[tap.name] = {name for part in lists for name in part}
        return missing

    def extract(
        self, wanted: "Wanted", engine: Engine, progress: Progress = quiet, worker: int = 0, workers: int = 1
    ) -> int:
        """Run the frozen part on the missing rows and cache its outputs.

        Args:
            wanted: The rows needed.
            engine: The engine whose name was passed to `use_engine`.
            progress: Shows a progress bar.
            worker: This process's number, from 0.
            workers: Number of processes that share the work, split by the examples' content.

        Returns:
            Number of pictures that went through the engine.

        Raises:
            DataError: A picture has changed, or can no longer be read.
            WriteError: The disk is full or not writable.
        """
        missing = self.missing(wanted)
        groups = _groups(wanted, set().union(*missing.values()), worker, workers)
        rows = sum(len(views) * len(examples) for views, examples in groups.items())
        if not rows:
            return 0
        writer = _Writer(self, missing)
        with progress("extracting features", rows, self.dataset.modality.unit) as advance:
            for views, examples in groups.items():
                names = [(example, view) for example in examples for view in views]
                size = _BATCH if self.dataset.modality.has_pixels else _TEXTS
                batches = flow.view_batches(self.dataset, examples, views, self.augment, self.base.image_size, size)
                for number, pixels in enumerate(batches):
                    writer.add(names[number * size : (number + 1) * size], engine.run(pixels))
                    advance(len(pixels))
            writer.flush()
        return rows

    def rows(self, tap: Tap, examples: Sequence[Example], view: int) -> Rows:
        """The cached rows of one view of some examples, in their order."""
        return self.collection(tap, view > 0).rows([row_name(example, view) for example in examples])


class _Writer:
    """Collects rows and writes them as shards when enough have come, or after some seconds."""

    def __init__(self, source: FeatureSource, missing: dict[str, set[str]]) -> None:
        self._source, self._missing = source, missing
        self._pending: dict[tuple[Tap, bool], _Pending] = defaultdict(_Pending)
        self._began = time.perf_counter()

    def add(self, names: list[tuple[Example, int]], values: list[np.ndarray]) -> None:
        """Add one batch's values at each tap."""
        for tap, batch in zip(self._source.taps, values, strict=True):
            for (example, view), row in zip(names, batch, strict=True):
                name = row_name(example, view)
                if name in self._missing[tap.name]:
                    pending = self._pending[tap, view > 0]
                    pending.names.append(name)
                    pending.values.append(row)
        if self._full() or time.perf_counter() - self._began > _SHARD_SECONDS:
            self.flush()

    def _full(self) -> bool:
        return any(
            len(pending.names) >= _SHARD_ROWS or len(pending.names) * pending.values[0].nbytes // 2 >= _SHARD_BYTES
            for pending in self._pending.values()
            if pending.names
        )

    def flush(self) -> None:
        """Write the pending rows."""
        for (tap, varied), pending in self._pending.items():
            if pending.names:
                self._source.collection(tap, varied).append(pending.names, np.stack(pending.values))
        self._pending.clear()
        self._began = time.perf_counter()


@dataclass(frozen=True)
class Wanted:
    """The views of examples that are needed at each tap.

    Attributes:
        needs: By tap name, pairs of examples and view numbers.
    """

    needs: dict[str, tuple[tuple[tuple[Example, ...], tuple[int, ...]], ...]]

    def of(self, tap: Tap) -> Iterable[tuple[Example, int]]:
        """Every (example, view) that a tap needs; identical contents count once."""
        seen = set()
        for examples, views in self.needs.get(tap.name, ()):
            for example in examples:
                for view in views:
                    if (example.content, view) not in seen:
                        seen.add((example.content, view))
                        yield example, view


def _groups(wanted: Wanted, missing: set[str], worker: int, workers: int) -> dict[tuple[int, ...], list[Example]]:
    """This worker's examples with missing views, grouped by which views are missing."""
    # One group per set of views, because `view_batches` then decodes each file once for all of them. Workers split by
    # content, not by position: their lists may differ, and an example must fall to the same worker in all of them.
    views: dict[str, set[int]] = defaultdict(set)
    first: dict[str, Example] = {}
    for needs in wanted.needs.values():
        for examples, numbers in needs:
            for example in examples:
                first.setdefault(example.content, example)
                views[example.content].update(n for n in numbers if row_name(example, n) in missing)
    groups: dict[tuple[int, ...], list[Example]] = defaultdict(list)
    for content, missing_views in views.items():
        if missing_views and first[content].content_key % workers == worker:
            groups[tuple(sorted(missing_views))].append(first[content])
    return dict(groups)
