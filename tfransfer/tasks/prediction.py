"""A model's prediction for one example, and its mistakes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one image or text.

    Attributes:
        name: Path of the file, number of an image in memory, or the text itself.
        label: The likeliest class; multi-label tasks: the classes that apply, separated by `;`; empty for a regression
            and for an image that cannot be read.
        probability: Probability of the likeliest class, in [0, 1].
        top: The likeliest classes with their probabilities, best first.
        error: Why the image cannot be read; empty if it can.
        value: The number that a regression predicts, in the targets' unit; None for other tasks.
        sure: Whether the probability reaches the threshold below which the run abstains.
        applies: Multi-label tasks: the classes that apply; None for other tasks.
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
    """A wrong prediction.

    Attributes:
        position: Position of the example in the split.
        target: The ground truth: a class, several, or a number.
        predicted: The prediction.
        output: Index of the output that is wrong.
        probability: Probability of the prediction; None for a regression.
        target_probability: Probability of the true class; None if that is not a single class.
    """

    position: int
    target: str
    predicted: str
    output: int
    probability: float | None = None
    target_probability: float | None = None
