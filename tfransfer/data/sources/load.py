"""Open data from any source, as a user gives it or as a run's manifest records it."""

import hashlib
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.data import indexing
from tfransfer.data.dataset import Dataset
from tfransfer.data.indexing import Source
from tfransfer.data.modality import IMAGE, TEXT
from tfransfer.data.sources import folder, table, tfds, unpacked
from tfransfer.data.sources.arrays import is_arrays, is_tf_dataset, open_arrays, open_tf_dataset
from tfransfer.data.sources.digits import write_digits
from tfransfer.data.sources.kinds import (
    DIGITS,
    FOLDER,
    MEMORY,
    TABLE,
    TFDS,
    TFDS_PREFIX,
    as_given,
    class_folders,
    is_frame,
    name_of,
    source_of,
    split_tables,
)  # fmt: skip
from tfransfer.data.sources.table import Columns
from tfransfer.display.progress import Progress, Say, quiet, silent
from tfransfer.errors import DataError, SettingError
from tfransfer.recipe import read_section
from tfransfer.system.cache_home import REMEDY, cache_home
from tfransfer.system.files import write_text
from tfransfer.system.interface import option
from tfransfer.tasks.task import find_task


@dataclass(frozen=True)
class Reading:
    """Options for reading a source.

    Attributes:
        columns: Tables: what each column is.
        classes: Arrays: names of the classes, if the labels are numbers.
        data_dir: TFDS: the folder with prepared data.
        splits: TFDS: from "train", "validation" and "test" to its split syntax.
        group: Folders: from a path to its group.
        group_column: Column of a folder's `metadata.csv`, or of a table.
        read_as: "folder" or "table"; None decides by what is there.
    """

    columns: Columns = field(default_factory=Columns)
    classes: tuple[str, ...] | None = None
    data_dir: Path | None = None
    splits: dict[str, str] | None = None
    group: folder.GroupOf | None = None
    group_column: str | None = None
    _: KW_ONLY
    read_as: str | None = None


def is_same(data: Any, source: str, root: str, origin: dict[str, Any]) -> bool:
    """Whether this is the data of an earlier run, whose training split must not be scored."""
    data = as_given(data)
    if isinstance(data, Dataset):
        return str(data.root.absolute()) == root and data.origin == origin
    kind = source_of(data)
    if kind == MEMORY or (kind != source and {kind, source} != {FOLDER, TABLE}):
        return False
    if kind == DIGITS:
        return True  # they are the same in every cache
    if kind == TFDS:
        return str(data) == origin.get("data")
    return str(Path(data).absolute()) == (origin.get("file") if source == TABLE else root)


def load(
    data: Any,
    reading: Reading | None = None,
    *,
    progress: Progress = quiet,
    say: Say = silent,
    **options: Any,
) -> Dataset:
    """Index data from any source.

    Args:
        data: A folder, a table, "tfds:NAME", "digits", a pandas DataFrame, (pictures or texts, labels), or a
            tf.data.Dataset of such pairs.
        reading: How to read it.
        progress: Shows progress.
        say: Called with lines about skipped files.
        **options: As for `indexing.index`.

    Raises:
        DataNotFoundError: It does not exist.
        DataError: It has no usable classes or pictures.
        SettingError: The kind of data is not supported, or it is not clear how to read it.
    """
    reading, data = reading or Reading(), as_given(data)
    kind = source_of(data, reading.read_as)
    opened, origin = _open(data, kind, reading, progress, say)
    dataset = indexing.index(opened, progress=progress, say=say, **options)
    return replace(dataset, source=kind, origin=origin | {"name": name_of(data)})


def _open(data: Any, kind: str, reading: Reading, progress: Progress, say: Say) -> tuple[Source, dict[str, Any]]:
    """Open a source; also returns plain values that are enough to open it again."""
    columns = reading.columns
    if reading.group_column and kind in (TABLE, MEMORY):
        columns = replace(columns, group=reading.group_column)
    if kind in (FOLDER, DIGITS):
        if columns != Columns():
            raise SettingError(f"columns and a task apply to tables; {data} is a folder of pictures.")
        place = write_digits() if kind == DIGITS else Path(data)
        source = folder.folder_source(place, reading.group, reading.group_column)
        if tables := split_tables(place):
            names = ", ".join(file.name for file in tables.values())
            instead = f"{option('read_as', TABLE)} reads it"
            source.notes.append(f"read as class folders; {names} beside them is not used: {instead}")
        return source, {}
    if kind == TABLE:
        file = Path(data).absolute()
        source = table.table_source(Path(data), columns)
        if file.is_dir() and (folders := class_folders(file)):
            source.notes.append(f"read as tables; the folders {', '.join(folders[:4])} are not taken as classes")
        return source, {"file": str(file), "columns": _taken(columns, source).to_dict()}
    if kind == TFDS:
        opened = tfds.open_tfds(
            str(data).removeprefix(TFDS_PREFIX), reading.data_dir, reading.splits, progress=progress, say=say
        )
        origin = {"data": str(data), "data_dir": reading.data_dir and str(reading.data_dir), "splits": reading.splits}
        return _unpacked_source(opened, str(data)), origin
    if is_frame(data):
        return _frame(data, columns)
    return _in_memory(data, reading, progress), {}


