"""Load an exported file in a fresh process, and record its outputs and its cost.

`parity` runs this as a script. It imports nothing from tfransfer, so that it sees what any other program would see.

    python replay.py REQUEST.json
    python replay.py --serve

The second form imports TensorFlow once, reads request file names from standard input, one a line, handles each in its
own fork, which starts at once and is as fresh as a new process, and prints the fork's exit status.

A request has `format` and `path` of the file, `pictures` (an .npy file, uint8 (n, size, size, 3), or texts (n,)),
`answers` (the .npz file to write), `modules` to import for the file's layers and operations, `seconds` (the time limit
for running a slow file) and `measured` (whether to measure latencies). The answers are `first` (outputs for as many
pictures as the time allowed), `second` (outputs of a second call on the first of them), for a SavedModel also `bytes`
(outputs for the same pictures as PNG files), `labels` if the file has any, `load_seconds`, `latency_ms` (for one
picture, on one core and on two; NaN if unknown), `peak_memory` (bytes taken by loading and calling the file) and
`signatures` (JSON: what the file takes and gives, as it says itself; see `exports.signature`).
"""

import importlib
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
Predict = Callable[[np.ndarray], np.ndarray]
# Pictures per call, and pictures that are called a second time.
_BATCH, _REPEATED = 32, 16
_CALLS, _SECONDS_PER_LATENCY = 30, 0.7


def replay_keras(request: dict[str, Any], pictures: np.ndarray) -> Answers:
    """Run a `.keras` file."""
    import keras

    for name in request["modules"]:
        importlib.import_module(name)
    dtype = object if pictures.dtype.kind == "U" else np.float32
    cost = Cost(request["measured"])
    # Modules are given only for a file that this project has just written, so it can be trusted.
    model = keras.saving.load_model(request["path"], safe_mode=not request["modules"])
    cost.loaded()
    # `predict` and a plain call must agree; otherwise something in the model is random.
    cost.call_on_cores(lambda: model.predict_on_batch(pictures[:1].astype(dtype)))
    first = in_batches(lambda part: model.predict_on_batch(part.astype(dtype)), pictures, request["seconds"])
    second = np.asarray(model(keras.ops.convert_to_tensor(pictures[:_REPEATED].astype(dtype))))
    return {"first": first, "second": second, "signatures": _json(keras_signatures(model))} | cost.answers()


def replay_saved_model(request: dict[str, Any], pictures: np.ndarray) -> Answers:
    """Run a SavedModel's signatures."""
    import tensorflow as tf

    for name in request["modules"]:
        if name.split(".")[0] != "tfransfer":  # operations, such as those of tokenizers
            importlib.import_module(name)
    cost = Cost(request["measured"])
    loaded = tf.saved_model.load(request["path"])
    cost.loaded()
    predict: Predict = lambda part: _only(loaded.signatures["serving_default"](tf.constant(part)))  # noqa: E731
    cost.call_on_cores(lambda: predict(pictures[:1]))
    answers = {"first": in_batches(predict, pictures, request["seconds"]), "second": predict(pictures[:_REPEATED])}
    answers["signatures"] = _json(saved_model_signatures(loaded))
    if "serve_bytes" in loaded.signatures:
        files = tf.constant([tf.io.encode_png(picture).numpy() for picture in pictures[:_REPEATED]])
        answers["bytes"] = _only(loaded.signatures["serve_bytes"](files))
    labels = Path(request["path"]) / "assets.extra" / "labels.txt"
    return answers | {"labels": np.array(_labels_in(labels.read_text(encoding="utf-8")))} | cost.answers()


def _labels_in(text: str) -> list[str]:
    """The lines of labels.txt; str.splitlines would end one at U+2028, too."""
    return text.removesuffix("\n").split("\n")


def _only(answer: dict[str, Any]) -> np.ndarray:
    (values,) = answer.values()
    return np.asarray(values)


def replay_tflite(request: dict[str, Any], pictures: np.ndarray) -> Answers:
    """Run a LiteRT file."""
    cost = Cost(request["measured"])
    one = LiteModel(request["path"], threads=1)
    cost.loaded()
    cost.call(lambda: one.predict(pictures[:1]))
    two = LiteModel(request["path"], threads=2)
    cost.call(lambda: two.predict(pictures[:1]))
    first = in_batches(two.predict, pictures, request["seconds"], batch=1)
    with zipfile.ZipFile(request["path"]) as packed:
        labels = _labels_in(packed.read("labels.txt").decode())
    answers = {"first": first, "second": two.predict(pictures[:_REPEATED]), "labels": np.array(labels)}
    return answers | {"signatures": _json(two.signatures())} | cost.answers()


