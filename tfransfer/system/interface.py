"""Say in messages how an option is given here: as a keyword in Python, as a flag on the command line."""

from collections.abc import Iterator
from contextlib import contextmanager

# Flags that are not called like the keyword.
_FLAGS = {
    "splits_file": "--splits", "tfds_splits": "--split", "read_as": "--source", "exports": "--export",
    "formats": "--to", "fixed": "--fix",
}  # fmt: skip
# Settings without a flag of their own.
_SET = ("accumulate", "cross_validate")
_here = "python"


@contextmanager
def command_line() -> Iterator[None]:
    """Within this block, which is the whole command line, messages name flags."""
    global _here
    before, _here = _here, "command line"
    try:
        yield
    finally:
        _here = before


def option(keyword: str, value: object = None, *, stand_in: str = "") -> str:
    """How an option is given here.

    Args:
        keyword: Its name in Python, such as "label_column".
        value: Its value, if the message says one.
        stand_in: A word for a value that only the user knows, such as "FILE".

    Returns:
        `label_column` or `label_column='tags'` in Python; `--label-column`, `--label-column tags` or, for True, only
        the flag on the command line.
    """
    if _here == "python":
        shown = stand_in or ("" if value is None else repr(value))
        return f"{keyword}={shown}" if shown else keyword
    if keyword in _SET:
        return f"--set {keyword}={value}"
    value = stand_in or value
    flag = _FLAGS.get(keyword, f"--{keyword.replace('_', '-')}")
    if value is False:
        return flag.replace("--", "--no-", 1)
    return flag if value is None or value is True else f"{flag} {_word(str(value))}"


def _word(value: str) -> str:
    return value if value and not set(value) & set(" '\"|&;()<>*?$`\\") else f"'{value}'"
