"""The caching decision as plain values, for the manifest; importable without TensorFlow."""

from dataclasses import asdict, dataclass
from typing import Any

from tfransfer.system.files import size_text


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """Which outputs of the frozen part are cached.

    Attributes:
        head: Whether the head phase trains on cached features.
        fine_tune: Whether the fine-tune phase trains on cached activations.
        cut: Where the fine-tune phase's frozen part ends; empty if no activations are cached.
        views: Cached views of each training picture.
        engine: Engine that runs the frozen part; empty if nothing is cached.
        dtype: Of the cached values.
        extract: Pictures to extract before training, over all views.
        bytes: Their size on disk.
        seconds: Estimate for extraction and both phases; None if nothing was measured.
        plain_seconds: Estimate with the frozen part in every step.
        why: The reason in a few words.
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
        """The plan's line about features."""
        if not self.head:
            return f"features: not cached: {self.why}"
        what = "pooled features" + (f" and activations at {self.cut}" if self.fine_tune else "")
        views = f", {self.views} views of each training image" if self.views > 1 else ""
        new = f"{self.extract} {self.unit} to extract with {self.engine}" if self.extract else "all cached already"
        size = f" ({size_text(self.bytes)})" if self.extract else ""
        return f"features: {what}{views}; {new}{size}; {self.why}"

    def predicted(self) -> str:
        """The plan's line about time; empty if nothing was measured."""
        if self.seconds is None or self.plain_seconds is None or not self.head:
            return ""
        return f"time: about {_duration(self.seconds)}; without cached features about {_duration(self.plain_seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
