"""A run: the folder that a training leaves, and what can be asked of it later, elsewhere, without the training data."""

import csv
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tfransfer import __version__
from tfransfer.data.index import IMAGE, Dataset
from tfransfer.errors import DataNotFoundError, RunError
from tfransfer.files import write_json
from tfransfer.run_folder import HISTORY, MANIFEST, METRICS, MODEL, SCHEMA
from tfransfer.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL

_HEADLINES = {
    SINGLE_LABEL: ("top1", "top-1"),
    MULTI_LABEL: ("mean_average_precision", "mean average precision"),
    REGRESSION: ("r2", "R2"),
}
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


class Run:
    """A trained model with everything that is known about it.

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
    def thresholds(self) -> list[float] | None:
        """Of a multi-label model: from which probability on each class applies, chosen on the validation split."""
        return self.manifest.get("thresholds")

    @property
    def image_size(self) -> int:
        """Side of the model's input in pixels; 0 where it takes texts."""
        return int(self.manifest["plan"]["image_size"])

    @property
    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` says: for each split, top1, log_loss and more."""
        return _read_json(self.folder / METRICS)

    @property
    def history(self) -> list[dict[str, str]]:
        """The rows of `history.csv`."""
        with (self.folder / HISTORY).open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

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

    def evaluate(self, data: Any = None, **options: Any) -> dict[str, Any]:
        """Score the model; see `tfransfer.evaluate`."""
        from tfransfer import pipeline  # here, because pipeline stands above and makes runs

        return pipeline.evaluate(self, data, **options)

    def predict(self, pictures: Any, **options: Any) -> Any:
        """Name what is on pictures; see `tfransfer.predict`."""
        from tfransfer import pipeline  # here, because pipeline stands above and makes runs

        return pipeline.predict(self, pictures, **options)

    def export(self, *formats: str) -> list[Any]:
        """Export the model; see `tfransfer.export`."""
        from tfransfer import pipeline  # here, because pipeline stands above and makes runs

        return pipeline.export(self, *formats)

    def write_manifest(self) -> None:
        """Write `manifest.json`."""
        write_json(self.folder / MANIFEST, self.manifest)

    def __repr__(self) -> str:
        test = self.metrics.get("test", {}) if (self.folder / METRICS).is_file() else {}
        key, name = _HEADLINES[self.task]
        scored = f", test {name} {test[key]:.3f}" if test.get(key) is not None else ""
        what = self.task if self.task == REGRESSION else f"{len(self.classes)} classes"
        return f"Run({str(self.folder)!r}: {self.manifest['plan']['base']}, {what}{scored})"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: the run did not come to its end.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
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
    manifest = _read_json(folder / MANIFEST)
    schema = manifest.get("schema")
    if schema != SCHEMA:
        raise RunError(f"{folder} was written with manifest schema {schema}; this tfransfer reads {SCHEMA}. Update it.")
    for key in ("classes", "plan", "data"):
        if key not in manifest:
            raise RunError(f"{folder / MANIFEST} is damaged: {key!r} is missing.")
    return manifest


def load_run(folder: str | Path, trust: bool = False) -> Run:
    """Open a run's folder. Its training data is not needed.

    Args:
        folder: What `train` wrote.
        trust: Whether a program inside the model's file may be loaded: a model on a TF-Hub module holds the module,
            which is a program. What was trained on this machine is trusted anyway.

    Raises:
        DataNotFoundError: There is no such folder.
        RunError: The folder holds no finished run, or one of a newer version.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if not (folder / MODEL).is_file():
        raise RunError(
            f"{folder} holds no finished run: {MODEL} is missing. Go on with the command that began it and --resume, "
            "or train anew with --overwrite."
        )
    return Run(folder, manifest, trust=trust)
