"""Find duplicates: exact ones by content, near ones by appearance or wording."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from tfransfer.data.dataset import Dataset
from tfransfer.data.health.appearance import Look, is_distinctive
from tfransfer.data.health.findings import Finding
from tfransfer.data.health.prints import alike_pairs
from tfransfer.data.index import Example
from tfransfer.tasks.task import find_task


@dataclass(frozen=True)
class Group:
    """Examples that are duplicates of each other.

    Attributes:
        examples: Two or more, sorted by path.
        exact: Whether their contents are identical.
    """

    examples: tuple[Example, ...]
    exact: bool


def exact_groups(examples: Iterable[Example]) -> list[Group]:
    """Groups of examples with identical content."""
    return _groups(examples, lambda e: e.content, exact=True)


def near_texts(examples: Iterable[Example]) -> list[Group]:
    """Groups of texts that differ only in case, spaces and punctuation."""
    alike = _groups(examples, lambda e: _plain(e.text or ""), exact=False)
    return [group for group in alike if len({e.content for e in group.examples}) > 1]


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())) or text


def _groups(examples: Iterable[Example], key: Callable[[Example], str], exact: bool) -> list[Group]:
    members: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        members[key(example)].append(example)
    return [Group(tuple(sorted(m, key=lambda e: e.path)), exact) for m in members.values() if len(m) > 1]


def near_pictures(examples: Sequence[Example], looks: Sequence[Look | None]) -> list[Group]:
    """Groups of pictures that are nearly the same, with their exact copies.

    Args:
        examples: All examples of a dataset.
        looks: Their appearances.
    """
    first = {e.content: i for i, e in reversed(list(enumerate(examples))) if is_distinctive(e, looks[i])}
    distinct = sorted(first.values())
    if len(distinct) < 2:
        return []
    thumbnails = np.stack([appearance.thumbnail for i in distinct if (appearance := looks[i]) is not None])
    copies = defaultdict(list)
    for example in examples:
        copies[example.content].append(example)
    groups = []
    for cluster in clusters(len(distinct), alike_pairs(thumbnails)):
        members = [e for i in cluster for e in copies[examples[distinct[i]].content]]
        groups.append(Group(tuple(sorted(members, key=lambda e: e.path)), exact=False))
    return groups


def clusters(count: int, pairs: np.ndarray) -> list[list[int]]:
    """Connected components of `count` positions linked by pairs: lists of two positions or more."""
    components = DisjointSet(range(count))
    for one, other in pairs.tolist():
        components.merge(one, other)
    return [sorted(members) for members in components.subsets() if len(members) > 1]


def duplicate_findings(dataset: Dataset, groups: Iterable[Group]) -> list[Finding]:
    """Findings about groups: contradictions and leaks, else a plain duplicate."""
    return [finding for group in groups for finding in _of_group(dataset, group)]


def _of_group(dataset: Dataset, group: Group) -> list[Finding]:
    near, what = ("", "the same") if group.exact else ("near-", "nearly the same")
    paths = tuple(e.path for e in group.examples)
    labels = sorted({dataset.label_text(e) for e in group.examples})
    splits = sorted({e.split for e in group.examples})
    findings = []
    if len(labels) > 1 and find_task(dataset.task).has_classes:
        label_text = " and ".join(map(repr, labels))
        findings.append(Finding(f"{near}contradiction", f"{what}, but labelled {label_text}", paths))
    if len(splits) > 1:
        findings.append(Finding(f"{near}leak", f"{what}, but in {' and '.join(splits)}", paths))
    return findings or [Finding(f"{near}duplicate", f"{len(paths)} are {what}", paths)]
