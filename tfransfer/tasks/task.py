"""The base class of tasks, with everything specific to a task, and the registry of all tasks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tfransfer.errors import SettingError, did_you_mean
from tfransfer.tasks.figure import EXAMPLES, Figure
from tfransfer.tasks.labels import SEPARATOR, Labelled, Target, Unusable
from tfransfer.tasks.prediction import Mistake, Prediction

SINGLE_LABEL, MULTI_LABEL, REGRESSION = "single-label", "multi-label", "regression"
PROBABILITIES, VALUES = "probabilities", "values"

# In `metrics.json`, beside a split's own metrics.
CROSS_VALIDATED = "cross_validated_head"


class Task(ABC):
    """The prediction task of a model, and everything specific to it.

    A new task is one subclass and one call of `register`; nothing outside of `tasks/` depends on a task's name.
    Throughout, `targets` and `outputs` are float32 (n, outputs): the ground truth as training sees it, and the model's
    outputs.

    Attributes:
        name: Its name in manifests and `--task`.
        output: Name of the model's output: "probabilities" or "values".
        has_classes: Whether each output stands for a class.
        one_class: Whether each example has exactly one class.
        several: Whether several classes may apply to an example.
        calibrates: Whether outputs are probabilities that temperature scaling can calibrate.
        unnamed: Default names of the outputs, for data without names.
        figures: The metrics of a split, most important first; the first one is the headline of a run.
        class_figures: The metrics of each class.
        epoch_figure: The counterpart of the headline in `history.csv` and in a phase's validation metrics.
        class_key: The metric of a class by which exported files are compared; empty without classes.
        same_title: Title of the column that counts the examples on which an exported file agrees.
        answer: The model's output in words, for the model card.
        limits: Sentences for the model card.
        mistakes_title: Title of the report's section on mistakes.
        heat_meaning: The meaning of bright areas in a heat map: a predicate in the plural.
    """

    name: ClassVar[str]
    output: ClassVar[str] = PROBABILITIES
    has_classes: ClassVar[bool] = True
    one_class: ClassVar[bool] = False
    several: ClassVar[bool] = False
    calibrates: ClassVar[bool] = True
    unnamed: ClassVar[tuple[str, ...]] = ()
    figures: ClassVar[tuple[Figure, ...]]
    class_figures: ClassVar[tuple[Figure, ...]] = ()
    epoch_figure: ClassVar[Figure]
    class_key: ClassVar[str] = ""
    same_title: ClassVar[str] = "same"
    answer: ClassVar[str]
    limits: ClassVar[tuple[str, ...]] = ()
    mistakes_title: ClassVar[str] = "Worst mistakes"
    heat_meaning: ClassVar[str] = "are evidence for the predicted class"

    @property
    def main(self) -> Figure:
        """The headline of a run: its model's main metric; higher is better."""
        return self.figures[0]

    @property
    def headline(self) -> str:
        """Key of the metric that selects between epochs and between phases; higher is better."""
        return self.epoch_figure.key

    @property
    def share(self) -> bool:
        """Whether that metric is a share of examples, so that its standard error is known."""
        return self.epoch_figure.share

    # The model.

    def fitted(self, targets: np.ndarray) -> "Task":
        """The task with its parameters estimated from the training targets."""
        return self

    @abstractmethod
    def output_layer(self) -> Any:
        """A new float32 Keras layer from logits to outputs, named as the output."""

    @abstractmethod
    def loss(self, label_smoothing: float) -> Any:
        """A Keras loss, or a function of (targets, outputs); label smoothing is in [0, 1)."""

    @abstractmethod
    def metrics(self) -> list[Any]:
        """New Keras metrics for the progress display and `history.csv`; one of them is named `headline`."""

    # Labels.

    @abstractmethod
    def read_cell(self, cell: str, place: str, column: str, separator: str) -> Target | Unusable:
        """Parse the target in a cell of a table.

        Args:
            cell: Text of the cell, stripped.
            place: File and line of the cell, for error messages.
            column: Column of the cell, for error messages.
            separator: Separator of several classes.

        Raises:
            DataError: The cell holds no valid target.
        """

    @abstractmethod
    def output_names(self, targets: Sequence[Target | Unusable], column: str) -> tuple[str, ...]:
        """Names of the outputs, in order, from the targets in a table's label column."""

    @abstractmethod
    def from_record(self, value: Any, classes: Sequence[str]) -> Target | None:
        """The target in the label of a TensorFlow Datasets record; None if it is unknown."""

    @abstractmethod
    def encode(self, target: Target, positions: dict[str, int]) -> tuple[int, tuple[float, ...]]:
        """The label and the numeric target of an example; `positions` holds the index of each class."""

    def class_names(self, example: Labelled, classes: Sequence[str]) -> list[str]:
        """The classes of an example; in a regression, the name of the number."""
        return [classes[example.label]]

    def label_text(self, example: Labelled, classes: Sequence[str]) -> str:
        """An example's label as written to tables."""
        return SEPARATOR.join(self.class_names(example, classes))

    @abstractmethod
    def target_text(self, target: np.ndarray, classes: Sequence[str]) -> str:
        """A row of targets, (outputs,), as written to tables."""

    def targets(self, examples: Sequence[Labelled], classes: Sequence[str]) -> np.ndarray:
        """The examples' targets as training sees them: float32, shape (n, outputs)."""
        return np.array([example.target for example in examples], np.float32).reshape(len(examples), len(classes))

    def strata(self, classes: Sequence[str]) -> Sequence[str]:
        """The strata that each split must contain; one without a name if there are none."""
        return ("",)

    def nothing_to_learn(self, name: str, examples: Sequence[Labelled]) -> str:
        """Why a model cannot learn from these examples, apart from classes without examples; empty if it can."""
        return ""

    # Scores.

    @abstractmethod
    def score(
        self,
        targets: np.ndarray,
        outputs: np.ndarray,
        classes: Sequence[str],
        thresholds: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """All metrics of one split as plain values: n, those of `figures`, and per_class if there are classes."""

    def choose_thresholds(self, targets: np.ndarray, outputs: np.ndarray) -> list[float] | None:
        """A threshold for each output, chosen on the validation split; None if the task has none."""
        return None

    @abstractmethod
    def read(
        self, name: str, output: np.ndarray, classes: Sequence[str], *,
        thresholds: Sequence[float] = (), top: int = 5, least: float = 0.0,
    ) -> Prediction:  # fmt: skip
        """The prediction for one row of the model's outputs, (outputs,).

        Args:
            name: Name of the example.
            output: The row.
            classes: Names of the outputs.
            thresholds: One per output, if the task has them.
            top: Number of likeliest classes to return.
            least: The probability below which the model abstains.
        """

    def wrong(
        self, targets: np.ndarray, outputs: np.ndarray, thresholds: Sequence[float] | None = None
    ) -> np.ndarray | None:
        """Which predictions are wrong: bool (n,); None for a task with errors of any size."""
        return None

    @abstractmethod
    def most_wrong(
        self,
        targets: np.ndarray,
        outputs: np.ndarray,
        classes: Sequence[str],
        thresholds: Sequence[float] | None = None,
        limit: int = 12,
    ) -> list[Mistake]:
        """At most `limit` mistakes, the worst first."""

    def confidence(self, targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Probabilities and whether each is correct, both (k,), for a reliability diagram; None without them."""
        return None

    def numbers(self, targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """True and predicted numbers, both (n,), for a scatter plot; None for a task without numbers."""
        return None

    def groups(self, targets: np.ndarray) -> np.ndarray:
        """The class of each example on a map, int (n,); all 0 unless each example has exactly one."""
        return np.zeros(len(targets), int)

    def interval(
        self, value: float, n: int, targets: np.ndarray | None, outputs: np.ndarray | None
    ) -> tuple[float, float] | None:
        """The 95% interval of the headline: Wilson's for a share, else a bootstrap; None if it is not available.

        Args:
            value: Value of the headline.
            n: Number of examples.
            targets: Targets of the split, if they are known.
            outputs: Outputs on the split, if they are known.
        """
        from tfransfer.tasks import intervals  # here, so that `tfransfer --help` starts without SciPy

        if self.main.share:
            return intervals.wilson(round(value * n), n)
        if targets is None or outputs is None:
            return None
        true, predicted = targets.astype(np.float64), outputs.astype(np.float64)
        return intervals.bootstrap(len(true), lambda drawn: self.drawn_figure(true[drawn], predicted[drawn]))

    def drawn_figure(self, targets: np.ndarray, outputs: np.ndarray) -> float | None:
        """The headline on a bootstrap resample, computed fast; needed unless the headline is a share."""
        return None

    # Probabilities, for tasks that have them.

    def logits(self, outputs: np.ndarray, floor: float) -> np.ndarray:
        """Logits, float64, of probabilities that are clipped to at least `floor`."""
        raise NotImplementedError(f"{self.name} has no probabilities")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities, float64, of logits."""
        raise NotImplementedError(f"{self.name} has no probabilities")

    def log_loss(self, targets: np.ndarray, outputs: np.ndarray, floor: float) -> float:
        """Mean log loss in nats of probabilities that are clipped to at least `floor`."""
        raise NotImplementedError(f"{self.name} has no probabilities")

    # Comparison of an exported file's outputs with the model's, both (n, outputs).

    def magnitude(self, expected: np.ndarray) -> float:
        """The scale of the outputs; tolerances are multiples of it."""
        return 1.0

    def same(self, answer: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Whether both lead to the same decision: bool (n,)."""
        return np.ones(len(answer), bool)

    def clear(self, expected: np.ndarray, margin: float) -> np.ndarray:
        """Whether each decision is further than `margin` from changing: bool (n,)."""
        return np.ones(len(expected), bool)

    def likeness(self, answer: np.ndarray, expected: np.ndarray) -> float:
        """How well a quantized file's outputs agree with the model's, 1 for full agreement."""
        return float(self.same(answer, expected).mean())

    # A linear head on features, for a cross-validated figure.

    has_linear_head: ClassVar[bool] = False

    def linear_outputs(self, features: np.ndarray, targets: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Outputs of a regularized linear head for features that it was not fitted on.

        Args:
            features: Standardized, float, shape (n, d).
            targets: float32, shape (n, outputs).
            held_out: Standardized features, shape (m, d).

        Returns:
            float64, shape (m, outputs).
        """
        raise NotImplementedError(f"{self.name} has no linear head")

    # Words and tables.

    def split_table(self, metrics: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
        """Header and rows of a table with a row for each split, from the content of `metrics.json`."""
        known = [one for one in (EXAMPLES, *self.figures) if any(one.key in scored for scored in metrics.values())]
        header = ["split", *(one.title for one in known)]
        rows = [[split, *(scored.get(one.key) for one in known)] for split, scored in metrics.items()]
        if self.main in known and any("interval" in scored for scored in metrics.values()):
            place = known.index(self.main) + 2
            header.insert(place, "95% interval")
            for row, scored in zip(rows, metrics.values(), strict=True):
                row.insert(place, self.interval_text(scored.get("interval")))
        return header, rows

    def cross_validated_text(self, figure: dict[str, Any], n: int, split: str) -> str:
        """What the head's cross-validated figure says, in a sentence.

        Args:
            figure: `metrics.json`'s `cross_validated_head` of a split.
            n: Number of examples of the split.
            split: Its name.
        """
        interval = self.interval_text(figure.get("interval"))
        return (
            f"{n} {split} examples tell little: cross-validated over all {figure['n']:,}, the head alone (before "
            f"fine-tuning) reaches {self.main.title} {self.main.text(figure[self.main.key])}"
            f"{f' (95% interval {interval})' if interval else ''}"
        )

    def interval_text(self, interval: Sequence[float] | None) -> str:
        """An interval of the headline, for example `0.72 to 0.97`; empty if there is none."""
        if interval is None or interval[0] == interval[1]:
            return ""
        return " to ".join(map(self.main.text, interval))

    def class_table(self, per_class: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
        """Header and rows of a table with a row for each class, from a split's per-class metrics."""
        rows = [[name, *(scored.get(one.key) for one in self.class_figures)] for name, scored in per_class.items()]
        return ["class", *(one.title for one in self.class_figures)], rows

    def in_words(self, classes: Sequence[str]) -> str:
        """What is predicted, for example `3 classes`."""
        return f"{len(classes)} classes"

    @abstractmethod
    def aim(self, classes: Sequence[str]) -> str:
        """What the model was trained for, for example `to tell 3 classes apart`."""

    def headline_words(self, n: int, split: str, noun: str) -> str:
        """The meaning of the headline's value, for example `R2 on 60 test photos`."""
        return f"{self.main.title} on {n:,} {split} {noun}"


TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Register a task for data, runs and the command line.

    Raises:
        SettingError: The name is taken.
    """
    if task.name in TASKS:
        raise SettingError(f"a task {task.name!r} is already registered.")
    TASKS[task.name] = task
    return task


def find_task(name: str) -> Task:
    """Find a task by name.

    Raises:
        SettingError: There is no such task.
    """
    if name not in TASKS:
        raise SettingError(f"task must be {', '.join(TASKS)}; it is {name!r}.{did_you_mean(name, TASKS)}")
    return TASKS[name]


def task_of(manifest: dict[str, Any]) -> Task:
    """The task of a run from its manifest; single-label in the oldest manifests, which have none."""
    return find_task(manifest.get("task", SINGLE_LABEL))


def metric_name(key: str) -> str:
    """The title of a metric in `metrics.json` or `history.csv`."""
    titles = {f.key: f.title for task in TASKS.values() for f in (*task.figures, *task.class_figures)}
    return titles.get(key, key.replace("_", " "))
