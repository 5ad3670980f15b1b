"""Tables of pictures or texts: .csv and .tsv files, a folder with one table per split, pandas DataFrames.

A row has a picture's path, relative to the table's folder, or a text; and its label: a class, several classes
separated by `;` or as 0/1 columns, or a number.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any

from tfransfer.data.index import Issue, Row
from tfransfer.data.indexing import Source, text_hash
from tfransfer.data.modality import IMAGE, MODALITIES, TEXT
from tfransfer.data.sources import labels
from tfransfer.data.sources.kinds import SPLIT_TABLES, TABLE_SUFFIXES, split_tables
from tfransfer.errors import DataError, DataNotFoundError, SettingError, did_you_mean
from tfransfer.tasks.labels import SEPARATOR, Unusable

# Default column names, in this order.
_PATHS = ("path", "file_name", "filename", "file", "image_path", "image", "img", "picture", "photo")
_TEXTS = ("text", "sentence", "review", "comment", "document", "content")
_LABELS = ("label", "labels", "class", "classes", "category", "target", "tags", "value", "y")
_SPLITS = ("split", "subset")


@dataclass(frozen=True)
class Columns:
    """The column of each kind; None finds it by its usual names.

    A number counts columns from 1, for tables without a header.

    Attributes:
        path: Column of picture paths.
        text: Column of texts.
        label: Column of labels; several comma-separated names are columns of 0 and 1.
        split: Column of "train", "validation" or "test".
        group: Column of groups; each group stays in one split.
        separator: Separates the classes of a multi-label cell.
        task: "single-label", "multi-label" or "regression"; None infers it from the labels.
    """

    path: str | None = None
    text: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    separator: str = SEPARATOR
    _: KW_ONLY
    task: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without None."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        place: File name and line number, for messages.
        cells: The cells by column.
        split: The split that the whole file is for; empty if the table decides.
    """

    place: str
    cells: dict[str, str]
    split: str = ""


def table_source(path: Path, columns: Columns, root: Path | None = None) -> Source:
    """The contents of a table.

    Args:
        path: A .csv or .tsv file, or a folder with a table for each split.
        columns: The column of each kind.
        root: The folder that paths are relative to; None takes the table's.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: It is not a table, lacks a column, or a label cannot be read.
        SettingError: The task cannot be inferred from the labels.
    """
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataNotFoundError(f"the table {path} does not exist.{did_you_mean(path.name, siblings)}")
    numbered = any(name and name.isdigit() for name in (columns.path, columns.text, columns.label))
    lines: list[Line] = []
    if path.is_dir():
        for split, file in split_tables(path).items():
            lines += read_lines(file, numbered, split)
    else:
        lines = read_lines(path, numbered)
    return lines_source(lines, columns, str(path), root or (path if path.is_dir() else path.parent))


def frame_lines(frame: Any) -> list[Line]:
    """The lines of a pandas DataFrame; missing values become empty cells."""
    names = [str(name) for name in frame.columns]
    missing = frame.isna().to_numpy()
    values = frame.to_numpy(dtype=object)
    return [
        Line(f"row {number}", {n: "" if gone else str(v) for n, v, gone in zip(names, row, empty, strict=True)})
        for number, (row, empty) in enumerate(zip(values, missing, strict=True))
    ]


