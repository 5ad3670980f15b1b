"""Start several workers of one command on this machine: `python tools/launch_workers.py 2 -- tfransfer train ...`.

Each gets a TF_CONFIG that names them all. The chief's output is shown, the others' is kept in files and shown where one
fails. On several machines each worker is started there in the same way, with the machines' addresses in TF_CONFIG.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

# Seconds that the others get to find out by themselves that one of them is gone, and to say how to go on.
PATIENCE = 60.0


def free_ports(count: int) -> list[int]:
    """Ports of the loopback device that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def configs(count: int) -> list[str]:
    """A TF_CONFIG for each of so many workers on this machine."""
    workers = [f"localhost:{port}" for port in free_ports(count)]
    return [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": number}})
        for number in range(count)
    ]


def launch(count: int, command: Sequence[str], logs: Path) -> list[subprocess.Popen[bytes]]:
    """Start the workers; the chief shares this process's output, the others write `worker-N.log` to a folder.

    Each is in a session of its own, so that Ctrl-C reaches it once, through this process.
    """
    started = []
    for number, config in enumerate(configs(count)):
        environment = os.environ | {"TF_CONFIG": config}
        if number == 0:
            started.append(subprocess.Popen(command, env=environment, start_new_session=True))
            continue
        with (logs / f"worker-{number}.log").open("wb") as stream:
            started.append(
                subprocess.Popen(
                    command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
                )
            )
    return started


def wait(workers: Sequence[subprocess.Popen[bytes]], patience: float = PATIENCE) -> list[int]:
    """Wait for all; where one fails, the others are ended if they do not end by themselves."""
    deadline = None
    while any(worker.poll() is None for worker in workers):
        if deadline is None and any(worker.poll() not in (None, 0) for worker in workers):
            deadline = time.monotonic() + patience
        if deadline is not None and time.monotonic() > deadline:
            for worker in workers:
                worker.kill()
        time.sleep(0.1)
    return [worker.wait() for worker in workers]


def main(words: Sequence[str]) -> int:
    """Run the command line: the chief's exit status, or that of the first worker that failed."""
    if len(words) < 3 or not words[0].isdigit() or words[1] != "--":
        print("usage: python tools/launch_workers.py COUNT -- COMMAND...", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        workers = launch(int(words[0]), words[2:], Path(folder))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: [worker.send_signal(number) for worker in workers])
        codes = wait(workers)
        for number, code in enumerate(codes):
            log = Path(folder) / f"worker-{number}.log"
            if code and log.exists():
                print(f"worker {number} ended with {code}:\n{log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
    return next((code if code > 0 else 1 for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
