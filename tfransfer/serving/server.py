"""Serve a run over HTTP until it is interrupted."""

import asyncio
import ipaddress
import os
import re
import socket
import threading
from pathlib import Path
from typing import Any

from tfransfer.display.progress import Say, silent
from tfransfer.errors import ServeError, SettingError
from tfransfer.runs.run import Run, load_run
from tfransfer.serving.limits import HOST, PORT, Limits
from tfransfer.system.interface import option
from tfransfer.system.keywords import known_keywords

# Older versions of Starlette read "[" as the host of "[::1]:8501"; no other site can have that name.
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]", "[")
_STOP_SECONDS = 3


@known_keywords
def serve(
    run: Run | str | Path,
    *,
    host: str = HOST,
    port: int = PORT,
    name: str | None = None,
    limits: Limits | None = None,
    say: Say = silent,
) -> None:
    """Serve a run over HTTP until Ctrl-C: TensorFlow Serving's REST API, and a page to drop a photo on.

    Args:
        run: A run or its folder.
        host: Address to listen on; the default is reachable from this machine only. There is no password.
        port: TCP port; 0 picks a free one.
        name: The model's name in `/v1/models/NAME:predict`; None takes that of the run's folder.
        limits: What a client may send; None takes the defaults.
        say: Called with lines about the address and how to use it.

    Raises:
        ServeError: The extra `serve` is not installed, or the address is not available.
        SettingError: The name or the port is not valid.
    """
    try:
        import uvicorn  # here, because it is an optional extra

        from tfransfer.serving import app  # here, for the same reason
    except ImportError as error:
        raise ServeError(
            f'serving needs packages that are missing ({error}): pip install "tfransfer[serve]".'
        ) from error
    run = run if isinstance(run, Run) else load_run(run)
    name, limits = name or app.name_for(run), limits or Limits()
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise SettingError(f"a model's name may contain letters, digits, _, . and -; got {name!r}.")
    listening = _listen(host, port)
    with listening:
        run.model  # noqa: B018  loaded here, so that a damaged file is reported before the address
        hosts = (*_LOCAL_NAMES, _url_host(host)) if is_local(host) else ()
        config = uvicorn.Config(
            app.make_app(run, name, limits, hosts), http="h11", ws="none", lifespan="on", log_level="warning",
            access_log=False, server_header=False, proxy_headers=False, limit_concurrency=limits.connections,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )  # fmt: skip
        _announce(run, name, f"http://{_url_host(host)}:{listening.getsockname()[1]}", is_local(host), say)
        _run(uvicorn.Server(config), listening)


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise SettingError(f"a port is a number from 0 to 65535; got {port}.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:  # the host may not be a valid name
        number = error.errno if isinstance(error, OSError) else None
        # The system's message alone, as Python's repeats the address. The resolver's errors have negative numbers.
        reason = os.strerror(number) if number and number > 0 else str(error)
        raise ServeError(
            f"cannot listen on {host}, port {port}: {reason}. Choose another {option('host')} or {option('port')}."
        ) from error


def _announce(run: Run, name: str, address: str, local: bool, say: Say) -> None:
    what = f"{run.modality.nouns}, {run.image_size} pixels" if run.modality.has_pixels else run.modality.nouns
    say(f"serving {run.folder} as {name} ({run.task}, {what})")
    if not local:
        say("warning: other machines can reach this service; it has no password and no encryption.")
    say(f"page:    {address}/")
    say(f"predict: {address}/v1/models/{name}:predict")
    say(f"try:     curl -F {run.modality.form_field} {address}/classify")
    say("Ctrl-C stops it.")


def _run(server: Any, listening: socket.socket) -> None:
    """Run until Ctrl-C, which is not an error; in a notebook, whose event loop is running, use a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            return
        return
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="serving")
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        server.should_exit = True
        thread.join()
