"""A model's outputs on a split, saved in the run's folder so that a report needs no data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfransfer.evaluation.map2d import flat_map
from tfransfer.evaluation.predictions import Predictions
from tfransfer.system.files import read_arrays, whole

_FEWEST = 3
# The outputs for a million examples of a hundred classes take 800 MB.
_LARGEST = 1_000_000_000


@dataclass(frozen=True)
class Answers:
    """A model's outputs on one split, with a two-dimensional map of its examples.

    Attributes:
        split: "test", or "validation" if there is no test split.
        paths: Paths of the examples, in order.
        targets: Ground truth, float32, shape (n, outputs).
        outputs: Probabilities or values, float32, shape (n, outputs).
        positions: Positions of the examples on the map, int64, shape (k,).
        points: Their coordinates, float32, shape (k, 2), in [0, 1].
        method: Method of the map: "t-SNE", "PCA", or empty if there is none.
    """

    split: str
    paths: tuple[str, ...]
    targets: np.ndarray
    outputs: np.ndarray
    positions: np.ndarray
    points: np.ndarray
    method: str = ""


def answers_of(split: str, predictions: Predictions) -> Answers:
    """The outputs to save, with a map if the predictions have features."""
    positions, points, method = np.zeros(0, np.int64), np.zeros((0, 2), np.float32), ""
    if predictions.features is not None and len(predictions.features) >= _FEWEST:
        try:
            points, method = flat_map(predictions.features)
            positions = predictions.positions
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):  # degenerate features have no map
            points = np.zeros((0, 2), np.float32)
    paths = tuple(example.path for example in predictions.examples)
    return Answers(split, paths, predictions.targets, predictions.outputs, positions, points, method)


def write_answers(path: Path, answers: Answers) -> None:
    """Write the outputs as plain arrays."""
    with whole(path) as temporary:
        np.savez_compressed(
            temporary, split=np.array(answers.split), paths=np.array(answers.paths, np.str_), targets=answers.targets,
            outputs=answers.outputs, positions=answers.positions, points=answers.points,
            method=np.array(answers.method),
        )  # fmt: skip


def read_answers(path: Path, classes: Sequence[str]) -> Answers | None:
    """Read what `write_answers` wrote; None if the file is missing, damaged, too large, or of other classes."""
    try:
        arrays = read_arrays(path, _LARGEST)
        answers = Answers(
            str(arrays["split"]), tuple(map(str, arrays["paths"])), arrays["targets"], arrays["outputs"],
            arrays["positions"], arrays["points"], str(arrays["method"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return answers if _is_sound(answers, len(classes)) else None


def _is_sound(answers: Answers, classes: int) -> bool:
    numbers, positions = (answers.targets, answers.outputs, answers.points), answers.positions
    if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in numbers):
        return False
    count = len(answers.paths)
    if not count or not answers.targets.shape == answers.outputs.shape == (count, classes):
        return False
    if positions.dtype.kind not in "iu" or positions.ndim != 1 or answers.points.shape != (len(positions), 2):
        return False
    return not len(positions) or (positions.min() >= 0 and positions.max() < count)
