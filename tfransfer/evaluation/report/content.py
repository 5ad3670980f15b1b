"""The content of a report as plain values."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfransfer.evaluation.answers import Answers
from tfransfer.tasks.prediction import Mistake


@dataclass(frozen=True)
class Shown:
    """One mistake in the report.

    Attributes:
        mistake: The ground truth and the prediction.
        name: Path of the file, or name of the text.
        text: The text, if the example is one and available.
        pixels: The image, uint8 (size, size, 3), if it is available.
        heat: The heat map, float32 (size, size) in [0, 1], if there is one.
    """

    mistake: Mistake
    name: str
    text: str | None = None
    pixels: np.ndarray | None = None
    heat: np.ndarray | None = None


@dataclass(frozen=True)
class Content:
    """The content of a report as plain values.

    Attributes:
        manifest: Content of `manifest.json`.
        metrics: Content of `metrics.json`.
        history: Rows of `history.csv`.
        recipe: Text of `recipe.toml`.
        issues: Issues in the data: rows with kind, path, detail and set_aside, "true" or "false".
        folder: Name of the run's folder.
        answers: The model's outputs; None if they are not known.
        shown: The worst mistakes.
        heat_method: Method of the heat maps.
        missing: Why no images or texts are shown; empty if they are.
        odd: Images of the first finding of each kind, uint8 (size, size, 3).
        signatures: What the exported files take and give: `columns` and `rows` of a table, `words` that explain it.
        split: The split that the report is about.
    """

    manifest: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    recipe: str
    issues: list[dict[str, str]]
    folder: str
    answers: Answers | None = None
    shown: tuple[Shown, ...] = ()
    heat_method: str = ""
    missing: str = ""
    odd: dict[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    signatures: dict[str, list[Any]] = field(default_factory=dict)
    split: str = field(init=False)

    def __post_init__(self) -> None:
        preferred = self.answers.split if self.answers else "test"
        object.__setattr__(self, "split", preferred if preferred in self.metrics else next(iter(self.metrics), ""))