def replay_onnx(request: dict[str, Any], pictures: np.ndarray) -> Answers:
    """Run an ONNX file."""
    import onnxruntime

    def session(threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(request["path"], options, providers=["CPUExecutionProvider"])

    cost = Cost(request["measured"])
    one = session(1)
    cost.loaded()
    cost.call(lambda: one.run(None, {"images": pictures[:1]}))
    two = session(2)
    cost.call(lambda: two.run(None, {"images": pictures[:1]}))
    predict: Predict = lambda part: two.run(None, {"images": part})[0]  # noqa: E731
    labels = _labels_in(two.get_modelmeta().custom_metadata_map["labels.txt"])
    first = in_batches(predict, pictures, request["seconds"])
    answers = {"first": first, "second": predict(pictures[:_REPEATED]), "labels": np.array(labels)}
    return answers | {"signatures": _json(onnx_signatures(two))} | cost.answers()


def _json(signatures: list[dict[str, Any]]) -> np.ndarray:
    return np.array(json.dumps(signatures))


def keras_signatures(model: Any) -> list[dict[str, Any]]:
    """What a Keras model takes and gives."""
    given, output = model.inputs[0], model.outputs[0]
    takes = _tensor(given.name, given.shape, given.dtype)
    return [{"input": takes, "output": _tensor(model.layers[-1].name, output.shape, output.dtype)}]


def saved_model_signatures(loaded: Any) -> list[dict[str, Any]]:
    """What each signature of a SavedModel takes and gives."""
    found = []
    for name, function in sorted(loaded.signatures.items(), reverse=True):
        ((takes, given),) = function.structured_input_signature[1].items()
        ((gives, output),) = function.structured_outputs.items()
        ends = {"input": _tensor(takes, given.shape, given.dtype.name)}
        found.append({"name": name} | ends | {"output": _tensor(gives, output.shape, output.dtype.name)})
    return found


def onnx_signatures(session: Any) -> list[dict[str, Any]]:
    """What an ONNX file takes and gives."""
    types = {"float": "float32"}
    ends = {}
    for end, (tensor,) in (("input", session.get_inputs()), ("output", session.get_outputs())):
        kind = tensor.type.removeprefix("tensor(").removesuffix(")")
        shape = [side if isinstance(side, int) else None for side in tensor.shape]
        ends[end] = _tensor(tensor.name, shape, types.get(kind, kind))
    return [ends]


def _tensor(name: str, shape: Any, dtype: str, scale: float = 0.0, zero: int = 0) -> dict[str, Any]:
    sides = [None if side is None else int(side) for side in shape]
    quantized = {"scale": float(scale), "zero_point": int(zero)} if scale else {}
    return {"name": name.partition(":")[0], "shape": sides, "dtype": str(dtype)} | quantized


class LiteModel:
    """A LiteRT file in an interpreter.

    Args:
        path: The file.
        threads: Threads that it may use.
    """

    def __init__(self, path: str, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:  # no wheel for this platform
            from tensorflow.lite import Interpreter
        self._interpreter = Interpreter(model_path=path, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]

    def signatures(self) -> list[dict[str, Any]]:
        """What the file takes and gives."""
        names: dict[str, list[str]] = next(iter(self._interpreter.get_signature_list().values()), {})
        ends = {}
        for end, detail in (("input", self._input), ("output", self._output)):
            name = names.get(f"{end}s", [detail["name"]])[0]
            scale, zero = detail["quantization"] if end == "output" else (0.0, 0)  # pixels are given as they are
            ends[end] = _tensor(name, detail["shape"], np.dtype(detail["dtype"]).name, scale, zero)
        return [ends]

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        """Outputs as floats for uint8 pictures of the file's size; integers are dequantized."""
        rows = []
        for picture in pictures:
            self._interpreter.set_tensor(self._input["index"], picture[np.newaxis].astype(self._input["dtype"]))
            self._interpreter.invoke()
            rows.append(self._interpreter.get_tensor(self._output["index"])[0].copy())
        outputs = np.stack(rows)
        if np.issubdtype(outputs.dtype, np.floating):
            return outputs
        scale, zero = self._output["quantization"]
        return (outputs.astype(np.float32) - zero) * np.float32(scale)


def in_batches(predict: Predict, pictures: np.ndarray, seconds: float, batch: int = _BATCH) -> np.ndarray:
    """Outputs for pictures until the time is up, but for the first few at least."""
    end = time.monotonic() + seconds
    outputs: list[np.ndarray] = []
    for start in range(0, len(pictures), batch):
        if start >= _REPEATED and time.monotonic() > end:
            break
        outputs.append(np.asarray(predict(pictures[start : start + batch])))
    return np.concatenate(outputs)


class Cost:
    """The cost of a file: seconds to load, milliseconds per call, memory."""

    def __init__(self, measured: bool) -> None:
        self._measured = measured
        self._memory, self._began = _memory("VmRSS"), time.perf_counter()
        self._load, self._latencies = 0.0, [np.nan, np.nan]
        self._called, self._peak = 0, self._memory

    def loaded(self) -> None:
        """Record that the file is ready to be called."""
        self._load = time.perf_counter() - self._began
        self._peak = _memory("VmHWM")

    def call(self, predict: Callable[[], Any]) -> None:
        """Measure the next latency, as the median of some calls."""
        if not self._measured:
            return
        for _ in range(3):
            predict()
        times: list[float] = []
        end = time.monotonic() + _SECONDS_PER_LATENCY
        while len(times) < 3 or (len(times) < _CALLS and time.monotonic() < end):
            began = time.perf_counter()
            predict()
            times.append(time.perf_counter() - began)
        self._latencies[self._called] = 1000 * float(np.median(times))
        self._called += 1
        self._peak = _memory("VmHWM")

    def call_on_cores(self, predict: Callable[[], Any]) -> None:
        """Measure both latencies of a model with its own threads, by limiting the process to one core and to two."""
        for count in (1, 2):
            all_cores = _limit_to_cores(count)
            if all_cores is None:
                return
            self.call(predict)
            _set_cores(all_cores)

    def answers(self) -> Answers:
        """The measurements."""
        memory = np.maximum(0.0, self._peak - self._memory)  # NaN stays NaN
        measured = {"load_seconds": self._load, "latency_ms": self._latencies, "peak_memory": memory}
        return {name: np.array(value) for name, value in measured.items()}


def _limit_to_cores(count: int) -> set[int] | None:
    """Limit all threads of this process to some cores; returns the cores it had, or None if that is not possible."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores: set[int] = os.sched_getaffinity(0)
    if len(cores) < count:
        return None
    _set_cores(set(sorted(cores)[:count]))
    return cores


def _set_cores(cores: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


def _memory(which: str) -> float:
    """Resident memory of this process in bytes, now (VmRSS) or at its peak (VmHWM); NaN if unknown."""
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
    """Handle the request named on the command line, or serve."""
    if sys.argv[1] == "--serve":
        serve()
    else:
        answer(sys.argv[1])


def serve() -> None:
    """Handle requests in forks until standard input closes, as it does when the parent process ends."""
    import keras  # noqa: F401  for the forks; nothing is computed here, because threads do not survive a fork
    import tensorflow  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _answer_and_exit(line.rstrip("\n"))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _answer_and_exit(name: str) -> None:
    """Handle a request in a fork; errors are written beside the request."""
    code = 1
    try:
        errors = os.open(f"{name}.errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(errors, 2)
        os.dup2(errors, 1)
        answer(name)
        code = 0
    except BaseException:  # noqa: BLE001  any error is recorded, and the fork ends
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def answer(name: str) -> None:
    """Handle a request: read it and write the answers, or the cause of a failure beside it."""
    try:
        request = json.loads(Path(name).read_text(encoding="utf-8"))
        pictures = np.load(request["pictures"], allow_pickle=False, mmap_mode="r")
        answers = REPLAYS[request["format"]](request, pictures)
        np.savez(request["answers"], **answers)  # type: ignore[arg-type]
    except BaseException as error:
        # In one line: the last line of a traceback is often only the end of a long message.
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        Path(f"{name}.cause").write_text(cause, encoding="utf-8", errors="backslashreplace")
        raise


if __name__ == "__main__":
    main()
