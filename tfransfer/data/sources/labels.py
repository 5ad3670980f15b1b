"""Read the label columns of a table: the task, and each line's target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tfransfer.errors import DataError, SettingError
from tfransfer.tasks.labels import Target, Unusable, empty_cell, float_of, is_missing
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, find_task

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
# More distinct integers than this may well be measurements: the user decides.
_MOST_NUMBERED_CLASSES = 20


class Cells(Protocol):
    """A line of a table; see `data.table.Line`."""

    @property
    def place(self) -> str:
        """File and line, for messages."""

    @property
    def cells(self) -> dict[str, str]:
        """The cells by column."""


@dataclass(frozen=True)
class Labels:
    """The labels of a table.

    Attributes:
        task: The task of the targets.
        classes: In the order of the model's outputs; for a regression, the column's name.
        targets: One per line.
    """

    task: str
    classes: tuple[str, ...]
    targets: tuple[Target | Unusable, ...]


def read(lines: Sequence[Cells], columns: Sequence[str], separator: str, task: str | None) -> Labels:
    """Read the label columns.

    Args:
        lines: The table's lines.
        columns: One column, or several with 0 or 1.
        separator: Separates several classes in one cell.
        task: None infers it from the labels.

    Raises:
        DataError: A cell has a value that its task does not allow.
        SettingError: The task is unknown or ambiguous.
    """
    requested = None if task is None else find_task(task)
    if len(columns) > 1:
        if requested is not None and not requested.several:
            raise SettingError(f"{len(columns)} label columns make a multi-label task, not {task}.")
        return Labels(task or MULTI_LABEL, tuple(columns), tuple(_switched(line, columns) for line in lines))
    column = columns[0]
    cells = [line.cells[column].strip() for line in lines]
    present = [cell for cell in cells if not is_missing(cell)]
    if not present:
        raise DataError(f"the label column {column!r} is empty in all {len(lines)} lines.")
    chosen = requested or find_task(_task_of(present, column, separator))
    targets = tuple(
        chosen.read_cell(cell, line.place, column, separator) for line, cell in zip(lines, cells, strict=True)
    )
    return Labels(chosen.name, chosen.output_names(targets, column), targets)


def _task_of(present: Sequence[str], column: str, separator: str) -> str:
    if any(separator in cell for cell in present):
        return MULTI_LABEL
    numbers = [float_of(cell) for cell in present]
    if any(number is None for number in numbers):
        return SINGLE_LABEL
    if any(number != int(number) for number in numbers if number is not None and math.isfinite(number)):
        return REGRESSION
    different = len(set(numbers))
    if different > _MOST_NUMBERED_CLASSES:
        raise SettingError(
            f"the label column {column!r} has {different} different whole numbers: are they classes, or values to "
            f"predict? Give --task {SINGLE_LABEL} or --task {REGRESSION}."
        )
    return SINGLE_LABEL


def _switched(line: Cells, columns: Sequence[str]) -> Target | Unusable:
    chosen = []
    for column in columns:
        cell = line.cells[column].strip()
        if is_missing(cell):
            return empty_cell(column)
        if cell not in SWITCHES:
            raise DataError(f"{line.place}: {column} must be 0 or 1; got {cell!r}.")
        if SWITCHES[cell]:
            chosen.append(column)
    return tuple(chosen)
