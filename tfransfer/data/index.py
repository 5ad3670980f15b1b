"""What there is: examples with labels and splits, and what was set aside."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One picture.

    Attributes:
        path: Relative to the dataset's root, with forward slashes.
        label: Index into the dataset's classes.
        content: Hash of the file's bytes (hexadecimal, 128 bits): equal files have equal contents.
        split: "train", "validation" or "test"; empty until splits are decided.
        orientation: EXIF orientation, 1 (upright) to 8.
        reader: Who decodes it: TensorFlow itself, or Pillow for formats that TensorFlow lacks or misreads.
        width: Pixels, before the orientation is applied.
        height: Pixels, before the orientation is applied.
        group: Name of the group that must stay on one side (a patient, a burst); None stands alone.
    """

    path: str
    label: int
    content: str
    split: str = ""
    orientation: int = 1
    reader: Literal["tensorflow", "pillow"] = "tensorflow"
    width: int = 0
    height: int = 0
    group: str | None = None

    @property
    def key(self) -> int:
        """A stable number in [0, 2**63) that seeds this example's augmentation."""
        digest = hashlib.blake2b(f"{self.content}/{self.path}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    @property
    def content_key(self) -> int:
        """A stable number in [0, 2**63) that seeds the kept views of this content, wherever its file stands."""
        return int(self.content[:16], 16) >> 1


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What reading one good file told: see Example for the fields."""

    content: str
    orientation: int
    reader: Literal["tensorflow", "pillow"]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Issue:
    """A file that was set aside or treated specially, and why.

    Attributes:
        path: Relative to the dataset's root.
        kind: A short name of the problem, e.g. "truncated".
        detail: One sentence for a person.
        set_aside: Whether the file is left out of training and evaluation.
    """

    path: str
    kind: str
    detail: str
    set_aside: bool = True

    def __post_init__(self) -> None:
        # A name that is not UTF-8 could be neither shown nor written to a table.
        object.__setattr__(self, "path", self.path.encode("utf-8", "backslashreplace").decode())


@dataclass(frozen=True)
class Dataset:
    """Pictures with labels, each in one split; the value that `load_data` returns.

    Attributes:
        root: The folder that example paths are relative to.
        classes: Class names in the order of the model's outputs.
        examples: Every usable example.
        issues: What was set aside or treated specially.
        notes: What a user should know about how the splits came about, a sentence each.
        split_seed: The seed of the split's hash.
    """

    root: Path
    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    issues: tuple[Issue, ...] = ()
    notes: tuple[str, ...] = ()
    split_seed: int = 0
    source: str = field(default="folder")

    def split(self, name: str) -> tuple[Example, ...]:
        """The examples of one split, in a fixed order (by path)."""
        return tuple(e for e in self.examples if e.split == name)

    def counts(self) -> dict[str, Counter[str]]:
        """Examples per class, for each split."""
        return {s: Counter(self.classes[e.label] for e in self.split(s)) for s in SPLITS}

    def path_of(self, example: Example) -> str:
        """Where an example's file is."""
        return str(self.root / example.path)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(self.split(name))}" for name in SPLITS)
        aside = sum(issue.set_aside for issue in self.issues)
        return f"Dataset({str(self.root)!r}: {len(self.classes)} classes; {sizes}; {aside} set aside)"


def labels_of(examples: Iterable[Example]) -> np.ndarray:
    """Integer labels, int64, shape (n,)."""
    return np.array([example.label for example in examples], dtype=np.int64)
