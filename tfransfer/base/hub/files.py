"""TF-Hub modules on disk: resolve a handle, check the files, cache them by content.

No function here runs a module; its files are only read. TensorFlow and tensorflow_hub take seconds to import, so they
are imported where they are needed, which keeps `--help` fast.
"""

import hashlib
import http.client
import re
import shutil
import tarfile
import urllib.error
import zlib
from collections.abc import Iterator
from pathlib import Path

from tfransfer.errors import BaseModelError, SettingError, WeightsNotFoundError
from tfransfer.system.cache_home import REMEDY, VARIABLE, cache_home
from tfransfer.system.files import file_hash, size_text, whole
from tfransfer.system.plain_paths import plain_path

ARCHIVES = (".tar.gz", ".tgz", ".tar")
# A limit against decompression bombs; the largest image and text modules of TF-Hub take 2 to 3 GB.
MOST_BYTES = 16 * 10**9
_FILES = ("saved_model.*", "fingerprint.pb", "tfhub_module.pb", "variables/**/*", "assets/**/*", "assets.extra/**/*")
_NO_CACHE = f"{REMEDY} The folder written to is {VARIABLE}/modules."


def is_handle(text: str) -> bool:
    """Whether a text names a TF-Hub module: a URL, the folder of a SavedModel, or an archive of one."""
    return (
        bool(re.match(r"(https?|gs)://", text))
        or text.endswith((".tar.gz", ".tgz"))
        or (text.endswith(ARCHIVES) and Path(text).is_file())
        or _is_saved_model(Path(text))
    )


def _is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()


def find_module(handle: str) -> Path:
    """Find the folder of a module's SavedModel; download a URL unless tensorflow_hub has it in its cache.

    Args:
        handle: A URL (tfhub.dev, kaggle.com/models or an archive), a SavedModel's folder, or an archive of one.

    Raises:
        SettingError: The handle is none of these, or tensorflow_hub is not installed.
        WeightsNotFoundError: The module is not on this machine and cannot be downloaded.
        BaseModelError: The files are damaged or not a SavedModel.
    """
    if re.match(r"(https?|gs)://", handle):
        folder = _resolve(handle)
        remedy = f"Delete this cache entry ({folder}) and rerun the command to download {handle} again."
    elif handle.endswith(ARCHIVES):
        folder = _unpack(Path(handle).expanduser())
        remedy = f"It was unpacked from {handle}: download that archive again."
    else:
        folder = Path(handle).expanduser()
        remedy = "Download or write it again."
        if not folder.is_dir():
            raise SettingError(
                f"a TF-Hub module is a URL, the folder of a SavedModel or a {', '.join(ARCHIVES)} file; "
                f"{handle!r} is none of these."
            )
    require_whole(folder, remedy)
    return folder


def _resolve(url: str) -> Path:
    try:
        import tensorflow_hub  # an optional extra
    except ImportError as error:
        raise SettingError(
            f'{url} needs tensorflow_hub, which is not installed: pip install "tfransfer[hub]", or download the '
            "module and pass its folder or .tar.gz."
        ) from error
    try:
        folder = str(tensorflow_hub.resolve(url))
    except (OSError, EOFError, ValueError, RuntimeError, tarfile.TarError, zlib.error, http.client.HTTPException) as e:
        raise WeightsNotFoundError(
            f"the module {url} is not on this machine and could not be downloaded: {_why_not(e)}. Download it on a "
            "machine with network access and pass its folder or .tar.gz here, or set TFHUB_CACHE_DIR to a folder in "
            "which tensorflow_hub has cached it."
        ) from e
    if "://" in folder:
        raise SettingError(
            f"tensorflow_hub would read {url} over the network each time ({folder}), but a saved model must embed it: "
            "unset TFHUB_MODEL_LOAD_FORMAT."
        )
    return Path(folder)


