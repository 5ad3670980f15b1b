"""The exceptions of this project: one family, each also a familiar built-in."""

import difflib
from collections.abc import Iterable


class TransferError(Exception):
    """Base class of all exceptions of this project. Messages state what was expected, what came and what to do."""


class SettingError(TransferError, ValueError):
    """A setting is unknown or out of range; on the command line, this is a usage error (exit 2)."""


class DataError(TransferError, ValueError):
    """The images, texts, labels or splits cannot be used as they are."""


class DataNotFoundError(TransferError, FileNotFoundError):
    """A file or folder given by the user does not exist."""


class BaseModelError(TransferError, ValueError):
    """A base cannot be built, or the weights do not fit it."""


class WeightsNotFoundError(TransferError, FileNotFoundError):
    """Pretrained weights are neither on this machine nor available for download."""


class RunExistsError(TransferError, FileExistsError):
    """The run folder already exists and may not be overwritten."""


class RunError(TransferError, ValueError):
    """A run folder is incomplete, damaged or of another version."""


class WriteError(TransferError, OSError):
    """A file could not be written: a full disk, or a folder without permission."""


class ExportError(TransferError, RuntimeError):
    """An exported file's outputs differ from the evaluated model's, or it could not be created."""


class ServeError(TransferError, OSError):
    """The service cannot be started: a package is missing, or the address is in use."""


class OutOfMemoryError(TransferError, MemoryError):
    """A training step does not fit into the device's memory."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A "Did you mean" question for the end of an error message; empty if no known word is similar.

    Args:
        word: The user's word.
        known: Valid words.
    """
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""
