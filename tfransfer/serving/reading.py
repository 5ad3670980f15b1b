"""Parse requests, TensorFlow Serving's JSON and plain files, into pictures of the model's size or texts.

The formats are those of TensorFlow Serving's REST API (https://www.tensorflow.org/tfx/serving/api_rest): "instances" in
rows, "inputs" as a column, bytes as {"b64": "..."}.
"""

import base64
import json
import time
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Never

import numpy as np
from starlette.exceptions import HTTPException

from tfransfer.data.inputs import read_encoded
from tfransfer.data.modality import MODALITIES, Modality
from tfransfer.errors import did_you_mean
from tfransfer.serving.answering import Query
from tfransfer.serving.limits import Limits

# As in an exported SavedModel: signature -> name of its input.
_PICTURES = {"serving_default": "images", "serve_bytes": "encoded"}
_TEXTS = {"serving_default": "text"}
_FEWER = "Send less at once."
# Brackets and keys around the values of a request.
_AROUND = 100


@dataclass(frozen=True)
class ServedModel:
    """The served model.

    Attributes:
        name: The model's name in URLs.
        kind: "image" or "text".
        size: Side of the model's input in pixels; 0 for texts.
        limits: What a client may send.
    """

    name: str
    kind: str
    size: int
    limits: Limits

    @property
    def modality(self) -> Modality:
        """The modality of the input."""
        return MODALITIES[self.kind]

    @property
    def signatures(self) -> dict[str, str]:
        """For each signature, the name of its input."""
        return _PICTURES if self.modality.has_pixels else _TEXTS


def read_predict(body: bytes, served: ServedModel) -> Query:
    """Read the body of a `:predict` request.

    Raises:
        HTTPException: 400, or 413 for what is too large; the message names the instance and what is wrong with it.
    """
    request = _object(body, served)
    signature = _signature(request, served)
    keys = [key for key in ("instances", "inputs") if key in request]
    if len(keys) != 1:
        _refuse('expected either "instances" (a list, row by row) or "inputs" (a column).')
    given, name = request[keys[0]], None
    if keys == ["inputs"] and isinstance(given, dict) and len(given) == 1:
        ((name, given),) = given.items()
    if not isinstance(given, list) or not given:
        _refuse(f'"{keys[0]}" must be a list with at least one {served.modality.item}.')
    if len(given) > served.limits.instances:
        _refuse(f"{len(given)} instances in one request; the limit is {served.limits.instances}.")
    asked = _Asked(signature, name, served, Work(served.limits))
    values = [_value(one, f"{keys[0]}[{i}]", asked) for i, one in enumerate(given)]
    return Query(
        np.stack(values) if served.modality.has_pixels else np.array(values, object), rows=keys == ["instances"]
    )


