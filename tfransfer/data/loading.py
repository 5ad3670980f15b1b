"""Load a Dataset from any source."""

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
from tfransfer.system.files import user_path
from tfransfer.system.keywords import keywords_of, known_keywords, require_known
from tfransfer.tasks.labels import SEPARATOR


@known_keywords
def load_data(
    source: Any, *, path_column: str | None = None, text_column: str | None = None, label_column: str | None = None,
    split_column: str | None = None, separator: str = SEPARATOR, task: str | None = None,
    classes: Sequence[str] | None = None, data_dir: str | Path | None = None,
    tfds_splits: dict[str, str] | None = None, split_seed: int = 0, splits_file: str | Path | None = None,
    group: folder.GroupOf | None = None, group_column: str | None = None,
    missing_labels: str | Sequence[str] | None = None, read_as: str | None = None,
    max_pixels: int = audit.MAX_PIXELS, progress: Progress | bool | None = None, say: Say | None = None,
    strict: bool = True,
) -> Dataset:  # fmt: skip
    """Index pictures or texts and decide their splits.

    Args:
        source: A folder with one subfolder per class, perhaps below train/validation/test folders; a table (.csv, .tsv,
            a DataFrame, a folder with one per split); "tfds:NAME"; "digits", which is built in; a pair (pictures, paths
            or texts; labels); a tf.data.Dataset of such pairs, or a TFDS builder.
        path_column: Tables: column of picture paths, relative to the table.
        text_column: Tables: column of texts.
        label_column: Tables: column of labels, or several comma-separated columns of 0 and 1.
        split_column: Tables: column of "train", "validation" or "test".
        separator: Tables: separates several classes in one cell.
        task: Tables: "single-label", "multi-label" or "regression"; None infers it from the labels.
        classes: Arrays: the class names, in the order of their numbers.
        data_dir: TFDS: the folder with prepared data.
        tfds_splits: TFDS: from a split's name to its split syntax.
        split_seed: Seed of the hash of each file's content that decides its split.
        splits_file: A recorded `splits.csv` to use instead.
        group: From a relative path to the name of a group that must stay in one split, or None.
        group_column: Column of a table, or of `metadata.csv` in the folder, that names such groups.
        missing_labels: Tables: words for "no label" (list or comma-separated); None judges "none", "NA" and the like.
        read_as: "folder" or "table", where a folder has both; None prefers class folders.
        max_pixels: Pictures with more pixels are skipped.
        progress: True shows a bar, None does so only in a notebook.
        say: Called with lines about skipped files.
        strict: Raise for data that cannot be trained on; else the dataset's `refusal` says why it cannot.

    Raises:
        DataError: It does not exist (DataNotFoundError), has no usable classes or unreadable labels.
        SettingError: It is not clear how to read it.
    """
    progress, say = listeners(progress, say)
    columns = Columns(
        path_column, text_column, label_column, split_column, separator=separator, task=task, missing=missing_labels,
    )  # fmt: skip
    names = tuple(classes) if classes else None
    prepared, file = (user_path(given) if given else None for given in (data_dir, splits_file))
    reading = Reading(columns, names, prepared, tfds_splits, group, group_column, read_as=read_as)
    return load(
        source, reading, split_seed=split_seed, splits_file=file, max_pixels=max_pixels, progress=progress, say=say,
        strict=strict,
    )  # fmt: skip


# The keys of `reading={...}`, wherever a function takes data that is not loaded yet.
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
    """Return a Dataset unchanged; load anything else with `load_data`.

    Args:
        data: A Dataset, or what `load_data` takes.
        reading: How the data is read: arguments of `load_data` by name.
        splits_file: A recorded `splits.csv` to use if the data is loaded here.
        progress: Shows progress.
        say: Called with lines about skipped files.
        strict: Raise for data that cannot be trained on.

    Raises:
        SettingError: A name in `reading` is unknown, or `reading` is given for loaded data, where it has no effect.
        DataError: It cannot be trained on.
        TransferError: As in `load_data`.
    """
    require_known(reading or {}, READING, "reading")
    if isinstance(data, Dataset):
        if reading:
            raise SettingError(
                f"the data is already loaded, so {', '.join(reading)} has no effect: pass it to load_data."
            )
        dataset = data
    else:
        arguments = ({"splits_file": splits_file} if splits_file else {}) | (reading or {})
        dataset = load_data(data, progress=progress, say=say, strict=strict, **arguments)
    if strict and dataset.refusal:
        raise DataError(dataset.refusal)
    return dataset
