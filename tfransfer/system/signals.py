"""SIGINT and SIGTERM: training runs on to a point where its state is consistent, saves it, and stops.

Elsewhere the signal raises `Stopped` at once, wherever the program happens to be. That may be in foreign code that
catches everything (a destructor of TensorFlow's, a bare `except` of Keras's), and then the exception is lost there. So
the request is also remembered, and `stop_if_requested` raises again between the steps of long work.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A run stopped on request. Its message says how to resume. `except Exception` does not catch it."""


class Stopping:
    """Whether a stop was requested. Outside `patient` blocks a signal stops at once."""

    def __init__(self) -> None:
        self.wanted = False
        # Whether there is something to resume from.
        self.begun = False
        self._patient = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM within a block; outside the main thread, do nothing.

        Raises:
            Stopped: A signal arrived, at the latest when the block ends.
        """
        if not _in_main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        _LISTENING.append(self)
        try:
            yield
            self.stop_if_wanted()
        finally:
            _LISTENING.remove(self)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def patient(self) -> Iterator[None]:
        """A block that checks `wanted` itself. A second signal stops at once: the user does not want to wait."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def stop_if_wanted(self) -> None:
        """Raise `Stopped` if a stop was requested, outside of `patient` blocks."""
        if self.wanted and not self._patient:
            raise Stopped("stopped")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.wanted = self.wanted, True
        if again or not self._patient:
            raise Stopped("stopped")


# Signals belong to the process, so who listens to them does too; the last one is the innermost.
_LISTENING: list[Stopping] = []


@contextmanager
def stoppable() -> Iterator[None]:
    """A block of long work that a signal stops even if foreign code loses the exception; see `stop_if_requested`.

    Raises:
        Stopped: A signal arrived.
    """
    if _LISTENING:
        yield
        return
    with Stopping().listening():
        yield


def stop_if_requested() -> None:
    """Stop here if a signal arrived and its exception was lost on the way; call it between the steps of long work.

    Raises:
        Stopped: A signal arrived.
    """
    if _LISTENING and _in_main_thread():
        _LISTENING[-1].stop_if_wanted()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
