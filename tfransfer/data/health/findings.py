"""What a check of the data can find: each kind with how grave it is and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfransfer.data.dataset import Dataset
from tfransfer.data.index import Issue
from tfransfer.data.splits import read_splits

HARD, SOFT = "hard", "soft"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    Attributes:
        severity: HARD where data is lost, labels contradict each other or scores are too good; SOFT where a person
            may want to look.
        advice: What to do, a few words.
    """

    severity: str
    advice: str


_COPY_AGAIN = "copy or download it again, or delete it"
KINDS = {
    "name": Kind(HARD, "rename it in UTF-8"),
    "unreadable": Kind(HARD, "make it readable, or delete the link"),
    "empty": Kind(HARD, _COPY_AGAIN),
    "no-picture": Kind(HARD, "delete it, or give it its right suffix"),
    "damaged": Kind(HARD, _COPY_AGAIN),
    "truncated": Kind(HARD, _COPY_AGAIN),
    "too-large": Kind(HARD, "make it smaller"),
    "format": Kind(HARD, "convert it to JPEG or PNG"),
    "no-class": Kind(HARD, "move it into the folder of its class"),
    "missing": Kind(HARD, "correct the path in the table"),
    "no-label": Kind(HARD, "label it, or remove the line"),
    "no-split": Kind(HARD, "name its split, or remove the line"),
    "listed-but-not-usable": Kind(HARD, "bring it back, or remove it from the splits file"),
    "leak": Kind(HARD, "delete the copy in train; it is left out of training meanwhile"),
    "contradiction": Kind(HARD, "decide which label is right, delete the others"),
    "near-leak": Kind(HARD, "keep them on one side: --fix writes such splits"),
    "near-contradiction": Kind(HARD, "decide which label is right, delete the others"),
    "class-too-small": Kind(HARD, "add examples, or remove the class"),
    "not-trainable": Kind(HARD, "see the message"),
    "unlisted": Kind(SOFT, "none, if it was left out on purpose"),
    "empty-class": Kind(SOFT, "fill the folder, or remove it"),
    "duplicate": Kind(SOFT, "delete all but one"),
    "near-duplicate": Kind(SOFT, "keep the best one"),
    "wrong-extension": Kind(SOFT, "rename it; it is read all the same"),
    "colour-mode": Kind(SOFT, "see that it looks right when saved as 8-bit RGB"),
    "animated": Kind(SOFT, "only the first picture of it is used"),
    "turned": Kind(SOFT, "none here; serve_bytes of a SavedModel needs upright photos"),
    "tiny": Kind(SOFT, "find a larger version"),
    "huge": Kind(SOFT, "make it smaller: it slows every epoch that reads it"),
    "elongated": Kind(SOFT, "crop it: it is squeezed into a square"),
    "near-uniform": Kind(SOFT, "look at it: there is hardly anything on it"),
    "near-empty": Kind(SOFT, "look at it: there is no word in it"),
    "imbalance": Kind(SOFT, "add examples of the rare classes, or train with --class-weights balanced"),
    "small-class": Kind(SOFT, "add examples"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the data that a person should know.

    Attributes:
        kind: A key of KINDS.
        detail: One sentence for a person.
        paths: The files, or names of the texts, that it is about; empty where it is about the data as a whole.
        set_aside: Whether these are left out of training and evaluation.
    """

    kind: str
    detail: str
    paths: tuple[str, ...] = ()
    set_aside: bool = False

    @property
    def severity(self) -> str:
        """HARD or SOFT."""
        return KINDS[self.kind].severity

    @property
    def advice(self) -> str:
        """What to do about it."""
        return KINDS[self.kind].advice

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "detail": self.detail,
            "paths": list(self.paths),
            "set_aside": self.set_aside,
            "advice": self.advice,
        }


def from_issues(dataset: Dataset, splits_file: Path | None = None) -> list[Finding]:
    """What reading the data said already.

    Args:
        dataset: With its issues.
        splits_file: That was followed: what it does not list is left out on purpose, whatever is wrong with it.
    """
    listed = None if splits_file is None else set(read_splits(splits_file))
    return [_from_issue(issue, listed) for issue in dataset.issues]


def _from_issue(issue: Issue, listed: set[str] | None) -> Finding:
    kind = issue.kind.replace(" ", "-")
    if listed is not None and issue.path not in listed and kind != "unlisted":
        return Finding("unlisted", f"left out by the splits file; {issue.detail}", (issue.path,), issue.set_aside)
    return Finding(kind, issue.detail, (issue.path,), issue.set_aside)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Hard before soft, then as KINDS has them, then by path."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(findings, key=lambda f: (f.severity == SOFT, rank[f.kind], f.paths)))
