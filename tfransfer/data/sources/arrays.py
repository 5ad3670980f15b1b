"""NumPy arrays and tf.data.Datasets as a source: pixels are unpacked once as PNG, texts are stored as they are."""

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.data.index import SPLITS, Row
from tfransfer.data.sources.paths import are_paths, is_file, is_picture_path, local, paths_among_texts
from tfransfer.data.sources.unpacked import Contents, PixelEncoder, Unpacked, Writer, unpack, unpack_by_content
from tfransfer.errors import DataError, did_you_mean
from tfransfer.tasks.labels import has_line_break
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL

_SPLIT_ALIASES = {"val": "validation", "valid": "validation"}


def is_arrays(value: Any) -> bool:
    """Whether this is (pictures or texts, targets): a pair of arrays or lists."""
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_array_or_list, value))


def _is_array_or_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (hasattr(value, "__array__") and hasattr(value, "__len__"))


def is_tf_dataset(value: Any) -> bool:
    """Whether this is a tf.data.Dataset, or a dict of them; does not import TensorFlow."""
    if isinstance(value, Mapping):
        return bool(value) and not any(isinstance(one, Mapping) or not is_tf_dataset(one) for one in value.values())
    data = getattr(sys.modules.get("tensorflow"), "data", None)
    return data is not None and isinstance(value, data.Dataset)


def examples_of(dataset: Any, key: str) -> Iterator[Any]:
    """The examples of a tf.data.Dataset, in order and without labels: arrays of pixels, or bytes.

    Args:
        dataset: Of examples, (example, label) or dicts, batched or not; a batch of pictures is one array (n, h, w, c).
        key: The examples' key in dicts.

    Raises:
        DataError: It is infinite, or holds something else.
    """
    if int(dataset.cardinality()) == -1:
        raise DataError("the tf.data.Dataset never ends: drop its .repeat(), or cut it with .take(count).")
    for element in dataset.as_numpy_iterator():
        example = element[0] if isinstance(element, tuple) else element
        if isinstance(example, Mapping):
            if key not in example:
                raise DataError(f"expected {key!r} in the tf.data.Dataset's dicts; they have {', '.join(example)}.")
            example = example[key]
        is_strings = getattr(getattr(example, "dtype", None), "kind", "") in "OS" and hasattr(example, "tolist")
        yield from example.tolist() if is_strings else [example]


def open_arrays(
    pictures: Any, targets: Any, classes: Sequence[str] | None = None, splits: Sequence[str] | None = None
) -> Unpacked:
    """Unpack pictures or texts in memory.

    Args:
        pictures: In [0, 255], shape (n, h, w), (n, h, w, 1), (n, h, w, 3) or (n, h, w, 4), or a list of pictures of
            different sizes; or n paths of picture files; or n texts.
        targets: Class numbers or names, shape (n,) or (n, 1); rows of 0 and 1, shape (n, classes): single-label where
            every row is one-hot, else multi-label; or floats, shape (n,), for a regression.
        classes: Names in the order of the class numbers or columns, or all names that may occur.
        splits: "train", "validation", "test" or "" for each example.

    Raises:
        DataError: The arrays do not fit each other or hold other values.
        WriteError: The cache cannot be written to.
    """
    examples = _examples(pictures)
    resolved = _resolve(targets, classes)
    split_names = [_SPLIT_ALIASES.get(s, s) for s in splits] if splits is not None else [""] * len(examples)
    for what, count in (("targets", len(resolved.values)), ("splits", len(split_names))):
        if count != len(examples):
            raise DataError(f"{len(examples)} pictures or texts need as many {what}; there are {count}.")
    _require_splits(split_names)
    records, notes = _with_files(list(zip(examples, resolved.values, split_names, strict=True)))
    facts = {
        "examples": _hash([example for example, _, _ in records]),
        "targets": [target for _, target, _ in records],
        "splits": [split for _, _, split in records],
        "classes": resolved.classes,
        "notes": notes,
    }

    def fill(writer: Writer) -> Contents:
        encoder = PixelEncoder()
        rows = tuple(_row(writer, encoder, *record) for record in records)
        return Contents(rows, resolved.classes, resolved.task, (*resolved.notes, *notes))

    return unpack("arrays", facts | {"task": resolved.task}, fill)


