"""The content of a run's folder: manifest, metrics, history, model."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfransfer.data.dataset import Dataset
from tfransfer.data.modality import MODALITIES, Modality
from tfransfer.display.numbers import number_text
from tfransfer.errors import RunError
from tfransfer.runs.checks import require_sound_history, require_sound_metrics
from tfransfer.runs.manifest import Manifest, ManifestFile, read_object
from tfransfer.runs.run_folder import HISTORY, METRICS, MODEL, REPORT
from tfransfer.system.files import read_limited
from tfransfer.system.keras_settings import require_usable_keras
from tfransfer.tasks.task import find_task

# A row for each epoch, some 200 bytes.
_LARGEST_HISTORY = 64_000_000


class Record:
    """A trained model and the records in its folder; `Run` adds the operations.

    Args:
        folder: The run's folder.
        manifest: The parsed `manifest.json`.
        data: The dataset that it was trained on, if it is in memory.
        model: The model, if it is in memory.
        trust: Whether to load programs inside the model's file, such as a TF-Hub module.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        data: Dataset | None = None,
        model: Any | None = None,
        trust: bool = False,
    ) -> None:
        self.folder, self.data, self.trust = folder, data, trust
        self._file, self._model = ManifestFile(folder, manifest), model

    @property
    def manifest(self) -> Manifest:
        """The current content of `manifest.json`, with exports made since the run was opened."""
        return self._file.read(self.folder)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the model's outputs."""
        return self.manifest.classes

    @property
    def task(self) -> str:
        """The model's task: "single-label", "multi-label" or "regression"."""
        return self.manifest.task

    @property
    def kind(self) -> str:
        """The model's input: "image" or "text"."""
        return self.manifest.data.kind

    @property
    def modality(self) -> Modality:
        """The properties of the model's kind of input."""
        return MODALITIES[self.kind]

    @property
    def thresholds(self) -> list[float] | None:
        """Multi-label models: lowest probability at which each class applies, chosen on the validation split."""
        thresholds = self.manifest.thresholds
        return None if thresholds is None else list(thresholds)

    @property
    def least_probability(self) -> float:
        """The probability below which the model abstains, as chosen by `evaluate`; 0 if it never does."""
        abstention = self.manifest.abstention
        return 0.0 if abstention is None else abstention.threshold

    @property
    def image_size(self) -> int:
        """Side of the model's input in pixels; 0 for texts."""
        return self.manifest.plan.image_size

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`: for each split, top1, log_loss and more."""
        metrics = read_object(self.folder / METRICS)
        with self._damage_in(METRICS):
            require_sound_metrics(metrics, self.task, self.classes)
        return metrics

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of `history.csv`: `phase` is a text, `epoch` an int from 1, all else floats, None where missing."""
        with self._damage_in(HISTORY):
            content = read_limited(self.folder / HISTORY, _LARGEST_HISTORY).decode("utf-8")
            rows = list(csv.DictReader(io.StringIO(content, newline="")))
            require_sound_history(rows)
        return [{name: _number(name, text) for name, text in row.items()} for row in rows]

    @contextmanager
    def _damage_in(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise RunError(f"{self.folder / name} is missing: the run is not finished.") from error
        except (ValueError, csv.Error) as error:
            raise RunError(f"{self.folder / name} is damaged: {str(error).rstrip('.')}.") from error

    @property
    def model(self) -> Any:
        """A plain keras.Model: pixels or strings to probabilities or values.

        Pixels are float32 (batch, size, size, 3) in [0, 255], strings (batch,); probabilities are (batch, classes),
        values of a regression (batch, 1).
        """
        if self._model is None:
            require_usable_keras()
            from tfransfer.base.loading import load_model  # here, so that metrics are read without TensorFlow

            model = load_model(self.folder / MODEL, self.trust)
            self._require_shape(model)
            self._model = model
        return self._model

    def _require_shape(self, model: Any) -> None:
        """Check that a model's input and output are those of the manifest."""
        size, classes = self.image_size, len(self.classes)
        side = (size, size, 3) if self.modality.has_pixels else ()
        shapes = [tuple(tensor.shape[1:]) for tensor in (*model.inputs, *model.outputs)]
        if shapes != [side, (classes,)]:
            raise RunError(
                f"{self.folder / MODEL} and the manifest do not belong together: the model's input and output are "
                f"{', '.join(map(str, shapes))}, the manifest has {side} and {classes} classes."
            )

    @property
    def reported(self) -> bool:
        """Whether there is a report; some exports may be newer than it."""
        return (self.folder / REPORT).is_file()

    def __repr__(self) -> str:
        try:
            test = self.metrics.get("test", {})
        except RunError:  # missing or damaged: `metrics` says so
            test = {}
        task = find_task(self.task)
        value = test.get(task.main.key)
        scored = f", test {task.main.title} {number_text(value)}" if isinstance(value, int | float) else ""
        what = task.in_words(self.classes)
        return f"{type(self).__name__}({str(self.folder)!r}: {self.manifest.plan.base}, {what}{scored})"


def _number(column: str, text: str) -> Any:
    """A cell of `history.csv` as a value."""
    if column == "phase":
        return text
    return None if not text else int(float(text)) if column == "epoch" else float(text)
