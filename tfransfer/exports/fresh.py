"""Fresh processes for `replay`, without the ten seconds that each would take to import TensorFlow.

Where processes can be forked safely, one process imports TensorFlow, computes nothing, and answers each request in a
fork. It ends with the process that started it, however that ends.
"""

import atexit
import os
import subprocess
import sys
import threading
from pathlib import Path

from tfransfer.exports import replay

_TIMEOUT = 1800
# -P: the modules beside the script must not stand in for those of the same name elsewhere.
_SCRIPT = [sys.executable, "-P", replay.__file__]
# Forks of a process with frameworks loaded are not safe on a Mac.
_FORKS = sys.platform == "linux"


class _Server:
    """A process that answers requests in forks."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [*_SCRIPT, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=_environment(),
        )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether it can be asked by this process; one that was started before a fork belongs to the parent."""
        return self.owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        """End it, where this process started it."""
        if self.owner == os.getpid():
            self._process.kill()
            self._process.communicate()

    def ask(self, request: Path) -> int | None:
        """The exit status of the fork that answered a request; None where the server failed."""
        if self._process.stdin is None or self._process.stdout is None:
            return None
        end = threading.Timer(_TIMEOUT, self._process.kill)
        with self._lock:
            end.start()
            try:
                self._process.stdin.write(f"{request}\n")
                self._process.stdin.flush()
                return int(self._process.stdout.readline())
            except (OSError, ValueError):
                return None
            finally:
                end.cancel()


_SERVERS: list[_Server] = []


def prepare() -> None:
    """Let TensorFlow be imported elsewhere while this process has other things to do."""
    if _FORKS:
        _server()


def _server() -> _Server:
    if not _SERVERS or not _SERVERS[-1].alive:
        _SERVERS[:] = [_Server()]
        atexit.register(_SERVERS[-1].close)
    return _SERVERS[-1]


def run(request: Path, imports_tensorflow: bool) -> tuple[int, str]:
    """Let a fresh process answer a request of `replay`.

    Args:
        request: The request's file.
        imports_tensorflow: Whether answering it takes TensorFlow.

    Returns:
        Exit status, and what was said on standard error.
    """
    if imports_tensorflow and _FORKS:
        status = _server().ask(request)
        if status is not None:
            errors = Path(f"{request}.errors")
            return status, errors.read_text(encoding="utf-8", errors="replace") if errors.exists() else ""
    ran = subprocess.run(
        [*_SCRIPT, str(request)], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT,
        env=_environment(), check=False,
    )  # fmt: skip
    return ran.returncode, ran.stderr


def _environment() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
