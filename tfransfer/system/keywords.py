"""Keywords of public functions: one that is unknown is refused with the nearest known one, on any Python."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from tfransfer.errors import SettingError, did_you_mean

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def keywords_of(function: Callable[..., object]) -> tuple[str, ...]:
    """The names of the arguments that a function takes by keyword."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))


def known_keywords(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function refuse keywords that it does not take with a SettingError that names the nearest one.

    Args:
        function: One without `**` arguments.
    """
    known = keywords_of(function)

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        require_known(kwargs, known, function.__name__)
        return function(*args, **kwargs)

    return call


def require_known(given: Iterable[str], known: Iterable[str], place: str) -> None:
    """Check that each given name is a known one.

    Args:
        given: What the user wrote.
        known: What is accepted.
        place: Where, for the message.

    Raises:
        SettingError: One is unknown.
    """
    known = [name for name in known if name != "self"]
    for name in given:
        if name not in known:
            raise SettingError(f"{place} takes no {name!r}; it takes {', '.join(known)}.{did_you_mean(name, known)}")
