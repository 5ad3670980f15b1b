"""Tables of pictures or texts: .csv and .tsv files, a folder with one table per split, pandas DataFrames.

A row has a picture's path, relative to the table's folder, or a text; and its label: a class, several classes
separated by `;` or as 0/1 columns, or a number.
"""

import csv
import io
import re
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
from tfransfer.data.sources.paths import are_paths, is_file
from tfransfer.errors import DataError, DataNotFoundError, SettingError, did_you_mean
from tfransfer.tasks.labels import SEPARATOR, Unusable

# Default column names, in this order.
PATHS = ("path", "file_name", "filename", "file", "image_path", "image", "img", "picture", "photo")
TEXTS = ("text", "sentence", "review", "comment", "document", "content")
_LABELS = ("label", "labels", "class", "classes", "category", "target", "tags", "value", "y")
_SPLITS = ("split", "subset")
_WHOLLY_QUOTED = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)


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
        missing: Words that mean "no label"; None decides by how often "none", "NA" and the like occur.
    """

    path: str | None = None
    text: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    separator: str = SEPARATOR
    _: KW_ONLY
    task: str | None = None
    missing: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        words = self.missing.split(",") if isinstance(self.missing, str) else self.missing
        if words is not None:
            object.__setattr__(self, "missing", tuple(word.strip() for word in words if word.strip()))

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
    place = root or (path if path.is_dir() else path.parent)
    if not path.is_dir():
        return lines_source(read_lines(path, numbered), columns, str(path), place)
    tables = {split: read_lines(file, numbered, split) for split, file in split_tables(path).items()}
    notes = _without_labels(tables, columns, path)
    source = lines_source([line for lines in tables.values() for line in lines], columns, str(path), place)
    source.notes.extend(notes)
    return source


def _without_labels(tables: dict[str, list[Line]], columns: Columns, folder: Path) -> list[str]:
    """Leave out tables without the training table's label columns, as competitions hand out test data; says which."""
    notes: list[str] = []
    if not tables["train"]:
        return notes
    known = list(tables["train"][0].cells)
    subject, _ = _subject(columns, tables["train"], str(folder))
    wanted = _label_columns(columns, known, subject, tables["train"], str(folder))
    for split, file in split_tables(folder).items():
        lines = tables[split]
        lacking = [name for name in wanted if lines and name not in lines[0].cells]
        if split != "train" and lacking:
            del tables[split]
            notes.append(f"{file.name} has no column {lacking[0]!r}, so its {len(lines)} rows are left out")
    return notes


def frame_lines(frame: Any, separator: str = SEPARATOR) -> list[Line]:
    """The lines of a pandas DataFrame; missing values become empty cells, lists of classes get separators."""
    names = [str(name) for name in frame.columns]
    values, missing = frame.to_numpy(dtype=object), frame.isna().to_numpy()
    cells = [
        [_frame_cell(value, gone, separator) for value, gone in zip(row, empty, strict=True)]
        for row, empty in zip(values, missing, strict=True)
    ]
    return [Line(f"row {number}", dict(zip(names, row, strict=True))) for number, row in enumerate(cells)]


def _frame_cell(value: Any, missing: bool, separator: str) -> str:
    """One cell as text; a list always has a separator, so that a list of one class is not taken for a class."""
    if isinstance(value, set | frozenset):
        value = sorted(map(str, value))
    if isinstance(value, list | tuple) or (hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1):
        words = list(map(str, value))
        wrong = next((word for word in words if separator in word), None)
        if wrong is not None:
            raise DataError(f"the class {wrong!r} in a list of classes has a {separator!r} in its name: rename it.")
        return separator.join(words) + separator
    return "" if missing else str(value)


