"""Clean a split: drop examples with contradicting labels, and put copies of a picture into one split."""

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
from tfransfer.tasks.task import find_task

_REMOVED = ("contradiction", "near-contradiction")


@dataclass(frozen=True)
class Cleaned:
    """A cleaned split.

    Attributes:
        dataset: The remaining examples, with their splits.
        removed: Paths of the dropped examples.
        moved: Paths of the examples in another split than before.
    """

    dataset: Dataset
    removed: tuple[str, ...]
    moved: tuple[str, ...]


def cleaned(dataset: Dataset, findings: Iterable[Finding], groups: Sequence[Group]) -> Cleaned:
    """Drop contradicting examples, and put near duplicates into one split.

    Args:
        dataset: The dataset with its splits.
        findings: Findings of a check.
        groups: Groups of exact and near duplicates.

    Raises:
        DataError: The data has no splits, or a class would be missing from one.
    """
    if dataset.refusal:
        raise DataError(f"no splits file can fix this: {dataset.refusal}")
    bad = {path for finding in findings if finding.kind in _REMOVED for path in finding.paths}
    remaining = [e for e in dataset.examples if e.path not in bad]
    splits = _splits(remaining, groups)
    examples = tuple(replace(e, split=splits.get(e.path, e.split)) for e in remaining)
    moved = tuple(new.path for old, new in zip(remaining, examples, strict=True) if old.split != new.split)
    result = replace(dataset, examples=examples)
    _require_every_class(result)
    return Cleaned(result, tuple(sorted(bad & {e.path for e in dataset.examples})), moved)


def _splits(examples: Sequence[Example], groups: Sequence[Group]) -> dict[str, str]:
    """By path, the split that has most of its cluster; train on a tie."""
    clusters = _clusters(examples, groups)
    splits: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        splits[clusters[example.path]][example.split] += 1
    chosen = {name: max(counts, key=lambda s: (counts[s], -SPLITS.index(s))) for name, counts in splits.items()}
    return {e.path: chosen[clusters[e.path]] for e in examples}


def _clusters(examples: Sequence[Example], groups: Sequence[Group]) -> dict[str, Any]:
    """By path, its cluster: all that must be in one split, as duplicates, near duplicates or the user's groups."""
    joined = DisjointSet(("path", e.path) for e in examples)
    for example in examples:
        for other in [("content", example.content), ("group", example.group)]:
            if other[1] is not None:
                joined.add(other)
                joined.merge(("path", example.path), other)
    paths = {e.path for e in examples}
    for group in groups:
        members = [e.path for e in group.examples if e.path in paths]
        for path in members[1:]:
            joined.merge(("path", path), ("path", members[0]))
    return {e.path: joined["path", e.path] for e in examples}


def _require_every_class(dataset: Dataset) -> None:
    present = {(e.split, e.label) for e in dataset.examples}
    lacking = [s for s in SPLITS if not any(e.split == s for e in dataset.examples)]
    if lacking:
        raise DataError(f"nothing is left in the {lacking[0]} split once copies share a split: add examples.")
    untrained = [name for i, name in enumerate(dataset.classes) if ("train", i) not in present]
    if untrained and find_task(dataset.task).one_class:
        raise DataError(f"no example of {untrained[0]!r} would be left in train: add examples, or remove the class.")
