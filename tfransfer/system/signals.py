"""SIGINT and SIGTERM: training runs on to a point where its state is consistent, saves it, and stops."""

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
        """Handle SIGINT and SIGTERM within a block; outside the main thread, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        try:
            yield
        finally:
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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.wanted = self.wanted, True
        if again or not self._patient:
            raise Stopped("stopped")