class Work:
    """The work that one request may still ask for: the service answers one request at a time.

    Args:
        limits: What a client may send.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._left = limits, limits.work_megapixels * 1e6
        self._until = time.monotonic() + limits.decode_seconds
        self._characters = limits.all_characters

    def read(self, where: str, characters: int) -> None:
        """Take the length of the next text.

        Raises:
            HTTPException: 413 where it is more than is left.
        """
        self._characters -= characters
        if self._characters < 0:
            most = self._limits.all_characters
            _refuse(f"{where}: the texts of this request have more than {most:,} characters. {_FEWER}", 413)

    def spend(self, where: str, work: float) -> None:
        """Take the work of decoding the next picture.

        Raises:
            HTTPException: 413 where it is more than is left, or the time is up.
        """
        self._left -= work
        if self._left < 0:
            most = self._limits.work_megapixels
            _refuse(f"{where}: the pictures of this request take more decoding than {most:g} megapixels. {_FEWER}", 413)
        if time.monotonic() > self._until:
            most = self._limits.decode_seconds
            _refuse(f"{where}: decoding the pictures before it took more than {most:g} seconds. {_FEWER}", 413)


def read_picture(encoded: bytes, where: str, served: ServedModel, work: Work | None = None) -> np.ndarray:
    """A picture file as pixels, uint8 (size, size, 3), upright.

    Args:
        encoded: The file's bytes.
        where: Its name in messages.
        served: The served model.
        work: What the request may still ask for; None for a request with one picture.

    Raises:
        HTTPException: 413 where it has too many pixels or takes too much work, 400 where it cannot be read.
    """
    spend = partial((work or Work(served.limits)).spend, where)
    picture = read_encoded(encoded, where, served.size, served.limits.pixels, spend)
    if picture.pixels is None:
        issue = picture.issue
        status = 413 if issue is not None and issue.kind == "too large" else 400
        _refuse(f"{where}: {issue.detail if issue is not None else 'it cannot be read'}.", status)
    return picture.pixels


def read_text(text: str, where: str, served: ServedModel) -> str:
    """A text that is within its limit and can be encoded.

    Raises:
        HTTPException: 413 where it is too long, 400 where it contains half a surrogate pair.
    """
    limit = served.limits.characters
    if len(text) > limit:
        _refuse(f"{where}: {len(text):,} characters, the limit is {limit:,}.", 413)
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(f"{where}: it contains half of a surrogate pair, which is not a character.")
    return text


def _refuse(message: str, status: int = 400) -> Never:
    raise HTTPException(status, message)


def _object(body: bytes, served: ServedModel) -> dict[str, Any]:
    # Brackets become large Python objects: a body with more of them than any valid request has is not parsed.
    tokens = sum(body.count(mark) for mark in (b"[", b"{", b":"))
    per_instance = served.size * (served.size + 1) + 5 if served.modality.has_pixels else served.limits.characters
    if tokens > served.limits.instances * per_instance + _AROUND:
        _refuse("the JSON has more values than the largest valid request.", 413)
    try:
        request = json.loads(body)
    except RecursionError:
        _refuse("the body is nested too deep.")
    except ValueError as error:
        _refuse(f"the body is not JSON: {error}.")
    if not isinstance(request, dict):
        _refuse('the body must be a JSON object, for example {"instances": [...]}.')
    return request


def _signature(request: dict[str, Any], served: ServedModel) -> str | None:
    name = request.get("signature_name") or None
    if name is not None and (not isinstance(name, str) or name not in served.signatures):
        known = ", ".join(served.signatures)
        hint = did_you_mean(name, served.signatures) if isinstance(name, str) else ""
        _refuse(f"unknown signature_name; expected one of {known}.{hint}")
    return name


@dataclass(frozen=True)
class _Asked:
    """What a request says of all its instances: a signature, the name of its input, and the work that it may take."""

    signature: str | None
    name: str | None
    served: ServedModel
    work: Work


def _value(given: Any, where: str, asked: _Asked) -> Any:
    """Parse one instance."""
    signature, name, served = asked.signature, asked.name, asked.served
    if name is None and isinstance(given, dict) and len(given) == 1 and "b64" not in given:
        ((name, given),) = given.items()
    expected = served.signatures if signature is None else {signature: served.signatures[signature]}
    if name is not None and name not in expected.values():
        _refuse(f"{where}: no input is called {name[:50]!r}; expected {' or '.join(expected.values())}.")
    if not served.modality.has_pixels:
        text = _text(given, where, served)
        asked.work.read(where, len(text))
        return text
    is_file = isinstance(given, dict)
    if ("encoded" if is_file else "images") not in ({name} if name else expected.values()):
        if is_file:
            _refuse(f"{where}: serving_default takes pixels, not files; leave out signature_name or use serve_bytes.")
        _refuse(f'{where}: serve_bytes takes a picture file as {{"b64": "..."}}.')
    if not is_file:
        return _pixels(given, where, served.size)
    return read_picture(_from_base64(given, where), where, served, asked.work)


def _text(given: Any, where: str, served: ServedModel) -> str:
    if isinstance(given, dict):
        try:
            given = _from_base64(given, where).decode()
        except UnicodeDecodeError:
            _refuse(f"{where}: its bytes are not UTF-8.")
    if not isinstance(given, str):
        _refuse(f"{where}: expected a text, got {_kind(given)}.")
    return read_text(given, where, served)


def _from_base64(given: dict[str, Any], where: str) -> bytes:
    encoded = given.get("b64")
    if set(given) != {"b64"} or not isinstance(encoded, str):
        _refuse(f'{where}: expected {{"b64": "..."}} with the bytes of a file in base64.')
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError:
        _refuse(f"{where}: this is not base64.")


def _pixels(given: Any, where: str, size: int) -> np.ndarray:
    expected = f"{where}: expected pixels [{size}, {size}, 3], whole numbers from 0 to 255"
    if not isinstance(given, list):
        _refuse(f'{expected}, or {{"b64": "..."}}; got {_kind(given)}.')
    if not _is_square(given, size):
        _refuse(f"{expected}; this has another shape.")
    try:
        flat = bytes(chain.from_iterable(chain.from_iterable(given)))
    except (TypeError, ValueError):
        _refuse(f"{expected}; this has other values.")
    return np.frombuffer(flat, np.uint8).reshape(size, size, 3)


def _is_square(rows: list[Any], size: int) -> bool:
    if len(rows) != size or not all(isinstance(row, list) and len(row) == size for row in rows):
        return False
    return all(isinstance(pixel, list) and len(pixel) == 3 for row in rows for pixel in row)


def _kind(given: Any) -> str:
    """The JSON type of a value, in words."""
    names = {list: "a list", dict: "an object", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(given), "a number")
