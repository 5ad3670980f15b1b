"""Load exported files in a fresh process and write down what they say.

Run as a script by `parity`; it imports nothing of tfransfer, so that it sees what any other program would see.

    python replay.py REQUEST.json

The request names `files` (a list of {format, path}), `pictures` (an .npy file, uint8 (n, size, size, 3), or texts
(n,)), `answers` (the .npz file to write) and `modules`, with the layers and operations that a file needs. The answers
hold, for the i-th file, `i/first` and `i/second` (two calls on the same pictures), for a SavedModel also `i/bytes` (the
pictures as PNG files), and `i/labels` where the file carries labels.
"""

import importlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
Answers = dict[str, np.ndarray]


def replay_keras(path: Path, pictures: np.ndarray, modules: list[str]) -> Answers:
    """Answers of a `.keras` file."""
    import keras

    for name in modules:
        importlib.import_module(name)
    model = keras.saving.load_model(path, safe_mode=not modules)  # the file is one that was written a moment ago
    pixels = pictures.astype(object if pictures.dtype.kind == "U" else np.float32)
    # Called both ways: `predict` and a bare call must agree, or something random is in the model.
    second = model(keras.ops.convert_to_tensor(pixels))
    return {"first": model.predict(pixels, verbose=0), "second": np.asarray(second)}


def replay_saved_model(path: Path, pictures: np.ndarray, modules: list[str]) -> Answers:
    """Answers of the signatures of a SavedModel."""
    import tensorflow as tf

    for name in modules:
        if name.split(".")[0] != "tfransfer":  # operations, such as those of tokenizers
            importlib.import_module(name)
    loaded = tf.saved_model.load(str(path))
    batch = tf.constant(pictures)
    first, second = (_only(loaded.signatures["serving_default"](batch)) for _ in range(2))
    answers = {"first": first, "second": second}
    if "serve_bytes" in loaded.signatures:
        files = tf.constant([tf.io.encode_png(picture).numpy() for picture in pictures])
        answers["bytes"] = _only(loaded.signatures["serve_bytes"](files))
    labels = path / "assets.extra" / "labels.txt"
    return answers | {"labels": np.array(labels.read_text(encoding="utf-8").splitlines())}


def _only(answer: dict[str, Any]) -> np.ndarray:
    (values,) = answer.values()
    return np.asarray(values)


def replay_tflite(path: Path, pictures: np.ndarray, modules: list[str]) -> Answers:
    """Answers of a LiteRT file."""
    interpreter = _interpreter(path)
    interpreter.allocate_tensors()
    given, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    calls: list[np.ndarray] = []
    for _ in range(2):
        rows = []
        for picture in pictures:
            interpreter.set_tensor(given["index"], picture[np.newaxis].astype(given["dtype"]))
            interpreter.invoke()
            rows.append(interpreter.get_tensor(said["index"])[0].copy())
        calls.append(np.stack(rows))
    with zipfile.ZipFile(path) as packed:
        labels = io.TextIOWrapper(packed.open("labels.txt"), encoding="utf-8").read().splitlines()
    return {"first": calls[0], "second": calls[1], "labels": np.array(labels)}


def _interpreter(path: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:  # no wheel for this platform
        from tensorflow.lite import Interpreter
    return Interpreter(model_path=str(path))


REPLAYS = {"keras": replay_keras, "savedmodel": replay_saved_model, "tflite": replay_tflite}


def main() -> None:
    """Read the request named on the command line and write the answers."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pictures = np.load(request["pictures"], allow_pickle=False)
    answers: Answers = {}
    for number, file in enumerate(request["files"]):
        said = REPLAYS[file["format"]](Path(file["path"]), pictures, request["modules"])
        answers.update({f"{number}/{name}": value for name, value in said.items()})
    np.savez(request["answers"], **answers)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
