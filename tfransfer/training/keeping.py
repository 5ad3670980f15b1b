"""When a phase saves its state, and when it stops midway on request."""

import time
from collections.abc import Callable
from typing import Any

from tfransfer.system.signals import Stopped, Stopping


class Keeping:
    """Decides when to save and when to stop. By itself saves nothing and never stops; `checkpoint` has one that does.

    Args:
        every: Seconds between saves within an epoch.
        stopping: Whether the run was asked to stop.
        of_all: Turns what this worker wants into what any worker wants: all must save and stop at the same step.
    """

    def __init__(
        self,
        every: float = float("inf"),
        stopping: Stopping | None = None,
        of_all: Callable[[bool], bool] = lambda wanted: wanted,
    ) -> None:
        self._every, self._stopping, self._of_all = every, stopping or Stopping(), of_all
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether to save the state now."""
        return self._of_all(self._stopping.wanted or time.monotonic() - self._last > self._every)

    def save(self, state: Any) -> None:
        """Save a `LoopState`."""
        self._last = time.monotonic()

    def stop_if_asked(self) -> None:
        """Stop if requested; call it after saving.

        Raises:
            Stopped: The run was asked to stop.
        """
        if self._of_all(self._stopping.wanted):
            raise Stopped("stopped")
