"""A cleaned split: the usable examples without those that contradict themselves, copies of one picture on one side."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy.cluster.hierarchy import DisjointSet

from tfransfer.data.dataset import Dataset
from tfransfer.data.health.duplicates import Group
from tfransfer.data.health.findings import Finding
from tfransfer.data.index import SPLITS, Example
from tfransfer.errors import DataError
from tfransfer.tasks.task import SINGLE_LABEL

_REMOVED = ("contradiction", "near-contradiction")


@dataclass(frozen=True)
class Cleaned:
    """What a cleaned split is.

    Attributes:
        dataset: Its examples, with their splits.
        removed: Paths of the examples that were taken out.
        moved: Paths of those that changed sides.
    """

    dataset: Dataset
    removed: tuple[str, ...]
    moved: tuple[str, ...]


def cleaned(dataset: Dataset, findings: Iterable[Finding], groups: Sequence[Group]) -> Cleaned:
    """Take out what contradicts itself, and put what is nearly the same on one side.

    Args:
        dataset: With its splits.
        findings: Of a check.
        groups: Of examples that are the same, exactly or nearly.

    Raises:
        DataError: The data has no splits, or a class would be missing from one.
    """
    if dataset.refusal:
        raise DataError(f"no split file can mend this: {dataset.refusal}")
    bad = {path for finding in findings if finding.kind in _REMOVED for path in finding.paths}
    kept = [e for e in dataset.examples if e.path not in bad]
    sides = _sides(kept, groups)
    placed = tuple(replace(e, split=sides.get(e.path, e.split)) for e in kept)
    moved = tuple(new.path for old, new in zip(kept, placed, strict=True) if old.split != new.split)
    result = replace(dataset, examples=placed)
    _require_every_class(result)
    return Cleaned(result, tuple(sorted(bad & {e.path for e in dataset.examples})), moved)


def _sides(examples: Sequence[Example], groups: Sequence[Group]) -> dict[str, str]:
    """By path, the side on which most of a cluster is; of equally many, train."""
    clusters = _clusters(examples, groups)
    sides: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        sides[clusters[example.path]][example.split] += 1
    chosen = {name: max(counts, key=lambda s: (counts[s], -SPLITS.index(s))) for name, counts in sides.items()}
    return {e.path: chosen[clusters[e.path]] for e in examples}


def _clusters(examples: Sequence[Example], groups: Sequence[Group]) -> dict[str, Any]:
    """By path, what stands for all that must be on one side: near duplicates, equal contents, the user's own groups."""
    joined = DisjointSet(("path", e.path) for e in examples)
    for example in examples:
        for other in [("content", example.content), ("group", example.group)]:
            if other[1] is not None:
                joined.add(other)
                joined.merge(("path", example.path), other)
    kept = {e.path for e in examples}
    for group in groups:
        members = [e.path for e in group.examples if e.path in kept]
        for path in members[1:]:
            joined.merge(("path", path), ("path", members[0]))
    return {e.path: joined["path", e.path] for e in examples}


def _require_every_class(dataset: Dataset) -> None:
    present = {(e.split, e.label) for e in dataset.examples}
    lacking = [s for s in SPLITS if not any(e.split == s for e in dataset.examples)]
    if lacking:
        raise DataError(f"nothing is left in the {lacking[0]} split once copies are on one side: add examples.")
    untrained = [name for i, name in enumerate(dataset.classes) if ("train", i) not in present]
    if untrained and dataset.task == SINGLE_LABEL:
        raise DataError(f"no example of {untrained[0]!r} would be left in train: add examples, or remove the class.")
