"""Turn the rows of any source into a Dataset: examine pictures, encode labels, decide splits."""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path

from tfransfer.data import splits
from tfransfer.data.dataset import Dataset
from tfransfer.data.health import audit
from tfransfer.data.index import Example, FileFacts, Issue, Row
from tfransfer.data.modality import IMAGE, MODALITIES, Modality
from tfransfer.data.sources.picture_files import unread_counts
from tfransfer.display.progress import Progress, Say, quiet, silent
from tfransfer.errors import DataError, did_you_mean
from tfransfer.tasks.labels import Target, has_line_break, names_in
from tfransfer.tasks.task import SINGLE_LABEL, Task, find_task


@dataclass(frozen=True)
class Source:
    """The contents of a source, before any file is opened.

    Attributes:
        root: The folder that the rows' paths are relative to.
        rows: One per example.
        name: Its name in messages.
        task: The task of its targets.
        kind: "image" or "text".
        classes: In the order of the model's outputs; empty takes those of the rows, sorted.
        issues: What the source has already skipped.
        notes: What the user should know.
        separator: Tables: between the classes of a cell, as inferred or requested.
    """

    root: Path
    rows: tuple[Row, ...]
    name: str
    task: str = SINGLE_LABEL
    kind: str = IMAGE
    classes: tuple[str, ...] = ()
    _: KW_ONLY
    issues: list[Issue] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    separator: str = ""

    @property
    def modality(self) -> Modality:
        """The modality of its examples."""
        return MODALITIES[self.kind]


def index(
    source: Source,
    split_seed: int = 0,
    splits_file: Path | None = None,
    *,
    max_pixels: int = audit.MAX_PIXELS,
    progress: Progress = quiet,
    say: Say = silent,
    strict: bool = True,
) -> Dataset:
    """Examine a source's examples and decide the splits.

    Args:
        source: The source.
        split_seed: Seed of the hash that decides splits.
        splits_file: A recorded `splits.csv` to use instead.
        max_pixels: Pictures with more pixels are skipped.
        progress: Shows the progress of reading.
        say: Called with a line for each kind of skipped file.
        strict: Raise for data that cannot be trained on; else its `refusal` says why, and it has no splits.

    Raises:
        DataNotFoundError: `splits_file` does not exist.
        DataError: More than half cannot be read, a class has too few examples, or there is one class only.
    """
    source = _composed(source)
    used = {name for row in source.rows for name in names_in(row.target)}
    classes = _present(source, used) if find_task(source.task).has_classes else source.classes
    if broken := next((name for name in classes if has_line_break(name)), None):
        raise DataError(f"the class {broken!r} has a line break in its name: labels.txt has one label per line.")
    examples, issues = examined(source, classes, max_pixels, progress)
    refusal = ""
    try:
        _require_readable(source, issues)
        _require_use(source, classes, examples)
        decision = splits.decide(source.name, classes, examples, split_seed, splits_file, source.task)
    except DataError as error:
        if strict:
            say_issues(issues, say)  # often what is lacking was skipped
            raise
        decision, refusal = splits.SplitDecision(tuple(sorted(examples, key=lambda e: e.path)), [], ()), str(error)
    issues += decision.issues
    say_issues(issues, say)
    return Dataset(
        source.root, classes, decision.examples, tuple(issues), (*source.notes, *decision.notes), split_seed,
        task=source.task, kind=source.kind, refusal=refusal,
    )  # fmt: skip


def _composed(source: Source) -> Source:
    """The source with one spelling for each class name.

    The same letters can be composed in Unicode or not; file systems differ in which they give, so that one class would
    otherwise be two. Names that differ in case only may be two classes; that is for the user to judge.
    """
    names = {name for row in source.rows for name in names_in(row.target)} | set(source.classes)
    spellings = {name: unicodedata.normalize("NFC", name) for name in names}
    same: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(spellings.values())):
        same[name.casefold()].append(name)
    alike = [group for group in same.values() if len(group) > 1]
    if alike and find_task(source.task).has_classes:
        source.notes.append(f"classes {', '.join(map(repr, alike[0]))} differ in case only: are they one class?")
    if all(name == composed for name, composed in spellings.items()):
        return source
    if len(set(spellings.values())) < len(spellings):
        twice = next(c for c in spellings.values() if list(spellings.values()).count(c) > 1)
        source.notes.append(f"class {twice!r} is spelled in two ways in Unicode, which look the same: it is one class")
    rows = tuple(replace(row, target=_respelled(row.target, spellings)) for row in source.rows)
    classes = tuple(dict.fromkeys(spellings[name] for name in source.classes))
    return replace(source, rows=rows, classes=classes)


def _respelled(target: Target, spellings: Mapping[str, str]) -> Target:
    """A target with other spellings of its class names; names without one stay."""
    if isinstance(target, str):
        return spellings.get(target, target)
    return tuple(dict.fromkeys(spellings.get(name, name) for name in target)) if isinstance(target, tuple) else target


def _present(source: Source, used: set[str]) -> tuple[str, ...]:
    """The classes that have examples, in order; the others are noted for the user."""
    absent = [name for name in source.classes if name not in used]
    if absent:
        source.notes.append(f"no example of {', '.join(map(repr, absent[:10]))}, so it is not a class")
    return tuple(name for name in source.classes if name in used) or tuple(sorted(used))


