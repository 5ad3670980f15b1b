"""A service as its clients see it, over a socket; small models and pictures for it."""

import http.client
import io
import json
import threading
import time
from contextlib import contextmanager

import keras
import numpy as np
import uvicorn
from PIL import Image

from tfransfer.base.ngrams import NgramVectors
from tfransfer.serving.app import make_app
from tfransfer.serving.limits import Limits

SIZE = 16
CLASSES = ["blue", "green", "red"]
LOCAL = ("localhost", "127.0.0.1")


def picture_model(outputs, activation, name):
    start = keras.initializers.GlorotUniform(seed=3)
    pixels = keras.Input((SIZE, SIZE, 3))
    values = keras.layers.Rescaling(1 / 127.5, -1)(pixels)
    values = keras.layers.Conv2D(8, 3, activation="relu", kernel_initializer=start)(values)
    # Not pooled: a picture that lies on its side must look different.
    values = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(values))
    return keras.Model(pixels, keras.layers.Dense(outputs, activation, kernel_initializer=start, name=name)(values))


def text_model(outputs):
    text = keras.Input((), dtype="string", name="text")
    values = NgramVectors(buckets=64, features=8, seed=1)(text)
    return keras.Model(text, keras.layers.Dense(outputs, "softmax", name="probabilities")(values))


class Client:
    """Asks a service; each call is a connection of its own."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and the JSON or text of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            said = response.read().decode()
        finally:
            connection.close()
        is_json = response.getheader("content-type", "").startswith("application/json")
        return response.status, response.headers, json.loads(said) if is_json else said

    def get(self, path, **headers):
        status, _, said = self.ask("GET", path, headers=headers)
        return status, said

    def predict(self, request, name="my_colours"):
        body = request if isinstance(request, bytes) else json.dumps(request)
        status, _, said = self.ask("POST", f"/v1/models/{name}:predict", body)
        return status, said

    def classify(self, content, field="file"):
        body, kind = form(content, field)
        status, _, said = self.ask("POST", "/classify", body, {"Content-Type": kind})
        return status, said


def form(content, field="file", name="photo.png"):
    """A multipart body with one field, and its content type."""
    file = f'; filename="{name}"\r\nContent-Type: application/octet-stream' if field == "file" else ""
    head = f'--edge\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge"


@contextmanager
def serving(run, hosts=LOCAL, **limits):
    """A service in a thread; gives its client."""
    app = make_app(run, limits=Limits(**limits), hosts=hosts)
    config = uvicorn.Config(app, port=0, http="h11", ws="none", lifespan="on", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.01)
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


def picture(seed=0, kind="PNG", size=(24, 20), **options):
    """The bytes of a picture file; each seed gives another one."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(stream, kind, **options)
    return stream.getvalue()