def open_tf_dataset(dataset: Any, classes: Sequence[str] | None = None) -> Unpacked:
    """Unpack a tf.data.Dataset, read once from beginning to end; the same content in another order is stored once.

    Args:
        dataset: Of (picture, label), (path, label), (text, label) or a dict with the keys "image" or "text", and
            "label"; batched or not; or a dict of such datasets by split. Pictures and labels are as for `open_arrays`.
        classes: As for `open_arrays`; None takes `class_names`, which Keras's `..._dataset_from_directory` sets.

    Raises:
        DataError: The dataset is infinite or empty, or holds something else.
        WriteError: The cache cannot be written to.
    """
    given = dataset if isinstance(dataset, Mapping) else {"": dataset}
    parts: dict[str, Any] = {_SPLIT_ALIASES.get(split, split): one for split, one in given.items()}
    _require_splits(list(parts))
    if len(parts) == 1:
        parts = {"": next(iter(parts.values()))}
    names = classes or next((d.class_names for d in parts.values() if hasattr(d, "class_names")), None)
    columns = {split: _Structure(one) for split, one in parts.items()}

    def fill(writer: Writer) -> Contents:
        encoder, rows, targets = PixelEncoder(), [], []
        notes: list[str] = []
        records: Iterable[Any] = (
            (example, target, split) for split, column in columns.items() for example, target in column.records()
        )
        if any(column.holds_strings for column in columns.values()):
            records, notes = _with_files(list(records))
        for example, target, split in records:
            rows.append(_row(writer, encoder, example, "", split))
            targets.append(target)
        encoder.finish()
        if not rows:
            raise DataError("the tf.data.Dataset is empty; expected pictures or texts with their labels.")
        resolved = _resolve(targets, names)
        complete = tuple(Row(r.path, v, r.split, text=r.text) for r, v in zip(rows, resolved.values, strict=True))
        return Contents(complete, resolved.classes, resolved.task, (*resolved.notes, *notes))

    return unpack_by_content("arrays", fill)


def _row(writer: Writer, encoder: PixelEncoder, example: Any, target: Any, split: str) -> Row:
    if isinstance(example, Path):
        return Row(writer.link(example), target, split)
    if isinstance(example, str):
        return Row(writer.text(example), target, split, text=example)
    return Row(writer.picture(encoder.png(example), ".png"), target, split)


def _with_files(records: list[Any]) -> tuple[list[Any], list[str]]:
    """Turn strings that are paths of pictures into Paths, and leave out those that are none or have no file.

    Args:
        records: Tuples that begin with a text, a Path or the pixels of a picture.

    Returns:
        The records that are left, and what the user should know.

    Raises:
        DataError: A part of the strings are paths, or more than half have no file.
    """
    values = [record[0] for record in records]
    if not any(isinstance(value, str | Path) for value in values):
        return records, []
    if not are_paths(values):
        return records, paths_among_texts(values)
    values = local(values)
    records = [(value, *rest) for value, (_, *rest) in zip(values, records, strict=True)]
    there = [is_picture_path(value) and is_file(value) for value in values]
    absent = [str(value) for value, found in zip(values, there, strict=True) if not found]
    if 2 * len(absent) > len(values):
        raise DataError(
            f"{len(absent)} of the {len(values)} paths have no file, for example {absent[0][:200]!r}. Relative paths "
            f"are looked up in {Path.cwd()}."
        )
    left = [(Path(value).absolute(), *rest) for (value, *rest), found in zip(records, there, strict=True) if found]
    some = ", ".join(repr(name[:80]) for name in absent[:3])
    return left, [f"{len(absent)} of {len(values)} paths have no file and are left out: {some}"] if absent else []


def _require_splits(splits: list[str]) -> None:
    unknown = sorted(set(map(str, splits)) - {"", *SPLITS})
    if unknown:
        raise DataError(
            f"{unknown[0]!r} is not a split; expected {', '.join(SPLITS)}.{did_you_mean(unknown[0], SPLITS)}"
        )
    if any(splits) and "train" not in splits and len(set(splits)) > 1:
        raise DataError(f"none of the splits {', '.join(sorted(set(splits)))} is train: rename the one to train on.")


