"""What is cached of the frozen part, as plain values: the manifest holds it, and a run is read without TensorFlow."""

from dataclasses import asdict, dataclass
from typing import Any

from tfransfer.system.files import size_text


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """What is kept of the frozen part.

    Attributes:
        head: Whether the head phase trains on kept features.
        fine_tune: Whether the fine-tune phase trains from kept activations.
        cut: Where the fine-tune phase's frozen part ends; empty where it has none apart.
        views: Of each training picture.
        engine: What runs the frozen part; empty where nothing is kept.
        dtype: Of the kept values.
        extract: Pictures that go through the engine first, over all views.
        bytes: What they will take on disk.
        seconds: Predicted, for extraction and both phases; None where nothing was measured.
        plain_seconds: Predicted, if the frozen part ran in every step.
        why: In a few words.
        unit: "images" or "texts".
    """

    head: bool = False
    fine_tune: bool = False
    cut: str = ""
    views: int = 1
    engine: str = ""
    dtype: str = ""
    extract: int = 0
    bytes: int = 0
    seconds: float | None = None
    plain_seconds: float | None = None
    why: str = ""
    unit: str = "images"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def sentence(self) -> str:
        """The plan's line about it."""
        if not self.head:
            return f"features: not kept, because {self.why}"
        what = "pooled features" + (f" and activations at {self.cut}" if self.fine_tune else "")
        views = f", {self.views} views of each training image" if self.views > 1 else ""
        new = (
            f"{self.extract} {self.unit} to extract with {self.engine}"
            if self.extract
            else "all of them are kept already"
        )
        size = f" ({size_text(self.bytes)})" if self.extract else ""
        return f"features: {what}{views}; {new}{size}; {self.why}"

    def predicted(self) -> str:
        """The plan's line about time; empty where nothing was measured."""
        if self.seconds is None or self.plain_seconds is None or not self.head:
            return ""
        return f"time: about {_duration(self.seconds)}; without kept features about {_duration(self.plain_seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
