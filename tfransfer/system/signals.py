"""SIGINT and SIGTERM: a training comes to a place where its state is whole, saves it, and stops."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A run was asked to stop, and has. Its message says how to go on. No `except Exception` takes it for an error."""


class Stopping:
    """Whether somebody asked to stop. Outside `patient` blocks a signal stops at once."""

    def __init__(self) -> None:
        self.wanted = False
        # Whether there is something to go on with.
        self.begun = False
        self._patient = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM in place of what took them before; elsewhere than in the main thread, nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def patient(self) -> Iterator[None]:
        """A block that looks at `wanted` itself. Whoever asks a second time does not want to wait for that."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        again, self.wanted = self.wanted, True
        if again or not self._patient:
            raise Stopped("stopped")
