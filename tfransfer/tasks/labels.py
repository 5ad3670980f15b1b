"""Labels as text: parsing the cells of tables, and writing several classes in one cell."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tfransfer.errors import DataError

# Between the classes of a multi-label example, in tables and in splits.csv.
SEPARATOR = ";"
# No class is called so; what programs write for a value that is not there.
MISSING = {"", "nan", "-nan", "#n/a", "<na>", "nat"}
# These mean a missing value or are a class of that name; only the rest of the column can tell.
MISSING_WORDS = {"na", "n/a", "none", "null"}
_WHOLE = re.compile(r"-?[0-9]+")
# A label before it becomes numbers: a class, the classes that apply, or a number.
Target = str | tuple[str, ...] | float


class Labelled(Protocol):
    """An example with a numeric label; see `data.index.Example`."""

    @property
    def label(self) -> int:
        """Index of the class; 0 in tasks without exactly one class per example."""

    @property
    def target(self) -> tuple[float, ...]:
        """One number per output, in tasks without exactly one class per example."""


@dataclass(frozen=True)
class Unusable:
    """A row without a usable target, and the reason."""

    reason: str


def is_missing(cell: str) -> bool:
    """Whether a cell means that there is no label."""
    return cell.lower() in MISSING


def empty_cell(column: str) -> Unusable:
    """The result for a missing label."""
    return Unusable(f"its {column} is empty")


def float_of(cell: str) -> float | None:
    """The number in a cell; None if it is not a number."""
    try:
        return float(cell)
    except ValueError:
        return None


def number_in(cell: str, place: str, column: str) -> float | Unusable:
    """Parse a finite number.

    Raises:
        DataError: The cell is not a number.
    """
    if is_missing(cell) or cell.lower() in MISSING_WORDS:
        return empty_cell(column)
    number = float_of(cell)
    if number is None:
        raise DataError(f"{place}: {column} must be a number; it is {cell!r}.")
    return number if math.isfinite(number) else Unusable(f"its {column} is {cell}")


def class_in(cell: str, column: str) -> str | Unusable:
    """Parse a class name.

    Raises:
        DataError: The name has a line break, which labels.txt cannot hold.
    """
    if is_missing(cell):
        return empty_cell(column)
    if has_line_break(cell):
        raise DataError(f"the class {cell!r} has a line break in its name: labels.txt has one label per line.")
    return cell


def has_line_break(name: str) -> bool:
    """Whether a name would be read as several lines, or as one and an empty one, from labels.txt."""
    return "".join(name.splitlines()) != name


def names_in(target: object) -> tuple[str, ...]:
    """The class names in a target; none for a number or an unusable row."""
    if isinstance(target, str):
        return (target,)
    return target if isinstance(target, tuple) else ()


def ordered_names(targets: Iterable[object]) -> tuple[str, ...]:
    """Class names, sorted; whole numbers by value, so that 10 comes after 9."""
    names = {name for target in targets for name in names_in(target)}
    whole = all(_WHOLE.fullmatch(name) for name in names)
    return tuple(sorted(names, key=lambda name: (int(name), name) if whole else (0, name)))


def joined(classes: Sequence[str], applies: Iterable[object]) -> str:
    """The classes that apply, separated by `;`."""
    return SEPARATOR.join(name for name, applied in zip(classes, applies, strict=True) if applied)
