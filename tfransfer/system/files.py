"""Files that appear whole or not at all."""

import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.errors import WriteError
from tfransfer.system.interface import option


def size_text(size: float) -> str:
    """A number of bytes for people: `9.4 MB` (decimal units)."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return ""


def lines(names: Iterable[str]) -> str:
    """A text with one name per line, like the classes in `labels.txt`."""
    return "".join(f"{name}\n" for name in names)


def names_in_lines(text: str) -> tuple[str, ...]:
    """The names in what `lines` wrote; str.splitlines would end a name at U+2028, too."""
    return tuple(text.removesuffix("\n").split("\n"))


_NOT_WRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# TensorFlow, HDF5 and zipfile report a full disk with their own messages.
_OUT_OF_SPACE_WORDS = (
    "no space left",
    "file too large",
    "disk quota",
    "unable to write",
    "write failed",
    "failed to write",
)


_WRITING, _REPLACED = ".writing-", ".replaced"
REMEDY = "Make its folder writable."


def out_remedy() -> str:
    """What to do where a run's folder or a result cannot be written."""
    return f"Give a writable folder with {option('out')}."


@contextmanager
def telling_write_failures(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Turn a failed write into a WriteError that names the file and what to do.

    Args:
        path: The file or folder that is being written.
        remedy: What the user should do where it is not writable.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        words = str(error).lower()
        if error.errno in _OUT_OF_SPACE or any(word in words for word in _OUT_OF_SPACE_WORDS):
            raise WriteError(_disk_full(path)) from error
        if error.errno in _NOT_WRITABLE:
            raise WriteError(f"{path} cannot be written: {error.strerror}. {remedy}") from error
        raise
    except Exception as error:
        if any(word in str(error).lower() for word in _OUT_OF_SPACE_WORDS):
            raise WriteError(_disk_full(path)) from error
        raise


def _disk_full(path: Path) -> str:
    parent = next((p for p in (path, *path.parents) if p.exists()), Path("."))
    free = shutil.disk_usage(parent).free
    return (
        f"the disk is full (or a size limit was reached) while writing {path}: {size_text(free)} free. "
        "Earlier files are intact. Free some space and run the command again."
    )


@contextmanager
def whole(path: Path, remedy: str = REMEDY) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` at the end, or remove it if the block fails.

    Works for a file or a folder: whatever the block makes at the temporary path. An existing target is replaced; where
    the process is killed between the two renames of a folder, `remove_halves` brings the old one back.

    Args:
        path: Where the finished file or folder goes.
        remedy: What the user should do where it is not writable.

    Yields:
        The temporary path, which does not exist yet and has the suffix of `path`.

    Raises:
        WriteError: The disk is full or the folder is not writable.
    """
    with temporary_folder(path.parent, path, remedy) as scratch:
        temporary = scratch / path.name
        yield temporary
        if temporary.is_dir():
            replace_folder(temporary, path)
        else:
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)


@contextmanager
def temporary_folder(place: Path, path: Path, remedy: str = REMEDY) -> Iterator[Path]:
    """Yield a temporary folder, and remove it at the end.

    Args:
        place: Where to make it.
        path: What is being written, for messages.
        remedy: As for `whole`.

    Raises:
        WriteError: As in `whole`; the free space that it names is measured before the folder is removed.
    """
    with telling_write_failures(path, remedy):
        place.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=_WRITING, dir=place))
    try:
        with telling_write_failures(path, remedy):
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def is_half(path: Path) -> bool:
    """Whether a path is a temporary folder of `whole`, which only a killed process leaves behind."""
    return path.name.startswith(_WRITING)


def remove_halves(folder: Path) -> None:
    """Remove what a killed process left of `whole` in a folder, and bring back what it was about to replace."""
    for scratch in folder.glob(f"{_WRITING}*"):
        shutil.rmtree(scratch, ignore_errors=True)
    for older in folder.glob(f".*{_REPLACED}"):
        restore(folder / older.name.removesuffix(_REPLACED)[1:])


def replace_folder(new: Path, path: Path) -> None:
    """Move a finished folder to its place; what is there is deleted only after that.

    There is no instant at which neither is on the disk: between the two renames, which cannot be one on every system,
    the old one has a name from which `restore` brings it back.

    Args:
        new: The folder, on the same disk.
        path: Its place.
    """
    restore(path)
    older = replaced_name(path)
    if path.exists():
        path.rename(older)
    try:
        new.rename(path)
    except BaseException:  # also a signal
        if older.exists():
            older.rename(path)
        raise
    _remove(older)


def replaced_name(path: Path) -> Path:
    """Where `replace_folder` keeps what it replaces until the new folder is in place."""
    return path.with_name(f".{path.name}{_REPLACED}")


def restore(path: Path) -> None:
    """Bring back the folder that a process moved away before it was killed; delete it if the new one is in place."""
    older = replaced_name(path)
    if path.exists():
        _remove(older)
    elif older.exists():
        older.rename(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """BLAKE2b of a file's bytes, 128 bits in hexadecimal, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write_text(path: Path, text: str, remedy: str = REMEDY) -> None:
    """Write a UTF-8 text file whole or not at all; `remedy` as for `telling_write_failures`."""
    with whole(path, remedy) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


# A Path has one slash where the URL had two.
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/{1,2}[^/]", re.IGNORECASE)
DOWNLOAD_FIRST = "Nothing is downloaded here: download the files first, and give their paths."


def is_url(value: Any) -> bool:
    """Whether this is a URL, such as https://example.org/photo.jpg or gs://bucket/photos."""
    return isinstance(value, str | os.PathLike) and bool(_URL.match(os.fspath(value)))


def user_path(given: str | os.PathLike[str]) -> Path:
    """A path as a user writes it, with `~` for the home folder unless there is a folder of that name."""
    path = Path(given)
    try:
        return path if os.path.lexists(path.parts[0] if path.parts else path) else path.expanduser()
    except RuntimeError:  # the home folder of somebody unknown
        return path


def special_kind(path: Path) -> str:
    """What a path is if reading it might never end: "a named pipe", "a socket" or "a device"; else ""."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    kinds = {"a named pipe": stat.S_ISFIFO, "a socket": stat.S_ISSOCK, "a device": stat.S_ISCHR}
    return next((name for name, is_kind in kinds.items() if is_kind(mode)), "")


def regular(path: Path) -> Path:
    """The same path, if it is no pipe, socket or device, which could be read for ever.

    Raises:
        OSError: It is one.
    """
    if kind := special_kind(path):
        raise OSError(errno.EINVAL, f"it is {kind}; write its content to a file first", str(path))
    return path


# No JSON file of a run is larger: 1,000 classes with their metrics take 0.3 MB.
_LARGEST_JSON = 256_000_000


def read_limited(path: Path, most: int) -> bytes:
    """Read a regular file that may come from anyone.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no regular file (a device or a pipe could be read for ever), or larger than `most` bytes.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {size_text(most)}")
    return content


def read_json(path: Path, most: int = _LARGEST_JSON) -> Any:
    """Read a UTF-8 JSON file of at most `most` bytes.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON, nested too deeply for Python, too large, or no regular file.
    """
    try:
        return json.loads(read_limited(path, most).decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def read_arrays(path: Path, most: int) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` file that may come from anyone; nothing in it is run.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, or its arrays take more than `most` bytes.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > most:
                raise ValueError(f"its arrays take more than {size_text(most)}")
            return {member.removesuffix(".npy"): _array(archive, member) for member in archive.namelist()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, MemoryError) as error:
        raise ValueError(str(error)) from error


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    # NumPy allocates what the header says before it looks for it.
    stream = io.BytesIO(archive.read(name))
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    size = len(stream.getbuffer()) - stream.tell()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"its array {name} is not what its header says")
    stream.seek(0)
    values: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    return values


def write_json(path: Path, value: Any, remedy: str = REMEDY) -> None:
    """Write a JSON file (two spaces, UTF-8) whole or not at all; `remedy` as for `telling_write_failures`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n", remedy)


def _plain(value: Any) -> Any:
    """Convert what json cannot write: paths, NumPy numbers and arrays."""
    converters: list[tuple[str, Callable[[Any], Any]]] = [("tolist", lambda v: v.tolist()), ("__fspath__", str)]
    for attribute, convert in converters:
        if hasattr(value, attribute):
            return convert(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
