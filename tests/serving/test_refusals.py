"""What the service refuses, with which status, and that it goes on afterwards."""

import base64
import io
import json
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice

import numpy as np
import pytest
from PIL import Image
from serving_world import SIZE, form, picture, serving
from small_world import with_scans

from tfransfer.data.health import audit
from tfransfer.serving import answering
from tfransfer.serving.limits import Limits

GOOD = {"b64": base64.b64encode(picture(1)).decode()}
PREDICT = "/v1/models/my_colours:predict"
ROW = [[[0, 0, 0]] * SIZE] * SIZE


def bomb(width, height):
    """A PNG that is small and claims to be large."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def encoded(content):
    return {"b64": base64.b64encode(content).decode()}


@pytest.mark.parametrize(
    ("bad", "code", "reason"),
    [
        (encoded(b"no picture"), 400, "not a picture"),
        (encoded(b""), 400, "zero bytes"),
        (encoded(picture(1)[:150]), 400, "end"),
        (encoded(picture(1, "PPM")), 400, "PPM is not read here"),
        (encoded(bomb(9_000, 9_000)), 413, "limit is 50,000,000"),
        (encoded(bomb(60_000, 60_000)), 413, "pixels"),
        ({"b64": "!!!"}, 400, "not base64"),
        ({"b64": 7}, 400, "base64"),
        ({}, 400, "base64"),
        ({"images": GOOD}, 400, "takes"),
        ({"encodet": GOOD}, 400, "no input is called 'encodet'"),
        (7, 400, "a number"),
        (None, 400, "null"),
        ("text", 400, "a string"),
        ([], 400, "another shape"),
        (ROW[1:], 400, "another shape"),
        ([*ROW[1:], [[0, 0, 0]] * (SIZE - 1)], 400, "another shape"),
        ([*ROW[1:], [[0, 0, 256]] * SIZE], 400, "other values"),
        ([*ROW[1:], [[0, 0, -1]] * SIZE], 400, "other values"),
        ([*ROW[1:], [[0, 0, 0.5]] * SIZE], 400, "other values"),
        ([*ROW[1:], [[0, 0, "9"]] * SIZE], 400, "other values"),
        ([*ROW[1:], [[0, 0, 10**30]] * SIZE], 400, "other values"),
    ],
)  # fmt: skip
def test_bad_instance_is_named_with_the_reason(client, bad, code, reason):
    status, said = client.predict({"instances": [GOOD, bad]})
    assert (status, list(said)) == (code, ["error"])
    assert said["error"].startswith("instances[1]: ") and reason in said["error"]


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe\x00", 400, "not JSON"),
        (b"7", 400, "JSON object"),
        (b"[" * 10_000, 400, "deep"),
        (b"{}", 400, "expected either"),
        (b'{"instances": [], "inputs": []}', 400, "expected either"),
        (b'{"instances": []}', 400, "at least one"),
        (b'{"instances": {"a": 1}}', 400, "must be a list"),
        (b'{"inputs": {"b64": "aaaa"}}', 400, "must be a list"),
        (b'{"instances": [1], "signature_name": "serving_defualt"}', 400, "Did you mean serving_default"),
        (b'{"instances": [1], "signature_name": [1]}', 400, "unknown signature_name"),
        (json.dumps({"instances": [GOOD], "signature_name": "serving_default"}).encode(), 400, "takes pixels"),
        (json.dumps({"instances": [ROW], "signature_name": "serve_bytes"}).encode(), 400, "takes a picture file"),
        (json.dumps({"instances": [GOOD] * 65}).encode(), 400, "the limit is 64"),
        (b'{"instances": [' + b"[]," * 30_000 + b"1]}", 413, "more values"),
        (b'{"instances": [NaN, 1e999, ' + b"9" * 5000 + b"]}", 400, "not JSON"),
    ],
)
def test_bad_request_is_refused_with_the_reason(client, body, code, reason):
    status, said = client.predict(body)
    assert (status, list(said)) == (code, ["error"])
    assert reason in said["error"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/docs", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/other/metadata", 404),
        ("GET", "/v1/models/my_colours/versions/2", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v1/models/my_colours/versions/7:predict", 404),
        ("POST", "/v1/models/my_colours:classify", 404),
        ("GET", "/v1/models/my_colours:predict", 405),
        ("GET", "/v1/models/my_colours/versions/1:predict", 405),
        ("PUT", "/v1/models/my_colours:predict", 405),
        ("POST", "/v1/models/my_colours", 405),
        ("GET", "/classify", 405),
        ("POST", "/", 405),
        ("DELETE", "/healthz", 405),
    ],
)
def test_wrong_address_and_wrong_method(client, method, path, code):
    status, headers, said = client.ask(method, path)
    assert (status, list(said)) == (code, ["error"])
    assert code != 405 or headers["allow"]


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"", "application/json", "multipart"),
        (b"x", "multipart/form-data", "boundary"),
        (b"no form at all", "multipart/form-data; boundary=edge", ""),
        form(b"words", "file") and (form(b"words", "text")[0], form(b"", "text")[1], "field file"),
        (form(b"no picture")[0], form(b"")[1], "photo.png: not a picture"),
        (form(b"")[0], form(b"")[1], "zero bytes"),
        (form(picture(1))[0] * 3, form(b"")[1], ""),
        (b"file=abc", "application/x-www-form-urlencoded", "multipart"),
    ],
)
def test_bad_form_is_refused(client, body, kind, reason):
    status, _, said = client.ask("POST", "/classify", body, {"Content-Type": kind})
    assert status in ((400,) if reason else (200, 400)), said
    assert reason.lower() in json.dumps(said).lower()


def test_names_from_elsewhere_are_refused(client):
    """A page of another site that gives its own name this machine's address (DNS rebinding)."""
    assert client.get("/healthz", Host=f"localhost:{client.port}")[0] == 200
    for host in ("evil.example", f"evil.example:{client.port}", "127.0.0.1.evil.example", ""):
        assert client.get("/healthz", Host=host)[0] == 400, host


