"""Load an exported file in a fresh process, and write down what it says and what it costs.

Run as a script by `parity`; it imports nothing of tfransfer, so that it sees what any other program would see.

    python replay.py REQUEST.json
    python replay.py --serve

The second form imports TensorFlow once, reads the names of requests from standard input, a line each, answers each one
in a fork of its own, which starts at once and is as fresh as a new process, and prints the fork's exit status.

The request names the file (`format`, `path`), `pictures` (an .npy file, uint8 (n, size, size, 3), or texts (n,)),
`answers` (the .npz file to write), `modules`, with the layers and operations that the file needs, `seconds`, after
which a slow file is asked no more, and `measured`, whether latencies are. The answers hold `first`, for as many of the
pictures as were asked, and `second`, for the first of them again; for a SavedModel also `bytes` (the same as PNG
files); `labels` where the file carries labels; `load_seconds`, `latency_ms` (of one picture, on one core and on two;
NaN where that cannot be told) and `peak_memory` (bytes that loading and calling it took).
"""

import importlib
import io
import json
import os
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
Answers = dict[str, np.ndarray]
Ask = Callable[[np.ndarray], np.ndarray]
# How many pictures are asked about in one call, and how many of them a second time.
_BATCH, _TWICE = 32, 16
_CALLS, _SECONDS_PER_LATENCY = 30, 0.7


def replay_keras(request: dict[str, Any], pictures: np.ndarray) -> Answers:
    """Answers of a `.keras` file."""
    import keras

    for name in request["modules"]:
        importlib.import_module(name)
    given = (lambda part: part.astype(object)) if pictures.dtype.kind == "U" else (lambda part: part.astype(np.float32))
    cost = Cost(request["measured"])
    # Modules are named only for a file that was written a moment ago.
    model = keras.saving.load_model(request["path"], safe_mode=not request["modules"])
    cost.loaded()
    # Called both ways: `predict` and a bare call must agree, or something random is in the model.
    cost.call_on_cores(lambda: model.predict_on_batch(given(pictures[:1])))
    first = in_batches(lambda part: model.predict_on_batch(given(part)), pictures, request["seconds"])
    second = np.asarray(model(keras.ops.convert_to_tensor(given(pictures[:_TWICE]))))
    return {"first": first, "second": second} | cost.answers()


def replay_saved_model(request: dict[str, Any], pictures: np.ndarray) -> Answers:
    """Answers of the signatures of a SavedModel."""
    import tensorflow as tf

    for name in request["modules"]:
        if name.split(".")[0] != "tfransfer":  # operations, such as those of tokenizers
            importlib.import_module(name)
    cost = Cost(request["measured"])
    loaded = tf.saved_model.load(request["path"])
    cost.loaded()
    ask: Ask = lambda part: _only(loaded.signatures["serving_default"](tf.constant(part)))  # noqa: E731
    cost.call_on_cores(lambda: ask(pictures[:1]))
    answers = {"first": in_batches(ask, pictures, request["seconds"]), "second": ask(pictures[:_TWICE])}
    if "serve_bytes" in loaded.signatures:
        files = tf.constant([tf.io.encode_png(picture).numpy() for picture in pictures[:_TWICE]])
        answers["bytes"] = _only(loaded.signatures["serve_bytes"](files))
    labels = Path(request["path"]) / "assets.extra" / "labels.txt"
    return answers | {"labels": np.array(labels.read_text(encoding="utf-8").splitlines())} | cost.answers()


def _only(answer: dict[str, Any]) -> np.ndarray:
    (values,) = answer.values()
    return np.asarray(values)


def replay_tflite(request: dict[str, Any], pictures: np.ndarray) -> Answers:
    """Answers of a LiteRT file."""
    cost = Cost(request["measured"])
    one = _LiteModel(request["path"], threads=1)
    cost.loaded()
    cost.call(lambda: one.ask(pictures[:1]))
    two = _LiteModel(request["path"], threads=2)
    cost.call(lambda: two.ask(pictures[:1]))
    first = in_batches(two.ask, pictures, request["seconds"], batch=1)
    with zipfile.ZipFile(request["path"]) as packed:
        labels = io.TextIOWrapper(packed.open("labels.txt"), encoding="utf-8").read().splitlines()
    return {"first": first, "second": two.ask(pictures[:_TWICE]), "labels": np.array(labels)} | cost.answers()