def _examples(given: Any) -> list[Any]:
    """Texts, or one array per picture; nothing is copied."""
    array = None if isinstance(given, list | tuple) else np.asarray(given)
    examples = list(given) if array is None else array.tolist() if array.dtype.kind in "OSU" else None
    if examples is None:
        if array is None or array.ndim not in (3, 4):
            raise DataError(
                "expected pictures as an array (n, height, width) or (n, height, width, channels), or as a list; "
                f"got an array {np.shape(given)}."
            )
        examples = list(array)
    if not examples:
        raise DataError("there are no pictures or texts: the array or list is empty.")
    strings = sum(isinstance(example, str | bytes | Path) for example in examples)
    if strings == len(examples):
        return [
            example if isinstance(example, Path) else _text(example, number) for number, example in enumerate(examples)
        ]
    if strings:
        raise DataError(f"expected pictures only or texts only; {strings} of {len(examples)} are strings.")
    return examples


def _text(value: str | bytes, number: int) -> str:
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
        text.encode()
    except UnicodeError as error:
        raise DataError(
            f"text number {number} is not UTF-8: {error}. Decode it first; pictures must be arrays of pixels, as "
            "tf.io.decode_image gives them."
        ) from error
    return text


def _hash(examples: Sequence[Any]) -> str:
    digest, encoder = hashlib.blake2b(digest_size=16), PixelEncoder()
    for example in examples:
        pixels = None if isinstance(example, str | Path) else encoder.pixels(example)
        encoded = os.fsencode(example) if pixels is None else pixels.tobytes()
        digest.update(f"{len(encoded)} {() if pixels is None else pixels.shape} ".encode() + encoded)
    encoder.finish()
    return digest.hexdigest()


@dataclass(frozen=True)
class _Targets:
    task: str
    classes: tuple[str, ...]
    values: list[Any]
    notes: tuple[str, ...] = ()


def _resolve(given: Any, classes: Sequence[str] | None) -> _Targets:
    """Convert targets to those of Rows, and find their task."""
    names = _class_names(classes)
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise _no_targets("rows of different lengths") from error
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim == 2 and array.dtype.kind in "buif":
        return _columns_of_classes(array, names)
    if array.ndim != 1:
        raise _no_targets(f"{array.dtype} of shape {array.shape}")
    if array.dtype.kind in "OSU":
        return _by_name(array.tolist(), names)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise _no_targets(f"{np.count_nonzero(~np.isfinite(array))} that are NaN or infinite: leave them out")
        whole = bool((array == np.rint(array)).all())
        if not names:
            # Keras's binary labels are floats, too.
            note = "the targets are whole numbers as floats and taken as a regression; for classes give integers"
            return _Targets(REGRESSION, (), [float(v) for v in array], (note,) if whole else ())
        if not whole:
            raise _no_targets(f"numbers that are not whole, such as {array[array != np.rint(array)][0]:g}, and classes")
    return _by_number(array.astype(np.int64), names)


def _no_targets(actual: str) -> DataError:
    return DataError(
        "expected targets that are class numbers or names (n,), rows of 0 and 1 (n, classes), or floats (n,) for a "
        f"regression; got {actual}."
    )


