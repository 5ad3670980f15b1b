"""Split examples into train, validation and test by content, so that nothing leaks and nothing moves later.

Each file's content is hashed with the split seed to a number in [0, 1), and thresholds on it give the split. A file
therefore stays in its split when others are added, and identical files always land in the same split. Groups, and files
that share content with a group, stay together.
"""

import csv
import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.cluster.hierarchy import DisjointSet

from tfransfer.data.dataset import Dataset
from tfransfer.data.index import SPLITS, Example, Issue
from tfransfer.data.split_words import class_text, inseparable, item_of, own_splits, too_few
from tfransfer.errors import DataError, DataNotFoundError
from tfransfer.system.files import regular, write_text
from tfransfer.system.interface import option
from tfransfer.system.spreadsheet import csv_text, unescaped
from tfransfer.tasks.task import SINGLE_LABEL, find_task

TEST_SHARE = 0.1
VALIDATION_SHARE = 0.1
COLUMNS = ("path", "label", "split")
# Examples without a class, or with several, form one stratum without a name.
_ONE_STRATUM = ("",)
# Distinguishes group names from contents, which are hexadecimal.
_GROUP = "group "


@dataclass(frozen=True)
class SplitDecision:
    """Examples with their splits, the issues found on the way, and notes for the user."""

    examples: tuple[Example, ...]
    issues: list[Issue]
    notes: tuple[str, ...]


def decide(
    root: Path | str,
    classes: Sequence[str],
    examples: Sequence[Example],
    seed: int,
    file: Path | None = None,
    task: str = SINGLE_LABEL,
) -> SplitDecision:
    """Assign every example to a split.

    Args:
        root: The data's name in messages.
        classes: Class names.
        examples: With the split that the user's data gives, or an empty one.
        seed: The split seed.
        file: A recorded `splits.csv` to use instead.
        task: Only single-label data is checked to have every class in every split.

    Raises:
        DataError: A class has too few examples, or the file does not fit the data.
    """
    strata = find_task(task).strata(classes)
    item = item_of(examples)
    notes: list[str] = []
    issues: list[Issue] = []
    if file is not None:
        examples = _apply_file(file, strata, examples, issues, notes)
    given = {e.split for e in examples} - {""}
    if not given:
        examples = _assign(examples, seed, _Shares(TEST_SHARE, VALIDATION_SHARE), SPLITS, strata, notes)
    else:
        examples = _without_leaks(examples, issues, notes)
        missing = [s for s in SPLITS if s not in given]
        examples = _assign_missing(examples, missing, seed, strata, notes)
    _require_every_split(root, strata, examples, item)
    return SplitDecision(tuple(sorted(examples, key=lambda e: e.path)), issues, tuple(notes))


def unit_of(seed: int, name: str) -> float:
    """A number in [0, 1), uniform over names, that depends on nothing else than the seed and the name."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def clusters(examples: Sequence[Example]) -> dict[str, str]:
    """From content to the name of its cluster, which must stay together: one content, or a group and all it touches."""
    joined = DisjointSet(dict.fromkeys(example.content for example in examples))
    for example in examples:
        if example.group is not None:
            joined.add(group := _GROUP + example.group)
            joined.merge(example.content, group)
    # The first group gives the name, and with it the split, so that a group's split depends on the group alone and
    # does not change when pictures are added to it.
    names = [(members, min(members, key=lambda n: (not n.startswith(_GROUP), n))) for members in joined.subsets()]
    return {member: name for members, name in names for member in members if not member.startswith(_GROUP)}


@dataclass(frozen=True)
class _Shares:
    """The parts of [0, 1): test has the lowest, then validation, then train.

    Test comes first so that its threshold depends on nothing else: if the user's data has a validation but no test
    split, the same pictures become test.
    """

    test: float
    validation: float

    def interval(self, split: str) -> tuple[float, float]:
        """Lower and upper bound of a split's part."""
        end = self.test + self.validation
        return {"test": (0.0, self.test), "validation": (self.test, end), "train": (end, 1.0)}[split]

    def split_of(self, unit: float) -> str:
        """The split that a number in [0, 1) falls into."""
        return next(split for split in ("test", "validation", "train") if unit < self.interval(split)[1])

    def size(self, split: str) -> float:
        """The share of a split."""
        low, high = self.interval(split)
        return high - low

    def distance(self, unit: float, split: str) -> float:
        """Distance of a number from a split's part."""
        low, high = self.interval(split)
        return max(low - unit, unit - high, 0.0)


