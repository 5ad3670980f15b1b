"""One thread that decodes requests and runs the model; requests that wait meanwhile share a batch."""

import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from tfransfer.evaluation.predictions import inference

# Pictures per call of the model, as in `predict`.
_BATCH = 32
# How long waiting requests are decoded before the model runs.
_GATHER_SECONDS = 0.05


@dataclass(frozen=True)
class Query:
    """The decoded input of a request.

    Attributes:
        inputs: uint8 pictures of the model's size (n, size, size, 3), or texts (n,); n is 1 or more.
        rows: Whether the response gives outputs row by row (TensorFlow Serving's "instances") or as a column.
    """

    inputs: np.ndarray
    rows: bool = True


@dataclass(frozen=True)
class Result:
    """A query with the model's outputs, float32 (n, classes)."""

    query: Query
    outputs: np.ndarray


@dataclass(frozen=True)
class _Job:
    prepare: Callable[[], Query]
    result: "Future[Result]"


class BatchingWorker:
    """The thread and its queue.

    Args:
        model: From pixels (batch, size, size, 3) or strings (batch,) to outputs (batch, classes).
    """

    def __init__(self, model: Any) -> None:
        self._infer = inference(model)
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="answering", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answer all waiting requests, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def submit(self, prepare: Callable[[], Query]) -> "Future[Result]":
        """Queue a request for the model.

        Args:
            prepare: Reads and decodes the request. It runs in the thread, one at a time, so that no more than one large
                picture is decoded in memory at once.

        Returns:
            A future of the result, or of what `prepare` raised.
        """
        result: Future[Result] = Future()
        self._waiting.put(_Job(prepare, result))
        return result

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            self._run_batch(self._gather(job))

    def _gather(self, job: _Job | None) -> list[tuple[_Job, Query]]:
        """Prepare this job and those queued behind it, for as long as the first one may wait."""
        ready, until = [], time.monotonic() + _GATHER_SECONDS
        while job is not None:
            query = self._prepare(job)
            if query is not None:
                ready.append((job, query))
            if len(ready) >= _BATCH or time.monotonic() > until:
                return ready
            try:
                job = self._waiting.get_nowait()
            except Empty:
                return ready
        self._waiting.put(None)  # pass the end marker on to `_work`
        return ready

    def _prepare(self, job: _Job) -> Query | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of large pictures and damaged EXIF; both are judged here
                return job.prepare() if job.result.set_running_or_notify_cancel() else None
        except Exception as error:  # noqa: BLE001  it is passed on to the client
            job.result.set_exception(error)
            return None

    def _run_batch(self, ready: Sequence[tuple[_Job, Query]]) -> None:
        try:
            outputs = self._outputs([query.inputs for _, query in ready])
        except Exception as error:  # noqa: BLE001  it is passed on to all clients in the batch
            for job, _ in ready:
                job.result.set_exception(error)
            return
        for (job, query), output in zip(ready, outputs, strict=True):
            job.result.set_result(Result(query, output))

    def _outputs(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs for each of several requests, computed in shared batches."""
        if not inputs:
            return []
        together = np.concatenate(inputs)
        parts = [together[i : i + _BATCH] for i in range(0, len(together), _BATCH)]
        outputs = np.concatenate([self._infer(_filled(part)).numpy()[: len(part)] for part in parts])
        return np.split(outputs, np.cumsum([len(one) for one in inputs])[:-1])


def _filled(part: np.ndarray) -> np.ndarray:
    """A batch padded to a power of two by repeating its first row, so that kernels are prepared for few batch sizes."""
    missing = (1 << (len(part) - 1).bit_length()) - len(part)
    return np.concatenate([part, np.repeat(part[:1], missing, axis=0)]) if missing else part
