"""Fresh processes for `replay`, without spending seconds in each on importing TensorFlow.

Where forking is safe, one process imports TensorFlow, computes nothing, and handles each request in a fork. It ends
with the process that started it, however that one ends.
"""

import atexit
import os
import subprocess
import sys
import threading
from pathlib import Path

from tfransfer.exports import replay

_TIMEOUT = 1800
# -P: modules beside the script must not shadow others of the same name.
_SCRIPT = [sys.executable, "-P", replay.__file__]
# On macOS it is not safe to fork a process that has loaded system frameworks.
_FORKS = sys.platform == "linux"


class _Server:
    """A process that handles requests in forks."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [*_SCRIPT, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=_environment(),
        )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether this process can use it; one that was started before a fork belongs to the parent."""
        return self.owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        """Stop it, if this process started it."""
        if self.owner == os.getpid():
            self._process.kill()
            self._process.communicate()

    def run(self, request: Path) -> int | None:
        """The exit status of the fork that handled a request; None if the server failed."""
        if self._process.stdin is None or self._process.stdout is None:
            return None
        timeout = threading.Timer(_TIMEOUT, self._process.kill)
        with self._lock:
            timeout.start()
            try:
                self._process.stdin.write(f"{request}\n")
                self._process.stdin.flush()
                return int(self._process.stdout.readline())
            except (OSError, ValueError):
                return None
            except BaseException:  # a signal: the answer that is still to come must not be taken for the next one's
                self._process.kill()
                raise
            finally:
                timeout.cancel()


_SERVERS: list[_Server] = []


def prepare() -> None:
    """Start importing TensorFlow in the server process, while this process does other work."""
    if _FORKS:
        _server()


def _server() -> _Server:
    if not _SERVERS or not _SERVERS[-1].alive:
        _SERVERS[:] = [_Server()]
        atexit.register(_SERVERS[-1].close)
    return _SERVERS[-1]


def run(request: Path, imports_tensorflow: bool) -> tuple[int, str]:
    """Handle a request of `replay` in a fresh process.

    Args:
        request: The request's file.
        imports_tensorflow: Whether the request needs TensorFlow.

    Returns:
        Exit status, and the output on standard error.
    """
    if imports_tensorflow and _FORKS:
        status = _server().run(request)
        if status is not None:
            errors = Path(f"{request}.errors")
            return status, errors.read_text(encoding="utf-8", errors="replace") if errors.exists() else ""
    process = subprocess.run(
        [*_SCRIPT, str(request)], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT,
        env=_environment(), check=False,
    )  # fmt: skip
    return process.returncode, process.stderr


def _environment() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
