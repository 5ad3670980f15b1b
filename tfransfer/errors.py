"""The errors this project raises on purpose: one family, each also a familiar built-in."""

import difflib
from collections.abc import Iterable


class TransferError(Exception):
    """Parent of every error raised here on purpose. Its message says what was expected, what came, what to do."""


class SettingError(TransferError, ValueError):
    """A setting is unknown or out of range; on the command line this is wrong usage (exit 2)."""


class DataError(TransferError, ValueError):
    """The pictures, labels or splits cannot be used as they are."""


class DataNotFoundError(TransferError, FileNotFoundError):
    """Something named by the user is not there."""


class BaseModelError(TransferError, ValueError):
    """A base cannot be built, or the weights do not fit it."""


class WeightsNotFoundError(TransferError, FileNotFoundError):
    """Pretrained weights are neither on this machine nor to be had."""


class RunExistsError(TransferError, FileExistsError):
    """The run folder exists and nobody said to overwrite it."""


class RunError(TransferError, ValueError):
    """A run folder is incomplete, of another version or damaged."""


class WriteError(TransferError, OSError):
    """A file could not be written: a full disk, or a folder without permission."""


class ExportError(TransferError, RuntimeError):
    """An exported file does not say what the evaluated model says, or could not be made."""


class ServeError(TransferError, OSError):
    """A service cannot be started: a package is missing, or its address is taken."""


class OutOfMemoryError(TransferError, MemoryError):
    """The device's memory is too small for a training step."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A closing question for an error message, empty when nothing known resembles the word.

    Args:
        word: What the user wrote.
        known: What would have been accepted.
    """
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""
