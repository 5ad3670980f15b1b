"""Everything that a task decides, as one class that each task fills in, and the list of all tasks."""

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


class Task(ABC):
    """What a model is to predict, and all that follows from it.

    A further task is one subclass and one call of `register`; nothing outside of `tasks/` knows a task by its name.
    Throughout, `targets` and `outputs` are float32 (n, outputs): the ground truth as training sees it, and what the
    model gives.

    Attributes:
        name: As manifests and `--task` have it.
        output: What the model's output is called: "probabilities" or "values".
        has_classes: Whether each output stands for a class.
        one_class: Whether each example has exactly one class.
        several: Whether several classes may apply to an example.
        calibrates: Whether outputs are probabilities that a temperature can correct.
        unnamed: Names of the outputs where the data names none.
        figures: The scores of a split, most important first; the first one is the headline of a run.
        class_figures: The scores of each class.
        epoch_figure: What stands for the headline in `history.csv` and in a phase's validation figures.
        class_key: The score of a class by which exported files are compared; empty without classes.
        same_title: Head of the column that counts on how many examples an exported file agrees.
        answer: What the model gives, for the model card.
        limits: Sentences for the model card.
        mistakes_title: Head of the report's section on mistakes.
        heat_meaning: What the bright parts of a heat map did.
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
    mistakes_title: ClassVar[str] = "What it got most wrong"
    heat_meaning: ClassVar[str] = "spoke for it"

    @property
    def main(self) -> Figure:
        """The headline of a run: how good its model is, in one figure; more is better."""
        return self.figures[0]

    @property
    def headline(self) -> str:
        """Key of the metric of an epoch that decides between epochs and phases; more is better."""
        return self.epoch_figure.key

    @property
    def share(self) -> bool:
        """Whether that metric is a share of examples, whose standard error is known."""
        return self.epoch_figure.share

    # The model.

    def fitted(self, targets: np.ndarray) -> "Task":
        """The same task with what it takes from the training targets."""
        return self

    @abstractmethod
    def output_layer(self) -> Any:
        """A fresh float32 Keras layer from logits to outputs, named as the output."""

    @abstractmethod
    def loss(self, label_smoothing: float) -> Any:
        """A Keras loss, or a function of (targets, outputs); label smoothing is in [0, 1)."""

    @abstractmethod
    def metrics(self) -> list[Any]:
        """Fresh Keras metrics for the progress display and `history.csv`; one is named `headline`."""

    # Labels.

    @abstractmethod
    def read_cell(self, cell: str, place: str, column: str, separator: str) -> Target | Unusable:
        """The target in a cell of a table.

        Args:
            cell: Without spaces around it.
            place: Of the line, for messages.
            column: Of the cell, for messages.
            separator: Between several classes.

        Raises:
            DataError: It holds something else than the task allows.
        """

    @abstractmethod
    def output_names(self, targets: Sequence[Target | Unusable], column: str) -> tuple[str, ...]:
        """Names of the outputs, in order, from the targets of a table's label column."""

    @abstractmethod
    def from_record(self, value: Any, classes: Sequence[str]) -> Target | None:
        """The target in a number or numbers of a TensorFlow Datasets record; None where it is unknown."""

    @abstractmethod
    def encode(self, target: Target, positions: dict[str, int]) -> tuple[int, tuple[float, ...]]:
        """A target as an example's label and target; `positions` holds the index of each class."""

    def class_names(self, example: Labelled, classes: Sequence[str]) -> list[str]:
        """The classes that an example counts for; of a number, its name."""
        return [classes[example.label]]

    def label_text(self, example: Labelled, classes: Sequence[str]) -> str:
        """An example's label as tables hold it."""
        return SEPARATOR.join(self.class_names(example, classes))

    @abstractmethod
    def target_text(self, target: np.ndarray, classes: Sequence[str]) -> str:
        """A row of targets, (outputs,), as tables hold it."""

    def targets(self, examples: Sequence[Labelled], classes: Sequence[str]) -> np.ndarray:
        """Ground truth of examples as training sees it: float32, shape (n, outputs)."""
        return np.array([example.target for example in examples], np.float32).reshape(len(examples), len(classes))

    def strata(self, classes: Sequence[str]) -> Sequence[str]:
        """The groups of which each is in every split; one without a name where labels make none."""
        return ("",)

    def nothing_to_learn(self, name: str, examples: Sequence[Labelled]) -> str:
        """Why these examples teach nothing, besides classes without examples; empty where they do."""
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
        """All metrics of one split as plain values: n, those of `figures`, and per_class where there are classes."""

    def choose_thresholds(self, targets: np.ndarray, outputs: np.ndarray) -> list[float] | None:
        """A threshold for each output, chosen on the validation split; None where the task has none."""
        return None

    @abstractmethod
    def read(
        self, name: str, output: np.ndarray, classes: Sequence[str], *,
        thresholds: Sequence[float] = (), top: int = 5, least: float = 0.0,
    ) -> Prediction:  # fmt: skip
        """What one row of the model's output, (outputs,), means.

        Args:
            name: Of the example.
            output: The row.
            classes: Names of the outputs.
            thresholds: One per output, where the task has them.
            top: How many of the likeliest classes to give.
            least: The probability below which the model is not sure.
        """

    def wrong(
        self, targets: np.ndarray, outputs: np.ndarray, thresholds: Sequence[float] | None = None
    ) -> np.ndarray | None:
        """Which examples are not all right: bool (n,); None where there is no right and wrong, only distance."""
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
        """The examples that a model got wrong, the worst first; at most `limit`."""

    def confidence(self, targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Probabilities and whether each was right, both (k,), for a reliability diagram; None without them."""
        return None

    def numbers(self, targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """True and predicted numbers, both (n,), for a scatter plot; None where nothing is measured."""
        return None

    def groups(self, targets: np.ndarray) -> np.ndarray:
        """The class of each example on a map, int (n,); 0 for all where an example has not exactly one."""
        return np.zeros(len(targets), int)

    def interval(
        self, value: float, n: int, targets: np.ndarray | None, outputs: np.ndarray | None
    ) -> tuple[float, float] | None:
        """The 95% interval of the headline: Wilson's for a share, else a bootstrap; None where it is not available.

        Args:
            value: The headline.
            n: Examples.
            targets: Of the split, where they are known.
            outputs: Likewise.
        """
        from tfransfer.tasks import intervals  # here, so that `tfransfer --help` starts without SciPy

        if self.main.share:
            return intervals.wilson(round(value * n), n)
        if targets is None or outputs is None:
            return None
        right, said = targets.astype(np.float64), outputs.astype(np.float64)
        return intervals.bootstrap(len(right), lambda drawn: self.drawn_figure(right[drawn], said[drawn]))

    def drawn_figure(self, targets: np.ndarray, outputs: np.ndarray) -> float | None:
        """The headline of examples that a bootstrap drew, computed fast; needed where it is no share."""
        return None

    # Probabilities, where there are some.

    def logits(self, outputs: np.ndarray, floor: float) -> np.ndarray:
        """Logits, float64, that give these probabilities; one below `floor` is taken for it."""
        raise NotImplementedError(f"{self.name} has no probabilities")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities, float64, of logits."""
        raise NotImplementedError(f"{self.name} has no probabilities")

    def log_loss(self, targets: np.ndarray, outputs: np.ndarray, floor: float) -> float:
        """Mean log loss in nats; a probability below `floor` is taken for it."""
        raise NotImplementedError(f"{self.name} has no probabilities")

    # Comparison of an exported file's outputs with the model's, both (n, outputs).

    def magnitude(self, expected: np.ndarray) -> float:
        """How large outputs are: tolerances are in this unit."""
        return 1.0

    def same(self, answer: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Whether both come to the same decision: bool (n,)."""
        return np.ones(len(answer), bool)

    def clear(self, expected: np.ndarray, margin: float) -> np.ndarray:
        """Whether each decision is further than `margin` from another one: bool (n,)."""
        return np.ones(len(expected), bool)

    def likeness(self, answer: np.ndarray, expected: np.ndarray) -> float:
        """How much of what a quantized file answers is still the model, 1 for all."""
        return float(self.same(answer, expected).mean())

    # Words and tables.

    def split_table(self, metrics: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
        """Head and rows of a table with a row for each split, from what `metrics.json` holds."""
        known = [one for one in (EXAMPLES, *self.figures) if any(one.key in scored for scored in metrics.values())]
        rows = [[split, *(scored.get(one.key) for one in known)] for split, scored in metrics.items()]
        return ["split", *(one.title for one in known)], rows

    def class_table(self, per_class: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
        """Head and rows of a table with a row for each class, from what a split's metrics hold."""
        rows = [[name, *(scored.get(one.key) for one in self.class_figures)] for name, scored in per_class.items()]
        return ["class", *(one.title for one in self.class_figures)], rows

    def in_words(self, classes: Sequence[str]) -> str:
        """What is predicted: `3 classes`."""
        return f"{len(classes)} classes"

    @abstractmethod
    def aim(self, classes: Sequence[str]) -> str:
        """What the model was trained for: `to tell 3 classes apart`."""

    def headline_words(self, n: int, split: str, noun: str) -> str:
        """What stands beside the headline's value: `R2 on 60 test photos`."""
        return f"{self.main.title} on {n:,} {split} {noun}"


TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Add a task to those that data, runs and the command line know.

    Raises:
        SettingError: Another one has its name.
    """
    if task.name in TASKS:
        raise SettingError(f"there is a task {task.name!r} already.")
    TASKS[task.name] = task
    return task


def find_task(name: str) -> Task:
    """The task of a name.

    Raises:
        SettingError: There is none.
    """
    if name not in TASKS:
        raise SettingError(f"task must be {', '.join(TASKS)}; it is {name!r}.{did_you_mean(name, TASKS)}")
    return TASKS[name]


def task_of(manifest: dict[str, Any]) -> Task:
    """The task of a run, from its manifest; the oldest ones say none and are single-label."""
    return find_task(manifest.get("task", SINGLE_LABEL))


def metric_name(key: str) -> str:
    """What people call a metric of `metrics.json` or `history.csv`."""
    titles = {f.key: f.title for task in TASKS.values() for f in (*task.figures, *task.class_figures)}
    return titles.get(key, key.replace("_", " "))
