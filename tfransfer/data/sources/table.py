"""Tables of pictures or texts: .csv and .tsv files, a folder with one table per split, pandas DataFrames.

A row has a picture's path, relative to the table's folder, or a text; and its label: a class, several classes
separated by `;` or as 0/1 columns, or a number.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tfransfer.data.index import Issue, Row
from tfransfer.data.indexing import Source, text_hash
from tfransfer.data.modality import IMAGE, MODALITIES, TEXT
from tfransfer.data.sources import labels
from tfransfer.data.sources.kinds import SPLIT_TABLES, split_tables
from tfransfer.data.sources.listed import Located, locate, picture_column
from tfransfer.data.sources.paths import are_paths, is_file
from tfransfer.data.sources.table_files import Line, read_lines
from tfransfer.errors import DataError, DataNotFoundError, SettingError, did_you_mean
from tfransfer.system.files import DOWNLOAD_FIRST, is_url
from tfransfer.system.interface import option
from tfransfer.tasks.labels import SEPARATOR, Unusable

# Default column names, in this order.
PATHS = ("path", "file_name", "filename", "file", "image_path", "image", "img", "picture", "photo")
TEXTS = ("text", "sentence", "review", "comment", "document", "content")
_LABELS = ("label", "labels", "class", "classes", "category", "target", "tags", "value", "y")
_SPLITS = ("split", "subset")


def _column_name(given: Any, keyword: str) -> str | None:
    """A column as a user names it: a name, a number from 1, or several of these for the labels."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    if keyword == "label_column" and isinstance(given, list | tuple) and given:
        return ",".join(str(_column_name(one, keyword)) for one in given)
    raise SettingError(f"{keyword} takes the name of a column, or its number from 1; got {given!r}.")


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
        fixed: Whether these are the columns of a model's training data, so that the table is what must change.
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
    fixed: bool = False

    def __post_init__(self) -> None:
        for name in ("path", "text", "label", "split", "group"):
            object.__setattr__(self, name, _column_name(getattr(self, name), f"{name}_column"))
        words = self.missing.split(",") if isinstance(self.missing, str) else self.missing
        if words is not None:
            object.__setattr__(self, "missing", tuple(word.strip() for word in words if word.strip()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without None."""
        return {key: value for key, value in asdict(self).items() if value is not None and key != "fixed"}

    def remedy(self, *keywords: str) -> str:
        """What to do about a column that is not found: a sentence.

        Args:
            *keywords: The options that give it.
        """
        if self.fixed:
            return "Name it as in the table that the model was trained on."
        return f"Give it with {' or '.join(map(option, keywords))}."

    def prefix(self, keyword: str) -> str:
        """The beginning of a message about a requested column: the option that requested it, if there is one."""
        return "" if self.fixed else f"{option(keyword)}: "


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
    notes: list[str] = []
    if not path.is_dir():
        source = lines_source(read_lines(path, numbered, notes=notes), columns, str(path), place)
    else:
        tables = {split: read_lines(file, numbered, split, notes) for split, file in split_tables(path).items()}
        notes += _without_labels(tables, columns, path)
        source = lines_source([line for lines in tables.values() for line in lines], columns, str(path), place)
    source.notes.extend(notes)
    return source


def _without_labels(tables: dict[str, list[Line]], columns: Columns, folder: Path) -> list[str]:
    """Leave out tables without the training table's label columns, as competitions hand out test data; says which."""
    notes: list[str] = []
    if not tables["train"]:
        return notes
    known = list(tables["train"][0].cells)
    subject, _ = _subject(columns, tables["train"], str(folder), folder)
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
    subject, kind = _subject(columns, lines, name, root)
    is_file = MODALITIES[kind].has_pixels
    label_columns = _label_columns(columns, known, subject, lines, name)
    split = _find_column(columns.split, _SPLITS, known, name, columns.prefix("split_column"))
    group = _find_column(columns.group, (), known, name, columns.prefix("group_column"))
    issues: list[Issue] = []
    parsed = labels.read(lines, label_columns, columns.separator, columns.task, columns.missing)
    usable = []
    located = _located(lines, subject, root) if is_file else Located(_text_names(lines, subject))
    for line, target, path in zip(lines, parsed.targets, located.paths, strict=True):
        if isinstance(target, Unusable):
            issues.append(Issue(path, "no label", f"{line.place}: {target.reason}"))
            continue
        split_name = line.split or (_split_of(line, split) if split else "")
        text = None if is_file else line.cells[subject]
        row = Row(path, target, split_name, (line.cells[group] or None) if group else None, text)
        usable.append((line, row))
    _require_labels(issues, len(lines), label_columns, name, columns)
    usable = _with_split(usable, issues)
    if is_file:
        usable = _usable_paths(usable, root, name, issues, located.reasons)
    rows = tuple(row for _, row in usable)
    # What was chosen for the training data holds for this table, too, and no option changes it.
    notes = [*located.notes, *(() if columns.fixed else (*_choices(columns, label_columns), *parsed.notes))]
    if is_file and not columns.path and subject.lower() not in PATHS:
        notes.append(f"the column {subject!r} names the pictures")
    return Source(
        root, rows, name, parsed.task, kind, parsed.classes, issues=issues, notes=notes, separator=parsed.separator
    )


def _located(lines: Sequence[Line], column: str, root: Path) -> Located:
    """The files of all lines; those of each split's table are looked up for themselves."""
    paths: list[str] = []
    reasons: dict[str, str] = {}
    notes: list[str] = []
    for split, group in groupby(lines, key=lambda line: line.split):
        one = locate([line.cells[column] for line in group], root, split)
        paths += one.paths
        reasons |= one.reasons
        notes += one.notes
    return Located(tuple(paths), reasons, tuple(dict.fromkeys(notes)))


def _require_labels(issues: Sequence[Issue], lines: int, names: Sequence[str], name: str, columns: Columns) -> None:
    without = [issue for issue in issues if issue.kind == "no label"]
    other = "" if columns.fixed else f", or name another column with {option('label_column')}"
    if 2 * len(without) > lines:
        raise DataError(
            f"{len(without)} of the {lines} rows of {name} have no label in {', '.join(map(repr, names[:4]))}, which "
            f"is more than half, for example {without[0].detail.split(':')[0]}. Leave these rows out of the table"
            f"{other}."
        )


def _choices(columns: Columns, label_columns: Sequence[str]) -> list[str]:
    """What was chosen without being said: several columns of 0 and 1."""
    if columns.label or len(label_columns) < 2:
        return []
    names = ", ".join(map(repr, label_columns[:8]))
    return [f"labels are the 0/1 columns {names}; {option('label_column')} names others"]


def _text_names(lines: Sequence[Line], column: str) -> tuple[str, ...]:
    """Names derived from the content, so that they are stable when lines are added; identical texts are numbered."""
    counts: Counter[str] = Counter()
    names = []
    for line in lines:
        name = text_hash(line.cells[column])[:16]
        counts[name] += 1
        names.append(name if counts[name] == 1 else f"{name}-{counts[name]}")
    return tuple(names)


def _subject(columns: Columns, lines: Sequence[Line], name: str, root: Path) -> tuple[str, str]:
    """The column of pictures or texts, and the modality."""
    known = list(lines[0].cells)
    if columns.path and columns.text:
        raise SettingError("give either a path column or a text column: a row is a picture or a text.")
    if columns.text:
        return str(_find_column(columns.text, (), known, name, columns.prefix("text_column"))), TEXT
    if columns.path:
        return str(_find_column(columns.path, (), known, name, columns.prefix("path_column"))), IMAGE
    path, text = (_find_column(None, names, known, name, "") for names in (PATHS, TEXTS))
    if not path and not text:
        path = picture_column([line.cells for line in lines], root)
    if not path and not text:
        raise DataError(
            f"{name} has the columns {', '.join(known)}: which has the pictures' paths or the texts? "
            f"{columns.remedy('path_column', 'text_column')}"
        )
    if not path and are_paths([line.cells[str(text)].strip() for line in lines]):
        raise DataError(f"the column {text!r} of {name} holds paths of pictures: give {option('path_column', text)}.")
    return (path, IMAGE) if path else (str(text), TEXT)


def _label_columns(
    columns: Columns, known: Sequence[str], subject: str, lines: Sequence[Line], name: str
) -> tuple[str, ...]:
    if columns.label and columns.label not in known and "," in columns.label:
        requested = [part.strip() for part in columns.label.split(",") if part.strip()]
        return tuple(str(_find_column(part, (), known, name, columns.prefix("label_column"))) for part in requested)
    column = _find_column(columns.label, _LABELS, known, name, columns.prefix("label_column"))
    if column:
        return (column,)
    others = [column for column in known if column not in (subject, columns.split, columns.group, *_SPLITS)]
    switches = [c for c in others if labels.is_switch(line.cells[c] for line in lines)]
    if len(switches) > 1:
        return tuple(switches)
    raise DataError(
        f"{name} has the columns {', '.join(known)}: which has the labels? {columns.remedy('label_column')} "
        "Several 0/1 columns are separated by commas."
    )


def _find_column(given: str | None, usual: Iterable[str], known: Sequence[str], name: str, prefix: str) -> str | None:
    """The requested column, or the first with a usual name."""
    if given is None:
        lower = {column.lower(): column for column in reversed(known)}
        return next((lower[word] for word in usual if word in lower), None)
    if given not in known:
        raise DataError(
            f"{prefix}{name} has no column {given!r}; it has {', '.join(known)}.{did_you_mean(given, known)}"
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


def _usable_paths(
    rows: list[tuple[Line, Row]], root: Path, name: str, issues: list[Issue], reasons: Mapping[str, str]
) -> list[tuple[Line, Row]]:
    """Rows whose file exists and is not in an earlier row; `reasons` says why there is none, where that is unusual."""
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
            reason = reasons.get(row.path, "the file does not exist")
            missing.append(Issue(row.path, "missing", f"{line.place}: {reason}"))
        else:
            first[row.path] = (line, row)
    if len(missing) * 2 > len(rows):
        url = is_url(missing[0].path)
        raise DataError(
            f"{len(missing)} of the {len(rows)} pictures in {name} do not exist, for example {missing[0].path[:200]!r} "
            f"({missing[0].detail}). {DOWNLOAD_FIRST if url else f'Paths are relative to {root}.'}"
        )
    issues += missing
    return list(first.values())
