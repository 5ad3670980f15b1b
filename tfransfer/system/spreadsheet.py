"""Cells of CSV files that people open in spreadsheets, which run a text that begins like a formula.

The names of files and classes come from whoever made the data: a class called `=HYPERLINK(...)` must stay a name. As
OWASP advises, an apostrophe before it makes it a text for every spreadsheet. https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

# Also as full-width characters, which some spreadsheets take for the same.
_FORMULA = re.compile("[=+\\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def escaped(value: Any) -> Any:
    """A cell's value, with an apostrophe before what a spreadsheet would take for a formula, other than numbers.

    Where the decimal sign is a comma, spreadsheets divide at semicolons: behind each of these a cell begins, too.
    """
    if not isinstance(value, str):
        return value
    return ";".join(f"'{part}" if _is_formula(part) else part for part in value.split(";"))


def unescaped(cell: str) -> str:
    """The text that `escaped` was given."""
    return ";".join(part[1:] if part.startswith("'") and _is_formula(part) else part for part in cell.split(";"))


def _is_formula(text: str) -> bool:
    # Apostrophes before it are passed over, so that `unescaped` always gives back what `escaped` was given.
    text = text.lstrip("'")
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """The text of a CSV file that is safe to open in a spreadsheet.

    Args:
        rows: The header, then the lines.
    """
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([escaped(value) for value in row] for row in rows)
    return stream.getvalue()
