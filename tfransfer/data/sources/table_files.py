"""Read the lines of .csv and .tsv files as spreadsheets and other programs write them.

UTF-8 is read, and what a byte order mark declares. Other bytes are read as Windows-1252 where they can hardly be
anything else; a note says so and shows a word, because no file says in which encoding it is.
"""

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tfransfer.errors import DataError
from tfransfer.system.files import regular

TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_WHOLLY_QUOTED = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)
# Excel's first line, which names the delimiter of the others.
_NAMED_DELIMITER = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
# That of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"), (codecs.BOM_UTF8, "UTF-8"),
)  # fmt: skip
SAVE_AS_UTF8 = "Save it as UTF-8: in Excel as 'CSV UTF-8', elsewhere with iconv -f ITS_ENCODING -t UTF-8."
_LETTERS = "àâäáãåæçèéêëìíîïñòóôõöøùúûüœÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŒß"
_SIGNS = "\u00a0€‘’‚“”„–—…«»‹›°§·•™©®£¡¿ªº²³µ¼½¾´±×"
# In Windows-1252, words of other encodings (Cyrillic, Greek, Chinese, those of a Mac or of DOS) are accented letters
# only, many of these in a row, or have signs in them.
_NOT_WESTERN = re.compile(
    rf"[^\x00-\x7f{_LETTERS}{_SIGNS}]|[{_LETTERS}]{{3}}|(?<!\w)[{_LETTERS}]{{2,}}(?!\w)"
    rf"|(?<=[^\W\d_])[‚“”„¡¿µ](?=[^\W\d_])|[ªº²³¼½¾](?=[^\W\d_])"
)


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        place: File name and line number, for messages.
        cells: The cells by column.
        split: The split that the whole file is for; empty if the table decides.
    """

    place: str
    cells: dict[str, str]
    split: str = ""


def read_lines(file: Path, numbered: bool = False, split: str = "", notes: list[str] | None = None) -> list[Line]:
    """The lines of a .csv or .tsv file.

    Args:
        file: A .csv file may have semicolons or tabs instead of commas. For encodings, see `read_text`.
        numbered: Whether the columns are numbered from "1" because the file has no header.
        split: The split that the whole file is for.
        notes: Receives what the user should know.

    Raises:
        DataError: It is not such a file, or a line has another number of cells.
    """
    rows = read_rows(file, notes)
    if not rows:
        raise DataError(f"the table {file} is empty.")
    names = [str(n + 1) for n in range(len(rows[0][1]))] if numbered else [name.strip() for name in rows.pop(0)[1]]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"the table {file} has two columns {twice[0]!r}; rename one.")
    for number, row in rows:
        if len(row) != len(names):
            raise DataError(f"{file}, line {number}: expected {len(names)} cells, got {len(row)}.")
    return [Line(f"{file.name}, line {n}", dict(zip(names, row, strict=True)), split) for n, row in rows]


def read_rows(file: Path, notes: list[str] | None = None) -> list[tuple[int, list[str]]]:
    """The line number and the cells of each row of a .csv or .tsv file that is not empty, the header included.

    Args:
        file: As for `read_lines`.
        notes: Receives what the user should know.

    Raises:
        DataError: It cannot be read, or it is not such a file.
    """
    text = read_text(file, notes)
    first, _, below = text.partition("\n")
    named = _NAMED_DELIMITER.fullmatch(first)
    delimiter = named[1] if named else _delimiter(first, TABLE_SUFFIXES[file.suffix.lower()])
    try:
        rows = _quoted_or_not(below if named else text, delimiter)
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as a table: {error}.") from error
    return [(number + 1, row) for number, row in rows] if named else rows


def _delimiter(header: str, usual: str) -> str:
    """The delimiter: spreadsheets write semicolons into .csv files if the decimal sign is a comma, and others tabs.

    The header decides, because column names rarely contain any; csv.Sniffer also looks at texts, whose commas mislead
    it.
    """
    return usual if usual != "," else max(",;\t", key=header.count)


def read_text(file: Path, notes: list[str] | None = None) -> str:
    """The text of a file in UTF-8, in UTF-16 or UTF-32 with a byte order mark, or clearly in Windows-1252.

    Args:
        file: The file; lines end with any usual newline.
        notes: Receives which encoding was taken, if it is not UTF-8.

    Raises:
        DataError: It cannot be read, is no regular file, or is in an encoding that cannot be told.
    """
    try:
        content = regular(file).read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "UTF-8")
    note = "" if encoding == "UTF-8" else f"{file.name} is read as {encoding}"
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        western = _western(content)
        if encoding != "UTF-8" or western is None:
            raise DataError(f"{file} cannot be read in {encoding}: {error}. {SAVE_AS_UTF8}") from error
        text = western
        example = re.findall(r"[^\s,;|\"]*[^\x00-\x7f][^\s,;|\"]*", text)[0][:40]
        note = (
            f"{file.name} is not in UTF-8; it is read as Windows-1252, for example {example!r}: if that looks wrong, "
            "save it as UTF-8"
        )
    if "\0" in text:
        raise DataError(
            f"{file} has null characters: it is no table, or in UTF-16 without a byte order mark. {SAVE_AS_UTF8}"
        )
    if note and notes is not None:
        notes.append(note)
    return io.StringIO(text, newline=None).read()


def _western(content: bytes) -> str | None:
    """Bytes as Windows-1252, of which Latin-1 is a part; None where they may be in another encoding."""
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return None if _NOT_WESTERN.search(text) else text


def _quoted_or_not(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """The rows of a table, whether its cells are quoted or it has quotation marks in its texts.

    A lone mark at the start of a cell opens a quotation, which then swallows all lines up to the next mark: rows are
    merged, and what is left looks like a table. So a reading without quotation is preferred where it gives rows of one
    length: always for tabs, which few programs quote; for commas only where the strict reading fails.
    """
    if delimiter == "\t" and (plain := _plain_rows(text, delimiter)):
        return plain
    try:
        return _rows(text, delimiter, csv.QUOTE_MINIMAL)
    except csv.Error:
        if plain := _plain_rows(text, delimiter):
            return plain
        raise


def _plain_rows(text: str, delimiter: str) -> list[tuple[int, list[str]]] | None:
    """The rows without quotation, but for cells that are quoted as a whole; None if they differ in length."""
    rows = _rows(text, delimiter, csv.QUOTE_NONE)
    if len({len(row) for _, row in rows}) != 1:
        return None
    return [(number, [_unquoted(cell) for cell in row]) for number, row in rows]


def _unquoted(cell: str) -> str:
    """A cell without the marks around it, where it is quoted as a whole."""
    return cell[1:-1].replace('""', '"') if _WHOLLY_QUOTED.fullmatch(cell) else cell


def _rows(text: str, delimiter: str, quoting: int) -> list[tuple[int, list[str]]]:
    # Iterating over a StringIO splits at newlines only; str.splitlines would split a cell at U+2028, too.
    lines = io.StringIO(text, newline="")
    limit = csv.field_size_limit(len(text) + 1)
    try:
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    finally:
        csv.field_size_limit(limit)
