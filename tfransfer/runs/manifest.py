"""A run's typed manifest: decisions, progress and results. Only `runs/` writes it.

The file is the source of truth: change it with `update_manifest`; a run rereads it when it has changed.
"""

import platform
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from tfransfer import __version__
from tfransfer.data.modality import IMAGE
from tfransfer.errors import DataNotFoundError, RunError, SettingError
from tfransfer.features.plan import CachePlan
from tfransfer.recipe import read_section
from tfransfer.runs.checks import require_sound_manifest
from tfransfer.runs.run_folder import MANIFEST
from tfransfer.system.files import read_json, write_json
from tfransfer.tasks.task import SINGLE_LABEL
from tfransfer.training.plan import Plan

Section = TypeVar("Section")
# Increased by layout changes that older versions would misread; a new key alone is not one.
SCHEMA = 1
_VERSIONED = ("tensorflow", "keras", "numpy", "scikit-learn", "pillow", "ai-edge-litert")


def versions() -> dict[str, str]:
    """Versions of everything that a result depends on."""
    installed = {"tfransfer": __version__, "python": platform.python_version()}
    for name in _VERSIONED:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "absent"
    return installed


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The data that a run was trained on.

    Attributes:
        root: The folder that example paths are relative to, absolute.
        source: The kind of source; see `data.sources.kinds`.
        origin: Plain values that reopen the source.
        kind: "image" or "text".
        print: A hash of contents, labels and splits; empty in runs of older versions.
        sizes: Number of examples in each split.
        counts: Number of examples of each class in each split.
        set_aside: Number of skipped files.
        notes: Notes for the user on how the splits were made.
    """

    root: str
    source: str = "folder"
    origin: dict = field(default_factory=dict)
    kind: str = IMAGE
    print: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    set_aside: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """Progress of an unfinished run.

    Attributes:
        state: The checkpoint file that it resumes from.
        done: Names of the finished phases.
        phase: The running phase; empty between phases.
        epoch: Finished epochs of that phase.
        step: Finished steps of the current epoch.
        batch_size: Examples per step.
        kept_epoch: The epoch selected so far, from 1; 0 if none is finished.
        kept: Its metrics.
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
    """The threshold below which `predict` abstains.

    Attributes:
        threshold: The lowest probability that counts as sure.
        precision: The requested precision.
        splits: For each split the threshold, the coverage, and the top-1 accuracy on the covered examples.
    """

    threshold: float
    precision: float = 0.0
    splits: dict[str, dict[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `manifest.json`. `manifest["plan"]` is the plain value of a key in the file.

    Attributes:
        schema: Version of the layout.
        versions: Versions of everything that the result depends on.
        task: "single-label", "multi-label" or "regression".
        classes: Class names in the order of the model's outputs.
        seeds: `seed` and `split_seed`.
        data: The data that the run was trained on.
        base_print: A hash of the base's weights and layers.
        measures: The user's own loss and metrics.
        plan: The settings resolved before the first step.
        features: The cache plan; in the file a part of the plan.
        progress: Progress of the run; None once it is finished.
        phases: Result of each phase, by name.
        kept: Name of the selected phase.
        temperature: Divisor of the logits.
        thresholds: Multi-label tasks: lowest probability at which each class applies.
        abstention: The threshold below which `predict` abstains; None if none was chosen.
        exports: Measurements of each exported file, by format.
        model_hash: Hash of `model.keras`.
        seconds: Duration of the run.
        further: Keys that this version does not know, in the same layout; they are written back unchanged.
    """

    schema: int = SCHEMA
    versions: dict[str, str] = field(default_factory=dict)
    task: str = SINGLE_LABEL
    classes: tuple[str, ...]
    seeds: dict[str, int] = field(default_factory=dict)
    data: DataRecord
    base_print: str = ""
    measures: dict | None = None
    plan: Plan
    features: CachePlan
    progress: RunProgress | None = None
    phases: dict[str, dict] = field(default_factory=dict)
    kept: str = ""
    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    abstention: Abstention | None = None
    exports: dict[str, dict] = field(default_factory=dict)
    model_hash: str = ""
    seconds: float | None = None
    further: dict = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run is finished; its exports may be missing."""
        return self.progress is None

    def to_dict(self) -> dict[str, Any]:
        """The plain values of `manifest.json`, without those that are not known yet."""
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
    """Copy a value as JSON types: dataclasses as dicts, tuples as lists."""
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
    """The plain values of a run's manifest; only the schema and the required keys are checked.

    Raises:
        DataNotFoundError: The folder does not exist.
        RunError: It holds no run, or one that is damaged or of a newer version.
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
    """Read an object from a run's JSON file.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        value = read_json(path)
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: the run is not finished.") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: expected an object, it holds {type(value).__name__}.")
    return value


def parse_manifest(values: dict[str, Any], path: Path) -> Manifest:
    """Parse a manifest from plain values.

    Args:
        values: From `read_values`.
        path: The file, for error messages.

    Raises:
        RunError: A key is missing, or a value has the wrong type or cannot be true.
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
        require_sound_manifest(manifest)
    except SettingError as error:
        raise RunError(f"{path} is damaged: {str(error)[:300]}") from error
    return replace(manifest, further=further)


def _object(values: dict[str, Any], key: str, prefix: str = "") -> dict[str, Any]:
    value = values.get(key)
    if not isinstance(value, dict):
        raise SettingError(f"{prefix}{key} must be an object; it is {str(value)[:100]}.")
    return value


def _section(kind: type[Section], values: dict[str, Any], prefix: str, further: dict[str, Any]) -> Section:
    """A dataclass from plain values; keys that it does not have go to `further`, at the same place as in the file."""
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
    """Read the manifest of a run.

    Raises:
        DataNotFoundError: The folder does not exist.
        RunError: It holds no run, or one that is damaged or of a newer version.
    """
    return parse_manifest(read_values(folder), folder / MANIFEST)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` atomically.

    Raises:
        WriteError: It cannot be written.
    """
    write_json(folder / MANIFEST, manifest.to_dict())


def update_manifest(folder: Path, **changes: Any) -> Manifest:
    """Change fields of a run's manifest.

    Raises:
        RunError: The manifest is damaged.
        WriteError: It cannot be written.
    """
    changed = replace(read_manifest(folder), **changes)
    write_manifest(folder, changed)
    return changed


class ManifestFile:
    """The manifest in a folder, reread whenever the file has changed.

    Args:
        folder: A run's folder.
        manifest: The manifest read from it, or to be written to it.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._manifest, self._stamp = manifest, _stamp(folder)

    def read(self, folder: Path) -> Manifest:
        """The current manifest; the last known one if the file is gone.

        Args:
            folder: The run's current folder: a run may move when it is finished.

        Raises:
            RunError: The file is damaged.
        """
        stamp = _stamp(folder)
        if stamp is not None and stamp != self._stamp:
            self._manifest, self._stamp = read_manifest(folder), stamp
        return self._manifest


def _stamp(folder: Path) -> tuple[int, int, int] | None:
    """A value that changes whenever the file is replaced, which gives it another inode."""
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
