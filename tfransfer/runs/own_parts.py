"""The user's own model, loss, metrics and callbacks, checked before anything is trained or written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfransfer.display.progress import Say
from tfransfer.errors import SettingError, did_you_mean
from tfransfer.evaluation.predictions import Predictions
from tfransfer.methods.losses import as_loss
from tfransfer.system.keras_settings import require_usable_keras
from tfransfer.tasks.task import CROSS_VALIDATED, Task
from tfransfer.training.loop import LOGGED, keeps_state
from tfransfer.training.phases import CallbackFactory

# Whether the lower or the higher value of a logged number is better; None if that is not known.
Directions = Mapping[str, str | None]
# Examples per update of a metric.
_BATCH = 1024
_RECORDED = ("n", "interval", "per_class", "confusion_matrix", "abstention", "epoch", "phase", CROSS_VALIDATED)
_MONITORS = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau, keras.callbacks.ModelCheckpoint)


@dataclass(frozen=True, kw_only=True)
class OwnParts:
    """The user's own model, loss, metrics and callbacks; see `pipeline.train`.

    Attributes:
        model: A keras.Model as base, or None.
        loss: A Keras loss in place of the task's.
        metrics: Builds additional Keras metrics.
        callbacks: Builds new Keras callbacks from a phase's name.
    """

    model: Any = None
    loss: Any = None
    metrics: Callable[[], Any] | None = None
    callbacks: Callable[[str], Any] | None = None

    def new_metrics(self) -> list[Any]:
        """New metrics of the user.

        Raises:
            SettingError: The function does not return Keras metrics.
        """
        return [] if self.metrics is None else _listed(self.metrics, (), "metrics", keras.metrics.Metric)


def require_usable(own: OwnParts) -> None:
    """Check what can be known without the data.

    Raises:
        SettingError: Metrics or callbacks are no functions that return new ones, the loss or a metric expects class
            numbers or logits, or Keras is set up for another backend.
    """
    require_usable_keras()
    for name, value in {"metrics": own.metrics, "callbacks": own.callbacks}.items():
        if value is not None and not callable(value):
            raise SettingError(
                f"{name} must be a function that returns new ones, because each phase needs its own; "
                f"it is a {type(value).__name__}. Write lambda{' phase' if name == 'callbacks' else ''}: [...]."
            )
    for what, part in [("loss", as_loss(own.loss)), *(("metric", metric) for metric in own.new_metrics())]:
        if "sparse" in f"{type(part).__name__} {getattr(part, 'name', '')}".lower():
            raise SettingError(
                f"the {what} {part.name!r} expects class numbers, but targets are one-hot, (batch, classes): use "
                f"{_without_sparse(part.name)!r}, which is {_class_of(part)} in Keras."
            )
        if _config(part).get("from_logits"):
            raise SettingError(
                f"the {what} {part.name!r} has from_logits=True, but the model's outputs are probabilities: leave "
                "from_logits out."
            )


def _without_sparse(name: str) -> str:
    return name.replace("sparse_", "")


def _class_of(part: Any) -> str:
    return "".join(word.title() for word in _without_sparse(part.name).split("_"))


def _config(part: Any) -> dict[str, Any]:
    try:
        return dict(part.get_config())
    except Exception:  # noqa: BLE001  a user's class need not have a config
        return {}


def _listed(make: Callable[..., Any], arguments: tuple[Any, ...], name: str, kind: type) -> list[Any]:
    """The objects that a user's function returns; a single one, or None, becomes a list."""
    call = f"{name}({', '.join(map(repr, arguments))})"
    try:
        given = make(*arguments)
    except TypeError as error:
        raise SettingError(f"{call} cannot be called: {error}.") from error
    listed = [] if given is None else [given] if isinstance(given, kind) else given
    wrong = next((one for one in listed if not isinstance(one, kind)), None) if _is_list(listed) else given
    if wrong is not None:
        measured = " The accuracy top1 is always measured." if kind is keras.metrics.Metric else ""
        raise SettingError(
            f"{name} must return a list of Keras {name}; it returned {wrong!r}: give objects of classes in "
            f"keras.{name}.{measured}"
        )
    return list(listed)


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | type)


