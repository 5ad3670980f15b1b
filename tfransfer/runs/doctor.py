"""The data doctor: find errors and oddities in data before training on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.base.names import require_base
from tfransfer.base.open import named_base
from tfransfer.base.records import WORDS
from tfransfer.data.dataset import Dataset
from tfransfer.data.health import appearance, cleaning, duplicates, survey
from tfransfer.data.health.duplicates import Group
from tfransfer.data.health.findings import HARD, SOFT, Finding, ordered
from tfransfer.data.index import labels_of
from tfransfer.data.loading import open_data
from tfransfer.data.splits import COLUMNS as SPLITS_COLUMNS
from tfransfer.data.splits import write_splits
from tfransfer.display.listeners import listeners
from tfransfer.display.progress import Progress, Say
from tfransfer.errors import SettingError, WriteError
from tfransfer.features.pooled import pooled_features
from tfransfer.recipe import Recipe
from tfransfer.runs.suspects import Suspects, condensed, judge, text_features
from tfransfer.system.files import telling_write_failures, user_path, write_text
from tfransfer.system.keywords import known_keywords
from tfransfer.system.spreadsheet import csv_text
from tfransfer.tasks.task import find_task
from tfransfer.training import planning
from tfransfer.training.opening import suited

# The terminal and the table show the suspects that confident learning flags, at most this share of the data.
_SHARE = 0.1
ISSUE_COLUMNS = ("path", "kind", "severity", "group", "detail", "set_aside")


@dataclass(frozen=True)
class Suspect:
    """An example whose label is probably wrong.

    Attributes:
        path: Path of the image, or name of the text.
        given: The class that it is labelled with.
        likely: The class that a probe predicts without having seen the example.
        given_probability: The probe's probability for `given`.
        likely_probability: The probe's probability for `likely`.
    """

    path: str
    given: str
    likely: str
    given_probability: float
    likely_probability: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "path": self.path,
            "given": self.given,
            "likely": self.likely,
            "given_probability": round(self.given_probability, 4),
            "likely_probability": round(self.likely_probability, 4),
        }


@dataclass(frozen=True)
class Diagnosis:
    """The result of a check.

    Attributes:
        dataset: The checked dataset.
        findings: All findings, hard ones first.
        suspects: Labels that are probably wrong, most suspect first.
        ranking: Every example's path, the most suspect label first; empty if labels were not judged.
        not_judged: Why labels were not judged; empty if they were.
        groups: Groups of exact and near duplicates.
    """

    dataset: Dataset
    findings: tuple[Finding, ...]
    suspects: tuple[Suspect, ...] = ()
    ranking: tuple[str, ...] = ()
    not_judged: str = ""
    groups: tuple[Group, ...] = ()

    @property
    def hard(self) -> tuple[Finding, ...]:
        """Findings that cost data, contradict each other or make scores too good."""
        return tuple(f for f in self.findings if f.severity == HARD)

    @property
    def soft(self) -> tuple[Finding, ...]:
        """Findings that a person may want to look at."""
        return tuple(f for f in self.findings if f.severity == SOFT)

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(f for f in self.findings if f.kind == kind)

    def fix(self, file: str | Path) -> cleaning.Cleaned:
        """Write a splits file for `train --splits`: without contradictory labels, with all copies in one split.

        No image is changed, and no suspect is removed.

        Args:
            file: The file to write; an existing splits file is replaced.

        Raises:
            DataError: No split can repair the data.
            WriteError: The file cannot be written, or is not a splits file.
        """
        own = self.dataset.origin.get("file")
        require_replaceable(user_path(file), SPLITS_COLUMNS, Path(own) if own else None)
        cleaned = cleaning.cleaned(self.dataset, self.findings, self.groups)
        write_splits(user_path(file), cleaned.dataset)
        return cleaned

    def write_csv(self, file: str | Path) -> None:
        """Write all results as a table: path, kind, severity, group, detail, set_aside; a row for each path.

        Rows of one finding share a number in the column group. Suspects come last.

        Args:
            file: The file to write; an existing table of issues is replaced.

        Raises:
            WriteError: The file cannot be written, or is not a table of issues.
        """
        require_replaceable(user_path(file), ISSUE_COLUMNS)
        rows: list[Sequence[Any]] = [ISSUE_COLUMNS]
        for number, finding in enumerate(self.findings, start=1):
            for path in finding.paths or ("",):
                skipped = str(finding.set_aside).lower()
                rows.append([path, finding.kind, finding.severity, number, finding.detail, skipped])
        for number, suspect in enumerate(self.suspects, start=len(self.findings) + 1):
            detail = f"labelled {suspect.given} ({suspect.given_probability:.3f}), looks like {suspect.likely} "
            detail += f"({suspect.likely_probability:.3f})"
            rows.append([suspect.path, "suspect-label", "suspect", number, detail, "false"])
        write_text(user_path(file), csv_text(rows))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "examples": len(self.dataset.examples),
            "hard": len(self.hard),
            "soft": len(self.soft),
            "findings": [finding.to_dict() for finding in self.findings],
            "suspects": [suspect.to_dict() for suspect in self.suspects],
            "not_judged": self.not_judged or None,
        }

    def __repr__(self) -> str:
        kinds = dict.fromkeys(f.kind for f in self.findings)
        counts = ", ".join(f"{len(self.of(kind))} {kind}" for kind in kinds) or "nothing"
        labels = self.not_judged or f"{len(self.suspects)} suspect labels"
        return f"Diagnosis({len(self.dataset.examples)} examples; {counts}; {labels})"


def require_replaceable(file: Path, columns: Sequence[str], data: Path | None = None) -> None:
    """Check that at most an earlier file of the same kind would be replaced.

    Args:
        file: The file to write.
        columns: Columns of the new file.
        data: The table that is being checked, which may have the same columns.

    Raises:
        WriteError: Another kind of file exists there.
    """
    if not file.exists():
        return
    with telling_write_failures(file), file.open("rb") as stream:
        header = stream.readline(1000).decode("utf-8", "replace").strip()
    if header != ",".join(columns) or (data is not None and file.resolve() == data.resolve()):
        raise WriteError(f"{file} is another file and will not be replaced: choose a new name.")


@known_keywords
def check(
    data: Any,
    *,
    base: str | None = None,
    weights: str | None = None,
    image_size: int | None = None,
    suspects: bool = True,
    splits_file: str | Path | None = None,
    reading: dict[str, Any] | None = None,
    progress: Progress | bool | None = None,
    say: Say | None = None,
) -> Diagnosis:
    """Find what is wrong with data, without changing it.

    Args:
        data: From `load_data`, or anything it takes.
        base: Name of the base whose features judge the labels; None takes the one `train` would. A later training
            reuses the cached features.
        weights: The base's weights file, as in `train`.
        image_size: Side of the base's input in pixels.
        suspects: Whether to judge labels.
        splits_file: A `splits.csv` to follow; examples that it leaves out are not reported.
        reading: How to read data that is not loaded yet: keyword arguments of `load_data`.
        progress: Shows the progress; True for a bar, None for a bar in notebooks only.
        say: Called with lines on findings and decisions.

    Returns:
        The findings, and the labels that are probably wrong.

    Raises:
        DataNotFoundError: The data does not exist.
        DataError: Nothing in it can be read.
        SettingError: How to read it is ambiguous, or the base is unknown.
        WeightsNotFoundError: The weights of the requested base are not available.
    """
    progress, say = listeners(progress, say)
    recipe = Recipe(base=base, weights=weights, image_size=image_size)
    if suspects:
        require_base(recipe)
    dataset = open_data(data, reading, splits_file=splits_file, strict=False, progress=progress, say=say)
    findings, groups = _findings(dataset, user_path(splits_file) if splits_file else None, progress)
    diagnosis = Diagnosis(dataset, ordered(findings), groups=tuple(groups))
    reason = _no_labels(dataset) if suspects else "labels were not judged: not requested"
    return replace(diagnosis, not_judged=reason) if reason else _with_suspects(diagnosis, recipe, progress, say)


def _findings(dataset: Dataset, splits_file: Path | None, progress: Progress) -> tuple[list[Finding], list[Group]]:
    findings = survey.index_findings(dataset, splits_file) + [Finding("reading", note) for note in dataset.notes]
    groups = duplicates.exact_groups(dataset.examples)
    if not dataset.modality.has_pixels:
        near = duplicates.near_texts(dataset.examples)
    else:
        looks = appearance.look_at_all(dataset, progress)
        findings += appearance.look_findings(dataset, looks)
        near = duplicates.near_pictures(dataset.examples, looks)
    return findings + duplicates.duplicate_findings(dataset, near), groups + near


def _no_labels(dataset: Dataset) -> str:
    """Why labels cannot be judged; empty if they can."""
    if not find_task(dataset.task).one_class:
        return f"labels were not judged: each example must have one class, but these are {dataset.task}"
    return "" if len({e.label for e in dataset.examples}) > 1 else "labels were not judged: there is only one class"


def _with_suspects(diagnosis: Diagnosis, recipe: Recipe, progress: Progress, say: Say) -> Diagnosis:
    dataset = diagnosis.dataset
    features = _features(dataset, suited(recipe, dataset), progress, say)
    if features is None:
        return replace(diagnosis, not_judged="labels were not judged: the features do not fit into the cache")
    judged = judge(features, labels_of(dataset.examples), _copies(dataset, diagnosis.groups))
    if judged is None:
        return replace(diagnosis, not_judged="labels were not judged: the classes are too small")
    paths = [e.path for e in dataset.examples]
    top = judged.ranking[: max(1, round(_SHARE * len(paths)))]
    shown = tuple(_suspect(dataset, judged, i) for i in top if judged.believed[i])
    return replace(diagnosis, suspects=shown, ranking=tuple(paths[i] for i in judged.ranking))


def _features(dataset: Dataset, recipe: Recipe, progress: Progress, say: Say) -> Any:
    """The probe's features: tf-idf of texts unless a text base was requested, else the base's pooled features."""
    if not dataset.modality.has_pixels and recipe.base == WORDS:
        return text_features([e.text or "" for e in dataset.examples])
    base = named_base(recipe, planning.choose_precision(recipe.precision), say)
    if base.kind != dataset.kind:
        raise SettingError(f"the base {base.name} takes {base.kind}s, the data holds {dataset.kind}s.")
    features = pooled_features(dataset, base, recipe, progress, say)
    return None if features is None else condensed(features)


def _copies(dataset: Dataset, groups: Sequence[Group]) -> list[str]:
    """A group name for each example: copies share one fold, or one would confirm the other's wrong label."""
    names = {e.path: e.path for e in dataset.examples}
    for number, group in enumerate(groups):
        known = next((names[e.path] for e in group.examples if names[e.path] != e.path), f"group {number}")
        names |= {e.path: known for e in group.examples}
    return [names[e.path] for e in dataset.examples]


def _suspect(dataset: Dataset, judged: Suspects, i: np.int64) -> Suspect:
    example = dataset.examples[i]
    return Suspect(
        path=example.path,
        given=dataset.classes[example.label],
        likely=dataset.classes[judged.likely[i]],
        given_probability=float(judged.given[i]),
        likely_probability=float(judged.likely_probability[i]),
    )
