"""Checkpoints: one file, written atomically, from which a stopped or killed training resumes in either phase.

It holds plain values and arrays only. Keras's BackupAndRestore is not used: with one folder for two phases, the first
phase silently runs no epochs after a restart.
"""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.errors import RunError, SettingError
from tfransfer.system.files import whole
from tfransfer.system.interface import option
from tfransfer.system.signals import Stopping
from tfransfer.training.keeping import Keeping
from tfransfer.training.loop import LoopState
from tfransfer.training.phase import PhaseResult

# Seconds between checkpoints within an epoch.
EVERY = 300.0
_SCHEMA = 1
_PLAIN = "plain"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training.

    Attributes:
        phase: The running phase; empty between phases and after the last one.
        batch: Images per step in that phase.
        loop: The state of its loop.
        done: Results of the finished phases, in order.
    """

    phase: str = ""
    batch: int = 0
    loop: LoopState = field(default_factory=LoopState)
    done: tuple[PhaseResult, ...] = ()


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically.

    Raises:
        SettingError: A callback's state is not plain values and arrays.
        WriteError: The disk is full or not writable.
    """
    arrays: list[np.ndarray] = []
    try:
        plain = json.dumps({"schema": _SCHEMA} | _without_arrays(checkpoint, arrays))
    except TypeError as error:
        raise SettingError(f"a callback's state() must return plain values and arrays: {error}.") from error
    entries: dict[str, Any] = {_PLAIN: np.array(plain)} | {str(n): array for n, array in enumerate(arrays)}
    with whole(path) as temporary:
        np.savez(temporary, **entries)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint; None if the file does not exist.

    Raises:
        RunError: The file is damaged or was written by another version.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        plain = json.loads(str(arrays.pop(_PLAIN)))
        if plain.pop("schema") != _SCHEMA:
            raise RunError(
                f"{path} was written by another version of tfransfer: start over with {option('overwrite', True)}."
            )
        values = _with_arrays(plain, arrays)
        values["loop"] = LoopState(**values["loop"])
        values["done"] = tuple(PhaseResult(**one) for one in values["done"])
        return Checkpoint(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} is damaged ({error}): start over with {option('overwrite', True)}.") from error


def _without_arrays(value: Any, arrays: list[np.ndarray]) -> Any:
    """Copy a nest, with its arrays moved to a list and replaced by their positions in it."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if is_dataclass(value):
        value = {part.name: getattr(value, part.name) for part in fields(value)}
    if isinstance(value, dict):
        return {"dict": {str(key): _without_arrays(inner, arrays) for key, inner in value.items()}}
    if isinstance(value, list | tuple):
        return [_without_arrays(inner, arrays) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def _with_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_with_arrays(inner, arrays) for inner in value]
    if isinstance(value, dict):
        if "array" in value:
            return arrays[str(value["array"])]
        return {key: _with_arrays(inner, arrays) for key, inner in value["dict"].items()}
    return value


class Checkpoints:
    """Saves and restores the state of a training.

    Args:
        path: The file; None saves nothing.
        stopping: Whether the run was asked to stop.
        on_save: Called with each checkpoint once it is written, to update the manifest.
        every: Seconds between checkpoints within an epoch.
        of_all: Turns what this worker wants into what any worker wants: all must save and stop at the same step.
    """

    def __init__(
        self,
        path: Path | None = None,
        stopping: Stopping | None = None,
        on_save: Callable[[Checkpoint], None] = lambda checkpoint: None,
        every: float = EVERY,
        of_all: Callable[[bool], bool] = lambda wanted: wanted,
    ) -> None:
        self.path, self.stopping, self._on_save, self._every = path, stopping or Stopping(), on_save, every
        self._of_all = of_all
        self._resumed = (read_checkpoint(path) if path else None) or Checkpoint()
        self._done = list(self._resumed.done)

    def result(self, phase: str) -> PhaseResult | None:
        """The result of a finished phase; None if it is not finished."""
        return next((result for result in self._done if result.name == phase), None)

    def start(self, phase: str) -> Checkpoint | None:
        """The checkpoint that a phase resumes from; None if it was not stopped midway."""
        return self._resumed if self._resumed.phase == phase and self._resumed.loop.arrays else None

    def keeping(self, phase: str, batch: int) -> Keeping:
        """What saves the state of a phase while it runs with `batch` images per step."""
        return _PhaseKeeping(self, phase, batch, self._every, self._of_all)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then report it."""
        if self.path:
            write_checkpoint(self.path, checkpoint)
            self._on_save(checkpoint)

    def running(self, phase: str, batch: int, state: LoopState) -> None:
        """Save the state of the running phase."""
        self.save(Checkpoint(phase, batch, state, tuple(self._done)))

    def finish(self, result: PhaseResult) -> None:
        """Save the result of a phase."""
        self._done.append(result)
        self.save(Checkpoint(done=tuple(self._done)))


class _PhaseKeeping(Keeping):
    def __init__(
        self, checkpoints: Checkpoints, phase: str, batch: int, every: float, of_all: Callable[[bool], bool]
    ) -> None:
        super().__init__(every, checkpoints.stopping, of_all)
        self._checkpoints, self._phase, self._batch = checkpoints, phase, batch

    def save(self, state: LoopState) -> None:
        """Write the state to disk."""
        self._checkpoints.running(self._phase, self._batch, state)
        super().save(state)