def _assign(
    examples: Sequence[Example],
    seed: int,
    shares: _Shares,
    splits: Sequence[str],
    classes: Sequence[str],
    notes: list[str],
) -> list[Example]:
    """Assign splits by threshold, then give each class its share of each split, and one picture at least.

    Thresholds on a hash assign each cluster independently of the others, which keeps splits stable when files are
    added. Alone they would leave chance to decide how many pictures of a class are tested: of 60, any number from 1 to
    12. So clusters near a threshold are moved until every class has its share to within one example, as far as groups
    allow; the moves are the ones that slightly other thresholds would have made.
    """
    cluster_of = clusters(examples)
    members: dict[str, Counter[int]] = defaultdict(Counter)
    for example in examples:
        members[cluster_of[example.content]][example.label] += 1
    placement = _Placement({name: unit_of(seed, name) for name in members}, members, shares)
    own: dict[int, list[str]] = defaultdict(list)
    for cluster, labels in members.items():
        for label in labels:
            own[label].append(cluster)
    for label, name in enumerate(classes):
        if len(own[label]) < len(splits):
            raise DataError(too_few(name, own[label], splits, examples))
        placement.give_share(label, own[label])
    for label, name in enumerate(classes):
        for lacking in [s for s in splits if not placement.counts[s][label]]:
            moved, before = placement.give_one(own[label], lacking)
            if moved is None:
                raise DataError(inseparable(name, item_of(examples)))
            notes.append(
                f"{class_text(name)} had no {item_of(examples)} in {lacking}: the {sum(members[moved].values())} "
                f"nearest the threshold moved there from {before}"
            )
    return [replace(e, split=placement.splits[cluster_of[e.content]]) for e in examples]