def _class_names(classes: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(map(str, classes)) if classes is not None else ()
    wrong = next((n for n in names if not n or has_line_break(n) or names.count(n) > 1), None)
    if wrong is not None:
        raise DataError(
            f"class names must be distinct lines of text; {wrong!r} is empty, has a line break or is repeated."
        )
    return names


def _by_name(values: list[Any], names: tuple[str, ...]) -> _Targets:
    decoded = [v.decode(errors="replace") if isinstance(v, bytes) else v for v in values]
    others = [word for word in decoded if not isinstance(word, str) or not word]
    if others:
        raise _no_targets(f"{others[0]!r} among names")
    names = names or _class_names(sorted(set(decoded)))
    unknown = sorted(set(decoded) - set(names))
    if unknown:
        raise DataError(
            f"the targets have the class {unknown[0]!r}, which is not among the classes "
            f"{', '.join(map(repr, names[:10]))}.{did_you_mean(unknown[0], names)}"
        )
    return _Targets(SINGLE_LABEL, names, [str(word) for word in decoded])


def _by_number(numbers: np.ndarray, names: tuple[str, ...]) -> _Targets:
    if numbers.size == 0:
        raise _no_targets("nothing")
    lowest, highest = int(numbers.min()), int(numbers.max())
    if lowest < 0 or (names and highest >= len(names)):
        expected = f"0 to {len(names) - 1} for the {len(names)} classes" if names else "0 or more"
        raise DataError(
            f"expected class numbers that are {expected}; got {lowest} to {highest}. Leave out examples without "
            "a class, or give the classes' names as targets."
        )
    if names:
        return _Targets(SINGLE_LABEL, names, [names[i] for i in numbers])
    # Padded with zeros, so that names sort like numbers.
    words = [f"{i:0{len(str(highest))}}" for i in numbers]
    return _Targets(SINGLE_LABEL, tuple(sorted(set(words))), words)


def _columns_of_classes(matrix: np.ndarray, names: tuple[str, ...]) -> _Targets:
    other = matrix[(matrix != 0) & (matrix != 1)]
    if other.size:
        raise _no_targets(f"a table of shape {matrix.shape} with {other[0]:g} in it")
    columns = matrix.shape[1]
    if not names:
        names = tuple(f"{i:0{len(str(columns - 1))}}" for i in range(columns))
    if len(names) != columns:
        raise DataError(f"the targets have {columns} columns, but there are {len(names)} classes; expected as many.")
    if (matrix.sum(axis=1) == 1).all():
        return _Targets(SINGLE_LABEL, names, [names[i] for i in matrix.argmax(axis=1)])
    return _Targets(MULTI_LABEL, names, [tuple(names[i] for i in np.flatnonzero(row)) for row in matrix])


class _Structure:
    """How the elements of a tf.data.Dataset hold examples and targets.

    Args:
        dataset: A dataset of pairs or dicts.

    Raises:
        DataError: It is infinite, or has another structure.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._keys = self._keys_of(dataset.element_spec)
        if int(dataset.cardinality()) == -1:
            raise DataError("the tf.data.Dataset never ends: drop its .repeat(), or cut it with .take(count).")
        example, target = (dataset.element_spec[key] for key in self._keys)
        if any(type(s).__name__ != "TensorSpec" or s.shape.rank is None for s in (example, target)):
            raise self._wrong_structure()
        self._is_batched = self._batched(example, target)
        self.holds_strings = example.dtype.name == "string"

    def records(self) -> Iterator[tuple[Any, Any]]:
        """Every example, a text or an array, with its target."""
        number = 0
        for element in self._dataset.as_numpy_iterator():
            pair = tuple(element[key] for key in self._keys)
            for example, target in zip(*pair, strict=True) if self._is_batched else (pair,):
                yield (_text(example, number) if isinstance(example, bytes) else example), target
                number += 1

    def _keys_of(self, spec: Any) -> tuple[Any, Any]:
        if isinstance(spec, tuple) and len(spec) == 2:
            return 0, 1
        keys = [key for key in ("image", "text") if isinstance(spec, Mapping) and key in spec]
        if len(keys) != 1 or "label" not in spec:
            raise self._wrong_structure()
        return keys[0], "label"

    def _batched(self, example: Any, target: Any) -> bool:
        ranks = example.shape.rank, target.shape.rank
        if example.dtype.name == "string":
            single = ranks[0] == 0
            fits = ranks[0] < 2
        else:
            # (h, w, c) with one label or one-hot row, or (n, h, w) with n labels: the last dimension decides.
            single = ranks[0] == 2 or (ranks[0] == 3 and (ranks[1] == 0 or example.shape[-1] in (1, 3, 4)))
            fits = 2 <= ranks[0] <= 4
        if not fits or ranks[1] > 1 + (not single) or (ranks[1] == 0 and not single):
            raise self._wrong_structure()
        return not single

    def _wrong_structure(self) -> DataError:
        return DataError(
            'expected a tf.data.Dataset of (picture, label), (text, label) or {"image" or "text": ..., "label": ...}, '
            f"batched or not, with known ranks; got {self._dataset.element_spec}."
        )
