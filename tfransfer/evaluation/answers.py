"""What a model said of a split, kept in the run's folder so that a report can be made without the data."""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfransfer.evaluation.map2d import flat_map
from tfransfer.evaluation.predictions import Predictions
from tfransfer.system.files import whole

_FEWEST = 3


@dataclass(frozen=True)
class Answers:
    """A model's answers to one split.

    Attributes:
        split: "test", or "validation" where there is no test split.
        paths: Of the examples, in order.
        targets: What was right, float32, shape (n, outputs).
        outputs: Probabilities or values, float32, shape (n, outputs).
        positions: Of the examples on the flat map, int64, shape (k,).
        points: Where these lie, float32, shape (k, 2), in [0, 1].
        method: How the map was made: "t-SNE", "PCA", or empty where there is none.
    """

    split: str
    paths: tuple[str, ...]
    targets: np.ndarray
    outputs: np.ndarray
    positions: np.ndarray
    points: np.ndarray
    method: str = ""


def answers_of(split: str, said: Predictions) -> Answers:
    """What is kept of a model's answers; the map is made of their features where these were kept."""
    positions, points, method = np.zeros(0, np.int64), np.zeros((0, 2), np.float32), ""
    if said.features is not None and len(said.features) >= _FEWEST:
        try:
            points, method = flat_map(said.features)
            positions = said.positions
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):  # features that cannot be laid out have no map
            points = np.zeros((0, 2), np.float32)
    paths = tuple(example.path for example in said.examples)
    return Answers(split, paths, said.targets, said.outputs, positions, points, method)


def write_answers(path: Path, answers: Answers) -> None:
    """Write them as plain arrays."""
    with whole(path) as temporary:
        np.savez_compressed(
            temporary, split=np.array(answers.split), paths=np.array(answers.paths, np.str_), targets=answers.targets,
            outputs=answers.outputs, positions=answers.positions, points=answers.points,
            method=np.array(answers.method),
        )  # fmt: skip


def read_answers(path: Path, classes: Sequence[str]) -> Answers | None:
    """Read what `write_answers` wrote; None where it is not there, damaged, or of other classes."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            found = Answers(
                str(kept["split"]), tuple(map(str, kept["paths"])), kept["targets"], kept["outputs"],
                kept["positions"], kept["points"], str(kept["method"]),
            )  # fmt: skip
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    shape = (len(found.paths), len(classes))
    sound = found.targets.shape == found.outputs.shape == shape and len(found.positions) == len(found.points)
    return found if sound else None
