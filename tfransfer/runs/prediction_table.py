"""The table that `tfransfer predict --out` writes, line by line, so that no folder is too large for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tfransfer.runs.doctor import require_replaceable
from tfransfer.system.files import whole
from tfransfer.system.spreadsheet import csv_text
from tfransfer.tasks.prediction import Prediction

# The same for every task; a regression leaves `probability` and `sure` empty.
COLUMNS = ("input", "predicted", "probability", "sure", "error")
_REMEDY = "Give a file in a writable folder with --out."


def require_predictions_or_nothing(file: Path) -> None:
    """Check that at most an earlier table of predictions would be replaced.

    Raises:
        WriteError: Another file exists there.
    """
    require_replaceable(file, COLUMNS)


@contextmanager
def table_of_predictions(file: Path) -> Iterator[Callable[[Prediction], None]]:
    """Write a table of predictions that is safe to open in a spreadsheet; it appears whole at the end, or not at all.

    Args:
        file: A CSV file, which is replaced.

    Yields:
        A function that writes the line of one prediction.

    Raises:
        WriteError: The disk is full or the folder is not writable.
    """
    # A file's name that is no UTF-8 is written with escapes: one such name must not cost all the others.
    with (
        whole(file, _REMEDY) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        stream.write(csv_text([COLUMNS]))

        def write(prediction: Prediction) -> None:
            stream.write(csv_text([_line(prediction)]))

        yield write


def _line(prediction: Prediction) -> tuple[str, ...]:
    if prediction.error:
        return prediction.name, "", "", "", prediction.error
    if prediction.value is not None:
        return prediction.name, repr(prediction.value), "", "", ""
    sure = str(prediction.sure).lower()
    return prediction.name, prediction.label, f"{prediction.probability:.6f}", sure, ""