def blank_png(side):
    """A picture of one bit a pixel, whose file is small."""
    stream = io.BytesIO()
    Image.new("1", (side, side)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([blank_png(7000)] * 64, "more decoding than 50 megapixels"),
        ([with_scans(40, side=3000)] * 3, "more decoding than 50 megapixels"),
        ([with_scans(60)], "more than 50 scans"),
    ],
    ids=["many huge", "many scans", "too many scans"],
)
def test_small_body_that_takes_long_to_decode_is_refused(client, files, reason):
    """Sixty-four pictures of 49 megapixels have half a megabyte; decoded, they held everybody for 99 seconds."""
    began, answers = time.monotonic(), []
    body = {"instances": [{"b64": base64.b64encode(file).decode()} for file in files]}
    hostile = threading.Thread(target=lambda: answers.append(client.predict(body)))
    hostile.start()
    assert client.predict({"instances": [GOOD]})[0] == 200
    hostile.join()
    assert (answers[0][0], reason in answers[0][1]["error"]) == (413, True), answers
    assert time.monotonic() - began < 20  # about one second; two on a busy machine


def test_decoding_that_takes_longer_than_expected_is_given_up(run):
    with serving(run, decode_seconds=0.01) as client:
        body = {"instances": [{"b64": base64.b64encode(blank_png(1500)).decode()}] * 30}
        status, said = client.predict(body)
        assert (status, "took more than 0.01 seconds" in said["error"]) == (413, True), said
        assert not said["error"].startswith("instances[0]")


def test_ordinary_photos_are_far_from_the_limit_of_work():
    """Twenty photos of 12 megapixels, a hundred screenshots of a third of one, five large progressive photos."""
    limits = Limits()
    for count, kind, size, scans in ((20, "JPEG", (4000, 3000), 1), (100, "PNG", (800, 450), 1),
                                     (5, "JPEG", (4000, 3000), 10)):  # fmt: skip
        assert count * audit.Header(kind, *size, scans=scans).work(224) < limits.work_megapixels * 1e6


