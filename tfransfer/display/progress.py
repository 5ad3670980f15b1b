"""How long work says how far it is, without knowing who listens: the library is quiet, the command line shows bars."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[..., None]
# Called with what is done, how many, and of what; gives a function to be called with the number just done, and with
# values to show beside it as keywords.
Progress = Callable[[str, int, str], AbstractContextManager[Advance]]
# Called with one line for the user.
Say = Callable[[str], None]


@contextmanager
def quiet(what: str, total: int, unit: str) -> Iterator[Advance]:
    """A Progress that shows nothing."""
    yield lambda done, **values: None


def silent(line: str) -> None:
    """A Say that says nothing."""