class _Placement:
    """Clusters in splits: placed by threshold, then moved.

    Args:
        units: Numbers in [0, 1) by cluster.
        members: How many examples of each label a cluster has.
        shares: The parts of [0, 1).
    """

    def __init__(self, units: dict[str, float], members: dict[str, Counter[int]], shares: _Shares) -> None:
        self._units, self._members, self._shares = units, members, shares
        self.splits = {cluster: shares.split_of(unit) for cluster, unit in units.items()}
        self.counts: dict[str, Counter[int]] = {split: Counter() for split in SPLITS}
        for cluster, split in self.splits.items():
            self.counts[split].update(members[cluster])
        self._sizes = sum(self.counts.values(), Counter[int]())

    def give_share(self, label: int, own: Sequence[str]) -> None:
        """Move clusters until each split has its share of a label to within one example, or no move helps."""
        tried = set()
        while pair := self._unequal(label):
            if pair in tried:
                return
            tried.add(pair)
            for cluster in self._nearest(own, *pair):
                if self._unequal(label) != pair:
                    break
                if self._can_leave(cluster) and self._cost(cluster, pair[1]) < 0:
                    self._move(cluster, pair[1])
                    tried.clear()

    def give_one(self, own: Sequence[str], lacking: str) -> tuple[str | None, str]:
        """Move one cluster to a split that lacks its label: the cluster, None if none can leave, and where it was."""
        nearest = sorted(own, key=lambda c: (self._shares.distance(self._units[c], lacking), c))
        moved = next((cluster for cluster in nearest if self._can_leave(cluster)), None)
        if moved is None:
            return None, ""
        before = self.splits[moved]
        self._move(moved, lacking)
        return moved, before

    def _excess(self, label: int, split: str) -> float:
        """Examples of a label that a split has beyond its share."""
        return self.counts[split][label] - self._shares.size(split) * self._sizes[label]

    def _unequal(self, label: int) -> tuple[str, str] | None:
        """The splits with the most too many and the most too few of a label, where either is out by an example."""
        excess = {split: self._excess(label, split) for split in SPLITS if self._shares.size(split)}
        over, under = max(excess, key=lambda s: excess[s]), min(excess, key=lambda s: excess[s])
        return (over, under) if excess[over] > 1 - 1e-9 or excess[under] < -1 + 1e-9 else None

    def _nearest(self, own: Sequence[str], over: str, under: str) -> list[str]:
        """Clusters of one split, those first that are nearest to the other's part."""
        there = [cluster for cluster in own if self.splits[cluster] == over]
        return sorted(there, key=lambda c: (self._shares.distance(self._units[c], under), c))

    def _can_leave(self, cluster: str) -> bool:
        """Whether a cluster is the last one of none of its classes in its split.

        Otherwise a cluster with several classes could fix one class and take the split's last picture of another, which
        would then take it back.
        """
        there = self.counts[self.splits[cluster]]
        return all(there[label] > count for label, count in self._members[cluster].items())

    def _cost(self, cluster: str, split: str) -> float:
        """What moving a cluster to another split adds to the squared differences from its labels' shares."""
        now, cost = self.splits[cluster], 0.0
        for label, count in self._members[cluster].items():
            for one in {now, split}:
                excess = self._excess(label, one)
                cost += (excess + count * ((one == split) - (one == now))) ** 2 - excess**2
        return cost

    def _move(self, cluster: str, split: str) -> None:
        self.counts[self.splits[cluster]].subtract(self._members[cluster])
        self.counts[split].update(self._members[cluster])
        self.splits[cluster] = split


def _assign_missing(
    examples: list[Example], missing: list[str], seed: int, classes: Sequence[str], notes: list[str]
) -> list[Example]:
    """Split off what the user's data lacks from its train split."""
    if not missing or "train" in missing:
        return examples
    train = [e for e in examples if e.split == "train"]
    shares = _Shares(TEST_SHARE if "test" in missing else 0.0, VALIDATION_SHARE if "validation" in missing else 0.0)
    labels = sorted({e.label for e in train})
    position = {label: i for i, label in enumerate(labels)}
    local = [replace(e, label=position[e.label]) for e in train]
    assigned = _assign(local, seed, shares, ["train", *missing], [classes[label] for label in labels], notes)
    notes.append(f"there is no {' and no '.join(missing)} split: split off from train by content, 10% each")
    others = [e for e in examples if e.split != "train"]
    return others + [replace(e, label=labels[e.label]) for e in assigned]


def _without_leaks(examples: Sequence[Example], issues: list[Issue], notes: list[str]) -> list[Example]:
    """Remove from train what is also in validation or test, and from validation what is also in test."""
    cluster_of = clusters(examples)
    splits: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        splits[cluster_of[example.content]].add(example.split)
    remaining, removed = [], Counter[str]()
    for example in examples:
        elsewhere = splits[cluster_of[example.content]]
        held_out = next((s for s in ("test", "validation") if s in elsewhere), example.split)
        if example.split not in ("test", held_out):
            issues.append(
                Issue(
                    example.path,
                    "leak",
                    f"the same content (or its group) is in {held_out}; not used in {example.split}",
                )
            )
            removed[f"{example.split}: the same content is in {held_out}"] += 1
        else:
            remaining.append(example)
    item = item_of(examples)
    notes += [f"removed {n} {item}{'s' if n > 1 else ''} from {where}" for where, n in removed.items()]
    return remaining


