"""What stands in front of the service: bodies are received whole, within limits of size, time and number."""

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

# A client that is refused while it sends is listened to for so long, or it would miss the answer.
_LISTEN_SECONDS = 5.0
_RETRY_SECONDS = 1


class _Gone(Exception):
    """The client hung up."""


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error in TensorFlow Serving's shape."""
    return JSONResponse({"error": message}, status, headers)


class Gate:
    """ASGI middleware that hands on requests whose whole body is there, and refuses others with 408, 413 or 503.

    Args:
        app: What answers.
        limits: Of size, time and number.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._inside, self._held = 0, 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request; those without a body pass."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        taken = _Taken()
        self._inside += 1
        try:
            body = await self._body(Headers(scope=scope), receive, taken)
            await self._app(scope, _replay(body, receive), send)
        except HTTPException as refused:
            await self._refuse(refused, scope, receive, send)
        except _Gone:
            return
        finally:
            self._inside -= 1
            self._held -= taken.size

    async def _body(self, headers: Headers, receive: Receive, taken: "_Taken") -> bytes:
        # Twenty digits are too large in any case, and no number of any length is worth reading.
        self._require_room(int(headers.get("content-length", "0")[:20]), taken)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._receive_all(receive, taken)
        except TimeoutError:
            seconds = self._limits.body_seconds
            raise HTTPException(408, f"the body did not arrive within {seconds:g} seconds.") from None
        except asyncio.CancelledError:  # by the server, which was told to stop and has waited long enough
            raise HTTPException(408, "the service stops; the body did not arrive in time.") from None

    async def _receive_all(self, receive: Receive, taken: "_Taken") -> bytes:
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            part = message.get("body", b"")
            self._require_room(taken.size + len(part), taken)
            taken.size += len(part)
            self._held += len(part)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _require_room(self, size: int, taken: "_Taken") -> None:
        """See that a body of this size is allowed, and that there is room for what is not received yet of it."""
        limits = self._limits
        if size > limits.body_bytes:
            raise HTTPException(413, f"the body is larger than the limit of {limits.body_mb:g} MB.")
        if self._inside > limits.requests or self._held + size - taken.size > limits.held_bytes:
            retry = {"Retry-After": str(_RETRY_SECONDS)}
            raise HTTPException(503, "too many requests are waiting; come back in a moment.", retry)

    async def _refuse(
        self, refused: HTTPException, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answer before the body was read to its end; then the connection is of no more use."""
        headers = dict(refused.headers or {}) | {"Connection": "close"}
        response = error_response(refused.status_code, refused.detail, headers)
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
        if refused.status_code != 408 and "expect" not in Headers(scope=scope):
            await self._listen(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _listen(self, receive: Receive) -> None:
        """Take what is still being sent, keeping nothing: a connection that is closed at once loses the answer."""
        try:
            async with asyncio.timeout(_LISTEN_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        except TimeoutError:
            return


class _Taken:
    """Bytes that one request holds."""

    def __init__(self) -> None:
        self.size = 0


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was already received, then whatever the server has to say."""
    waiting = [body]

    async def again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again
