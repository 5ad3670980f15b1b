"""When a phase's state is kept, and when the phase stops in the middle because it was asked to."""

import time
from collections.abc import Callable
from typing import Any

from tfransfer.system.signals import Stopped, Stopping


class Keeping:
    """Keeps nothing and never stops; see `checkpoint.Checkpoints` for what does.

    Args:
        every: Seconds after which a state is due in the middle of an epoch.
        stopping: Says that the run was asked to stop.
        of_all: From what this worker wants to what any worker wants: several must save and stop at the same step.
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
        """Whether a state shall be saved now."""
        return self._of_all(self._stopping.wanted or time.monotonic() - self._last > self._every)

    def save(self, state: Any) -> None:
        """Take a `LoopState`."""
        self._last = time.monotonic()

    def stop_if_asked(self) -> None:
        """Stop here, after the state was saved.

        Raises:
            Stopped: It was asked for.
        """
        if self._of_all(self._stopping.wanted):
            raise Stopped("stopped")
