"""A run's manifest, typed: what was decided, how far the run is, and what it gave. Only `runs/` writes it.

The file is the truth: what changes it goes through `update_manifest`, and a run reads it again where it has changed.
"""

import platform
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from tfransfer import __version__
from tfransfer.data.modality import IMAGE, MODALITIES
from tfransfer.errors import DataNotFoundError, RunError, SettingError
from tfransfer.features.plan import CachePlan
from tfransfer.recipe import read_section
from tfransfer.runs.run_folder import MANIFEST
from tfransfer.system.files import read_json, write_json
from tfransfer.tasks.task import SINGLE_LABEL, TASKS
from tfransfer.training.plan import Plan

Section = TypeVar("Section")
# A change of the layout that older versions would misread raises this number; a new key alone does not.
SCHEMA = 1
_VERSIONED = ("tensorflow", "keras", "numpy", "scikit-learn", "pillow", "ai-edge-litert")


def versions() -> dict[str, str]:
    """Versions of everything that a result depends on."""
    found = {"tfransfer": __version__, "python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The data that a run was trained on.

    Attributes:
        root: The folder that example paths are relative to, absolute.
        source: What kind of source it is; see `data.sources.kinds`.
        origin: Plain values with which the source can be opened again.
        kind: "image" or "text".
        print: A hash of contents, labels and splits; empty in runs of older versions.
        sizes: Examples in each split.
        counts: Examples of each class, for each split.
        set_aside: Files that were left out.
        notes: What a user should know about how the splits came about.
    """

    root: str
    source: str = "folder"
    origin: dict = field(default_factory=dict)
    kind: str = IMAGE
    print: str = ""
    sizes: dict = field(default_factory=dict)
    counts: dict = field(default_factory=dict)
    set_aside: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """How far an unfinished run is.

    Attributes:
        state: The file that it resumes from.
        done: Names of the phases that are finished.
        phase: The phase that runs; empty between phases.
        epoch: Finished epochs of it.
        step: Finished steps of the epoch.
        batch_size: Examples per step.
        kept_epoch: The best epoch so far, from 1; 0 where none is finished.
        kept: Its figures.
    """

    state: str = ""
    done: tuple[str, ...] = ()
    phase: str = ""
    epoch: int = 0
    step: int = 0
    batch_size: int = 0
    kept_epoch: int = 0
    kept: dict = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """Below which probability `predict` says that it is not sure.

    Attributes:
        threshold: The probability.
        precision: Share of right answers that was asked for.
        splits: For each split the threshold, the coverage and the top-1 among what is answered.
    """

    threshold: float
    precision: float = 0.0
    splits: dict = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` holds. `manifest["plan"]` gives the plain value that the file has under a key.

    Attributes:
        schema: Version of the layout.
        versions: Of everything that the result depends on.
        task: "single-label", "multi-label" or "regression".
        classes: Class names in the order of the model's outputs.
        seeds: `seed` and `split_seed`.
        data: What was trained on.
        base_print: A hash of the base's weights and layers.
        measures: The loss and the metrics of the user's own.
        plan: What was decided before the first step.
        features: What was decided to cache; in the file a part of the plan.
        progress: How far the run is; None once it is finished.
        phases: By name, what each phase did.
        kept: Name of the phase whose model was selected.
        temperature: What the logits are divided by.
        thresholds: Of a multi-label task: from which probability on each class applies.
        abstention: Below which probability `predict` is not sure; None where that was not chosen.
        exports: By format, what was measured of each exported file.
        model_hash: Of `model.keras`.
        seconds: How long all took.
        further: Keys that this version does not know, by the same layout; they are written back as they were read.
    """

    schema: int = SCHEMA
    versions: dict = field(default_factory=dict)
    task: str = SINGLE_LABEL
    classes: tuple[str, ...]
    seeds: dict = field(default_factory=dict)
    data: DataRecord
    base_print: str = ""
    measures: dict | None = None
    plan: Plan
    features: CachePlan
    progress: RunProgress | None = None
    phases: dict = field(default_factory=dict)
    kept: str = ""
    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    abstention: Abstention | None = None
    exports: dict = field(default_factory=dict)
    model_hash: str = ""
    seconds: float | None = None
    further: dict = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end; its exports may be missing."""
        return self.progress is None

    def to_dict(self) -> dict[str, Any]:
        """The plain values of `manifest.json`. What is not known yet is not in it."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("features", "further")}
        plain = {key: _plain(value) for key, value in values.items() if key in _ALWAYS or value not in _UNKNOWN}
        plain["plan"] |= {"features": _plain(self.features)}
        return _merged(plain, self.further)

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    def __contains__(self, key: object) -> bool:
        return key in self.to_dict()


_ALWAYS = ("classes", "plan", "data", "task", "schema")
_UNKNOWN: tuple[Any, ...] = (None, "", {})


def _plain(value: Any) -> Any:
    """Dataclasses as dicts and tuples as lists, as JSON has them; a new value each time."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _merged(values: dict[str, Any], further: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in further.items():
        inside = merged.get(key)
        merged[key] = _merged(inside, value) if isinstance(inside, dict) and isinstance(value, dict) else value
    return merged


def read_values(folder: Path) -> dict[str, Any]:
    """The plain values of a run's manifest, of which only the schema and the most important keys are checked.

    Raises:
        DataNotFoundError: There is no such folder.
        RunError: It holds no run, a damaged one, or one of a newer version.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"the run folder {folder} does not exist.")
    if not (folder / MANIFEST).is_file():
        raise RunError(f"{folder} holds no run: {MANIFEST} is missing.")
    values = read_object(folder / MANIFEST)
    schema = values.get("schema")
    if schema != SCHEMA:
        raise RunError(f"{folder} was written with manifest schema {schema}; this tfransfer reads {SCHEMA}. Update it.")
    for key in ("classes", "plan", "data"):
        if key not in values:
            raise RunError(f"{folder / MANIFEST} is damaged: {key!r} is missing.")
    return values