def read_lines(file: Path, numbered: bool = False, split: str = "") -> list[Line]:
    """The lines of a .csv or .tsv file.

    Args:
        file: UTF-8; a .csv file may have semicolons instead of commas.
        numbered: Whether the columns are numbered from "1" because the file has no header.
        split: The split that the whole file is for.

    Raises:
        DataError: It is not such a file, or a line has another number of cells.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{file} cannot be read as a table in UTF-8: {error}.") from error
    delimiter = TABLE_SUFFIXES[file.suffix.lower()]
    # Spreadsheets write semicolons in locales with a decimal comma. The first line decides, because it is the header,
    # where both characters are rare; csv.Sniffer also looks at texts, whose commas mislead it.
    first = text.partition("\n")[0]
    if delimiter == "," and first.count(";") > first.count(","):
        delimiter = ";"
    try:
        rows = _rows(text, delimiter, csv.QUOTE_MINIMAL)
        if delimiter == "\t" and len({len(row) for _, row in rows}) > 1:
            # Tab-separated files are often unquoted, so that a single quotation mark in a text would swallow all lines
            # up to the next one. Uneven rows are the sign of that.
            rows = _rows(text, delimiter, csv.QUOTE_NONE)
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as a table: {error}.") from error
    if not rows:
        raise DataError(f"the table {file} is empty.")
    names = [str(n + 1) for n in range(len(rows[0][1]))] if numbered else [name.strip() for name in rows.pop(0)[1]]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"the table {file} has two columns {twice[0]!r}; rename one.")
    for number, row in rows:
        if len(row) != len(names):
            raise DataError(f"{file}, line {number}: expected {len(names)} cells, got {len(row)}.")
    return [Line(f"{file.name}, line {n}", dict(zip(names, row, strict=True)), split) for n, row in rows]


def _rows(text: str, delimiter: str, quoting: int) -> list[tuple[int, list[str]]]:
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]


def lines_source(lines: Sequence[Line], columns: Columns, name: str, root: Path) -> Source:
    """Rows from lines; those without a label, without a file or listed twice are skipped.

    Args:
        lines: Lines of one table, or of several with the same columns.
        columns: The column of each kind.
        name: The table's name, for messages.
        root: The folder that paths are relative to.

    Raises:
        DataError: A column is missing, or a label cannot be parsed.
        SettingError: The task cannot be inferred from the labels.
    """
    if not lines:
        raise DataError(f"the table {name} has no lines below its header.")
    for line in lines:
        if line.cells.keys() != lines[0].cells.keys():
            raise DataError(f"{line.place}: its columns differ from those of {lines[0].place}.")
    known = list(lines[0].cells)
    subject, kind = _subject(columns, known, name)
    is_file = MODALITIES[kind].has_pixels
    label_columns = _label_columns(columns, known, subject, lines, name)
    split = _find_column(columns.split, _SPLITS, known, name, "--split-column")
    group = _find_column(columns.group, (), known, name, "--group-column")
    issues: list[Issue] = []
    parsed = labels.read(lines, label_columns, columns.separator, columns.task)
    usable = []
    name_counts: Counter[str] = Counter()
    for line, target in zip(lines, parsed.targets, strict=True):
        cell = line.cells[subject]
        path = Path(cell.strip()).as_posix() if is_file else _text_name(cell, name_counts)
        if isinstance(target, Unusable):
            issues.append(Issue(path, "no label", f"{line.place}: {target.reason}"))
            continue
        split_name = line.split or (_split_of(line, split) if split else "")
        row = Row(path, target, split_name, (line.cells[group] or None) if group else None, None if is_file else cell)
        usable.append((line, row))
    usable = _with_split(usable, issues)
    if is_file:
        usable = _usable_paths(usable, root, name, issues)
    rows = tuple(row for _, row in usable)
    return Source(root, rows, name, parsed.task, kind, parsed.classes, issues=issues)


def _text_name(text: str, counts: Counter[str]) -> str:
    """A name derived from the content, so that it is stable when lines are added; identical texts are numbered."""
    name = text_hash(text)[:16]
    counts[name] += 1
    return name if counts[name] == 1 else f"{name}-{counts[name]}"


def _subject(columns: Columns, known: Sequence[str], name: str) -> tuple[str, str]:
    """The column of pictures or texts, and the modality."""
    if columns.path and columns.text:
        raise SettingError("give either a path column or a text column: a row is a picture or a text.")
    if columns.text:
        return str(_find_column(columns.text, (), known, name, "--text-column")), TEXT
    if columns.path:
        return str(_find_column(columns.path, (), known, name, "--path-column")), IMAGE
    path, text = (_find_column(None, names, known, name, "") for names in (_PATHS, _TEXTS))
    if not path and not text:
        raise DataError(
            f"{name} has the columns {', '.join(known)}: which has the pictures' paths or the texts? "
            "Give it with --path-column or --text-column."
        )
    return (path, IMAGE) if path else (str(text), TEXT)


def _label_columns(
    columns: Columns, known: Sequence[str], subject: str, lines: Sequence[Line], name: str
) -> tuple[str, ...]:
    if columns.label and columns.label not in known and "," in columns.label:
        requested = [part.strip() for part in columns.label.split(",") if part.strip()]
        return tuple(str(_find_column(part, (), known, name, "--label-column")) for part in requested)
    column = _find_column(columns.label, _LABELS, known, name, "--label-column")
    if column:
        return (column,)
    others = [column for column in known if column not in (subject, columns.split, columns.group, *_SPLITS)]
    switches = [c for c in others if all(line.cells[c].strip() in labels.SWITCHES for line in lines)]
    if len(switches) > 1:
        return tuple(switches)
    raise DataError(
        f"{name} has the columns {', '.join(known)}: which has the labels? Give it with --label-column; separate "
        "several 0/1 columns by commas."
    )


def _find_column(given: str | None, usual: Iterable[str], known: Sequence[str], name: str, option: str) -> str | None:
    """The requested column, or the first with a usual name."""
    if given is None:
        lower = {column.lower(): column for column in reversed(known)}
        return next((lower[word] for word in usual if word in lower), None)
    if given not in known:
        raise DataError(
            f"{option}: {name} has no column {given!r}; it has {', '.join(known)}.{did_you_mean(given, known)}"
        )
    return given


def _split_of(line: Line, column: str) -> str:
    split = line.cells[column].strip().lower()
    if split and split not in SPLIT_TABLES:
        raise DataError(f"{line.place}: split {split!r} is not one of train, validation, test.")
    return SPLIT_TABLES.get(split, "")


def _with_split(rows: list[tuple[Line, Row]], issues: list[Issue]) -> list[tuple[Line, Row]]:
    """If the table decides the splits, skip rows without one."""
    if not any(row.split for _, row in rows):
        return rows
    issues += [Issue(row.path, "no split", f"{line.place}: its split is empty") for line, row in rows if not row.split]
    return [(line, row) for line, row in rows if row.split]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a cell that is not a path can be longer than any file name
        return False


def _usable_paths(rows: list[tuple[Line, Row]], root: Path, name: str, issues: list[Issue]) -> list[tuple[Line, Row]]:
    """Rows whose file exists and is not in an earlier row."""
    first: dict[str, tuple[Line, Row]] = {}
    missing = []
    for line, row in rows:
        if row.path in first:
            earlier, before = first[row.path]
            same = before.target == row.target and before.split == row.split
            kind = "duplicate" if same else "contradiction"
            detail = "listed" if same else "listed with another label or split"
            issues.append(Issue(row.path, kind, f"{line.place}: {detail} in {earlier.place} already"))
        elif row.path in ("", ".") or not _is_file(root / row.path):
            missing.append(Issue(row.path, "missing", f"{line.place}: the file does not exist"))
        else:
            first[row.path] = (line, row)
    if len(missing) * 2 > len(rows):
        raise DataError(
            f"{len(missing)} of the {len(rows)} pictures in {name} do not exist, for example {missing[0].path[:200]!r} "
            f"({missing[0].detail.split(':')[0]}). Paths are relative to {root}."
        )
    issues += missing
    return list(first.values())
