"""Progress in Python: a notebook shows it by default, a script on request.

As with Keras and fastai, a notebook shows a bar by default. It is one output that is updated in place, with no widgets
to install, so that a saved notebook holds the last state and not thousands of lines.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from tfransfer.display.progress import Advance, Progress, Say, quiet, silent
from tfransfer.display.terminal import Terminal, phase_in, values_text

# Updates per second, and how many of the first and the last lines are shown.
_RATE, _FIRST, _LAST = 4.0, 20, 60


def listeners(progress: Progress | bool | None, say: Say | None) -> tuple[Progress, Say]:
    """The functions that show progress and print messages.

    Args:
        progress: A Progress; True shows it, False does not; None shows it in a notebook and not in a script.
        say: Called with one line at a time; None takes the one that fits `progress`.
    """
    if callable(progress):
        return progress, say or silent
    if progress is False or (progress is None and not in_notebook()):
        return quiet, say or silent
    shown: Any = Notebook() if in_notebook() else Terminal()
    return shown.progress, say or shown.say


def in_notebook() -> bool:
    """Whether this is a kernel of Jupyter, Colab or the like, whose front end shows HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and getattr(shell, "kernel", None) is not None


class Notebook:
    """Lines and a bar in one output of a notebook's cell, updated in place."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._bar = self._phase = ""  # the phase of the last line, if that is on an epoch
        self._handle: Any = None
        self._shown = 0.0

    def say(self, line: str) -> None:
        """Show one line to the user."""
        self._phase = ""
        self._lines.append(line)
        self._show()

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        """Show a bar with rate and values during the work, and a line at the end."""
        start, done, shown = time.perf_counter(), 0, ""

        def advance(count: int, **values: float) -> None:
            nonlocal done, shown
            done += count
            shown = values_text(values) or shown
            if time.perf_counter() - self._shown > 1 / _RATE:
                rate = done / max(time.perf_counter() - start, 1e-9)
                self._bar = _bar(what, done, total, f"{rate:.0f} {unit}/s  {shown}")
                self._show()

        try:
            yield advance
        finally:
            self._bar = ""
        seconds = time.perf_counter() - start
        rate = f"{done} {unit} in {seconds:.0f} s ({done / max(seconds, 1e-9):.0f}/s)"
        phase = phase_in(what)
        if phase and phase == self._phase:
            self._lines.pop()  # one line for each phase, on its latest epoch
        self.say(f"{what}: {rate}{'  ' + shown if shown else ''}")
        self._phase = phase

    def _show(self) -> None:
        from IPython.display import HTML, display  # here, because only a notebook has it

        lines = self._lines
        if len(lines) > _FIRST + _LAST:
            lines = [*lines[:_FIRST], f"... {len(lines) - _FIRST - _LAST} lines ...", *lines[-_LAST:]]
        text = escape("\n".join(lines))
        html = HTML(f'<pre style="white-space:pre-wrap;margin:0">{text}</pre>{self._bar}')
        if self._handle is None:
            self._handle = display(html, display_id=True)
        else:
            self._handle.update(html)
        self._shown = time.perf_counter()


def _bar(what: str, done: int, total: int, suffix: str) -> str:
    attributes = f'value="{done}" max="{max(total, done, 1)}" style="width:16em"'
    bar = f'<progress {attributes} aria-label="{escape(what)}"></progress>'
    return f"<div><code>{escape(what)} {bar} {done}/{total} {escape(suffix)}</code></div>"
