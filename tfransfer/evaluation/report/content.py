"""All that a report says, in plain values."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfransfer.evaluation.answers import Answers
from tfransfer.tasks.prediction import Mistake


@dataclass(frozen=True)
class Shown:
    """One mistake as the report shows it.

    Attributes:
        mistake: What was right and what was said.
        name: Path of the file, or name of the text.
        text: The text, where the example is one and at hand.
        pixels: uint8 (size, size, 3), where the photo is at hand.
        heat: Where the network looked, float32 (size, size) in [0, 1], where that was found out.
    """

    mistake: Mistake
    name: str
    text: str | None = None
    pixels: np.ndarray | None = None
    heat: np.ndarray | None = None


@dataclass(frozen=True)
class Content:
    """All that a report says, in plain values.

    Attributes:
        manifest: What `manifest.json` says.
        metrics: What `metrics.json` says.
        history: Rows of `history.csv`.
        recipe: Text of `recipe.toml`.
        issues: What the doctor says of the data: rows with kind, path, detail and set_aside, "true" or "false".
        folder: Name of the run's folder.
        answers: What the model said; None where that is not known.
        shown: The examples it got most wrong.
        looked: How the heat maps were made.
        missing: Why there are no photos or texts; empty where there are.
        odd: By kind of finding, the first photos that it is about, uint8 (size, size, 3).
    """

    manifest: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    recipe: str
    issues: list[dict[str, str]]
    folder: str
    answers: Answers | None = None
    shown: tuple[Shown, ...] = ()
    looked: str = ""
    missing: str = ""
    odd: dict[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    split: str = field(init=False)

    def __post_init__(self) -> None:
        named = self.answers.split if self.answers else "test"
        object.__setattr__(self, "split", named if named in self.metrics else next(iter(self.metrics), ""))
