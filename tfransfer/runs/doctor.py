"""The data doctor: everything that is wrong, or only odd, about data, before anything is trained on it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.base.open import named_base, require_base
from tfransfer.base.records import NGRAMS
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
from tfransfer.system.files import telling_write_failures, write_text
from tfransfer.system.keywords import known_keywords
from tfransfer.tasks.task import find_task
from tfransfer.training import planning
from tfransfer.training.opening import suited

# Of the suspects, the terminal and the table show what confident learning believes; at most this share of the data.
_SHARE = 0.1
ISSUE_COLUMNS = ("path", "kind", "severity", "group", "detail", "set_aside")


@dataclass(frozen=True)
class Suspect:
    """An example whose label is probably wrong.

    Attributes:
        path: Of the picture, or the name of the text.
        given: The class that it is labelled with.
        likely: The class that a probe which has not seen it takes it for.
        given_probability: What the probe gives to the first.
        likely_probability: What it gives to the second.
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
    """What a check found.

    Attributes:
        dataset: What was checked.
        findings: Hard ones first.
        suspects: Labels that are probably wrong, most suspect first.
        ranking: Every example's path, the most suspect label first; empty where labels were not judged.
        not_judged: Why labels were not judged; empty where they were.
        groups: Examples that are the same, exactly or nearly.
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
        """Write a splits file for `train --splits`: without what contradicts itself, copies on one side.

        No picture is touched, and no suspect is taken out.

        Args:
            file: Where to; an existing one is replaced.

        Raises:
            DataError: No split can mend the data.
            WriteError: It cannot be written, or another file is there.
        """
        own = self.dataset.origin.get("file")
        require_replaceable(Path(file), SPLITS_COLUMNS, Path(own) if own else None)
        made = cleaning.cleaned(self.dataset, self.findings, self.groups)
        write_splits(Path(file), made.dataset)
        return made

    def write_csv(self, file: str | Path) -> None:
        """Write everything as a table: path, kind, severity, group, detail, set_aside; a line for each path.

        Lines of one finding have one number in the column group. Suspects come last.

        Raises:
            WriteError: It cannot be written, or another file is there.
        """
        require_replaceable(Path(file), ISSUE_COLUMNS)
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(ISSUE_COLUMNS)
        for number, found in enumerate(self.findings, start=1):
            for path in found.paths or ("",):
                aside = str(found.set_aside).lower()
                writer.writerow([path, found.kind, found.severity, number, found.detail, aside])
        for number, one in enumerate(self.suspects, start=len(self.findings) + 1):
            detail = f"labelled {one.given} ({one.given_probability:.3f}), looks like {one.likely} "
            detail += f"({one.likely_probability:.3f})"
            writer.writerow([one.path, "suspect-label", "suspect", number, detail, "false"])
        write_text(Path(file), stream.getvalue())

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
    """See that nothing but an earlier file of the same kind is replaced.

    Args:
        file: Where to write.
        columns: Of the file that will be written.
        data: A table that is being checked, which may have the same columns.

    Raises:
        WriteError: Something else is there.
    """
    if not file.exists():
        return
    with telling_write_failures(file), file.open("rb") as stream:
        begins = stream.readline(1000).decode("utf-8", "replace").strip()
    if begins != ",".join(columns) or (data is not None and file.resolve() == data.resolve()):
        raise WriteError(f"{file} is another file, which will not be replaced: name a new one.")


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
    """Find what is wrong with data. Nothing of it is changed.

    Args:
        data: From `load_data`, or what it takes.
        base: Name of the base whose features judge the labels; None takes what `train` would. What is extracted serves
            a later training.
        weights: Its weights file, as in `train`.
        image_size: Side of its input in pixels.
        suspects: Whether labels are judged.
        splits_file: A `splits.csv` to follow; what it leaves out is not counted as wrong.
        reading: How the data is read, where it is not loaded yet: arguments of `load_data` by name.
        progress: Shows how far it is; True shows a bar, None does so in a notebook only.
        say: Told in one line what was found and decided.

    Raises:
        DataNotFoundError: The data does not exist.
        DataError: Nothing in it can be read.
        SettingError: How to read it is not clear, or the base is unknown.
        WeightsNotFoundError: The weights of a base that was named cannot be had.
    """
    progress, say = listeners(progress, say)
    recipe = Recipe(base=base, weights=weights, image_size=image_size)
    if suspects:
        require_base(recipe)
    dataset = open_data(data, reading, splits_file=splits_file, strict=False, progress=progress, say=say)
    found, groups = _findings(dataset, Path(splits_file) if splits_file else None, progress)
    made = Diagnosis(dataset, ordered(found), groups=tuple(groups))
    reason = _no_labels(dataset) if suspects else "labels were not judged: it was not asked for"
    return replace(made, not_judged=reason) if reason else _with_suspects(made, recipe, progress, say)


def _findings(dataset: Dataset, splits_file: Path | None, progress: Progress) -> tuple[list[Finding], list[Group]]:
    found = survey.index_findings(dataset, splits_file)
    groups = duplicates.exact_groups(dataset.examples)
    if not dataset.modality.has_pixels:
        near = duplicates.near_texts(dataset.examples)
    else:
        looks = appearance.look_at_all(dataset, progress)
        found += appearance.look_findings(dataset, looks)
        near = duplicates.near_pictures(dataset.examples, looks)
    return found + duplicates.duplicate_findings(dataset, near), groups + near


def _no_labels(dataset: Dataset) -> str:
    """Why labels cannot be judged; empty where they can."""
    if not find_task(dataset.task).one_class:
        return f"labels are judged where each example has one class; these are {dataset.task}"
    return "" if len({e.label for e in dataset.examples}) > 1 else "there are not two classes to tell apart"


def _with_suspects(made: Diagnosis, recipe: Recipe, progress: Progress, say: Say) -> Diagnosis:
    dataset = made.dataset
    features = _features(dataset, suited(recipe, dataset), progress, say)
    if features is None:
        return replace(made, not_judged="labels were not judged: features find no room in the cache")
    judged = judge(features, labels_of(dataset.examples), _copies(dataset, made.groups))
    if judged is None:
        return replace(made, not_judged="labels were not judged: the classes are too small")
    paths = [e.path for e in dataset.examples]
    top = judged.ranking[: max(1, round(_SHARE * len(paths)))]
    shown = tuple(_suspect(dataset, judged, i) for i in top if judged.believed[i])
    return replace(made, suspects=shown, ranking=tuple(paths[i] for i in judged.ranking))


def _features(dataset: Dataset, recipe: Recipe, progress: Progress, say: Say) -> Any:
    """What the probe sees: word counts of texts unless a base for texts was named, else what a base says."""
    if not dataset.modality.has_pixels and recipe.base == NGRAMS:
        return text_features([e.text or "" for e in dataset.examples])
    base = named_base(recipe, planning.choose_precision(recipe.precision), say)
    if base.kind != dataset.kind:
        raise SettingError(f"the base {base.name} takes {base.kind}s, the data holds {dataset.kind}s.")
    features = pooled_features(dataset, base, recipe, progress, say)
    return None if features is None else condensed(features)


def _copies(dataset: Dataset, groups: Sequence[Group]) -> list[str]:
    """For each example the name of what is judged together: a copy with the same wrong label would vouch for it."""
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
