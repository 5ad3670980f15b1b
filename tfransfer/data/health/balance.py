"""Findings from class sizes: classes that are too small, and imbalance."""

from collections import Counter, defaultdict

from tfransfer.data.dataset import Dataset
from tfransfer.data.health.findings import Finding
from tfransfer.data.index import SPLITS
from tfransfer.tasks.task import find_task

# Below this, a class's metrics on a tenth of its examples mean nothing.
_FEW = 20
# How many times larger than the smallest the largest class may be.
_UNEVEN = 10


def balance_findings(dataset: Dataset) -> list[Finding]:
    """Classes too small to split, small classes, and imbalance."""
    if not find_task(dataset.task).has_classes:
        return []
    contents: dict[str, set[str]] = defaultdict(set)
    for example in dataset.examples:
        for name in dataset.names_of(example):
            contents[name].add(example.content)
    sizes = {name: len(contents[name]) for name in dataset.classes}
    return [*_small(dataset, sizes), *_uneven(dataset, sizes)]


def _small(dataset: Dataset, sizes: dict[str, int]) -> list[Finding]:
    findings = []
    has_splits = any(example.split for example in dataset.examples)
    for name, count in sizes.items():
        if find_task(dataset.task).one_class and count < len(SPLITS) and not has_splits:
            needed = f"a split into {', '.join(SPLITS)} needs at least {len(SPLITS)}"
            findings.append(Finding("class-too-small", f"class {name!r} has {count} different examples; {needed}"))
        elif count < _FEW:
            findings.append(Finding("small-class", f"class {name!r} has {count} different examples, fewer than {_FEW}"))
    return findings


def _uneven(dataset: Dataset, sizes: dict[str, int]) -> list[Finding]:
    if not find_task(dataset.task).one_class or len(sizes) < 2:
        return []
    ranked = Counter(sizes).most_common()
    (largest, most), (smallest, least) = ranked[0], ranked[-1]
    if most <= _UNEVEN * max(least, 1):
        return []
    return [Finding("imbalance", f"class {largest!r} has {most} different examples, class {smallest!r} has {least}")]
