"""Refuse unknown keyword arguments of public functions, and suggest the nearest known one."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from tfransfer.errors import SettingError, did_you_mean

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def keywords_of(function: Callable[..., object]) -> tuple[str, ...]:
    """The names of a function's arguments that can be passed by keyword."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))


def known_keywords(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a function to raise a SettingError for unknown keywords, with the nearest known one.

    Args:
        function: A function without `**` arguments.
    """
    known = keywords_of(function)

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        require_known(kwargs, known, function.__name__)
        return function(*args, **kwargs)

    return call


def require_known(given: Iterable[str], known: Iterable[str], place: str) -> None:
    """Check that all given names are known.

    Args:
        given: Names the user wrote.
        known: Accepted names.
        place: Function or section, for the message.

    Raises:
        SettingError: A name is unknown.
    """
    known = [name for name in known if name != "self"]
    for name in given:
        if name not in known:
            raise SettingError(f"{place} takes no {name!r}; it takes {', '.join(known)}.{did_you_mean(name, known)}")