BROWSER = {"Content-Type": "text/plain"}  # a form or a script of any page can send this without being asked about it


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},  # a sandboxed frame or a file
        {"Origin": "http://localhost:1"},  # another service on this machine
        {"Origin": "http://localhost.evil.example:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:{port}"},
    ],
)
def test_pages_of_other_sites_are_refused(client, headers):
    """Any page that a browser shows can post to this machine; it needs no leave for plain text or a form."""
    body = json.dumps({"instances": [GOOD]})
    headers = {name: value.format(port=client.port) for name, value in headers.items()}
    for path in (PREDICT, "/classify"):
        said = client.ask("POST", path, body, BROWSER | {"Host": f"localhost:{client.port}"} | headers)
        assert said[0] == 403 and "another site" in said[2]["error"], headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "HTTP://LocalHost:{port}"},
        {"Origin": "http://localhost:{port}", "Sec-Fetch-Site": "same-origin"},
        # Behind a proxy with another name, the browser knows better than the name that the proxy passes on.
        {"Origin": "https://photos.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_own_page_and_programs_are_answered(client, headers):
    headers = {name: value.format(port=client.port) for name, value in headers.items()}
    body = json.dumps({"instances": [GOOD]})
    assert client.ask("POST", PREDICT, body, {"Host": f"localhost:{client.port}"} | headers)[0] == 200


def answer_to(port, head, sent=b"", pause=0.0, pieces=()):
    """What is read of a raw connection until it is closed by the service."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(head + b"\r\n\r\n" + sent)
        for piece in pieces:
            time.sleep(pause)
            try:
                raw.sendall(piece)
            except OSError:
                break
        said = b""
        while part := raw.recv(65536):
            said += part
    return said.decode()


HEAD = b"POST /v1/models/my_colours:predict HTTP/1.1\r\nHost: localhost\r\n"


def test_body_over_the_limit_is_refused_before_and_while_it_is_read(run):
    with serving(run, body_mb=0.1) as client:
        for body in (
            b"x" * 20_000_000,
            iter([b"x" * 500_000] * 40),
        ):  # the second one is sent in chunks of unsaid number
            status, said_headers, said = client.ask("POST", PREDICT, body)
            assert (status, said["error"]) == (413, "the body is larger than the limit of 0.1 MB.")
            assert said_headers["connection"] == "close"
        # Somebody who waits for leave to send is refused without sending; nobody must send a terabyte to be refused.
        for more in (b"Expect: 100-continue\r\n", b""):
            said = answer_to(client.port, HEAD + more + b"Content-Length: 999999999999")
            assert said.startswith("HTTP/1.1 413") and "100 Continue" not in said
        assert client.predict({"instances": [GOOD]})[0] == 200


def test_length_beyond_any_number_is_refused(client):
    assert answer_to(client.port, HEAD + b"Content-Length: " + b"9" * 5000).startswith(("HTTP/1.1 413", "HTTP/1.1 400"))


def test_slow_body_is_given_up_and_others_are_answered_meanwhile(run):
    with serving(run, body_seconds=1.0) as client:
        said = []
        slow = threading.Thread(
            target=lambda: said.append(
                answer_to(client.port, HEAD + b"Content-Length: 100", b"{", pause=0.25, pieces=[b" "] * 8)
            )
        )
        began = time.monotonic()
        slow.start()
        assert client.predict({"instances": [GOOD]})[0] == 200
        slow.join()
        assert said[0].startswith("HTTP/1.1 408") and "within 1 seconds" in said[0]
        assert time.monotonic() - began < 5


def test_client_that_hangs_up_leaves_nothing_behind(run):
    with serving(run, requests=2) as client:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", client.port)) as raw:
                raw.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        time.sleep(0.2)
        assert client.predict({"instances": [GOOD]})[0] == 200


def test_only_so_many_requests_wait_and_others_are_told_to_come_back(run, monkeypatch):
    go, outputs = threading.Event(), answering.BatchingWorker._outputs

    def held(self, inputs):
        if inputs and inputs[0].any():  # not the first question, at the start
            go.wait(10)
        return outputs(self, inputs)

    monkeypatch.setattr(answering.BatchingWorker, "_outputs", held)
    with serving(run, requests=3) as client, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.ask, "POST", PREDICT, json.dumps({"instances": [GOOD]})) for _ in range(8)]
        try:
            first = [one.result(5) for one in islice(as_completed(asked, 5), 5)]
            assert client.get("/healthz")[0] == 200  # whoever watches the service is answered all the same
        finally:
            go.set()
        assert [(status, headers["retry-after"]) for status, headers, _ in first] == [(503, "1")] * 5
        assert "waiting" in first[0][2]["error"]
        assert sorted(one.result()[0] for one in asked) == [200] * 3 + [503] * 5
        assert client.predict({"instances": [GOOD]})[0] == 200


def test_bodies_together_take_bounded_memory(run):
    """Eleven clients that each hold almost a whole body: one too many."""
    with serving(run, body_mb=0.1, body_seconds=5) as client:
        raws = []
        try:
            for _ in range(11):
                raw = socket.create_connection(("127.0.0.1", client.port), timeout=20)
                raw.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b" " * 99_000)
                raws.append(raw)
                time.sleep(0.05)
            assert raws[-1].recv(100).startswith(b"HTTP/1.1 503")
        finally:
            for raw in raws:
                raw.close()
        time.sleep(0.2)
        assert client.predict({"instances": [GOOD]})[0] == 200


def test_failure_of_the_service_itself_is_told_without_its_inside(run, monkeypatch):
    def fail(self, inputs):
        if inputs and inputs[0].any():  # not the first question, at the start
            raise RuntimeError("/secret/path")
        return [self._infer(one).numpy() for one in inputs]

    monkeypatch.setattr(answering.BatchingWorker, "_outputs", fail)
    with serving(run) as client:
        status, said = client.predict({"instances": [GOOD]})
        assert status == 500
        assert "secret" not in said["error"] and "log" in said["error"]
        assert client.get("/healthz")[0] == 200


# Starlette leaves the file of a form without an end to Python's garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_spoilt_bodies_end_in_an_answer_or_a_refusal(client):
    """Cut short, with bytes turned, or with a part repeated; never in a failure of the service."""
    random = np.random.default_rng(20261122)
    whole = [json.dumps({"instances": [GOOD, GOOD]}).encode(), json.dumps({"inputs": {"images": [ROW]}}).encode()]
    body, kind = form(picture(1, "JPEG"))
    codes = {}
    for number in range(300):
        own = bytearray([*whole, body][number % 3])
        begin, end = sorted(random.integers(0, len(own), 2).tolist())
        for place in random.integers(0, len(own), 1 + number % 4):
            own[place] ^= 1 << random.integers(8)
        sent = bytes([own, own[:begin], own[:end] + own[begin:]][number % 5 % 3])
        path, headers = ("/classify", {"Content-Type": kind}) if number % 3 == 2 else (PREDICT, {})
        status, _, said = client.ask("POST", path, sent, headers)
        codes[status] = codes.get(status, 0) + 1
        assert status in (200, 400, 413), (number, said)
    assert codes[200] > 10 and codes[400] > 100, codes