def _require_every_split(root: Path | str, classes: Sequence[str], examples: Iterable[Example], item: str) -> None:
    counts = Counter((e.split, e.label) for e in examples)
    for split in SPLITS:
        if not any(counts[split, label] for label in range(len(classes))):
            raise DataError(f"no {item} of {root} is in the {split} split: add some, or {own_splits(item)}.")
    untrained = [name for label, name in enumerate(classes) if not counts["train", label]]
    if untrained:
        raise DataError(
            f"no {item} of {', '.join(map(repr, untrained))} is in the train split: the model could not learn it. "
            f"Add {item}s to train or leave the class out."
        )


def write_splits(path: Path, dataset: Dataset) -> None:
    """Record each example's split in a CSV file with the columns path, label, split."""
    rows = ((e.path, dataset.label_text(e), e.split) for e in dataset.examples)
    write_text(path, csv_text([COLUMNS, *rows]))


def read_splits(path: Path) -> dict[str, tuple[str, str]]:
    """Read a `splits.csv`: from path to (label, split).

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: A column is missing, or a split is not train, validation or test.
    """
    try:
        with regular(path).open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns, rows = reader.fieldnames or [], list(reader)
    except FileNotFoundError as error:
        raise DataNotFoundError(f"splits file {path} does not exist.") from error
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"splits file {path} is not a CSV file: {error}.") from error
    expected = f"expected the columns {', '.join(COLUMNS)}"
    if not set(COLUMNS) <= set(columns):
        raise DataError(f"splits file {path}: {expected}; it has {', '.join(columns) or 'none'}.")
    listed: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        if any(row.get(column) is None for column in COLUMNS):
            raise DataError(f"splits file {path}, line {number}: {expected}; this line has fewer.")
        if row["split"] not in SPLITS:
            raise DataError(f"splits file {path}, line {number}: {row['split']!r} is not one of {', '.join(SPLITS)}.")
        found = (unicodedata.normalize("NFC", unescaped(row["label"])), row["split"])
        name = unescaped(row["path"])
        if listed.setdefault(name, found) != found:
            raise DataError(f"splits file {path}, line {number}: {name!r} is listed twice with different values.")
    return listed


def _apply_file(
    file: Path, classes: Sequence[str], examples: Sequence[Example], issues: list[Issue], notes: list[str]
) -> list[Example]:
    listed = read_splits(file)
    unknown = sorted({label for label, _ in listed.values()} - set(classes))
    if unknown and tuple(classes) != _ONE_STRATUM:
        raise DataError(
            f"splits file {file} lists classes that the data does not have: {', '.join(map(repr, unknown[:5]))}; "
            f"it has {', '.join(map(repr, classes[:10]))}."
        )
    assigned = []
    for example in examples:
        if example.path not in listed:
            issues.append(Issue(example.path, "unlisted", f"not in {file}"))
            continue
        label, split = listed[example.path]
        if tuple(classes) != _ONE_STRATUM:
            example = replace(example, label=list(classes).index(label))
        assigned.append(replace(example, split=split))
    absent = set(listed) - {e.path for e in examples}
    issues += [Issue(path, "listed but not usable", f"in {file}, but absent or unreadable") for path in sorted(absent)]
    if not assigned:
        raise DataError(f"none of the {len(listed)} paths in {file} is one of the {item_of(examples)}s of the data.")
    added = [name for name in classes if name not in {label for label, _ in listed.values()}]
    if added and tuple(classes) != _ONE_STRATUM:
        raise DataError(
            f"the data has changed since splits file {file} was written: {', '.join(map(repr, added[:5]))} is new. "
            "Remove that class, or start over with new splits; a run that was stopped starts over with "
            f"{option('overwrite', True)}."
        )
    if absent:
        notes.append(f"{len(absent)} {item_of(examples)}s listed in {file} are absent or unreadable")
    return assigned