def _frame(frame: Any, columns: Columns) -> tuple[Source, dict[str, Any]]:
    """Open a pandas DataFrame; it is written to the cache, so that a run can be scored again later."""
    lines = table.frame_lines(frame, columns.separator)
    source = table.lines_source(lines, columns, "the DataFrame", Path.cwd())
    text = table.write_lines(lines)
    file = cache_home() / "data" / "frames" / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.csv"
    write_text(file, text, REMEDY)
    return source, {"file": str(file), "columns": _taken(columns, source).to_dict(), "frame": True}


def _taken(columns: Columns, source: Source) -> Columns:
    """The columns with the separator that was inferred, so that other tables of the run's data are read alike."""
    return replace(columns, separator=source.separator or columns.separator)


def _in_memory(data: Any, reading: Reading, progress: Progress) -> Source:
    if hasattr(data, "as_dataset") and hasattr(data, "info"):
        opened = tfds.open_builder(data, reading.splits, progress=progress)
        return _unpacked_source(opened, f"the TFDS builder {data.name}")
    if is_tf_dataset(data):
        return _unpacked_source(open_tf_dataset(data, reading.classes), "the tf.data.Dataset")
    if is_arrays(data):
        return _unpacked_source(open_arrays(data[0], data[1], reading.classes), "the arrays")
    raise SettingError(
        "expected a folder, a table (.csv, .tsv), 'tfds:NAME', 'digits', a pandas DataFrame, a pair (pictures or "
        f"texts, labels), a tf.data.Dataset of such pairs or a TFDS builder; got {type(data).__name__}."
    )


def _unpacked_source(opened: unpacked.Unpacked, name: str) -> Source:
    kinds = {row.text is not None for row in opened.rows}
    if not opened.rows:
        raise DataError(f"{name} has no examples.")
    kind = TEXT if kinds == {True} else IMAGE
    classes = opened.classes or find_task(opened.task).unnamed
    return Source(opened.root, opened.rows, name, opened.task, kind, classes, notes=list(opened.notes))


def load_again(source: str, root: str, origin: dict[str, Any], splits_file: Path, **options: Any) -> Dataset:
    """Index the data of an earlier run with its recorded splits; built-in data is written again if it is gone.

    Args:
        source: `Dataset.source` of that run.
        root: `Dataset.root` of that run; built-in data may be elsewhere now.
        origin: `Dataset.origin` of that run.
        splits_file: The recorded `splits.csv`.
        **options: As for `indexing.index`.
    """
    dataset = indexing.index(_reopen(source, Path(root), origin), splits_file=splits_file, **options)
    return replace(dataset, source=source, origin=origin)


def _reopen(source: str, root: Path, origin: dict[str, Any]) -> Source:
    columns = _recorded_columns(origin)
    if source == TABLE or origin.get("frame"):
        return table.table_source(Path(origin["file"]), columns, root)
    if source == MEMORY:
        return _unpacked_source(unpacked.reopen(root), "the arrays")
    if source == TFDS:
        reading = Reading(data_dir=Path(origin["data_dir"]) if origin["data_dir"] else None, splits=origin["splits"])
        return _open(origin["data"], TFDS, reading, quiet, silent)[0]
    return folder.folder_source(write_digits() if source == DIGITS else root)


def _recorded_columns(origin: dict[str, Any]) -> Columns:
    return read_section(Columns, origin.get("columns", {}), "data.origin.columns.")


def load_known(
    data: Any, classes: tuple[str, ...], task: str, origin: dict[str, Any], progress: Progress, say: Say
) -> Dataset:
    """Index data to be scored as a whole by a model whose classes are known.

    Args:
        data: As for `load`.
        classes: The model's classes.
        task: The model's task.
        origin: `Dataset.origin` of the training data: a table is expected to have the same columns.
        progress: Shows progress.
        say: Called with lines about skipped files.

    Raises:
        DataError: A class is unknown, or the labels are for another task.
    """
    data = as_given(data)
    kind = source_of(data)
    if kind == FOLDER:
        if not find_task(task).one_class:
            raise DataError(f"the model's task is {task}: score it on a table with labels, not on a folder.")
        return folder.load_labelled(Path(data), classes, progress=progress, say=say)
    columns = replace(_recorded_columns(origin), task=task, split=None, group=None, fixed=True)
    names = _by_number(classes) if find_task(task).has_classes else None
    if names is None and is_arrays(data):
        data = (data[0], _as_numbers(data[1]))
    reading = Reading(columns if kind in (TABLE, MEMORY) else Columns(), names)
    opened, _ = _open(data, kind, reading, progress, say)
    if opened.task != task:
        raise DataError(f"the labels of {opened.name} are {opened.task}; the model's task is {task}.")
    return indexing.index_known(opened, classes, progress=progress, say=say)


# More than any data set has: names with larger numbers are none that somebody counted.
_MOST_CLASSES = 100_000


def _by_number(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The class of each class number in arrays: its place, or the class whose name is that number."""
    if not all(name.isascii() and name.isdigit() and int(name) < _MOST_CLASSES for name in classes):
        return classes
    named = {int(name): name for name in classes}
    if len(named) < len(classes):
        return classes
    # The numbers between are no classes of the model, which is then said.
    return tuple(named.get(number, str(number)) for number in range(max(named) + 1))


def _as_numbers(targets: Any) -> Any:
    """Whole numbers as floats, which stand for a regression."""
    array = np.asarray(targets)
    return array.astype(np.float64) if array.dtype.kind in "iu" else targets
