"""TensorFlow Datasets as a source: records are unpacked once, JPEG stays JPEG, and the splits are its own."""

import socket
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np

from tfransfer.data.index import SPLITS, Row
from tfransfer.data.sources.unpacked import Contents, PixelEncoder, Unpacked, Writer, unpack
from tfransfer.display.progress import Advance, Progress, Say, quiet, silent
from tfransfer.errors import DataError, DataNotFoundError, SettingError, WriteError, did_you_mean
from tfransfer.system.files import telling_write_failures
from tfransfer.system.interface import option
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, find_task

_SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
_EXAMPLE = 'splits={"train": "train[:80%]", "validation": "train[80%:]", "test": "test"}'


@dataclass(frozen=True)
class _FeatureNames:
    """The features of the example and its target, and how to read them."""

    example: str
    target: str
    is_text: bool
    encoded: bool  # the example is stored as the bytes of a picture file
    task: str
    classes: tuple[str, ...]


def open_tfds(
    name: str,
    data_dir: Path | None = None,
    splits: dict[str, str] | None = None,
    progress: Progress = quiet,
    say: Say = silent,
) -> Unpacked:
    """Unpack a dataset of TensorFlow Datasets, or one prepared in `data_dir`.

    Args:
        name: NAME, NAME:version, NAME/config or NAME/config:version.
        data_dir: Folder of prepared datasets; None takes TensorFlow Datasets' default.
        splits: As for `open_builder`.
        progress: Shows the progress of unpacking.
        say: Called with a line when the dataset is downloaded.

    Raises:
        SettingError: tensorflow-datasets is not installed.
        DataNotFoundError: No such dataset, or it is not prepared and cannot be downloaded.
        DataError: Its features or splits cannot be used.
        WriteError: The dataset or the cache cannot be written.
    """
    builder = _builder(name, data_dir)
    if not _is_ready(builder):
        _download(builder, name, say)
    return open_builder(builder, splits, progress)


def open_builder(builder: Any, splits: dict[str, str] | None = None, progress: Progress = quiet) -> Unpacked:
    """Unpack a prepared `tfds.core.DatasetBuilder`, for example a `tfds.folder_dataset.ImageFolder`.

    Args:
        builder: A builder whose data is prepared.
        splits: From "train", "validation" and "test" to TensorFlow Datasets' splits or slices of them:
            {"train": "train[:80%]", "validation": "train[80%:]", "test": "test"}. None takes the builder's own.
        progress: Shows the progress of unpacking.

    Raises:
        DataNotFoundError: The data is not prepared.
        DataError: Its features or splits cannot be used.
        WriteError: The cache cannot be written to.
    """
    columns = _columns(builder)
    requested, notes = _requested_splits(builder, splits)
    streams = [(split, _stream(builder, columns, read)) for split, read in requested]
    total = sum(max(int(stream.cardinality()), 0) for _, stream in streams)

    def fill(writer: Writer) -> Contents:
        with progress(f"unpacking {builder.info.full_name}", total, "examples") as advance:
            rows, left_out = _read(columns, streams, writer, advance)
        if not rows:
            raise DataError(f"{builder.info.full_name} has no example with a known label in {dict(requested)}.")
        return Contents(tuple(rows), columns.classes, columns.task, (*notes, *left_out))

    unpacked = unpack("tfds", _facts(builder, requested), fill)
    return unpacked


def _tensorflow_datasets() -> Any:
    try:
        import tensorflow_datasets  # here, because it is an optional extra
    except ImportError as error:
        raise SettingError(
            f'data of TensorFlow Datasets needs a package that is missing ({error}): pip install "tfransfer[tfds]".'
        ) from error
    if not hasattr(tensorflow_datasets, "features"):  # it logs why it could not be imported, and raises nothing
        raise SettingError(
            "tensorflow_datasets is installed, but does not load with this TensorFlow (see the error above): install "
            'a newer TensorFlow, or let pip choose both: pip install -U "tfransfer[tfds]".'
        )
    return tensorflow_datasets


def _builder(name: str, data_dir: Path | None) -> Any:
    tfds = _tensorflow_datasets()
    place = {} if data_dir is None else {"data_dir": str(data_dir.expanduser())}
    try:
        return tfds.builder(name, **place)
    # TensorFlow Datasets raises AssertionError for a version, ValueError for a name or config, and others.
    except Exception as error:
        word = name.partition("/")[0].partition(":")[0]
        where = f" and {data_dir} has nothing prepared as {name}" if data_dir else ""
        known = tfds.list_builders()
        if word in known:
            raise DataNotFoundError(f"tfds:{name} cannot be opened: {_first_line(error)}") from error
        prepared = _prepared_as(data_dir, word)
        hint = f" Prepared there: {', '.join(prepared)}." if prepared else did_you_mean(word, known)
        raise DataNotFoundError(
            f"TensorFlow Datasets has no dataset {word!r}{where}; expected NAME, NAME/config or NAME/config:version."
            + hint
        ) from error


