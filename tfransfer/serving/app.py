"""The service as an ASGI application: TensorFlow Serving's addresses, the page and what the page asks."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
from python_multipart.exceptions import FormParserError
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from tfransfer import __version__
from tfransfer.exports.endpoints import output_name
from tfransfer.runs.run import Run
from tfransfer.runs.scoring import reading_of
from tfransfer.serving.answering import Answered, Answering, Asked
from tfransfer.serving.gate import Gate, error_response
from tfransfer.serving.limits import Limits
from tfransfer.serving.reading import Served, read_picture, read_predict, read_text
from tfransfer.tasks.prediction import Prediction

VERSION = "1"
_TOP = 5
_PLACES = "GET /, /healthz, /about, /v1/models/NAME, /v1/models/NAME/metadata; POST /classify, /v1/models/NAME:predict"
_SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


def name_for(run: Run) -> str:
    """The name of a run's model in addresses: its folder's, with what does not belong there replaced."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", run.folder.absolute().name).strip("_.") or "model"


def make_app(run: Run, name: str | None = None, limits: Limits | None = None, hosts: Sequence[str] = ()) -> Starlette:
    """The service for a run, for any ASGI server. The model is loaded, and asked once, at start-up.

    Args:
        run: Its model answers.
        name: Of the model, in addresses; None takes that of the run's folder.
        limits: What a client may send; None takes the defaults.
        hosts: What may stand in a request's Host header; none allows all. A service that only this machine shall
            reach needs them, or a web page could reach it through a name of its own (DNS rebinding).
    """
    service = _Service(run, name or name_for(run), limits or Limits())
    one, version = "/v1/models/{name}", "/versions/{version}"
    routes = [
        Route("/", service.page),
        Route("/healthz", service.health),
        Route("/about", service.about),
        Route("/classify", service.classify, methods=["POST"]),
        *(
            route
            for at in (one, one + version)
            for route in (
                Route(at + ":{verb}", service.predict, methods=["POST"]),
                Route(at + "/metadata", service.metadata),
                Route(at, service.status),
            )
        ),
    ]
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)] if hosts else []
    app = Starlette(
        routes=routes,
        middleware=[*guards, Middleware(Gate, limits=service.served.limits)],
        exception_handlers={HTTPException: _refused, FormParserError: _bad_form, 404: _not_found, 500: _failed},
        lifespan=service.lifespan,
    )
    app.router.redirect_slashes = False
    return app


async def _refused(request: Request, error: Any) -> Response:
    return error_response(error.status_code, error.detail, error.headers)


async def _bad_form(request: Request, error: Exception) -> Response:
    return error_response(400, f"the body is no form (multipart/form-data): {error}.")


async def _not_found(request: Request, error: Any) -> Response:
    # Starlette's own words are no help.
    return error_response(
        404, f"there is nothing here. There are {_PLACES}." if error.detail == "Not Found" else error.detail
    )


async def _failed(request: Request, error: Exception) -> Response:
    """What went wrong stands in the server's log; it is no business of the client."""
    return error_response(500, "the service failed to answer this; its log says why.")


