"""Limits for exported files, such as "4MB, 15ms, top1-drop 1", and the best of several files within them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tfransfer.errors import SettingError
from tfransfer.exports.exporting import Export
from tfransfer.system.files import size_text

_UNITS = {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_EXAMPLE = "'4MB, 15ms, top1-drop 1'"


@dataclass(frozen=True)
class Budget:
    """Limits for a file; None is no limit.

    Attributes:
        drop: Largest drop of the headline metric against the model, in points (hundredths of top-1).
        size: Bytes.
        latency: Milliseconds for one picture on this machine, on one core or two, whichever is faster.
    """

    drop: float | None = None
    size: float | None = None
    latency: float | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.drop, self.size, self.latency))

    def excess(self, export: Export) -> list[str]:
        """The limits that a file exceeds, in words; empty if there are none."""
        exceeded = []
        if self.size is not None and export.size > self.size:
            exceeded.append(f"it takes {size_text(export.size)}, over {size_text(self.size)}")
        fastest = export.latency
        if self.latency is not None and (fastest is None or fastest > self.latency):
            measured = "its latency is unknown" if fastest is None else f"one example takes {fastest:.3g} ms"
            exceeded.append(f"{measured}, over {self.latency:g} ms")
        if self.drop is not None:
            if export.accuracy is None:
                exceeded.append("its accuracy drop is unknown without the validation data")
            elif 100 * export.accuracy.drop > self.drop + 1e-9:
                exceeded.append(f"it loses {100 * export.accuracy.drop:.2g} points, over {self.drop:g}")
        return exceeded


NO_LIMITS = Budget()


def parse_budget(text: str) -> Budget:
    """Read limits such as "4MB, 15ms, top1-drop 1", in any order.

    Raises:
        SettingError: A part is not a size, a latency or a drop, or two parts are of one kind.
    """
    limits: dict[str, float] = {}
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        name, value = _limit(part)
        if name in limits:
            raise SettingError(f"the budget {text!r} has two limits for the {name}; give one.")
        limits[name] = value
    if not limits:
        raise SettingError(f"the budget {text!r} has no limit; expected something like {_EXAMPLE}.")
    return Budget(**limits)


def _limit(part: str) -> tuple[str, float]:
    if match := re.fullmatch(rf"{_NUMBER}\s*ms", part):
        return "latency", float(match[1])
    if match := re.fullmatch(rf"{_NUMBER}\s*s", part):
        return "latency", 1000 * float(match[1])
    if match := re.fullmatch(rf"(?:top-?1-)?drop\s*:?=?\s*{_NUMBER}(?:\s*points?)?", part):
        return "drop", float(match[1])
    return "size", parse_size(part)


def parse_size(text: str) -> float:
    """Parse a size such as "4MB", "900 kB" or "3.5 MiB" to bytes.

    Raises:
        SettingError: It is not a size.
    """
    match = re.fullmatch(rf"{_NUMBER}\s*([kmg]?i?b)", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise SettingError(f"{text!r} is not a limit; expected a size, a latency or a drop, as in {_EXAMPLE}.")
    return float(match[1]) * _UNITS[match[2]]


def best(exports: Sequence[Export], limits: Budget) -> Export | None:
    """The most accurate file within the limits; of equals the smallest, then the fastest."""
    fitting = [export for export in exports if not limits.excess(export)]
    return max(fitting, key=lambda export: (_value(export), -export.size, -(export.latency or 0.0)), default=None)


def _value(export: Export) -> float:
    return export.accuracy.value if export.accuracy is not None else 0.0