def replay_onnx(request: dict[str, Any], pictures: np.ndarray) -> Answers:
    """Answers of an ONNX file."""
    import onnxruntime

    def opened(threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(request["path"], options, providers=["CPUExecutionProvider"])

    cost = Cost(request["measured"])
    one = opened(1)
    cost.loaded()
    cost.call(lambda: one.run(None, {"images": pictures[:1]}))
    two = opened(2)
    cost.call(lambda: two.run(None, {"images": pictures[:1]}))
    ask: Ask = lambda part: two.run(None, {"images": part})[0]  # noqa: E731
    labels = two.get_modelmeta().custom_metadata_map["labels.txt"].splitlines()
    first = in_batches(ask, pictures, request["seconds"])
    return {"first": first, "second": ask(pictures[:_TWICE]), "labels": np.array(labels)} | cost.answers()


class _LiteModel:
    """A LiteRT file in an interpreter."""

    def __init__(self, path: str, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:  # no wheel for this platform
            from tensorflow.lite import Interpreter
        self._interpreter = Interpreter(model_path=path, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._given = self._interpreter.get_input_details()[0]
        self._said = self._interpreter.get_output_details()[0]

    def ask(self, pictures: np.ndarray) -> np.ndarray:
        """Outputs as numbers, whatever type the file gives them in."""
        rows = []
        for picture in pictures:
            self._interpreter.set_tensor(self._given["index"], picture[np.newaxis].astype(self._given["dtype"]))
            self._interpreter.invoke()
            rows.append(self._interpreter.get_tensor(self._said["index"])[0].copy())
        said = np.stack(rows)
        if np.issubdtype(said.dtype, np.floating):
            return said
        scale, zero = self._said["quantization"]
        return (said.astype(np.float32) - zero) * np.float32(scale)


def in_batches(ask: Ask, pictures: np.ndarray, seconds: float, batch: int = _BATCH) -> np.ndarray:
    """Answers about pictures, until the time is over, but about some of them at least."""
    end = time.monotonic() + seconds
    said: list[np.ndarray] = []
    for start in range(0, len(pictures), batch):
        if start >= _TWICE and time.monotonic() > end:
            break
        said.append(np.asarray(ask(pictures[start : start + batch])))
    return np.concatenate(said)


class Cost:
    """What a file takes: seconds to load, milliseconds a call, memory."""

    def __init__(self, measured: bool) -> None:
        self._measured = measured
        self._memory, self._began = _memory("VmRSS"), time.perf_counter()
        self._load, self._latencies = 0.0, [np.nan, np.nan]
        self._called, self._peak = 0, self._memory

    def loaded(self) -> None:
        """Note that the file is ready to be called."""
        self._load = time.perf_counter() - self._began
        self._peak = _memory("VmHWM")

    def call(self, ask: Callable[[], Any]) -> None:
        """Measure the next latency: the median of some calls."""
        if not self._measured:
            return
        for _ in range(3):
            ask()
        times: list[float] = []
        end = time.monotonic() + _SECONDS_PER_LATENCY
        while len(times) < 3 or (len(times) < _CALLS and time.monotonic() < end):
            began = time.perf_counter()
            ask()
            times.append(time.perf_counter() - began)
        self._latencies[self._called] = 1000 * float(np.median(times))
        self._called += 1
        self._peak = _memory("VmHWM")

    def call_on_cores(self, ask: Callable[[], Any]) -> None:
        """Measure both latencies of what has its own threads, by holding the process to one core and to two."""
        for count in (1, 2):
            everything = _hold_to_cores(count)
            if everything is None:
                return
            self.call(ask)
            _hold(everything)

    def answers(self) -> Answers:
        """What was measured."""
        taken = np.maximum(0.0, self._peak - self._memory)  # NaN stays NaN
        measured = {"load_seconds": self._load, "latency_ms": self._latencies, "peak_memory": taken}
        return {name: np.array(value) for name, value in measured.items()}


def _hold_to_cores(count: int) -> set[int] | None:
    """Let all threads of this process run on so many cores; those it had, or None where that cannot be done."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores: set[int] = os.sched_getaffinity(0)
    if len(cores) < count:
        return None
    _hold(set(sorted(cores)[:count]))
    return cores


def _hold(cores: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


def _memory(which: str) -> float:
    """Bytes of this process in memory: now (VmRSS), or at most so far (VmHWM); NaN where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * float(next(line.split()[1] for line in lines if line.startswith(which)))
    except (OSError, ValueError, StopIteration):
        return float("nan")


REPLAYS = {
    "keras": replay_keras,
    "savedmodel": replay_saved_model,
    "onnx": replay_onnx,
    "tflite": replay_tflite,
}


def main() -> None:
    """Answer the request named on the command line, or serve."""
    if sys.argv[1] == "--serve":
        serve()
    else:
        answer(sys.argv[1])


def serve() -> None:
    """Answer requests in forks until standard input ends, as it does when whoever asks has ended."""
    import keras  # noqa: F401  here, so that the forks need not; nothing is computed, which forks would not survive
    import tensorflow  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _answer_and_end(line.rstrip("\n"))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _answer_and_end(name: str) -> None:
    """Answer a request in a fork; what goes wrong is written beside the request."""
    code = 1
    try:
        errors = os.open(f"{name}.errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(errors, 2)
        os.dup2(errors, 1)
        answer(name)
        code = 0
    except BaseException:  # noqa: BLE001  whatever it is, it is written down and the fork ends
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def answer(name: str) -> None:
    """Read a request and write the answers."""
    request = json.loads(Path(name).read_text(encoding="utf-8"))
    pictures = np.load(request["pictures"], allow_pickle=False, mmap_mode="r")
    answers = REPLAYS[request["format"]](request, pictures)
    np.savez(request["answers"], **answers)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
