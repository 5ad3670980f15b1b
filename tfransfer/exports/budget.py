"""What a file may cost: "4MB, 15ms, top1-drop 1"; and which of several files is the best that keeps to it."""

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
    """What a file must keep to; None does not limit.

    Attributes:
        drop: Points of the headline metric (hundredths of top-1) that it may lose against the model.
        size: Bytes.
        latency: Milliseconds for one picture on this machine, on as many cores, up to two, as are fastest.
    """

    drop: float | None = None
    size: float | None = None
    latency: float | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.drop, self.size, self.latency))

    def excess(self, made: Export) -> list[str]:
        """In words, what a file exceeds; empty where it keeps to all of it."""
        found = []
        if self.size is not None and made.size > self.size:
            found.append(f"it takes {size_text(made.size)}, over {size_text(self.size)}")
        fastest = made.latency
        if self.latency is not None and (fastest is None or fastest > self.latency):
            told = "its latency is unknown" if fastest is None else f"a picture takes {fastest:.3g} ms"
            found.append(f"{told}, over {self.latency:g} ms")
        if self.drop is not None:
            if made.accuracy is None:
                found.append("what it loses is unknown without the validation pictures")
            elif 100 * made.accuracy.drop > self.drop + 1e-9:
                found.append(f"it loses {100 * made.accuracy.drop:.2g} points, over {self.drop:g}")
        return found


NO_LIMITS = Budget()


def parse_budget(text: str) -> Budget:
    """Read limits such as "4MB, 15ms, top1-drop 1", in any order.

    Raises:
        SettingError: A part is none of a size, a latency and a drop, or two are of one kind.
    """
    found: dict[str, float] = {}
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        name, value = _limit(part)
        if name in found:
            raise SettingError(f"the budget {text!r} names two limits for the {name}; one is enough.")
        found[name] = value
    if not found:
        raise SettingError(f"the budget {text!r} names no limit; expected something like {_EXAMPLE}.")
    return Budget(**found)


def _limit(part: str) -> tuple[str, float]:
    if match := re.fullmatch(rf"{_NUMBER}\s*ms", part):
        return "latency", float(match[1])
    if match := re.fullmatch(rf"{_NUMBER}\s*s", part):
        return "latency", 1000 * float(match[1])
    if match := re.fullmatch(rf"(?:top-?1-)?drop\s*:?=?\s*{_NUMBER}(?:\s*points?)?", part):
        return "drop", float(match[1])
    return "size", parse_size(part)


def parse_size(text: str) -> float:
    """Bytes, from "4MB", "900 kB", "3.5 MiB".

    Raises:
        SettingError: It is no size.
    """
    match = re.fullmatch(rf"{_NUMBER}\s*([kmg]?i?b)", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise SettingError(f"{text!r} is no limit; expected a size, a latency or a drop, as in {_EXAMPLE}.")
    return float(match[1]) * _UNITS[match[2]]


def best(made: Sequence[Export], limits: Budget) -> Export | None:
    """Of the files that keep to the limits the most accurate one; of equals the smallest, then the fastest."""
    fitting = [one for one in made if not limits.excess(one)]
    return max(fitting, key=lambda one: (_value(one), -one.size, -(one.latency or 0.0)), default=None)


def _value(made: Export) -> float:
    return made.accuracy.value if made.accuracy is not None else 0.0
