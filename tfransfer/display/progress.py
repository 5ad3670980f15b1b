"""Callbacks for progress and messages: the library is silent by default, the command line shows bars."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[..., None]
# Called with a description, a total and a unit; yields a function to call with the number just finished, and with
# values to show beside the bar as keywords.
Progress = Callable[[str, int, str], AbstractContextManager[Advance]]
# Called with one line for the user.
Say = Callable[[str], None]


@contextmanager
def quiet(what: str, total: int, unit: str) -> Iterator[Advance]:
    """A Progress that shows nothing."""
    yield lambda done, **values: None


def silent(line: str) -> None:
    """A Say that shows nothing."""
