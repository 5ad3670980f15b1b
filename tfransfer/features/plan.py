"""The caching decision as plain values, for the manifest; importable without TensorFlow."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tfransfer.system.files import size_text

# Of a file: to write it and load it in a fresh process (10 to 20 s on two busy cores for the built-in base), and the
# time limit of the comparison on held-out examples (`exports.parity`).
_FILE_SECONDS, _COMPARED_SECONDS = 10.0, 15.0


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
        example_seconds: Estimate to read an example and run the whole model on it; None if nothing was measured.
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
    example_seconds: float | None = None

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

    def finishing(self, held_out: Sequence[int], files: int) -> str:
        """The line about the time after training; empty if nothing was measured.

        Args:
            held_out: Sizes of the validation and the test split.
            files: Number of files to write and check.
        """
        if self.example_seconds is None:
            return ""
        compared = min(_COMPARED_SECONDS, held_out[0] * self.example_seconds)
        seconds = sum(held_out) * self.example_seconds + files * (_FILE_SECONDS + compared)
        what = f"{files} files" if files > 1 else "one file"
        return f"time: then about {_duration(seconds)} to evaluate, and to write and check {what}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
