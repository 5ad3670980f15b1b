"""How a metric is shown: its key in metrics.json, its title, and the format of its value."""

from dataclasses import dataclass
from typing import Any

from tfransfer.display.numbers import number_text, percent


@dataclass(frozen=True)
class Figure:
    """A metric as shown to users.

    Attributes:
        key: Its key in `metrics.json` or `history.csv`.
        title: Its name in sentences and column headers.
        share: Whether it is a share in [0, 1], written in percent in sentences.
    """

    key: str
    title: str
    share: bool = False

    def text(self, value: Any) -> str:
        """A value for a sentence, shares in percent; empty if it is not known."""
        if not isinstance(value, int | float):
            return ""
        return percent(value) if self.share else number_text(float(value))


EXAMPLES = Figure("n", "examples")
SUPPORT = Figure("support", "examples")
LOG_LOSS = Figure("log_loss", "log loss")
PRECISION, RECALL, F1 = Figure("precision", "precision"), Figure("recall", "recall"), Figure("f1", "F1")
