"""A run: the folder of a training and the operations on it, which need no training data.

Each operation is imported when it is called, so that metrics are read without TensorFlow.
"""

from pathlib import Path
from typing import Any

from tfransfer.display.listeners import listeners
from tfransfer.display.progress import Progress, Say
from tfransfer.errors import RunError, SettingError
from tfransfer.runs.manifest import parse_manifest, read_values
from tfransfer.runs.record import Record
from tfransfer.runs.run_folder import MANIFEST, METRICS, MODEL
from tfransfer.system.files import user_path
from tfransfer.system.interface import option
from tfransfer.system.keywords import known_keywords

__all__ = ["Run", "load_run"]


class Run(Record):
    """A trained model with its records and the operations on it; see `Record`."""

    @known_keywords
    def evaluate(
        self,
        data: Any = None,
        *,
        predictions: bool = False,
        precision: float | None = None,
        progress: Progress | bool | None = None,
        say: Say | None = None,
    ) -> dict[str, Any]:
        """Evaluate the model; see `tfransfer.evaluate`."""
        from tfransfer.runs.evaluation import evaluate_run  # here, because it imports TensorFlow

        return evaluate_run(self, data, predictions, precision, *listeners(progress, say))

    @known_keywords
    def predict(self, pictures: Any, *, top: int = 5, batch: int = 32) -> Any:
        """Classify pictures or texts; see `tfransfer.predict`."""
        from tfransfer.runs.prediction import predict_inputs_of  # here, because it imports TensorFlow

        return predict_inputs_of(self, pictures, top, batch)

    @known_keywords
    def predict_proba(self, pictures: Any, *, batch: int = 32) -> Any:
        """Probabilities of all classes, for pictures or texts; see `tfransfer.predict_proba`."""
        from tfransfer.runs import prediction  # here, because it imports TensorFlow

        return prediction.predict_proba(self, pictures, batch)

    @known_keywords
    def embed(self, pictures: Any, *, batch: int = 32) -> Any:
        """Features of pictures or texts; see `tfransfer.embed`."""
        from tfransfer.runs import prediction  # here, because it imports TensorFlow

        return prediction.embed(self, pictures, batch)

    @known_keywords
    def export(
        self,
        *formats: str,
        max_drop: float | None = None,
        max_size: float | str | None = None,
        max_latency: float | None = None,
        progress: Progress | bool | None = None,
        say: Say | None = None,
    ) -> Any:
        """Export the model; see `tfransfer.export`."""
        from tfransfer.exports.budget import Budget, parse_size  # here, because exports import TensorFlow
        from tfransfer.exports.formats import require_formats
        from tfransfer.exports.table import ExportList
        from tfransfer.runs.handover import export_run

        if not formats:
            raise SettingError("export needs at least one format, for example tflite.")
        require_formats(formats)
        size = parse_size(max_size) if isinstance(max_size, str) else max_size
        limits = Budget(max_drop, size, max_latency)
        progress, say = listeners(progress, say)
        return ExportList(export_run(self, formats, say, limits, progress), self.task)

    @known_keywords
    def report(self, *, progress: Progress | bool | None = None, say: Say | None = None) -> Path:
        """Write `report.html` to the run's folder; see `tfransfer report`."""
        from tfransfer.runs.report import write_report  # here, because it imports TensorFlow

        return write_report(self, *listeners(progress, say))

    @known_keywords
    def explain(self, picture: Any, label: str | None = None) -> Any:
        """Show where the model looked on an image.

        Args:
            picture: A path, a PIL image or an array in [0, 255].
            label: The class to explain; None takes the likeliest.

        Returns:
            An object with `heat`, float32 (size, size) in [0, 1], which a notebook displays.
        """
        from tfransfer.runs import notebook  # here, because it imports TensorFlow

        return notebook.explain(self, picture, label)

    def plot_history(self) -> Any:
        """Learning curves of both phases, as a matplotlib figure that a notebook displays."""
        from tfransfer.runs import notebook  # here, because it imports TensorFlow

        return notebook.plot_history(self)

    @known_keywords
    def plot_confusion(self, split: str = "test") -> Any:
        """The confusion matrix of a split, as a matplotlib figure that a notebook displays."""
        from tfransfer.runs import notebook  # here, because it imports TensorFlow

        return notebook.plot_confusion(self, split)

    @known_keywords
    def show_mistakes(self, limit: int = 12) -> Any:
        """The worst mistakes, with images and heat maps, or texts; a notebook displays them."""
        from tfransfer.runs import notebook  # here, because it imports TensorFlow

        return notebook.show_mistakes(self, limit)

    def _repr_html_(self) -> str | None:
        from tfransfer.runs import notebook  # here, because it imports TensorFlow

        return notebook.run_html(self) if (self.folder / METRICS).is_file() else None


@known_keywords
def load_run(folder: str | Path, trust: bool = False) -> Run:
    """Open a run's folder. Its training data is not needed.

    Args:
        folder: The folder that `train` wrote.
        trust: Whether to load programs inside the model's file, such as the TF-Hub module of a model that is built on
            one. Models trained on this machine are trusted anyway.

    Returns:
        The run.

    Raises:
        DataNotFoundError: The folder does not exist.
        RunError: It holds no finished run, or one of a newer version.
    """
    folder = user_path(folder)
    values = read_values(folder)
    if not (folder / MODEL).is_file():
        raise RunError(
            f"{folder} holds no finished run: {MODEL} is missing. Rerun the original training with "
            f"{option('resume', True)}, or start over with {option('overwrite', True)}."
        )
    return Run(folder, parse_manifest(values, folder / MANIFEST), trust=trust)
