"""Remember which model files with a program in them were written on this machine: these need no confirmation.

A `.keras` file with a TF-Hub module contains a SavedModel, which is a program: it is loaded only if it was written by
this user's own training, or if the user says that its author is trusted.
"""

from pathlib import Path

from tfransfer.errors import WriteError
from tfransfer.system.cache_home import cache_home
from tfransfer.system.files import file_hash, write_text


def _record_path(content: str) -> Path:
    return cache_home() / "trusted" / content


def remember(file: Path, content: str) -> None:
    """Record that a file was written here; if the cache is not writable, the user will be asked to trust it.

    Args:
        file: Its current path, for people who look into the cache.
        content: Its `file_hash`.
    """
    try:
        write_text(_record_path(content), f"{file.absolute()}\n")
    except (OSError, WriteError):
        return


def is_known(file: Path) -> bool:
    """Whether a file, byte for byte, was written here."""
    return _record_path(file_hash(file)).is_file()
