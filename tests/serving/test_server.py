"""Where the service listens, and what is said when it cannot."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager

import pytest
from serving_world import Client, form, picture

import tfransfer
from tfransfer import serving
from tfransfer.errors import ServeError, SettingError
from tfransfer.serving import server
from tfransfer.serving.app import name_for
from tfransfer.serving.limits import Limits


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.5", False), ("localhost.example", False)],
)  # fmt: skip
def test_which_addresses_only_this_machine_reaches(host, local):
    assert server.is_local(host) == local


@pytest.mark.parametrize("local", [True, False])
def test_address_that_others_reach_comes_with_a_warning(run, local):
    said = []
    server._announce(run, "colours", "http://10.0.0.1:80", local, said.append)
    assert ("no password" in " ".join(said)) != local


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"name": "my colours"}, SettingError, "letters, digits"),
        ({"name": "a/b"}, SettingError, "letters, digits"),
        ({"port": 70_000}, SettingError, "0 to 65535"),
        ({"host": "no such host.invalid", "port": 0}, ServeError, "cannot listen on no such host.invalid"),
        ({"host": "x" * 70, "port": 0}, ServeError, "cannot listen on"),
        ({"host": "203.0.113.1", "port": 0}, ServeError, "Cannot assign requested address"),
    ],
)
def test_what_cannot_be_served_is_said(run, options, error, reason):
    with pytest.raises(error, match=reason):
        tfransfer.serve(run, **options)


@pytest.mark.parametrize("module", ["uvicorn", "starlette.applications"])
def test_missing_extra_is_named(run, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "tfransfer.serving.app")
    monkeypatch.delattr(serving, "app")
    with pytest.raises(ServeError, match=r'pip install "tfransfer\[serve\]"'):
        tfransfer.serve(run, port=0)


@pytest.mark.parametrize("limit", ["body_mb", "requests", "body_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), "many"])
def test_limits_are_above_zero(limit, value):
    with pytest.raises(SettingError, match=limit):
        Limits(**{limit: value})


def test_wrong_limit_is_wrong_usage(command, run):
    code, _, errors = command("serve", run.folder, "--max-body", "0")
    assert (code, "body_mb must be above zero" in errors) == (2, True)


def test_name_comes_from_the_folder(run):
    assert name_for(run) == "my_colours"


def test_help_needs_neither_tensorflow_nor_the_extra():
    words = "import sys; sys.argv = ['tfransfer', 'serve', '--help']\nfrom tfransfer.cli.main import main\n"
    words += "try:\n    main()\n"
    words += "finally:\n    assert not {'tensorflow', 'keras', 'starlette', 'uvicorn'} & set(sys.modules)"
    ran = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=False)
    assert (ran.returncode, "--max-body MB" in ran.stdout) == (0, True), ran.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_serves_from_a_notebook_whose_event_loop_is_busy(run, monkeypatch, host):
    """There `serve` must not start a second loop in the same thread."""
    said, found, kept, run_it = [], [], [], server._run
    monkeypatch.setattr(server, "_run", lambda made, listening: (kept.append(made), run_it(made, listening)))

    def look():
        while not (kept and kept[0].started):
            time.sleep(0.02)
        try:
            with urllib.request.urlopen(said[1].split()[1] + "v1/models/colours", timeout=10) as answer:
                found.append(answer.status)
        finally:
            kept[0].should_exit = True

    async def cell():
        tfransfer.serve(run, host=host, port=0, name="colours", say=said.append)

    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"{host} is not there")
    watcher = threading.Thread(target=look)
    watcher.start()
    asyncio.run(cell())
    watcher.join()
    assert found == [200]


@contextmanager
def served(run, monkeypatch, host="127.0.0.1"):
    """What `serve` itself serves, in a thread; gives its client."""
    kept, run_it = [], server._run
    monkeypatch.setattr(
        server, "_run", lambda made, listening: (kept.append((made, listening)), run_it(made, listening))
    )
    thread = threading.Thread(target=lambda: tfransfer.serve(run, host=host, port=0, name="colours"))
    thread.start()
    try:
        while not (kept and kept[0][0].started):
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.02)
        yield Client(kept[0][1].getsockname()[1])
    finally:
        for made, _ in kept:
            made.should_exit = True
        thread.join()


def test_serve_refuses_other_names_of_this_machine_and_pages_of_other_sites(run, monkeypatch):
    with served(run, monkeypatch) as client:
        for name in ("localhost", "127.0.0.1"):
            assert client.get("/healthz", Host=f"{name}:{client.port}")[0] == 200
        for name in ("evil.example", f"evil.example:{client.port}", "127.0.0.1.evil.example"):
            assert client.get("/healthz", Host=name)[0] == 400, name
        body, kind = form(picture(1))
        status, _, said = client.ask("POST", "/classify", body, {"Content-Type": kind, "Origin": "http://evil.example"})
        assert (status, "another site" in said["error"]) == (403, True)


def test_serve_takes_any_name_where_other_machines_reach_it(run, monkeypatch):
    with served(run, monkeypatch, host="0.0.0.0") as client:
        assert client.get("/healthz", Host="photos.example")[0] == 200