def write_lines(lines: Sequence[Line]) -> str:
    """The text of a .csv file that `read_lines` reads as these lines."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([list(lines[0].cells) if lines else [], *(list(line.cells.values()) for line in lines)])
    return stream.getvalue()


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
    # Spreadsheets write semicolons if the decimal sign is a comma. The header decides, because column names rarely
    # contain either; csv.Sniffer also looks at texts, whose commas mislead it.
    first = text.partition("\n")[0]
    if delimiter == "," and first.count(";") > first.count(","):
        delimiter = ";"
    try:
        rows = _quoted_or_not(text, delimiter)
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


def _quoted_or_not(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """The rows of a table, whether its cells are quoted or it has quotation marks in its texts.

    A lone mark at the start of a cell opens a quotation, which then swallows all lines up to the next mark: rows are
    merged, and what is left looks like a table. So a reading without quotation is preferred where it gives rows of one
    length: always for tabs, which few programs quote; for commas only where the strict reading fails.
    """
    if delimiter == "\t" and (plain := _plain_rows(text, delimiter)):
        return plain
    try:
        return _rows(text, delimiter, csv.QUOTE_MINIMAL)
    except csv.Error:
        if plain := _plain_rows(text, delimiter):
            return plain
        raise


def _plain_rows(text: str, delimiter: str) -> list[tuple[int, list[str]]] | None:
    """The rows without quotation, but for cells that are quoted as a whole; None if they differ in length."""
    rows = _rows(text, delimiter, csv.QUOTE_NONE)
    if len({len(row) for _, row in rows}) != 1:
        return None
    return [(number, [_unquoted(cell) for cell in row]) for number, row in rows]


def _unquoted(cell: str) -> str:
    """A cell without the marks around it, where it is quoted as a whole."""
    return cell[1:-1].replace('""', '"') if _WHOLLY_QUOTED.fullmatch(cell) else cell


def _rows(text: str, delimiter: str, quoting: int) -> list[tuple[int, list[str]]]:
    # Iterating over a StringIO splits at newlines only; str.splitlines would split a cell at U+2028, too.
    lines = io.StringIO(text, newline="")
    limit = csv.field_size_limit(len(text) + 1)
    try:
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    finally:
        csv.field_size_limit(limit)


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
    subject, kind = _subject(columns, lines, name)
    is_file = MODALITIES[kind].has_pixels
    label_columns = _label_columns(columns, known, subject, lines, name)
    split = _find_column(columns.split, _SPLITS, known, name, "--split-column")
    group = _find_column(columns.group, (), known, name, "--group-column")
    issues: list[Issue] = []
    parsed = labels.read(lines, label_columns, columns.separator, columns.task, columns.missing)
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
    _require_labels(issues, len(lines), label_columns, name)
    usable = _with_split(usable, issues)
    if is_file:
        usable = _usable_paths(usable, root, name, issues)
    rows = tuple(row for _, row in usable)
    notes = [*_choices(columns, label_columns), *parsed.notes]
    return Source(root, rows, name, parsed.task, kind, parsed.classes, issues=issues, notes=notes)


def _require_labels(issues: Sequence[Issue], lines: int, columns: Sequence[str], name: str) -> None:
    without = [issue for issue in issues if issue.kind == "no label"]
    if 2 * len(without) > lines:
        raise DataError(
            f"{len(without)} of the {lines} rows of {name} have no label in {', '.join(map(repr, columns[:4]))}, which "
            f"is more than half, for example {without[0].detail.split(':')[0]}. Name another column with "
            "--label-column, or leave these rows out of the table."
        )


def _choices(columns: Columns, label_columns: Sequence[str]) -> list[str]:
    """What was chosen without being said: several columns of 0 and 1."""
    if columns.label or len(label_columns) < 2:
        return []
    return [f"labels are the 0/1 columns {', '.join(map(repr, label_columns[:8]))}; --label-column names others"]


def _text_name(text: str, counts: Counter[str]) -> str:
    """A name derived from the content, so that it is stable when lines are added; identical texts are numbered."""
    name = text_hash(text)[:16]
    counts[name] += 1
    return name if counts[name] == 1 else f"{name}-{counts[name]}"


def _subject(columns: Columns, lines: Sequence[Line], name: str) -> tuple[str, str]:
    """The column of pictures or texts, and the modality."""
    known = list(lines[0].cells)
    if columns.path and columns.text:
        raise SettingError("give either a path column or a text column: a row is a picture or a text.")
    if columns.text:
        return str(_find_column(columns.text, (), known, name, "--text-column")), TEXT
    if columns.path:
        return str(_find_column(columns.path, (), known, name, "--path-column")), IMAGE
    path, text = (_find_column(None, names, known, name, "") for names in (PATHS, TEXTS))
    if not path and not text:
        raise DataError(
            f"{name} has the columns {', '.join(known)}: which has the pictures' paths or the texts? "
            "Give it with --path-column or --text-column."
        )
    if not path and are_paths([line.cells[str(text)].strip() for line in lines]):
        raise DataError(f"the column {text!r} of {name} holds paths of pictures: say --path-column {text}.")
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
    switches = [c for c in others if labels.is_switch(line.cells[c] for line in lines)]
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
        elif row.path in ("", ".") or not is_file(root / row.path):
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
