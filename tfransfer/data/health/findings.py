"""The kinds of findings of a data check, with their severity and advice."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfransfer.data.dataset import Dataset
from tfransfer.data.index import Issue
from tfransfer.data.splits import read_splits

HARD, SOFT = "hard", "soft"


@dataclass(frozen=True, slots=True)
class FindingKind:
    """A kind of finding.

    Attributes:
        severity: HARD where data is lost, labels contradict each other or scores are too good; SOFT where the user
            may want to look.
        advice: What to do, a few words.
    """

    severity: str
    advice: str


_COPY_AGAIN = "copy or download it again, or delete it"
KINDS = {
    "name": FindingKind(HARD, "rename it in UTF-8"),
    "unreadable": FindingKind(HARD, "make it readable, or delete the link"),
    "empty": FindingKind(HARD, _COPY_AGAIN),
    "no-picture": FindingKind(HARD, "delete it, or give it the right suffix"),
    "damaged": FindingKind(HARD, _COPY_AGAIN),
    "truncated": FindingKind(HARD, _COPY_AGAIN),
    "too-large": FindingKind(HARD, "make it smaller"),
    "format": FindingKind(HARD, "convert it to JPEG or PNG"),
    "no-class": FindingKind(HARD, "move it into the folder of its class"),
    "missing": FindingKind(HARD, "correct the path in the table"),
    "no-label": FindingKind(HARD, "label it, or remove the line"),
    "no-split": FindingKind(HARD, "give its split, or remove the line"),
    "listed-but-not-usable": FindingKind(HARD, "restore it, or remove it from the splits file"),
    "leak": FindingKind(HARD, "delete the copy in train; until then, training skips it"),
    "contradiction": FindingKind(HARD, "decide which label is correct, delete the others"),
    "near-leak": FindingKind(HARD, "put them into one split, as the splits file that check can write does"),
    "near-contradiction": FindingKind(HARD, "decide which label is correct, delete the others"),
    "class-too-small": FindingKind(HARD, "add examples, or remove the class"),
    "not-trainable": FindingKind(HARD, "see the message"),
    "unlisted": FindingKind(SOFT, "none, if you left it out on purpose"),
    "unlabeled": FindingKind(SOFT, "none, if these have no labels; rename the folder if it is a class"),
    "reading": FindingKind(SOFT, "see whether the data was read as you meant it"),
    "empty-class": FindingKind(SOFT, "add pictures, or remove the folder"),
    "duplicate": FindingKind(SOFT, "delete all but one"),
    "near-duplicate": FindingKind(SOFT, "keep the best one"),
    "wrong-extension": FindingKind(SOFT, "rename it; it is read anyway"),
    "colour-mode": FindingKind(SOFT, "check that it looks right when saved as 8-bit RGB"),
    "animated": FindingKind(SOFT, "only its first frame is used"),
    "turned": FindingKind(SOFT, "none here; serve_bytes of a SavedModel needs upright photos"),
    "tiny": FindingKind(SOFT, "find a larger version"),
    "huge": FindingKind(SOFT, "make it smaller: it slows every epoch that reads it"),
    "elongated": FindingKind(SOFT, "crop it: it is squeezed into a square"),
    "near-uniform": FindingKind(SOFT, "look at it: it shows hardly anything"),
    "near-empty": FindingKind(SOFT, "look at it: it has no words"),
    "imbalance": FindingKind(SOFT, "add examples of the rare classes, or train with balanced class weights"),
    "small-class": FindingKind(SOFT, "add examples"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the data that the user should know.

    Attributes:
        kind: A key of KINDS.
        detail: One sentence for the user.
        paths: The files or names of texts that it concerns; empty if it concerns the data as a whole.
        set_aside: Whether these are skipped in training and evaluation.
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
    """Findings from the issues met while reading the data.

    Args:
        dataset: The dataset with its issues.
        splits_file: The splits file that was used: what it does not list is left out on purpose, whatever its issue.
    """
    listed = None if splits_file is None else set(read_splits(splits_file))
    return [_from_issue(issue, listed) for issue in dataset.issues]


def _from_issue(issue: Issue, listed: set[str] | None) -> Finding:
    kind = issue.kind.replace(" ", "-")
    if listed is not None and issue.path not in listed and kind != "unlisted":
        return Finding("unlisted", f"left out by the splits file; {issue.detail}", (issue.path,), issue.set_aside)
    return Finding(kind, issue.detail, (issue.path,), issue.set_aside)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings: hard before soft, then in the order of KINDS, then by path."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(findings, key=lambda f: (f.severity == SOFT, rank[f.kind], f.paths)))
