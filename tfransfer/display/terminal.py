"""Terminal output: progress bars and tables on a terminal, plain lines elsewhere."""

import json as json_format
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tfransfer.display.numbers import number_text
from tfransfer.display.progress import Advance

_ENDLESS = 10_000
# Metrics in the order they are shown; others follow.
_SHOWN = ("loss", "top1", "val_loss", "val_top1")
# C0 but newline and tab, DEL, C1 and what changes the direction of writing.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


# The title of an epoch's progress: "fine-tune 3/57".
_EPOCH = re.compile(r"(.+) \d+/\d+")


def phase_in(title: str) -> str:
    """The phase in the title of an epoch's progress; empty for other work."""
    found = _EPOCH.fullmatch(title)
    return found.group(1) if found else ""


def visible(text: str) -> str:
    """A text with backslash escapes in place of control characters, other than newlines and tabs.

    Names of files and classes come from whoever made the data: printed as they are, they could move the cursor,
    recolour or reverse what follows, or set the window's title.
    """
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class Terminal:
    """Where the command line writes.

    Args:
        json: Keep standard output free for one JSON object: everything else goes to standard error.
    """

    def __init__(self, json: bool = False) -> None:
        self._result = sys.stdout if json else None
        if json:
            sys.stdout = sys.stderr  # also for what Keras prints on a download
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True, emoji=False)
        self._phase = self._shown = ""  # of the epoch before, whose values the next one's bar begins with
        if not self.console.is_terminal:
            self.console.width = _ENDLESS  # logs and pipes have no width at which to cut paths

    def say(self, line: str) -> None:
        """Print one line for the user."""
        self.console.print(visible(line), markup=False)
        self.console.file.flush()  # so that a watched log file shows each line at once

    def emit(self, value: dict[str, Any]) -> None:
        """Write the result as one JSON object to standard output, if that was requested."""
        if self._result is not None:
            text = json_format.dumps(value, ensure_ascii=False, default=str)
            try:
                text.encode(getattr(self._result, "encoding", None) or "utf-8")
            except UnicodeEncodeError:  # what the stream would put in their place is no JSON
                text = json_format.dumps(value, default=str)
            self._result.write(_CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text) + "\n")
            self._result.flush()

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        """Show a bar with rate, values and time left on a terminal; elsewhere, one line at the end.

        The epochs of a phase share one bar on a terminal and leave no lines: a line on the phase's result follows.
        """
        phase = phase_in(what)
        start, done, shown = time.perf_counter(), 0, self._shown if phase and phase == self._phase else ""
        columns = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} {task.fields[rate]} {task.fields[values]}"),
            TimeRemainingColumn(compact=True),
        ]
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal, transient=True) as bar:
            task = bar.add_task(visible(what), total=total, rate="", values=shown)

            def advance(count: int, **values: float) -> None:
                nonlocal done, shown
                done += count
                shown = values_text(values) or shown
                rate = f"{done / max(time.perf_counter() - start, 1e-9):.0f} {unit}/s"
                bar.update(task, completed=done, rate=rate, values=shown)

            yield advance
        self._phase, self._shown = phase, shown
        if phase and self.console.is_terminal:
            return
        seconds = time.perf_counter() - start
        rate = f"{done} {unit} in {seconds:.0f} s ({done / max(seconds, 1e-9):.0f}/s)"
        self.say(f"{what}: {rate}{'  ' + shown if shown else ''}")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], left: int = 1) -> None:
        """Print a table; all columns but the first `left` are numbers, aligned right."""
        table = Table(title=visible(title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for number, name in enumerate(columns):
            is_text = number < left
            table.add_column(
                Text(visible(name)), justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold"
            )
        for row in rows:
            table.add_row(*(Text(visible(number_text(value))) for value in row))  # a class may be called "[red]"
        self.console.print(table, markup=False)


def values_text(values: dict[str, float]) -> str:
    """Metrics beside a bar: `loss 0.412 top1 0.850`."""
    ordered = [k for k in _SHOWN if k in values] + [k for k in values if k not in _SHOWN]
    return " ".join(f"{key} {number_text(float(values[key]))}" for key in ordered)
