"""One thread that decodes what was sent and asks the model; what waits meanwhile is asked together."""

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

# Pictures in one call of the model, as in `predict`.
_BATCH = 32
# What waits is decoded for so long before the model is asked.
_GATHER_SECONDS = 0.05


@dataclass(frozen=True)
class Asked:
    """What a request wants to know.

    Attributes:
        inputs: uint8 pictures of the model's size (n, size, size, 3), or texts (n,); n is 1 or more.
        rows: Whether the answer shall be given row by row (TensorFlow Serving's "instances") or as a column.
    """

    inputs: np.ndarray
    rows: bool = True


@dataclass(frozen=True)
class Answered:
    """What a request asked, with the model's output, float32 (n, classes)."""

    asked: Asked
    outputs: np.ndarray


@dataclass(frozen=True)
class _Job:
    prepare: Callable[[], Asked]
    answer: "Future[Answered]"


class Answering:
    """The thread and what waits for it.

    Args:
        model: Pixels (batch, size, size, 3) or strings (batch,) to (batch, classes).
    """

    def __init__(self, model: Any) -> None:
        self._ask = inference(model)
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="answering", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, when all that waits is answered."""
        self._waiting.put(None)
        self._thread.join()

    def submit(self, prepare: Callable[[], Asked]) -> "Future[Answered]":
        """Ask the model.

        Args:
            prepare: Reads and decodes what was sent. It runs in the thread, one at a time, so that the pixels of no
                more than one large picture are in memory.

        Returns:
            What comes of it: the answer, or what `prepare` raised.
        """
        answer: Future[Answered] = Future()
        self._waiting.put(_Job(prepare, answer))
        return answer

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            self._answer(self._gather(job))

    def _gather(self, job: _Job | None) -> list[tuple[_Job, Asked]]:
        """Prepare this job and those that wait behind it, as long as that does not keep the first one waiting."""
        ready, until = [], time.monotonic() + _GATHER_SECONDS
        while job is not None:
            asked = self._prepare(job)
            if asked is not None:
                ready.append((job, asked))
            if len(ready) >= _BATCH or time.monotonic() > until:
                return ready
            try:
                job = self._waiting.get_nowait()
            except Empty:
                return ready
        self._waiting.put(None)  # the end, which `_work` shall see
        return ready

    def _prepare(self, job: _Job) -> Asked | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of large pictures and damaged EXIF; both are judged here
                return job.prepare() if job.answer.set_running_or_notify_cancel() else None
        except Exception as error:  # noqa: BLE001  whoever asked is told
            job.answer.set_exception(error)
            return None

    def _answer(self, ready: Sequence[tuple[_Job, Asked]]) -> None:
        try:
            outputs = self._outputs([asked.inputs for _, asked in ready])
        except Exception as error:  # noqa: BLE001  all who asked are told
            for job, _ in ready:
                job.answer.set_exception(error)
            return
        for (job, asked), said in zip(ready, outputs, strict=True):
            job.answer.set_result(Answered(asked, said))

    def _outputs(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's output for each of several requests, asked in common batches."""
        if not inputs:
            return []
        together = np.concatenate(inputs)
        parts = [together[i : i + _BATCH] for i in range(0, len(together), _BATCH)]
        said = np.concatenate([self._ask(_filled(part)).numpy()[: len(part)] for part in parts])
        return np.split(said, np.cumsum([len(one) for one in inputs])[:-1])


def _filled(part: np.ndarray) -> np.ndarray:
    """A batch filled up to a power of two, by repeating its first row: few sizes, so that few are prepared for."""
    missing = (1 << (len(part) - 1).bit_length()) - len(part)
    return np.concatenate([part, np.repeat(part[:1], missing, axis=0)]) if missing else part
