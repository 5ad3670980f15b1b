"""What a model predicts for one example, and what it got wrong, in words and numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one picture or text.

    Attributes:
        name: Path of the file, or its number for a picture in memory; of a text, the text.
        label: The likeliest class; of several that apply, all of them with `;` between; empty for a regression, and
            where the picture cannot be read.
        probability: Of the likeliest class, in [0, 1].
        top: The likeliest classes with their probabilities, best first.
        error: Why the picture cannot be read; empty where it can.
        value: The number that a regression predicts, in the targets' unit; None for other tasks.
        sure: Whether the probability reaches the threshold below which the run abstains.
        applies: Of a multi-label task, the classes that apply; None for other tasks.
    """

    name: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    error: str = ""
    value: float | None = None
    sure: bool = True
    applies: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Mistake:
    """One example that a model got wrong.

    Attributes:
        position: In the split.
        right: The ground truth: a class, several, or a number.
        said: The prediction.
        output: Index of the output that the mistake is about.
        probability: Of the prediction; None for a regression.
        right_probability: Of the true class; None where that is not one class.
    """

    position: int
    right: str
    said: str
    output: int
    probability: float | None = None
    right_probability: float | None = None