def _prepared_as(data_dir: Path | None, word: str) -> list[str]:
    root = (data_dir or Path()).expanduser()
    versions = sorted(file.parent.relative_to(root).parts for file in (root / word).glob("**/dataset_info.json"))
    return [f"{'/'.join(parts[:-1])}:{parts[-1]}" for parts in versions if len(parts) > 1]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:500]


def _is_ready(builder: Any) -> bool:
    if builder.is_prepared():
        return True
    try:
        # The mock data of tfds.testing.mock_data is available without being prepared.
        builder.as_dataset(split="train")
    except (AssertionError, ValueError):
        return False
    return True


def _download(builder: Any, name: str, say: Say) -> None:
    root = _place(builder)
    unreachable = _unreachable(builder)
    if unreachable and not any(path.is_file() for path in (root / "downloads").rglob("*")):
        # Checked first, because TensorFlow Datasets retries each address for several minutes.
        raise _not_prepared(builder, name, f"{unreachable} cannot be reached")
    say(f"tfds:{name} is not prepared in {root}: downloading it")
    with telling_write_failures(root, f"Give another folder with {option('data_dir')}."):
        try:
            with redirect_stdout(sys.stderr):
                builder.download_and_prepare()
        except WriteError:
            raise
        # Errors depend on the dataset: the network, a checksum, a package that only this one needs.
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise _not_prepared(builder, name, _first_line(error)) from error


def _place(builder: Any) -> Path:
    """The folder of all datasets, above this one's."""
    return Path(builder.data_dir).parents[len(builder.info.full_name.split("/")) - 1]


def _unreachable(builder: Any) -> str:
    """The first host of the dataset's files if no host resolves; empty if one does, or with a proxy."""
    hosts = list(dict.fromkeys(urlparse(url).hostname or "" for url in builder.url_infos or {}))
    if urllib.request.getproxies():
        return ""
    for host in hosts:
        try:
            socket.getaddrinfo(host, 443)
            return ""
        except OSError:
            continue
    return hosts[0] if hosts else ""


def _not_prepared(builder: Any, name: str, why: str) -> DataNotFoundError:
    root = _place(builder)
    files = [info.filename for info in (builder.url_infos or {}).values()]
    more = ", ..." if len(files) > 4 else ""
    archives = f" ({', '.join(files[:4])}{more})" if files else ""
    return DataNotFoundError(
        f"tfds:{name} is not prepared in {root} and could not be downloaded: {why}. Prepare it where there is a "
        f"network with `tfds build {name} --data_dir DIR`, or in Python with "
        f"tfds.builder({name!r}, data_dir=DIR).download_and_prepare(), copy DIR to this machine and give "
        f"{option('data_dir', stand_in='DIR')}; or put the archives{archives} into {root / 'downloads' / 'manual'} "
        "and run this again."
    )


def _columns(builder: Any) -> _FeatureNames:
    tfds, features = _tensorflow_datasets(), builder.info.features
    example, target = _supervised(builder) or (_only_example(features), _only_target(features))
    if example is None or target is None:
        raise _cannot_use(builder, "there is not exactly one of each")
    task = _task_of(features[target])
    is_text = isinstance(features[example], tfds.features.Text)
    shape = features[example].shape
    is_picture = isinstance(features[example], tfds.features.Image) or (len(shape) == 3 and shape[-1] in (1, 3))
    if task is None or not (is_text or is_picture):
        raise _cannot_use(builder, f"{example!r} and {target!r} are neither")
    # An Image of floats is stored as bit patterns in a PNG, which only its own decoder turns into pixels.
    encoded = isinstance(features[example], tfds.features.Image) and np.dtype(features[example].np_dtype).kind == "u"
    return _FeatureNames(example, target, is_text, encoded, task, _class_names(features[target]))


def _supervised(builder: Any) -> tuple[str, str] | None:
    keys = builder.info.supervised_keys
    plain = isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys)
    return keys if plain and set(keys) <= set(builder.info.features) else None


def _only_example(features: Any) -> str | None:
    """The only picture feature; if there is none, the only text."""
    tfds = _tensorflow_datasets()
    is_mask = lambda f: isinstance(f, tfds.features.LabeledImage)  # noqa: E731
    pictures = [k for k, f in features.items() if isinstance(f, tfds.features.Image) and not is_mask(f)]
    texts = [k for k, f in features.items() if isinstance(f, tfds.features.Text)]
    candidates = pictures or texts
    return candidates[0] if len(candidates) == 1 else None


def _only_target(features: Any) -> str | None:
    """The only class label; if there is none, the only list of class labels, then the only number."""
    tasks = {key: _task_of(feature) for key, feature in features.items()}
    for task in (SINGLE_LABEL, MULTI_LABEL, REGRESSION):
        candidates = [key for key, one in tasks.items() if one == task]
        if candidates:
            return candidates[0] if len(candidates) == 1 else None
    return None


