"""Read the label columns of a table: the task, and each line's target.

Cells are read as a person would: 1 and 1.0 are one class, TRUE and yes are 1 in a column of 0 and 1, "none" beside
"mild" and "severe" is a class. Where several readings make sense, a note says which was taken and what changes it.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tfransfer.errors import DataError, SettingError
from tfransfer.system.interface import option
from tfransfer.tasks.labels import MISSING_WORDS, SEPARATOR, Target, Unusable, empty_cell, float_of, is_missing
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, find_task

_TRUE = {"1", "1.0", "true", "yes", "y", "t", "x"}
_FALSE = {"0", "0.0", "false", "no", "n", "f"}
# More distinct integers than this may well be measurements: the user decides.
_MOST_NUMBERED_CLASSES = 20
# A word for a missing value is a class if it is as frequent as one: three, and half as many as the rarest class.
_FEWEST_OF_A_CLASS = 3
_PLAIN_INTEGER = re.compile(r"-?[0-9]+")
_NUMERIC = re.compile(r"[+-]?[0-9.,]*[0-9]([eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]*),[0-9]+([eE][+-]?[0-9]+)?")
_COMMA_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?")


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
        notes: Choices that were made in reading, and the option that changes each.
        separator: Between the classes of a cell, as inferred or requested.
    """

    task: str
    classes: tuple[str, ...]
    targets: tuple[Target | Unusable, ...]
    notes: tuple[str, ...] = ()
    separator: str = ""


def read(
    lines: Sequence[Cells],
    columns: Sequence[str],
    separator: str,
    task: str | None,
    missing: Iterable[str] | None = None,
) -> Labels:
    """Read the label columns.

    Args:
        lines: The table's lines.
        columns: One column, or several with 0 or 1.
        separator: Separates several classes in one cell.
        task: None infers it from the labels.
        missing: Words that mean "no label", besides empty cells; None decides for each of "na", "n/a", "none", "null".

    Raises:
        DataError: A cell has a value that its task does not allow.
        SettingError: The task is unknown or ambiguous.
    """
    requested = None if task is None else find_task(task)
    notes: list[str] = []
    if len(columns) > 1:
        if requested is not None and not requested.several:
            raise SettingError(f"{len(columns)} label columns make a multi-label task, not {task}.")
        return _read_switches(lines, columns, task or MULTI_LABEL)
    column = columns[0]
    cells = [unicodedata.normalize("NFC", line.cells[column].strip()) for line in lines]
    cells = _without_missing(cells, column, missing, notes)
    present = [cell for cell in cells if cell]
    if not present:
        raise DataError(f"the label column {column!r} is empty in all {len(lines)} lines.")
    if requested is None or requested.several:
        separator = _separator_of(present, column, separator, requested is not None, notes)
    chosen = requested or find_task(_task_of(present, column, separator, notes))
    if not chosen.has_classes:
        points = with_points(present, column, notes)
        cells = [points.get(cell, cell) for cell in cells]
    if chosen.one_class:
        spellings = _one_spelling(present, column, notes)
        cells = [spellings.get(cell, cell) for cell in cells]
    targets = tuple(
        chosen.read_cell(cell, line.place, column, separator) for line, cell in zip(lines, cells, strict=True)
    )
    return Labels(chosen.name, chosen.output_names(targets, column), targets, tuple(notes), separator)


def is_switch(cells: Iterable[str]) -> bool:
    """Whether a column says 0 or 1 on each line, in any usual spelling, or marks some lines and is empty on others."""
    lower = {cell.strip().lower() for cell in cells}
    return lower <= _TRUE | _FALSE | {""} and bool(lower & (_TRUE if "" in lower else _TRUE | _FALSE))


def _without_missing(cells: list[str], column: str, words: Iterable[str] | None, notes: list[str]) -> list[str]:
    """The cells, with "" for those without a label."""
    cells = ["" if is_missing(cell) else cell for cell in cells]
    if words is not None:
        chosen = {word.strip().lower() for word in words}
        return ["" if cell.lower() in chosen else cell for cell in cells]
    doubtful = Counter(cell for cell in cells if cell.lower() in MISSING_WORDS)
    others = Counter(cell for cell in cells if cell and cell not in doubtful)
    if all(float_of(cell) is not None or _NUMERIC.fullmatch(cell) for cell in others):
        return ["" if cell in doubtful else cell for cell in cells]
    for word, count in doubtful.items():
        if count >= _FEWEST_OF_A_CLASS and 2 * count >= min(others.values()):
            notes.append(
                f"{count} labels {word!r} in {column!r} are taken as a class; {option('missing_labels', word)} "
                "leaves their rows out"
            )
        else:
            notes.append(
                f"{count} labels {word!r} in {column!r} are taken as missing; {option('missing_labels', '')} "
                "makes them a class"
            )
            cells = ["" if cell == word else cell for cell in cells]
    return cells


def _task_of(present: Sequence[str], column: str, separator: str, notes: list[str]) -> str:
    if _has_several(present, column, separator, notes):
        return MULTI_LABEL
    points = with_points(present, column, [])
    numbers = [float_of(points.get(cell, cell)) for cell in present]
    if any(number is None for number in numbers):
        return SINGLE_LABEL
    if any(number != int(number) for number in numbers if number is not None and math.isfinite(number)):
        return REGRESSION
    different = len(set(numbers))
    if different > _MOST_NUMBERED_CLASSES:
        raise SettingError(
            f"the label column {column!r} has {different} different whole numbers: are they classes, or values to "
            f"predict? Give {option('task', SINGLE_LABEL)} or {option('task', REGRESSION)}."
        )
    return SINGLE_LABEL


def _has_several(present: Sequence[str], column: str, separator: str, notes: list[str]) -> bool:
    """Whether cells hold several classes: a part of one stands elsewhere too, or many cells have a separator.

    A single name with the separator in it, such as "AC;DC", would otherwise make a multi-label task of a whole table.
    """
    joined = Counter(cell for cell in present if separator in cell)
    if not joined:
        return False
    parts = {cell: {part.strip() for part in cell.split(separator)} - {""} for cell in joined}
    alone = {cell for cell in present if separator not in cell}
    seen = Counter(part for cell in joined for part in parts[cell])
    shared = any(part in alone or seen[part] > 1 for cell in joined for part in parts[cell])
    several = shared or 10 * sum(joined.values()) >= len(present) or any(len(of) < 2 for of in parts.values())
    example = next(iter(joined))
    if several:
        notes.append(
            f"labels with {separator!r} in {column!r}, such as {example!r}, are several classes (multi-label); "
            f"{option('task', SINGLE_LABEL)} takes each as one"
        )
    else:
        notes.append(
            f"labels with {separator!r} in {column!r}, such as {example!r}, are each one class, because no part of "
            f"them stands elsewhere; {option('task', MULTI_LABEL)} splits them"
        )
    return several


def _separator_of(present: Sequence[str], column: str, separator: str, requested: bool, notes: list[str]) -> str:
    """The separator of a column in which `;` never occurs: another, if its cells clearly have several classes.

    A bar is taken as `;` would be. Names have commas and blanks, too: these separate tags if each part stands in
    several cells, cells have one part or more, and there are more different cells than parts.
    """
    if separator != SEPARATOR or any(SEPARATOR in cell for cell in present):
        return separator
    if any("|" in cell for cell in present) and (requested or _has_several(present, column, "|", [])):
        notes.append(_separated_by("|", column, present))
        return "|"
    for sign in (",", " "):
        different = {cell: {part.strip() for part in cell.split(sign)} - {""} for cell in set(present)}
        counts = Counter(part for parts in different.values() for part in parts)
        recurring = sum(count > 1 for count in counts.values())
        varied = len({len(parts) for parts in different.values()}) > 1 and len(different) > len(counts)
        if not any(len(parts) > 1 for parts in different.values()) or 2 * recurring < len(counts):
            continue
        if recurring == len(counts) and (varied or requested):
            notes.append(_separated_by(sign, column, present))
            return sign
        notes.append(
            f"labels such as {next(cell for cell in present if sign in cell)!r} in {column!r} are each one class; "
            f"{option('separator', sign)} makes several of them"
        )
    return separator


def _separated_by(sign: str, column: str, present: Sequence[str]) -> str:
    example = next(cell for cell in present if sign in cell)
    return f"classes in {column!r}, such as {example!r}, have {sign!r} between them; {option('separator')} changes that"


def with_points(cells: Iterable[str], column: str, notes: list[str]) -> dict[str, str]:
    """From each number with a comma to the same with a decimal point; empty if the cells are no numbers.

    Args:
        cells: Those of a column that are not empty.
        column: Its name.
        notes: Receives how commas were read.

    Raises:
        DataError: A comma may be a decimal sign or between thousands.
    """
    different = list(dict.fromkeys(cells))
    commas = [cell for cell in different if "," in cell]
    if not commas or not all(map(_NUMERIC.fullmatch, different)):
        return {}
    decimal = all(map(_DECIMAL_COMMA.fullmatch, commas)) and not any("." in c for c in different if "," not in c)
    thousands = all(map(_COMMA_THOUSANDS.fullmatch, commas))
    if decimal == thousands:
        if not decimal and any(cell.count(",") > 1 for cell in commas):
            return {}  # several numbers
        raise DataError(
            f"the column {column!r} has {commas[0]!r}: is the comma a decimal sign, or between thousands? Write the "
            f"numbers with decimal points only; if they are classes, give {option('task', SINGLE_LABEL)}."
        )
    if decimal:
        points = {cell: cell.replace(".", "").replace(",", ".") for cell in commas}
    else:
        points = {cell: cell.replace(",", "") for cell in commas}
    role = "decimal signs" if decimal else "between thousands"
    notes.append(f"commas in {column!r} are {role}: {commas[0]!r} is {points[commas[0]]}")
    return points


def _one_spelling(present: Sequence[str], column: str, notes: list[str]) -> dict[str, str]:
    """From a cell to the class that it is: numbers by their value, true and false in whatever case."""
    values = {cell: float_of(cell) for cell in present}
    numbers = {cell: v for cell, v in values.items() if v is not None and math.isfinite(v) and cell.isascii()}
    whole = {cell: int(v) for cell, v in numbers.items() if v == int(v)}
    if len(whole) == len(values):
        plain = all(map(_PLAIN_INTEGER.fullmatch, values)) and len(set(whole.values())) == len(whole)
        spellings = {} if plain else {cell: str(number) for cell, number in whole.items()}
    elif {cell.lower() for cell in values} in ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"}):
        common = {cell.lower(): cell for cell, _ in reversed(Counter(present).most_common())}
        spellings = {cell: common[cell.lower()] for cell in values}
    else:
        return {}
    merged = {name: [cell for cell in spellings if spellings[cell] == name] for name in spellings.values()}
    for name, cells in merged.items():
        if len(cells) > 1:
            notes.append(f"labels {', '.join(map(repr, sorted(cells)))} in {column!r} are one class, {name!r}")
    return spellings


def _read_switches(lines: Sequence[Cells], columns: Sequence[str], task: str) -> Labels:
    notes = []
    empty_is_no = set()
    for column in columns:
        cells = {line.cells[column].strip().lower() for line in lines}
        if "" in cells and not cells & _FALSE and cells & _TRUE:
            empty_is_no.add(column)
    if empty_is_no:
        names = ", ".join(map(repr, sorted(empty_is_no)[:4]))
        notes.append(f"empty cells in {names} mean 0, because there is no 0 in that column; write 0 and 1 to tell them")
    targets = tuple(_switched(line, columns, empty_is_no) for line in lines)
    return Labels(task, tuple(columns), targets, tuple(notes))


def _switched(line: Cells, columns: Sequence[str], empty_is_no: set[str]) -> Target | Unusable:
    chosen = []
    for column in columns:
        cell = line.cells[column].strip().lower()
        if cell in _TRUE:
            chosen.append(column)
        elif not cell and column in empty_is_no:
            continue
        elif is_missing(cell) or cell in MISSING_WORDS:
            return empty_cell(column)
        elif cell not in _FALSE:
            raise DataError(f"{line.place}: {column} must be 0 or 1; got {line.cells[column].strip()!r}.")
    return tuple(chosen)
