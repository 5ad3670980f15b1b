"""The content of a run's folder: manifest, metrics, history, model."""

import csv
from pathlib import Path
from typing import Any

from tfransfer.data.dataset import Dataset
from tfransfer.data.modality import MODALITIES, Modality
from tfransfer.display.numbers import number_text
from tfransfer.errors import RunError
from tfransfer.runs.manifest import Manifest, ManifestFile, read_object
from tfransfer.runs.run_folder import HISTORY, METRICS, MODEL, REPORT
from tfransfer.tasks.task import find_task


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
        if not all(isinstance(of_split, dict) for of_split in metrics.values()):
            raise RunError(f"{self.folder / METRICS} is damaged: expected an object for each split.")
        return metrics

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

        Pixels are float32 (batch, size, size, 3) in [0, 255], strings (batch,); probabilities are (batch, classes),
        values of a regression (batch, 1).
        """
        if self._model is None:
            from tfransfer.base.loading import load_model  # here, so that metrics are read without TensorFlow

            self._model = load_model(self.folder / MODEL, self.trust)
        return self._model

    @property
    def reported(self) -> bool:
        """Whether there is a report; some exports may be newer than it."""
        return (self.folder / REPORT).is_file()

    def __repr__(self) -> str:
        test = self.metrics.get("test", {}) if (self.folder / METRICS).is_file() else {}
        task = find_task(self.task)
        value = test.get(task.main.key)
        scored = f", test {task.main.title} {number_text(value)}" if isinstance(value, int | float) else ""
        what = task.in_words(self.classes)
        return f"{type(self).__name__}({str(self.folder)!r}: {self.manifest.plan.base}, {what}{scored})"