def _why_not(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} ({error.reason})"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _unpack(archive: Path) -> Path:
    """Unpack an archive into the cache, unless it is there, and return the folder of its SavedModel."""
    if not archive.is_file():
        raise WeightsNotFoundError(f"there is no file {archive}: pass the .tar.gz that contains the TF-Hub module.")
    cached = cache_home() / "modules" / file_hash(archive)
    if not cached.is_dir():
        with whole(cached, _NO_CACHE) as temporary:
            temporary.mkdir()
            try:
                with tarfile.open(archive) as tar:
                    tar.extractall(temporary, members=_not_too_large(tar, archive), filter="data")
            except (tarfile.TarError, EOFError, zlib.error) as error:
                raise BaseModelError(
                    f"{archive} cannot be unpacked ({type(error).__name__}: {error}). Nothing was saved; download "
                    "it again from a source that you trust."
                ) from error
    folders = sorted(file.parent for file in cached.rglob("saved_model.pb"))
    if len(folders) != 1:
        raise BaseModelError(
            f"{archive} must contain one SavedModel (a folder with saved_model.pb); it contains {len(folders)}. "
            "Unpack it and pass the right folder."
        )
    return folders[0]


def _not_too_large(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    total = 0
    for member in tar:
        total += member.size
        if total > MOST_BYTES:
            raise BaseModelError(
                f"{archive} unpacks to more than {size_text(MOST_BYTES)}, more than any TF-Hub module. If that is "
                "expected, unpack it yourself and pass the folder."
            )
        yield member


def require_whole(folder: Path, remedy: str) -> None:
    """Check that a SavedModel's files are complete and readable, without running it.

    Args:
        folder: The SavedModel's folder.
        remedy: Advice for the error message.

    Raises:
        BaseModelError: A file is missing or damaged.
    """
    if not _is_saved_model(folder):
        raise BaseModelError(f"{folder} holds no saved_model.pb: it is not a SavedModel or incomplete. {remedy}")
    damage = _damage(folder)
    if damage:
        raise BaseModelError(f"the SavedModel {folder} is damaged: {damage}. {remedy}")


def _damage(folder: Path) -> str:
    """What is wrong with the files; empty if nothing is."""
    import tensorflow as tf  # here, so that handles are recognized without it
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        return f"saved_model.pb cannot be read ({error})"
    if not model.meta_graphs:
        return "saved_model.pb holds no graph"
    variables = folder / "variables" / "variables"
    if not variables.with_suffix(".index").is_file():
        graph = model.meta_graphs[0]
        expected = any(node.HasField("variable") for node in graph.object_graph_def.nodes)
        return "variables/variables.index is missing" if expected or "variables" in graph.collection_def else ""
    try:
        reader = tf.train.load_checkpoint(str(plain_path(variables)))
        for name in reader.get_variable_to_dtype_map():
            reader.get_tensor(name)  # checks the length and the checksum
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
        return f"its variables cannot be read ({str(error).splitlines()[0]})"
    return ""


def module_files(folder: Path) -> list[str]:
    """The files that make up a SavedModel, relative to its folder, sorted; other files there are ignored."""
    files = {file for pattern in _FILES for file in folder.glob(pattern) if file.is_file()}
    return sorted(file.relative_to(folder).as_posix() for file in files)


def module_hash(path: Path | str) -> str:
    """BLAKE2b hash of a SavedModel's file names and contents, 128 bits in hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    for name in module_files(Path(path)):
        digest.update(f"{name}\0{file_hash(Path(path) / name)}\n".encode())
    return digest.hexdigest()


def copy_module(folder: Path, to: Path) -> None:
    """Copy the files of a SavedModel into a folder."""
    for name in module_files(folder):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, to / name)


def cache_module(folder: Path, expected: str) -> Path:
    """Copy a SavedModel into the cache, where its assets outlive the folder that it came in.

    Args:
        folder: Its current folder.
        expected: Its `module_hash`.

    Raises:
        BaseModelError: Its content does not match the hash.
        WriteError: The cache cannot be written to.
    """
    if module_hash(folder) != expected:
        raise BaseModelError(
            "the SavedModel in this file is not the one that the file was saved with (its hash differs): "
            "the file is damaged or was changed. Get it from its source again."
        )
    cached = cache_home() / "modules" / expected
    if not cached.is_dir() or module_hash(cached) != expected:
        with whole(cached, _NO_CACHE) as temporary:
            copy_module(folder, temporary)
    return cached