def require_own_parts(own: OwnParts, task: Task, classes: int) -> Directions:
    """Compute the loss and the metrics once, on two examples.

    Args:
        own: The user's parts.
        task: The task of the data.
        classes: Number of outputs.

    Returns:
        The names of all numbers that callbacks see, each "min" or "max" where that is known.

    Raises:
        SettingError: They cannot be computed, or a metric has a name that is taken or more than one value.
    """
    targets, outputs = np.eye(2, classes, dtype=np.float32), np.full((2, classes), 1 / classes, np.float32)
    loss, own_metrics = as_loss(own.loss), own.new_metrics()
    if loss is not None:
        _compute(lambda: float(loss(targets, outputs)), "loss", loss.name)
    directions: dict[str, str | None] = {"loss": "min"}
    # Other keys of a run's metrics and columns of its history.
    recorded = {figure.key for figure in task.figures} | {*_RECORDED, *LOGGED}
    for metric in [*task.metrics(), *own_metrics]:
        if metric.name in directions or (metric in own_metrics and metric.name in recorded):
            raise SettingError(f"the metric {metric.name!r} is already measured: give it another name, name='...'.")
        found = {"up": "max", "down": "min"}.get(getattr(metric, "_direction", ""))
        directions[metric.name] = "max" if metric.name == task.headline else found
    for metric in own_metrics:
        size = _compute(partial(_size, metric, targets, outputs), "metric", metric.name)
        if size != 1:
            raise SettingError(
                f"metric {metric.name!r} returns {size} numbers; it must return one: set, for example, average='macro'."
            )
    return directions | {f"val_{name}": way for name, way in directions.items()} | dict.fromkeys(LOGGED)


def _size(metric: Any, targets: np.ndarray, outputs: np.ndarray) -> int:
    return int(np.size(metric(targets, outputs)))


def _compute(compute: Callable[[], Any], what: str, name: str) -> Any:
    try:
        return compute()
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise SettingError(
            f"the {what} {name!r} cannot be computed from targets and outputs of shape (batch, classes): {reason}"
        ) from error


def own_figures(metrics: Callable[[], list[Any]] | None, predicted: Predictions) -> dict[str, float]:
    """The user's metrics on a split, by name."""
    values = {}
    for metric in metrics() if metrics else ():
        for start in range(0, len(predicted.targets), _BATCH):
            rows = slice(start, start + _BATCH)
            metric.update_state(predicted.targets[rows], predicted.outputs[rows])
        values[metric.name] = float(np.asarray(keras.ops.convert_to_numpy(metric.result())).reshape(()))
    return values


def own_callbacks(make: Callable[[str], Any] | None, directions: Directions, phases: Sequence[str]) -> CallbackFactory:
    """The user's callbacks for each phase, built and checked now: the last phase's must not fail hours later.

    Args:
        make: The user's function, from a phase's name to callbacks.
        directions: From `require_own_parts`.
        phases: The phases that will run.

    Returns:
        Gives these callbacks at a phase's first call, and new ones if the phase has to begin again.

    Raises:
        SettingError: The function returns something else, or a callback monitors what is not measured.
    """

    def build(phase: str) -> list[Any]:
        callbacks = _listed(make, (phase,), "callbacks", keras.callbacks.Callback) if make else []
        for callback in callbacks:
            if isinstance(callback, _MONITORS):
                _choose_direction(callback, directions)
        return callbacks

    built = {phase: build(phase) for phase in phases}
    return lambda phase: built.pop(phase) if phase in built else build(phase)


def _choose_direction(callback: Any, directions: Directions) -> None:
    """Set the mode of a callback that leaves it open: Keras infers it for the metrics of `compile` only."""
    name, monitored = type(callback).__name__, callback.monitor
    if monitored not in directions:
        raise SettingError(
            f"{name} monitors {monitored!r}, which is not measured; measured are {', '.join(directions)}."
            f"{did_you_mean(monitored, directions)}"
        )
    if getattr(callback, "mode", "") != "auto":
        return
    way = directions[monitored]
    # Old versions of ModelCheckpoint choose as they are built, by a name that contains "acc".
    if way is None or (way == "max" and not hasattr(callback, "_set_monitor_op") and not hasattr(callback, "_reset")):
        raise SettingError(
            f"{name} monitors {monitored!r}, and whether lower or higher is better is not known: give mode='min' or "
            "mode='max'."
        )
    callback.mode = way


def callback_factory(own: CallbackFactory, logs: Path | None, resumed: bool, say: Say) -> CallbackFactory:
    """The user's callbacks and TensorBoard's, for each phase; warns of those that a resumed run cannot restore.

    Args:
        own: From `own_callbacks`.
        logs: The folder of TensorBoard's logs; None writes none.
        resumed: Whether the run is resumed.
        say: Called with a warning on callbacks without a state.
    """

    def make(phase: str) -> Sequence[Any]:
        callbacks = list(own(phase))
        stateless = [type(callback).__name__ for callback in callbacks if not keeps_state(callback)]
        if resumed and stateless:
            say(f"warning: {', '.join(stateless)} have no state() and restore(), so they start over in a resumed run")
        if logs is not None:
            callbacks.append(keras.callbacks.TensorBoard(str(logs / phase), write_graph=False))
        return callbacks

    return make
