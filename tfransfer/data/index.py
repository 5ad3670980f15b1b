"""The index: examples with labels or targets and splits, and the files that were skipped."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfransfer.data.modality import IMAGE, MODALITIES, Modality
from tfransfer.tasks.task import SINGLE_LABEL, find_task

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One picture, or one text.

    Attributes:
        path: Relative to the dataset's root, with forward slashes; for a text, a generated name.
        label: Index into the dataset's classes; 0 in tasks other than single-label.
        content: Hash of the file's bytes or of the text (hexadecimal, 128 bits).
        split: "train", "validation" or "test"; empty until splits are decided.
        orientation: EXIF orientation, 1 (upright) to 8.
        reader: Its decoder: TensorFlow, or Pillow for formats that TensorFlow lacks or misreads.
        width: Pixels, before the orientation is applied.
        height: Pixels, before the orientation is applied.
        group: Name of a group that must stay in one split (a patient, a burst); None is a group of its own.
        target: 0 or 1 per class (multi-label), or one number (regression); empty for single-label.
        text: The text itself; None for a picture.
    """

    path: str
    label: int
    content: str
    split: str = ""
    orientation: int = 1
    _: KW_ONLY
    reader: Literal["tensorflow", "pillow"] = "tensorflow"
    width: int = 0
    height: int = 0
    group: str | None = None
    target: tuple[float, ...] = ()
    text: str | None = None

    @property
    def key(self) -> int:
        """A stable number in [0, 2**63) that seeds this example's augmentation."""
        digest = hashlib.blake2b(f"{self.content}/{self.path}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    @property
    def content_key(self) -> int:
        """A stable number in [0, 2**63) that seeds the cached views of this content, whatever its path."""
        return int(self.content[:16], 16) >> 1


@dataclass(frozen=True, slots=True)
class Row:
    """One example as its source describes it, before its picture is opened.

    Attributes:
        path: The picture's file, relative to the source's folder with forward slashes; for a text, a generated name.
        target: The class's name, the names of all classes that apply (multi-label), or a number (regression).
        split: "train", "validation" or "test" if the source decides it, else empty.
        group: As for Example.
        text: The text itself; None for a picture.
    """

    path: str
    target: str | tuple[str, ...] | float
    split: str = ""
    group: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What was read from one good file; the fields are those of Example."""

    content: str
    orientation: int
    reader: Literal["tensorflow", "pillow"]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Issue:
    """A file that was skipped or treated specially, and why.

    Attributes:
        path: Relative to the dataset's root.
        kind: A short name of the problem, e.g. "truncated".
        detail: One sentence for the user.
        set_aside: Whether the file is skipped in training and evaluation.
    """

    path: str
    kind: str
    detail: str
    set_aside: bool = True

    def __post_init__(self) -> None:
        # A path that is not UTF-8 could be neither printed nor written to a table.
        object.__setattr__(self, "path", self.path.encode("utf-8", "backslashreplace").decode())


@dataclass(frozen=True)
class Index:
    """Pictures or texts with labels, each in one split; the input of the pipelines. Users get a `Dataset`.

    Attributes:
        root: The folder that example paths are relative to.
        classes: Class names in the order of the model's outputs.
        examples: Every usable example.
        issues: Files that were skipped or treated specially.
        notes: What the user should know about how the splits were decided, one sentence each.
        split_seed: The seed of the split's hash.
        source: Kind of source; see `data.sources.kinds`.
        origin: Plain values that are enough to open the source again.
        task: Name of the task, one of `tasks.task.TASKS`.
        kind: "image" or "text".
        refusal: Why it cannot be trained on; empty if it can. Only data read with `strict=False` has one.
    """

    root: Path
    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    issues: tuple[Issue, ...] = ()
    notes: tuple[str, ...] = ()
    split_seed: int = 0
    _: KW_ONLY
    source: str = "folder"
    origin: dict[str, Any] = field(default_factory=dict)
    task: str = SINGLE_LABEL
    kind: str = IMAGE
    refusal: str = ""

    @property
    def modality(self) -> Modality:
        """The modality of its examples."""
        return MODALITIES[self.kind]

    def split(self, name: str) -> tuple[Example, ...]:
        """The examples of one split, in a fixed order (by path)."""
        return tuple(e for e in self.examples if e.split == name)

    def counts(self) -> dict[str, Counter[str]]:
        """Examples per class, for each split; a multi-label example counts in each of its classes."""
        return {s: Counter(name for e in self.split(s) for name in self.names_of(e)) for s in SPLITS}

    def names_of(self, example: Example) -> list[str]:
        """The classes that apply to an example; for a regression, the name of the quantity."""
        return find_task(self.task).class_names(example, self.classes)

    def label_text(self, example: Example) -> str:
        """An example's label as written to tables: a class, several separated by `;`, or a number."""
        return find_task(self.task).label_text(example, self.classes)

    def targets(self, examples: Sequence[Example]) -> np.ndarray:
        """Targets of examples for training: float32, shape (n, classes); for a regression (n, 1)."""
        return find_task(self.task).targets(examples, self.classes)

    def path_of(self, example: Example) -> str:
        """The path of an example's file."""
        return str(self.root / example.path)


def labels_of(examples: Iterable[Example]) -> np.ndarray:
    """Integer labels, int64, shape (n,)."""
    return np.array([example.label for example in examples], dtype=np.int64)