class _Service:
    """What the addresses do."""

    def __init__(self, run: Run, name: str, limits: Limits) -> None:
        self._run, self._reading = run, reading_of(run, _TOP)
        self.served = Served(name, run.kind, run.image_size, limits)
        self._answering: Answering | None = None
        page = resources.files("tfransfer.serving").joinpath("page.html").read_text(encoding="utf-8")
        self._page = HTMLResponse(page, headers=_SAFE | {"Content-Security-Policy": _policy(page)})

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Load the model and ask it once, so that the first client does not wait for that."""
        self._answering = Answering(self._run.model)
        self._answering.start()
        await asyncio.wrap_future(self._answering.submit(partial(Asked, _blank(self.served))))
        yield
        self._answering.stop()

    async def _ask(self, prepare: Callable[[], Asked]) -> Answered:
        if self._answering is None:
            raise RuntimeError("the application was not started: its server must support ASGI's lifespan.")
        answered = await asyncio.wrap_future(self._answering.submit(prepare))
        if not np.isfinite(answered.outputs).all():
            raise HTTPException(500, "the model's output is not finite: its weights, or what was sent, are beyond it.")
        return answered

    async def page(self, request: Request) -> Response:
        """The page where a photo is dropped."""
        return self._page

    async def health(self, request: Request) -> Response:
        """Whether the service is up."""
        return JSONResponse({"status": "ok"})

    async def about(self, request: Request) -> Response:
        """What is served, for the page and for people."""
        limits = self.served.limits
        return JSONResponse(
            {
                "name": self.served.name,
                "kind": self._run.kind,
                "task": self._run.task,
                "classes": list(self._run.classes),
                "predicts": self._reading.task.in_words(self._run.classes),
                "image_size": self._run.image_size,
                "limits": {
                    "body_bytes": limits.body_bytes,
                    "pixels": limits.pixels,
                    "characters": limits.characters,
                    "instances": limits.instances,
                },
                "tfransfer": __version__,
            }
        )

    async def classify(self, request: Request) -> Response:
        """Name what is on one picture (form field `file`), or what a text says (form field `text`)."""
        async with request.form(max_files=1, max_fields=4) as form:
            prepare = await self._prepare(form)
        answered = await self._ask(prepare)
        return JSONResponse(self._read(self._reading.of("", answered.outputs[0])), headers=_SAFE)

    async def _prepare(self, form: FormData) -> Callable[[], Asked]:
        if not self.served.modality.has_pixels:
            text = form.get("text")
            if not isinstance(text, str):
                raise HTTPException(400, "expected a form with the field text.")
            return lambda: Asked(np.array([read_text(text, "text", self.served)], object))
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise HTTPException(400, "expected a form (multipart/form-data) with a picture in the field file.")
        encoded, name = await file.read(), (file.filename or "file")[:100]
        return lambda: Asked(read_picture(encoded, name, self.served)[np.newaxis])

    def _read(self, said: Prediction) -> dict[str, Any]:
        if said.value is not None:
            return {"value": said.value}
        read: dict[str, Any] = {"label": said.label, "top": said.top}
        if not said.sure:
            read["sure"] = False
        if said.applies is not None:
            read["applies"] = list(said.applies)
        return read

    async def predict(self, request: Request) -> Response:
        """TensorFlow Serving's `:predict`."""
        self._require_model(request)
        verb = request.path_params["verb"]
        if verb != "predict":
            raise HTTPException(404, f"there is no :{verb[:50]} here, only :predict.")
        body = await request.body()
        answered = await self._ask(partial(read_predict, body, self.served))
        key = "predictions" if answered.asked.rows else "outputs"
        return JSONResponse({key: answered.outputs.tolist()})

    async def status(self, request: Request) -> Response:
        """TensorFlow Serving's model status."""
        if ":" in request.path_params.get("version", request.path_params["name"]):
            raise HTTPException(405, "this address is asked by POST.", {"Allow": "POST"})
        self._require_model(request)
        right = {"error_code": "OK", "error_message": ""}
        return JSONResponse({"model_version_status": [{"version": VERSION, "state": "AVAILABLE", "status": right}]})

    async def metadata(self, request: Request) -> Response:
        """TensorFlow Serving's model metadata."""
        self._require_model(request)
        outputs = _tensor(output_name(self._run.model), "DT_FLOAT", self._run.model.output_shape[1:])
        signatures = {
            signature: {
                "inputs": _input(name, self.served),
                "outputs": outputs,
                "method_name": "tensorflow/serving/predict",
            }
            for signature, name in self.served.signatures.items()
        }
        model = {"name": self.served.name, "signature_name": "", "version": VERSION}
        return JSONResponse({"model_spec": model, "metadata": {"signature_def": {"signature_def": signatures}}})

    def _require_model(self, request: Request) -> None:
        name, version = request.path_params["name"], request.path_params.get("version", VERSION)
        if name != self.served.name:
            raise HTTPException(404, f"there is no model {name[:100]!r} here, only {self.served.name!r}.")
        if version != VERSION:
            raise HTTPException(404, f"there is no version {version[:100]!r} here, only {VERSION!r}.")


def _blank(served: Served) -> np.ndarray:
    if not served.modality.has_pixels:
        return np.array([""], object)
    return np.zeros((1, served.size, served.size, 3), np.uint8)


def _input(name: str, served: Served) -> dict[str, Any]:
    if name == "images":
        return _tensor(name, "DT_UINT8", (served.size, served.size, 3))
    return _tensor(name, "DT_STRING", ())


def _tensor(name: str, dtype: str, shape: Sequence[int]) -> dict[str, Any]:
    """A TensorInfo in protobuf's JSON; its first dimension is free."""
    dims = [{"size": str(size), "name": ""} for size in (-1, *shape)]
    return {name: {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}}


def _policy(page: str) -> str:
    """Content-Security-Policy: the page's own script and style, nothing from elsewhere."""
    sums = {
        tag: base64.b64encode(hashlib.sha256(_inside(page, tag).encode()).digest()).decode()
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src 'sha256-{sums['script']}'; style-src 'sha256-{sums['style']}'; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _inside(page: str, tag: str) -> str:
    return page.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
