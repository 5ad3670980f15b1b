"""One figure of a model's scores: its key in metrics.json, its title, and how its value is written."""

from dataclasses import dataclass
from typing import Any

from tfransfer.display.numbers import number_text, percent


@dataclass(frozen=True)
class Figure:
    """A metric as people see it.

    Attributes:
        key: Its name in `metrics.json` or `history.csv`.
        title: What people call it; the head of its column.
        share: Whether it is a share in [0, 1], which sentences give in percent.
    """

    key: str
    title: str
    share: bool = False

    def text(self, value: Any) -> str:
        """A value for a sentence: a share in percent; empty where it is not known."""
        if not isinstance(value, int | float):
            return ""
        return percent(value) if self.share else number_text(float(value))


EXAMPLES = Figure("n", "examples")
SUPPORT = Figure("support", "examples")
LOG_LOSS = Figure("log_loss", "log loss")
PRECISION, RECALL, F1 = Figure("precision", "precision"), Figure("recall", "recall"), Figure("f1", "F1")
