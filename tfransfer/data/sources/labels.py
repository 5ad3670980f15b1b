"""What the label columns of a table say: which task it is, and each line's target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tfransfer.errors import DataError, SettingError, did_you_mean
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, TASKS

SWITCHES = {
    "0": False,
    "1": True,
    "0.0": False,
    "1.0": True,
    "false": False,
    "true": True,
    "False": False,
    "True": True,
}
_MISSING = {"", "nan", "na", "n/a", "none", "null", "<na>"}
# More different whole numbers than this may as well be measurements: the user decides.
_MOST_NUMBERED_CLASSES = 20
Target = str | tuple[str, ...] | float


class Cells(Protocol):
    """A line of a table; see `data.table.Line`."""

    @property
    def place(self) -> str:
        """For messages."""

    @property
    def cells(self) -> dict[str, str]:
        """By column."""


@dataclass(frozen=True)
class Unusable:
    """Why a line has no target."""

    reason: str


@dataclass(frozen=True)
class Labels:
    """What was read.

    Attributes:
        task: Of the targets.
        classes: In the order of the model's outputs; of a regression, the column's name.
        targets: One per line.
    """

    task: str
    classes: tuple[str, ...]
    targets: tuple[Target | Unusable, ...]


def read(lines: Sequence[Cells], columns: Sequence[str], separator: str, task: str | None) -> Labels:
    """Read the label columns.

    Args:
        lines: Of the table.
        columns: One column, or several that hold 0 or 1.
        separator: Between several classes in one column.
        task: None tells it from the labels.

    Raises:
        DataError: A cell holds something else than its task allows.
        SettingError: The task is unknown, or cannot be told.
    """
    if task is not None and task not in TASKS:
        raise SettingError(f"task must be {', '.join(TASKS)}; it is {task!r}.{did_you_mean(task, TASKS)}")
    if len(columns) > 1:
        if task not in (None, MULTI_LABEL):
            raise SettingError(f"{len(columns)} label columns make a multi-label task, not {task}.")
        return Labels(MULTI_LABEL, tuple(columns), tuple(_switched(line, columns) for line in lines))
    column = columns[0]
    cells = [line.cells[column].strip() for line in lines]
    present = [cell for cell in cells if cell.lower() not in _MISSING]
    if not present:
        raise DataError(f"the label column {column!r} is empty in all {len(lines)} lines.")
    task = task or _task_of(present, column, separator)
    if task == REGRESSION:
        return Labels(
            task, (column,), tuple(_number(line, cell, column) for line, cell in zip(lines, cells, strict=True))
        )
    split = separator if task == MULTI_LABEL else None
    targets = tuple(_named(cell, column, split) for cell in cells)
    return Labels(task, _ordered(targets), targets)


def _task_of(present: Sequence[str], column: str, separator: str) -> str:
    if any(separator in cell for cell in present):
        return MULTI_LABEL
    numbers = [_float(cell) for cell in present]
    if any(number is None for number in numbers):
        return SINGLE_LABEL
    if any(number != int(number) for number in numbers if number is not None and math.isfinite(number)):
        return REGRESSION
    different = len(set(numbers))
    if different > _MOST_NUMBERED_CLASSES:
        raise SettingError(
            f"the label column {column!r} holds {different} different whole numbers: are they classes, or is a number "
            f"to be foretold? Say --task {SINGLE_LABEL} or --task {REGRESSION}."
        )
    return SINGLE_LABEL


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _number(line: Cells, cell: str, column: str) -> Target | Unusable:
    if cell.lower() in _MISSING:
        return Unusable(f"its {column} is empty")
    number = _float(cell)
    if number is None:
        raise DataError(f"{line.place}: {column} must be a number; it is {cell!r}.")
    return number if math.isfinite(number) else Unusable(f"its {column} is {cell}")


def _named(cell: str, column: str, separator: str | None) -> Target | Unusable:
    if cell.lower() in _MISSING:
        return Unusable(f"its {column} is empty")
    if len(cell.splitlines()) > 1:
        raise DataError(f"the class {cell!r} has a line break in its name: labels are one a line.")
    if separator is None:
        return cell
    return tuple(dict.fromkeys(part.strip() for part in cell.split(separator) if part.strip()))


def _switched(line: Cells, columns: Sequence[str]) -> Target | Unusable:
    chosen = []
    for column in columns:
        cell = line.cells[column].strip()
        if cell.lower() in _MISSING:
            return Unusable(f"its {column} is empty")
        if cell not in SWITCHES:
            raise DataError(f"{line.place}: {column} must be 0 or 1; it is {cell!r}.")
        if SWITCHES[cell]:
            chosen.append(column)
    return tuple(chosen)


def _ordered(targets: Sequence[Target | Unusable]) -> tuple[str, ...]:
    """Class names, sorted; whole numbers by their value, so that 10 comes after 9."""
    names: set[str] = set()
    for target in targets:
        names.update((target,) if isinstance(target, str) else target if isinstance(target, tuple) else ())
    whole = all(name.isdigit() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name), name) if whole else (0, name)))
