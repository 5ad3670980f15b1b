"""The command `tfransfer serve` under load: a process of its own, fifty clients, some of them bad, slow or greedy."""

import base64
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image
from serving_world import Client, picture

from tfransfer import pipeline
from tfransfer.runs.run import load_run

CLIENTS, EACH, BAD = 50, 10, 100
MEGABYTE = 1 << 20
# After a first round, which fills pools and caches, memory may waver by this much.
MOST_GROWTH = 24 * MEGABYTE
BODY_MB = 1


@pytest.fixture(scope="module")
def service(run):
    """The process and what it said before it served."""
    words = [sys.executable, "-m", "tfransfer", "serve", str(run.folder), "--port", "0", "--max-body", str(BODY_MB)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = []
    while not said or not said[-1].startswith("Ctrl-C"):
        line = process.stdout.readline()
        assert line, process.stderr.read()
        said.append(line)
    yield process, "".join(said)
    if process.poll() is None:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def busy(service):
    _, said = service
    return Client(int(re.search(r"page: +http://127\.0\.0\.1:(\d+)/", said)[1]))


def question(number):
    """What one request sends, what it must be answered with, and what part of the answer is compared."""
    file = picture(number % 20, "JPEG" if number % 2 else "PNG", (40 + number % 7, 30))
    if number % 5 == 4:  # a hundred of the five hundred
        spoilt = (b"no picture", file[: len(file) // 2], b"")[number % 3]
        return ("predict", {"instances": [{"b64": base64.b64encode(spoilt).decode()}]}, 400, None)
    if number % 3 == 0:
        return ("classify", file, 200, file)
    return ("predict", {"instances": [{"b64": base64.b64encode(file).decode()}]}, 200, file)


def ask(client, number, expected):
    """None where the answer was right, else what was wrong."""
    way, sent, code, file = question(number)
    status, said = getattr(client, way)(sent)
    if status != code:
        return f"{number}: {status} for {code}: {said}"
    if code != 200:
        return None if set(said) == {"error"} else f"{number}: {said}"
    if way == "predict":
        ((*shares,),) = said["predictions"]
    else:
        shares = [dict(said["top"])[name] for name in ("blue", "green", "red")]
    return None if np.allclose(shares, expected[file], atol=1e-5) else f"{number}: {shares}"


def round_of_all(client, expected):
    """Every client asks its questions one after another, all clients at one time; what was wrong."""

    def one(number):
        return [ask(client, number * EACH + i, expected) for i in range(EACH)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [wrong for found in pool.map(one, range(CLIENTS)) for wrong in found if wrong]


def slow_client(port):
    raw = socket.create_connection(("127.0.0.1", port), timeout=30)
    raw.sendall(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n-")
    return raw


@pytest.mark.slow
def test_fifty_clients_are_answered_rightly_in_flat_memory(service, busy, run, record_property):
    process, _ = service
    files = {question(n)[3] for n in range(CLIENTS * EACH)} - {None}
    assert sum(question(n)[3] is None for n in range(CLIENTS * EACH)) == BAD
    fresh = load_run(run.folder)
    expected = {
        file: [dict(said.top)[name] for name in fresh.classes]
        for file in files
        for said in [pipeline.predict(fresh, Image.open(io.BytesIO(file)))]
    }
    memory, began = [], time.monotonic()
    for _ in range(4):
        slow = slow_client(busy.port)
        greedy = ThreadPoolExecutor(1).submit(busy.classify, os.urandom(3 * BODY_MB * MEGABYTE))
        assert round_of_all(busy, expected) == []
        status, said = greedy.result(60)
        assert (status, "larger than the limit" in said["error"]) == (413, True)
        slow.close()
        memory.append(psutil.Process(process.pid).memory_info().rss)
    seconds = time.monotonic() - began
    told = f"MB {[round(one / MEGABYTE) for one in memory]}, {4 * CLIENTS * EACH / seconds:.0f} requests a second"
    record_property("measured", told)
    print(told)
    assert memory[-1] - memory[0] < MOST_GROWTH, told


def test_command_says_where_and_how(service, busy, run):
    _, said = service
    assert "/v1/models/my_colours:predict" in said and "curl -F file=@photo.jpg" in said
    assert "warning" not in said
    assert busy.get("/healthz")[0] == 200
    assert busy.get("/healthz", Host="evil.example")[0] == 400


def test_taken_port_is_said(busy, run, command):
    code, _, errors = command("serve", run.folder, "--port", busy.port)
    assert code == 1
    assert f"cannot listen on 127.0.0.1, port {busy.port}: Address already in use" in errors
    assert "--port" in errors


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to another process")
def test_ctrl_c_is_the_right_end_also_while_a_client_is_connected(service, busy):
    process, _ = service
    slow = slow_client(busy.port)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    slow.close()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