def index_known(
    source: Source,
    classes: tuple[str, ...],
    max_pixels: int = audit.MAX_PIXELS,
    progress: Progress = quiet,
    say: Say = silent,
) -> Dataset:
    """Examine data that is only to be scored: the classes are known, and no splits are decided.

    Raises:
        DataError: A class is not known, or more than half cannot be read.
    """
    known = {unicodedata.normalize("NFC", name): name for name in classes}
    source = _composed(source)
    source = replace(source, rows=tuple(replace(r, target=_respelled(r.target, known)) for r in source.rows))
    unknown = sorted({name for row in source.rows for name in names_in(row.target)} - set(classes))
    if unknown:
        raise DataError(
            f"{source.name} has the class {unknown[0]!r}, which the model does not know; it knows "
            f"{', '.join(map(repr, classes[:10]))}.{did_you_mean(unknown[0], classes)}"
        )
    for note in source.notes:
        say(f"note: {note}")
    examples, issues = examined(source, classes, max_pixels, progress)
    _require_readable(source, issues)
    say_issues(issues, say)
    return Dataset(source.root, classes, tuple(examples), tuple(issues), task=source.task, kind=source.kind)


def examined(
    source: Source, classes: Sequence[str], max_pixels: int, progress: Progress
) -> tuple[list[Example], list[Issue]]:
    """Examples of the rows that can be read, and issues for the others."""
    if not source.modality.has_pixels:
        facts = _read_texts(source.rows)
    else:
        results = audit.examine_all(source.root, dict.fromkeys(row.path for row in source.rows), max_pixels, progress)
        facts = [results[row.path] for row in source.rows]
    bad = list(dict.fromkeys(fact for fact in facts if isinstance(fact, Issue)))
    task, positions = find_task(source.task), {name: number for number, name in enumerate(classes)}
    examples = [
        _example(row, fact, task, positions)
        for row, fact in zip(source.rows, facts, strict=True)
        if not isinstance(fact, Issue)
    ]
    return examples, [*source.issues, *bad]


def _example(row: Row, fact: FileFacts, task: Task, positions: dict[str, int]) -> Example:
    label, target = task.encode(row.target, positions)
    return Example(
        path=row.path,
        label=label,
        content=fact.content,
        split=row.split,
        orientation=fact.orientation,
        reader=fact.reader,
        width=fact.width,
        height=fact.height,
        group=row.group,
        target=target,
        text=row.text,
    )


def _read_texts(rows: Sequence[Row]) -> list[FileFacts | Issue]:
    facts: list[FileFacts | Issue] = []
    for row in rows:
        if not (row.text or "").strip():
            facts.append(Issue(row.path, "empty", "the text is empty"))
        else:
            facts.append(FileFacts(text_hash(row.text or ""), 1, "tensorflow", 0, 0))
    return facts


def text_hash(text: str) -> str:
    """The content hash of a text, the same for all Unicode compositions of the same characters."""
    return hashlib.blake2b(unicodedata.normalize("NFC", text.strip()).encode(), digest_size=16).hexdigest()


def _require_use(source: Source, classes: Sequence[str], examples: Sequence[Example]) -> None:
    task = find_task(source.task)
    if reason := task.nothing_to_learn(source.name, examples):
        raise DataError(reason)
    counts = Counter(name for example in examples for name in task.class_names(example, classes))
    what = source.modality.item
    empty = [name for name in classes if not counts[name]]
    if empty:
        raise DataError(f"no readable {what} is left in {', '.join(map(repr, empty))}: see the skipped files there.")
    if len(classes) < 2 and task.one_class:
        raise DataError(_one_class(source, classes[0] if classes else "", what))


def _one_class(source: Source, name: str, what: str) -> str:
    subfolders = [p for p in (source.root / name).iterdir() if p.is_dir()] if (source.root / name).is_dir() else []
    hint = f" Did you mean {source.root / name}, which has {len(subfolders)} folders?" if len(subfolders) > 1 else ""
    more = f"a folder with {what}s" if (source.root / name).is_dir() else f"{what}s"
    unread = unread_counts(issue.path for issue in source.issues if issue.kind == "format")
    return (
        f"{source.name} has only one class, {name!r}; a classifier needs two or more: add {more} of what is not "
        f"{name!r}.{hint}{unread and f' It also has {unread}.'}"
    )


def _require_readable(source: Source, issues: list[Issue]) -> None:
    bad = issues[len(source.issues) :]
    if len(bad) * 2 <= len({row.path for row in source.rows}):
        return
    kinds = Counter(issue.kind for issue in bad).most_common()
    first = "; ".join(f"{issue.path}: {issue.detail}" for issue in bad[:3])
    what = f"{source.modality.item}s of"
    raise DataError(
        f"{len(bad)} of {len(source.rows)} {what} {source.name} cannot be read "
        f"({', '.join(f'{n} {kind}' for kind, n in kinds)}), which is more than half: {first}. "
        "Nothing was changed; check how the files were copied or downloaded."
    )


def say_issues(issues: Sequence[Issue], say: Say) -> None:
    """Print a line for each kind of skipped file."""
    skipped = [issue for issue in issues if issue.set_aside]
    for kind, count in Counter(issue.kind for issue in skipped).most_common():
        names = [issue.path for issue in skipped if issue.kind == kind]
        more = ", ..." if count > 3 else ""
        say(f"skipped: {count} {'file' if count == 1 else 'files'} ({kind}): {', '.join(names[:3])}{more}")
