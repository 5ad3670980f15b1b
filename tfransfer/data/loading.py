"""From whatever a user has to a Dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfransfer.data.dataset import Dataset
from tfransfer.data.health import audit
from tfransfer.data.sources import folder
from tfransfer.data.sources.load import Reading, load
from tfransfer.data.sources.table import Columns
from tfransfer.display.listeners import listeners
from tfransfer.display.progress import Progress, Say
from tfransfer.errors import DataError, SettingError
from tfransfer.system.keywords import keywords_of, known_keywords, require_known
from tfransfer.tasks.labels import SEPARATOR


@known_keywords
def load_data(
    source: Any,
    *,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    separator: str = SEPARATOR,
    task: str | None = None,
    classes: Sequence[str] | None = None,
    data_dir: str | Path | None = None,
    tfds_splits: dict[str, str] | None = None,
    split_seed: int = 0,
    splits_file: str | Path | None = None,
    group: folder.GroupOf | None = None,
    group_column: str | None = None,
    max_pixels: int = audit.MAX_PIXELS,
    progress: Progress | bool | None = None,
    say: Say | None = None,
    strict: bool = True,
) -> Dataset:
    """Index pictures or texts and decide their splits.

    Args:
        source: A folder with one folder per class, or train/validation/test folders above these; a table (.csv, .tsv,
            a DataFrame, or a folder with a table per split); "tfds:NAME"; "digits", which are built in; a pair
            (pictures or texts, labels) of arrays or lists; a tf.data.Dataset of such pairs, or a TFDS builder.
        path_column: Of a table: the column with paths of pictures, relative to the table.
        text_column: Of a table: the column with texts.
        label_column: Of a table: the column with labels, or several with 0 and 1, with commas between their names.
        split_column: Of a table: the column with "train", "validation" or "test".
        separator: Between several classes in one cell of a table.
        task: Of a table: "single-label", "multi-label" or "regression"; None tells it from the labels.
        classes: Of arrays: the classes' names, in the order of their numbers.
        data_dir: Of TFDS: the folder with prepared data.
        tfds_splits: From "train", "validation" and "test" to TFDS's split syntax.
        split_seed: Seed of the hash of each file's content that decides its split.
        splits_file: A recorded `splits.csv` to follow instead.
        group: From a relative path to the name of a group that must stay on one side, or None.
        group_column: Column of a table, or of `metadata.csv` in the folder, that names such groups.
        max_pixels: Pictures with more are set aside.
        progress: Shows how far it is; True shows a bar, None does so in a notebook only.
        say: Told what was set aside.
        strict: Refuse data that cannot be trained on; else the dataset's `refusal` says why it cannot.

    Raises:
        DataNotFoundError: It does not exist.
        DataError: It has no usable classes or pictures, or labels that cannot be read.
        SettingError: How to read it is not clear.
    """
    progress, say = listeners(progress, say)
    columns = Columns(path_column, text_column, label_column, split_column, separator=separator, task=task)
    reading = Reading(
        columns, tuple(classes) if classes else None, Path(data_dir) if data_dir else None, tfds_splits, group,
        group_column,
    )  # fmt: skip
    return load(
        source, reading, split_seed=split_seed, splits_file=Path(splits_file) if splits_file else None,
        max_pixels=max_pixels, progress=progress, say=say, strict=strict,
    )  # fmt: skip


# What `reading={...}` may hold, wherever a function takes data that is not loaded yet.
READING = tuple(name for name in keywords_of(load_data) if name not in ("source", "progress", "say", "strict"))


def open_data(
    data: Any,
    reading: dict[str, Any] | None = None,
    *,
    splits_file: str | Path | None = None,
    progress: Progress | bool | None = None,
    say: Say | None = None,
    strict: bool = True,
) -> Dataset:
    """A Dataset as it is, anything else as `load_data` reads it.

    Args:
        data: A Dataset, or what `load_data` takes.
        reading: How the data is read: arguments of `load_data` by name.
        splits_file: A recorded `splits.csv` to follow, where the data is read here.
        progress: Shows how far it is.
        say: Told what was set aside.
        strict: Refuse data that cannot be trained on.

    Raises:
        SettingError: A name in `reading` is unknown, or the data is loaded already, so that it would have no effect.
        DataError: It cannot be trained on.
        TransferError: As of `load_data`.
    """
    require_known(reading or {}, READING, "reading")
    if isinstance(data, Dataset):
        if reading:
            raise SettingError(
                f"the data is loaded already, so {', '.join(reading)} would change nothing: give it to load_data."
            )
        dataset = data
    else:
        given = ({"splits_file": splits_file} if splits_file else {}) | (reading or {})
        dataset = load_data(data, progress=progress, say=say, strict=strict, **given)
    if strict and dataset.refusal:
        raise DataError(dataset.refusal)
    return dataset