def _task_of(feature: Any) -> str | None:
    kinds = _tensorflow_datasets().features
    if isinstance(feature, kinds.ClassLabel):
        return SINGLE_LABEL if feature.num_classes else None
    if isinstance(feature, kinds.Sequence):
        inner = feature.feature
        return MULTI_LABEL if isinstance(inner, kinds.ClassLabel) and inner.num_classes else None
    is_number = isinstance(feature, kinds.Tensor) and feature.shape == () and np.dtype(feature.np_dtype).kind in "iuf"
    return REGRESSION if is_number else None


def _class_names(feature: Any) -> tuple[str, ...]:
    """The names of a ClassLabel or a Sequence of them; empty for a number."""
    return tuple(getattr(getattr(feature, "feature", feature), "names", None) or ())


def _cannot_use(builder: Any, reason: str) -> DataError:
    features = ", ".join(f"{key}: {type(feature).__name__}" for key, feature in builder.info.features.items())
    return DataError(
        f"{builder.info.full_name} cannot be used: expected a picture or a text (Image, Text) and its target "
        f"(ClassLabel, Sequence of ClassLabel, or one number); {reason} among its features: {features}."
    )


def _requested_splits(builder: Any, splits: dict[str, str] | None) -> tuple[list[tuple[str, str]], list[str]]:
    """Pairs of a split here and the TFDS split to read for it, and notes on what is not read."""
    notes = []
    if splits is None:
        # Only TensorFlow Datasets' mock data for tests has no splits.
        own = list(builder.info.splits) or ["train"]
        requested = [("train", own[0])] if len(own) == 1 else [(_SPLIT_NAMES[s], s) for s in own if s in _SPLIT_NAMES]
        others = [s for s in own if s not in {read for _, read in requested}]
        if others and requested:
            notes.append(f"left out: {', '.join(others)}, which is not a train, validation or test split")
    else:
        requested = list(splits.items())
        unknown = [s for s in splits if s not in SPLITS]
        if unknown:
            raise DataError(f"{unknown[0]!r} is not a split here; expected {', '.join(SPLITS)}, as in {_EXAMPLE}.")
    if "train" not in {split for split, _ in requested}:
        raise DataError(
            f"{builder.info.full_name} has {_splits_text(builder)}, of which none is read as train: give one, "
            f"as in {_EXAMPLE}."
        )
    # With one split, the splits here are decided by content.
    return ([("", read) for _, read in requested] if len(requested) == 1 else requested), notes


def _splits_text(builder: Any) -> str:
    return f"the splits {', '.join(builder.info.splits)}"


def _stream(builder: Any, columns: _FeatureNames, read: str) -> Any:
    """A tf.data.Dataset of one split, without other features; picture files stay encoded."""
    tfds = _tensorflow_datasets()
    decoders: Any = {columns.example: tfds.decode.SkipDecoding()} if columns.encoded else {}
    # An ImageFolder does not support partial decoding.
    if not isinstance(builder, tfds.folder_dataset.ImageFolder):
        decoders = tfds.decode.PartialDecoding({columns.example: True, columns.target: True}, decoders)
    try:
        return builder.as_dataset(
            split=read, decoders=decoders, read_config=tfds.ReadConfig(try_autocache=False), shuffle_files=False
        )
    except ValueError as error:
        raise DataError(
            f"{builder.info.full_name} cannot read the split {read!r}: {_first_line(error)} It has "
            f"{_splits_text(builder)}; expected these or slices of them, as in {_EXAMPLE}."
        ) from error
    except AssertionError as error:
        raise _not_prepared(builder, builder.info.full_name, _first_line(error)) from error


def _read(
    columns: _FeatureNames, streams: list[tuple[str, Any]], writer: Writer, advance: Advance
) -> tuple[list[Row], list[str]]:
    """Every example with a known target, and notes on the others."""
    task, rows, left_out, encoder = find_task(columns.task), [], Counter[str](), PixelEncoder()
    for split, stream in streams:
        for record in stream.as_numpy_iterator():
            advance(1)
            example, target = record[columns.example], task.from_record(record[columns.target], columns.classes)
            text = _text(example) if columns.is_text else None
            if target is None:
                left_out["no known label (-1 or not a number)"] += 1
            elif columns.is_text and text is None:
                left_out["a text that is not UTF-8"] += 1
            elif text is not None:
                rows.append(Row(writer.text(text), target, split, text=text))
            else:
                encoded = example if columns.encoded else encoder.png(example)
                rows.append(Row(writer.picture(encoded), target, split))
    encoder.finish()
    return rows, [f"left out: {count} examples with {why}" for why, count in left_out.items()]


def _text(encoded: bytes) -> str | None:
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        return None


def _facts(builder: Any, requested: list[tuple[str, str]]) -> dict[str, Any]:
    """The facts that decide the content: dataset, splits, and the state of its files."""
    return {"name": builder.info.full_name, "wanted": requested, "files": list(_stamps(Path(builder.data_dir)))}


def _stamps(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            yield path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns
