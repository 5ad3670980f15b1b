"""The service as an ASGI application: TensorFlow Serving's endpoints, the page and its endpoints."""

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
from tfransfer.serving.answering import BatchingWorker, Query, Result
from tfransfer.serving.gate import Gate, error_response
from tfransfer.serving.limits import Limits
from tfransfer.serving.reading import ServedModel, read_picture, read_predict, read_text
from tfransfer.tasks.prediction import Prediction

VERSION = "1"
_TOP = 5
_ENDPOINTS = (
    "GET /, /healthz, /about, /v1/models/NAME, /v1/models/NAME/metadata; POST /classify, /v1/models/NAME:predict"
)
_SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


def name_for(run: Run) -> str:
    """The model's name in URLs: that of the run's folder, with other characters replaced."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", run.folder.absolute().name).strip("_.") or "model"


def make_app(run: Run, name: str | None = None, limits: Limits | None = None, hosts: Sequence[str] = ()) -> Starlette:
    """The service for a run, for any ASGI server. The model is loaded and run once at startup.

    Args:
        run: The run whose model is served.
        name: The model's name in URLs; None takes that of the run's folder.
        limits: What a client may send; None takes the defaults.
        hosts: Allowed values of the Host header; empty allows all. A service for this machine only needs them: without,
            a web page could reach it through a host name of its own (DNS rebinding).
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
    return error_response(400, f"the body is not a form (multipart/form-data): {error}.")


async def _not_found(request: Request, error: Any) -> Response:
    # Starlette's own message does not help.
    return error_response(
        404, f"unknown address; expected {_ENDPOINTS}." if error.detail == "Not Found" else error.detail
    )


async def _failed(request: Request, error: Exception) -> Response:
    """Keep the cause out of the answer; it is in the server's log."""
    return error_response(500, "the service failed; the cause is in its log.")


class _Service:
    """The endpoints."""

    def __init__(self, run: Run, name: str, limits: Limits) -> None:
        self._run, self._reading = run, reading_of(run, _TOP)
        self.served = ServedModel(name, run.kind, run.image_size, limits)
        self._worker: BatchingWorker | None = None
        page = resources.files("tfransfer.serving").joinpath("page.html").read_text(encoding="utf-8")
        self._page = HTMLResponse(page, headers=_SAFE | {"Content-Security-Policy": _policy(page)})

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Load the model and run it once, so that the first client does not wait for that."""
        self._worker = BatchingWorker(self._run.model)
        self._worker.start()
        await asyncio.wrap_future(self._worker.submit(partial(Query, _blank(self.served))))
        yield
        self._worker.stop()

    async def _run_model(self, prepare: Callable[[], Query]) -> Result:
        if self._worker is None:
            raise RuntimeError("the application was not started: use a server that supports ASGI's lifespan.")
        result = await asyncio.wrap_future(self._worker.submit(prepare))
        if not np.isfinite(result.outputs).all():
            raise HTTPException(500, "the model's output is not finite: the weights or the input are out of range.")
        return result

    async def page(self, request: Request) -> Response:
        """The page."""
        return self._page

    async def health(self, request: Request) -> Response:
        """Whether the service is up."""
        return JSONResponse({"status": "ok"})

    async def about(self, request: Request) -> Response:
        """Describe the served model."""
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
                    "work_megapixels": limits.work_megapixels,
                    "characters": limits.characters,
                    "instances": limits.instances,
                },
                "tfransfer": __version__,
            }
        )

    async def classify(self, request: Request) -> Response:
        """Classify one picture (form field `file`) or text (form field `text`)."""
        async with request.form(max_files=1, max_fields=4) as form:
            prepare = await self._prepare(form)
        result = await self._run_model(prepare)
        return JSONResponse(self._read(self._reading.of("", result.outputs[0])), headers=_SAFE)

    async def _prepare(self, form: FormData) -> Callable[[], Query]:
        if not self.served.modality.has_pixels:
            text = form.get("text")
            if not isinstance(text, str):
                raise HTTPException(400, "expected a form with the field text.")
            return lambda: Query(np.array([read_text(text, "text", self.served)], object))
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise HTTPException(400, "expected a form (multipart/form-data) with a picture in the field file.")
        encoded, name = await file.read(), (file.filename or "file")[:100]
        return lambda: Query(read_picture(encoded, name, self.served)[np.newaxis])

    def _read(self, prediction: Prediction) -> dict[str, Any]:
        if prediction.value is not None:
            return {"value": prediction.value}
        answer: dict[str, Any] = {"label": prediction.label, "top": prediction.top}
        if not prediction.sure:
            answer["sure"] = False
        if prediction.applies is not None:
            answer["applies"] = list(prediction.applies)
        return answer

    async def predict(self, request: Request) -> Response:
        """TensorFlow Serving's `:predict`."""
        self._require_model(request)
        verb = request.path_params["verb"]
        if verb != "predict":
            raise HTTPException(404, f"there is no :{verb[:50]} here, only :predict.")
        body = await request.body()
        result = await self._run_model(partial(read_predict, body, self.served))
        key = "predictions" if result.query.rows else "outputs"
        return JSONResponse({key: result.outputs.tolist()})

    async def status(self, request: Request) -> Response:
        """TensorFlow Serving's model status."""
        if ":" in request.path_params.get("version", request.path_params["name"]):
            raise HTTPException(405, "this address takes POST.", {"Allow": "POST"})
        self._require_model(request)
        ok = {"error_code": "OK", "error_message": ""}
        return JSONResponse({"model_version_status": [{"version": VERSION, "state": "AVAILABLE", "status": ok}]})

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


def _blank(served: ServedModel) -> np.ndarray:
    if not served.modality.has_pixels:
        return np.array([""], object)
    return np.zeros((1, served.size, served.size, 3), np.uint8)


def _input(name: str, served: ServedModel) -> dict[str, Any]:
    if name == "images":
        return _tensor(name, "DT_UINT8", (served.size, served.size, 3))
    return _tensor(name, "DT_STRING", ())


def _tensor(name: str, dtype: str, shape: Sequence[int]) -> dict[str, Any]:
    """A TensorInfo in protobuf's JSON; the batch dimension is -1."""
    dims = [{"size": str(size), "name": ""} for size in (-1, *shape)]
    return {name: {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}}


def _policy(page: str) -> str:
    """Content-Security-Policy: the page's own script and style, nothing from elsewhere."""
    hashes = {
        tag: base64.b64encode(hashlib.sha256(_content_of(page, tag).encode()).digest()).decode()
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _content_of(page: str, tag: str) -> str:
    return page.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
