"""Middleware in front of the service: it receives whole bodies, within limits of size, time and number."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from tfransfer.serving.limits import Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# How long the rest of a refused body is read: a client whose connection closes while it sends misses the answer.
_DRAIN_SECONDS = 5.0
_RETRY_SECONDS = 1


class _Disconnected(Exception):
    """The client disconnected."""


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error in TensorFlow Serving's format."""
    return JSONResponse({"error": message}, status, headers)


class Gate:
    """ASGI middleware that passes on requests once their whole body is received; refuses others: 403, 408, 413, 503.

    Args:
        app: The application behind it.
        limits: Limits of size, time and number.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._active, self._held_bytes = 0, 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one request; one without a body passes unchecked."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        received = _BodySize()
        self._active += 1
        try:
            headers = Headers(scope=scope)
            _require_own_page(headers)
            body = await self._body(headers, receive, received)
            await self._app(scope, _replay(body, receive), send)
        except HTTPException as refusal:
            await self._refuse(refusal, scope, receive, send)
        except _Disconnected:
            return
        finally:
            self._active -= 1
            self._held_bytes -= received.size

    async def _body(self, headers: Headers, receive: Receive, received: "_BodySize") -> bytes:
        # Twenty digits are too large in any case; parsing more would only cost time.
        self._require_room(int(headers.get("content-length", "0")[:20]), received)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._receive_all(receive, received)
        except TimeoutError:
            seconds = self._limits.body_seconds
            raise HTTPException(408, f"the body did not arrive within {seconds:g} seconds.") from None
        except asyncio.CancelledError:  # by the server, which is stopping and has waited long enough
            raise HTTPException(408, "the service is stopping; the body did not arrive in time.") from None

    async def _receive_all(self, receive: Receive, received: "_BodySize") -> bytes:
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Disconnected
            part = message.get("body", b"")
            self._require_room(received.size + len(part), received)
            received.size += len(part)
            self._held_bytes += len(part)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _require_room(self, size: int, received: "_BodySize") -> None:
        """Check that a body of this size is allowed, and that there is memory for the part not yet received."""
        limits = self._limits
        if size > limits.body_bytes:
            raise HTTPException(413, f"the body is larger than the limit of {limits.body_mb:g} MB.")
        if self._active > limits.requests or self._held_bytes + size - received.size > limits.held_bytes:
            retry = {"Retry-After": str(_RETRY_SECONDS)}
            raise HTTPException(503, "too many requests are waiting; try again in a moment.", retry)

    async def _refuse(
        self, refusal: HTTPException, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answer before the whole body was read; the connection cannot be used again."""
        headers = dict(refusal.headers or {}) | {"Connection": "close"}
        response = error_response(refusal.status_code, refusal.detail, headers)
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
        if refusal.status_code != 408 and "expect" not in Headers(scope=scope):
            await self._drain(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self, receive: Receive) -> None:
        """Read and drop what is still being sent: closing the connection at once would lose the answer."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        except TimeoutError:
            return


def _require_own_page(headers: Headers) -> None:
    """Check that no page of another site sent a request: a browser posts plain text or a form without asking first.

    Programs other than browsers send none of these headers.

    Raises:
        HTTPException: 403.
    """
    relation, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if relation is not None:  # the browser knows: a proxy may have replaced the Host header
        own = relation.lower() in ("same-origin", "none")
    else:
        own = origin is None or origin.lower().partition("://")[2] == headers.get("host", "").lower()
    if not own:
        raise HTTPException(403, "a page of another site sent this request; only the service's own page may.")


class _BodySize:
    """How many bytes of one request's body are in memory."""

    def __init__(self) -> None:
        self.size = 0


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns an already received body first, then the server's further messages."""
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed
