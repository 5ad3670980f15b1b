"""Which examples are there twice: exactly, by their content, or nearly, by what they look like or what they say."""

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
from tfransfer.tasks.task import REGRESSION


@dataclass(frozen=True)
class Group:
    """Examples that are the same.

    Attributes:
        examples: Two or more, sorted by path.
        exact: Whether their contents are equal to the last bit.
    """

    examples: tuple[Example, ...]
    exact: bool


def exact_groups(examples: Iterable[Example]) -> list[Group]:
    """Examples of equal content."""
    return _groups(examples, lambda e: e.content, exact=True)


def near_texts(examples: Iterable[Example]) -> list[Group]:
    """Texts that differ in case, spaces and punctuation only."""
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
    """Pictures that are nearly the same, with their exact copies.

    Args:
        examples: All of a dataset.
        looks: At each of them.
    """
    first = {e.content: i for i, e in reversed(list(enumerate(examples))) if is_distinctive(e, looks[i])}
    chosen = sorted(first.values())
    if len(chosen) < 2:
        return []
    thumbnails = np.stack([seen.thumbnail for i in chosen if (seen := looks[i]) is not None])
    same = defaultdict(list)
    for example in examples:
        same[example.content].append(example)
    found = []
    for cluster in clusters(len(chosen), alike_pairs(thumbnails)):
        members = [e for i in cluster for e in same[examples[chosen[i]].content]]
        found.append(Group(tuple(sorted(members, key=lambda e: e.path)), exact=False))
    return found


def clusters(count: int, pairs: np.ndarray) -> list[list[int]]:
    """What hangs together by pairs, of `count` things: lists of two positions or more."""
    joined = DisjointSet(range(count))
    for one, other in pairs.tolist():
        joined.merge(one, other)
    return [sorted(members) for members in joined.subsets() if len(members) > 1]


def duplicate_findings(dataset: Dataset, groups: Iterable[Group]) -> list[Finding]:
    """A group says one thing if it is of one label on one side, and more if it contradicts itself or leaks."""
    return [finding for group in groups for finding in _of_group(dataset, group)]


def _of_group(dataset: Dataset, group: Group) -> list[Finding]:
    near, what = ("", "the same") if group.exact else ("near-", "nearly the same")
    paths = tuple(e.path for e in group.examples)
    labels = sorted({dataset.label_text(e) for e in group.examples})
    sides = sorted({e.split for e in group.examples})
    found = []
    if len(labels) > 1 and dataset.task != REGRESSION:
        named = " and ".join(map(repr, labels))
        found.append(Finding(f"{near}contradiction", f"{what}, but labelled {named}", paths))
    if len(sides) > 1:
        found.append(Finding(f"{near}leak", f"{what}, but in {' and '.join(sides)}", paths))
    return found or [Finding(f"{near}duplicate", f"{len(paths)} are {what}", paths)]
