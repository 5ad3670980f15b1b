"""What a run's folder says: the manifest, the metrics, the history, the model."""

import csv
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tfransfer import __version__
from tfransfer.data.dataset import Dataset
from tfransfer.data.modality import IMAGE, MODALITIES, Modality
from tfransfer.display.numbers import number_text
from tfransfer.errors import DataNotFoundError, RunError
from tfransfer.runs.run_folder import HISTORY, MANIFEST, METRICS, MODEL, REPORT, SCHEMA
from tfransfer.system.files import read_json, write_json
from tfransfer.tasks.task import SINGLE_LABEL, TASKS, find_task

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


class Record:
    """A trained model with everything that its folder says about it; `Run` adds what can be asked of it.

    Args:
        folder: The run's folder.
        manifest: What `manifest.json` says.
        data: The dataset that it was trained on, where it is at hand.
        model: The model, where it is in memory already.
        trust: Whether a program inside the model's file, as a TF-Hub module is one, may be loaded.
    """

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        data: Dataset | None = None,
        model: Any | None = None,
        trust: bool = False,
    ) -> None:
        self.folder, self.manifest, self.data, self.trust = folder, manifest, data, trust
        self._model = model
        # What files of the model are held to, once that was put together; see `handing_over`.
        self.held_out: Any = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the model's outputs."""
        return tuple(self.manifest["classes"])

    @property
    def task(self) -> str:
        """What the model does: "single-label", "multi-label" or "regression"."""
        return str(self.manifest.get("task", SINGLE_LABEL))

    @property
    def kind(self) -> str:
        """What the model takes: "image" or "text"."""
        return str(self.manifest["data"].get("kind", IMAGE))

    @property
    def modality(self) -> Modality:
        """The same with what follows from it."""
        return MODALITIES[self.kind]

    @property
    def thresholds(self) -> list[float] | None:
        """Of a multi-label model: from which probability on each class applies, chosen on the validation split."""
        return self.manifest.get("thresholds")

    @property
    def least_probability(self) -> float:
        """Below which probability of the likeliest class the model is not sure, as `evaluate` chose it; 0 never."""
        return float(self.manifest.get("abstention", {}).get("threshold", 0.0))

    @property
    def image_size(self) -> int:
        """Side of the model's input in pixels; 0 where it takes texts."""
        return int(self.manifest["plan"]["image_size"])

    @property
    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` says: for each split, top1, log_loss and more."""
        said = _read_object(self.folder / METRICS)
        if not all(isinstance(of_split, dict) for of_split in said.values()):
            raise RunError(f"{self.folder / METRICS} is damaged: expected an object for each split.")
        return said

    @property
    def history(self) -> list[dict[str, str]]:
        """The rows of `history.csv`."""
        try:
            with (self.folder / HISTORY).open(encoding="utf-8", newline="") as stream:
                return list(csv.DictReader(stream))
        except (UnicodeDecodeError, csv.Error) as error:
            raise RunError(f"{self.folder / HISTORY} is damaged: {error}.") from error

    @property
    def model(self) -> Any:
        """A plain keras.Model: pixels or strings to probabilities or values.

        Pixels are float32 (batch, size, size, 3) in [0, 255], strings (batch,); probabilities are (batch, classes), the
        values of a regression (batch, 1).
        """
        if self._model is None:
            from tfransfer.base.loading import load_model  # here, so that a run's numbers are read without TensorFlow

            self._model = load_model(self.folder / MODEL, self.trust)
        return self._model

    @property
    def reported(self) -> bool:
        """Whether there is a report; it may be older than some of the exports."""
        return (self.folder / REPORT).is_file()

    def write_manifest(self) -> None:
        """Write `manifest.json`."""
        write_json(self.folder / MANIFEST, self.manifest)

    def __repr__(self) -> str:
        test = self.metrics.get("test", {}) if (self.folder / METRICS).is_file() else {}
        task = find_task(self.task)
        value = test.get(task.main.key)
        scored = f", test {task.main.title} {number_text(value)}" if isinstance(value, int | float) else ""
        what = task.in_words(self.classes)
        return f"{type(self).__name__}({str(self.folder)!r}: {self.manifest['plan']['base']}, {what}{scored})"


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: the run did not come to its end.") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: expected an object, it holds {type(value).__name__}.")
    return value


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a run's manifest says.

    Raises:
        DataNotFoundError: There is no such folder.
        RunError: It holds no run, a damaged one, or one of a newer version.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"the run folder {folder} does not exist.")
    if not (folder / MANIFEST).is_file():
        raise RunError(f"{folder} holds no run: {MANIFEST} is missing.")
    manifest = _read_object(folder / MANIFEST)
    schema = manifest.get("schema")
    if schema != SCHEMA:
        raise RunError(f"{folder} was written with manifest schema {schema}; this tfransfer reads {SCHEMA}. Update it.")
    for key in ("classes", "plan", "data"):
        if key not in manifest:
            raise RunError(f"{folder / MANIFEST} is damaged: {key!r} is missing.")
    return manifest


def unsound(manifest: dict[str, Any]) -> dict[str, str]:
    """What is expected under each key of a manifest that holds something else."""
    classes, data, plan = manifest["classes"], manifest["data"], manifest["plan"]
    thresholds = manifest.get("thresholds")
    sound = {
        "classes": (_all(classes, str), "a list of names"),
        "task": (manifest.get("task", SINGLE_LABEL) in [*TASKS], f"one of {', '.join(TASKS)}"),
        "thresholds": (thresholds is None or _all(thresholds, int | float), "a list of numbers"),
        "plan": (_has(plan, base=str, image_size=int), "an object with a base and an image_size"),
        "data": (
            _has(data, root=str) and data.get("kind", IMAGE) in [*MODALITIES] and _has(data.get("origin", {})),
            "an object with a root, a kind and an origin",
        ),
        "abstention": (
            "abstention" not in manifest or _has(manifest["abstention"], threshold=float),
            "an object with a threshold",
        ),
        "exports": (_has(manifest.get("exports", {})), "an object"),
    }
    return {key: expected for key, (right, expected) in sound.items() if not right}


def _all(values: Any, kind: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _has(value: Any, **kinds: type) -> bool:
    """Whether this is an object with these keys."""
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())
