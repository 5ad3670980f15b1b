"""Which model files that hold a program were made on this machine, so that nobody is asked about his own.

A `.keras` file with a TF-Hub module holds a SavedModel, which is a program: it is loaded only where it was written by
this user's own training, or where the user says that its author is trusted.
"""

from pathlib import Path

from tfransfer.errors import WriteError
from tfransfer.system.cache_home import cache_home
from tfransfer.system.files import file_hash, write_text


def _note(content: str) -> Path:
    return cache_home() / "trusted" / content


def remember(file: Path, content: str) -> None:
    """Note that a file was made here; where the cache cannot be written, the user will be asked to trust it.

    Args:
        file: Where it is now, for whoever looks into the cache.
        content: Its `file_hash`.
    """
    try:
        write_text(_note(content), f"{file.absolute()}\n")
    except (OSError, WriteError):
        return


def is_known(file: Path) -> bool:
    """Whether a file, byte for byte, was made here."""
    return _note(file_hash(file)).is_file()