def read_object(path: Path) -> dict[str, Any]:
    """The object that a run's JSON file holds.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        value = read_json(path)
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: the run did not come to its end.") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: expected an object, it holds {type(value).__name__}.")
    return value


def parse_manifest(values: dict[str, Any], path: Path) -> Manifest:
    """A typed manifest from plain values.

    Args:
        values: From `read_values`.
        path: The file, for messages.

    Raises:
        RunError: A key is missing, or a value has the wrong type.
    """
    further: dict[str, Any] = {}
    try:
        plan = _object(values, "plan")
        known: dict[str, Any] = dict(values) | {
            "features": _section(CachePlan, _object(plan, "features", "plan."), "plan.features.", further),
            "plan": _section(Plan, {k: v for k, v in plan.items() if k != "features"}, "plan.", further),
            "data": _section(DataRecord, _object(values, "data"), "data.", further),
        }
        for key, kind in {"progress": RunProgress, "abstention": Abstention}.items():
            if key in values:
                known[key] = _section(kind, _object(values, key), f"{key}.", further)
        manifest = _section(Manifest, known, "", further)
    except SettingError as error:
        raise RunError(f"{path} is damaged: {str(error)[:300]}") from error
    for key, value, known_ones in (("task", manifest.task, TASKS), ("data.kind", manifest.data.kind, MODALITIES)):
        if value not in [*known_ones]:
            raise RunError(f"{path} is damaged: {key} must be one of {', '.join(known_ones)}; it is {value!r}.")
    return replace(manifest, further=further)


def _object(values: dict[str, Any], key: str, prefix: str = "") -> dict[str, Any]:
    value = values.get(key)
    if not isinstance(value, dict):
        raise SettingError(f"{prefix}{key} must be an object; it is {str(value)[:100]}.")
    return value


def _section(kind: type[Section], values: dict[str, Any], prefix: str, further: dict[str, Any]) -> Section:
    """A dataclass from plain values; keys that it lacks go to `further`, in the place where the file has them."""
    parts = {part.name: part for part in fields(kind) if part.name != "further"}  # type: ignore[arg-type]
    for name, part in parts.items():
        if name not in values and part.default is MISSING and part.default_factory is MISSING:
            raise SettingError(f"{prefix}{name} is missing.")
    unknown = {key: value for key, value in values.items() if key not in parts}
    if unknown:
        for name in prefix.split(".")[:-1]:
            further = further.setdefault(name, {})
        further |= unknown
    return read_section(kind, {key: value for key, value in values.items() if key in parts}, prefix)


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a run's folder.

    Raises:
        DataNotFoundError: There is no such folder.
        RunError: It holds no run, a damaged one, or one of a newer version.
    """
    return parse_manifest(read_values(folder), folder / MANIFEST)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` whole or not at all.

    Raises:
        WriteError: It cannot be written.
    """
    write_json(folder / MANIFEST, manifest.to_dict())


def update_manifest(folder: Path, **changes: Any) -> Manifest:
    """Change fields of the manifest in a run's folder.

    Raises:
        RunError: The manifest is damaged.
        WriteError: It cannot be written.
    """
    changed = replace(read_manifest(folder), **changes)
    write_manifest(folder, changed)
    return changed


class ManifestFile:
    """The manifest in a folder, read again whenever the file is another one.

    Args:
        folder: A run's folder.
        manifest: What was read from it, or will be written to it.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._manifest, self._stamp = manifest, _stamp(folder)

    def read(self, folder: Path) -> Manifest:
        """What the file says now; the last known manifest where the file is gone.

        Args:
            folder: Where the run is now: a finished run moves to its place.

        Raises:
            RunError: The file is damaged.
        """
        stamp = _stamp(folder)
        if stamp is not None and stamp != self._stamp:
            self._manifest, self._stamp = read_manifest(folder), stamp
        return self._manifest


def _stamp(folder: Path) -> tuple[int, int, int] | None:
    """What is different once a file was written anew, which gives it another inode."""
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
