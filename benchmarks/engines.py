"""Forward engines: how many decoded photos a second go through MobileNetV2, to the cut and to the pooled features.

`keras predict` on the same uint8 arrays, our compiled Keras engine, our LiteRT engine, and OpenVINO as the limit where
it is installed (its asynchronous queue, one picture a request, its own choice of threads). Rounds are interleaved.

    python benchmarks/engines.py PHOTOS --weights FILE
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from measuring import arguments, median, report

import tfransfer
from tfransfer.base.build import build_base
from tfransfer.base.taps import POOLED_TAP, model_to, tap_below
from tfransfer.data.flow import evaluation_flow
from tfransfer.features import litert
from tfransfer.features.engines import KerasEngine, largest_difference, listed


def openvino(converted: bytes, pictures: np.ndarray) -> Callable[[], None] | None:
    """A run of all pictures through OpenVINO, from the same LiteRT file; None where it is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frozen.tflite"
        file.write_bytes(converted)
        compiled = openvino.compile_model(openvino.convert_model(file), "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"})
    queue = openvino.AsyncInferQueue(compiled)

    def run() -> None:
        for number in range(len(pictures)):
            queue.start_async({0: pictures[number : number + 1]})
        queue.wait_all()

    return run


def main() -> None:
    """Measure."""
    asked = arguments(__doc__, pictures=256)
    data = tfransfer.load_data(asked.photos)
    examples = data.split("train")[: asked.pictures]
    flow = evaluation_flow(data, examples, np.zeros((len(examples), 1), np.float32), 224, len(examples))
    pictures = next(iter(flow.batches))[0].numpy()
    base = build_base("mobilenet_v2", 224, None if asked.weights == "imagenet" else asked.weights)
    model = model_to(base, [tap_below(base.blocks, 3), POOLED_TAP])
    began = time.perf_counter()
    converted = litert.convert(model)
    conversion = time.perf_counter() - began
    engines: dict[str, Any] = {"litert": litert.LiteRTEngine(converted), "keras engine": KerasEngine(model)}
    expected = [v.numpy() for v in listed(model(tf.cast(pictures[:32], tf.float32), training=False))]
    differences = {name: largest_difference(engine.run(pictures[:32]), expected) for name, engine in engines.items()}
    runs = {name: (lambda engine=engine: engine.run(pictures)) for name, engine in engines.items()}
    runs["keras predict"] = lambda: model.predict(pictures, batch_size=32, verbose=0)
    if other := openvino(converted, pictures):
        runs["openvino"] = other
    for run in runs.values():
        run()  # warm
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(asked.rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            rates[name].append(len(pictures) / (time.perf_counter() - began))
    medians = {name: round(median(values), 1) for name, values in rates.items()}
    report(
        {
            "images_per_second": medians,
            "rounds": {name: [round(v, 1) for v in values] for name, values in rates.items()},
            "litert_over_keras_predict": round(medians["litert"] / medians["keras predict"], 2),
            "litert_over_openvino": round(medians["litert"] / medians["openvino"], 2)
            if "openvino" in medians
            else None,
            "conversion_seconds": round(conversion, 1),
            "largest_relative_difference": differences,
        },
        asked.out,
    )


if __name__ == "__main__":
    main()
