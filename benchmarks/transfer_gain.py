"""What transfer gains over training from scratch, by labelled pictures a class, on digits, CIFAR-10 and flower_photos.

Five ways on the same splits; the validation and test splits are always whole:

    scratch             the built-in base's architecture, untrained, trained whole with Keras's fit
    mini head           the built-in base, frozen, a new head
    mini fine-tuned     the same, then its top blocks
    mobilenet_v2 head, mobilenet_v2 fine-tuned     where its weights are given

What was measured before stands in the file named by `--out` and is not measured again, so a stopped measurement goes
on. `--plot FILE` draws what the file holds, and `--table` prints it as Markdown; what was not measured is left out.

    python benchmarks/transfer_gain.py --cifar FOLDER --flowers FOLDER --weights FILE --out gain.json --plot gain.png
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from measuring import cache, few, machine, train, versions

import tfransfer
from tfransfer.data import flow
from tfransfer.data.dataset import Dataset
from tfransfer.data.index import labels_of

SIZE, BATCH = 96, 32
# Each with its line: a colour for a base, dashed where the head alone is trained.
WAYS = {
    "scratch": "kx:",
    "mini head": "C0s--",
    "mini fine-tuned": "C0o-",
    "mobilenet_v2 head": "C1s--",
    "mobilenet_v2 fine-tuned": "C1o-",
}
SIZES = ("5", "10", "20", "50", "all")
NAMES = {"digits": "digits", "cifar": "CIFAR-10, 3,000 pictures", "flowers": "flower_photos"}
# Training from scratch needs steps: more epochs where there are few pictures.
_EPOCHS, _FEWEST_STEPS = 40, 900


def scratch(data: Dataset, seed: int) -> float:
    """Test top-1 of the same architecture from random weights: Adam with cosine decay, the same augmentation."""
    keras.utils.set_random_seed(seed)
    recipe = tfransfer.Recipe()
    augment = replace(recipe.augment, flip=data.source != "digits")
    names = np.eye(len(data.classes), dtype=np.float32)
    learned, asked = data.split("train"), data.split("test")
    batch = min(BATCH, len(learned))
    epochs = max(_EPOCHS, -(-_FEWEST_STEPS * batch // len(learned)))
    targets, weights = names[labels_of(learned)], np.ones(len(learned), np.float32)
    training = flow.training_flow(
        data, learned, targets, weights, SIZE, batch, settings=augment, seed=(seed, 1), epochs=epochs
    )  # fmt: skip
    base = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=0.35, input_shape=(SIZE, SIZE, 3))
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # Keras Applications' 0.999 does not settle in so few steps
    values = keras.layers.Dropout(recipe.head.dropout)(keras.layers.GlobalAveragePooling2D()(base.output))
    model = keras.Model(base.input, keras.layers.Dense(len(names), activation="softmax")(values))
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * training.steps)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    model.fit(training.batches.map(_scaled), epochs=epochs, steps_per_epoch=training.steps, verbose=0)
    batches = flow.evaluation_flow(data, asked, names[labels_of(asked)], SIZE, 64).batches
    said = np.concatenate([model.predict_on_batch(_scaled(*part)[0]) for part in batches])
    return float((said.argmax(axis=1) == labels_of(asked)).mean())


def _scaled(pixels: tf.Tensor, *rest: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return (tf.cast(pixels, tf.float32) / 127.5 - 1.0, *rest)


def transferred(data: Dataset, way: str, weights: str, seed: int) -> float:
    """Test top-1 of `tfransfer.train` as it comes, with or without its second phase."""
    base, phases = way.split(" ", 1)
    settings: dict[str, Any] = {} if phases == "fine-tuned" else {"fine_tune_epochs": 0}
    return float(
        train(data, weights if base == "mobilenet_v2" else "imagenet", base, seed=seed, **settings)["test_top1"]
    )


def main() -> None:
    """Measure, then draw."""
    asked = _arguments()
    found: dict[str, Any] = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    found |= {"machine": machine(), "versions": versions()}
    runs = found.setdefault("test_top1", {})
    for source in NAMES:
        place = "digits" if source == "digits" else getattr(asked, source)
        if place is None or source not in asked.sources.split(","):
            continue
        data = tfransfer.load_data(place)
        for size in asked.sizes.split(","):
            chosen = few(data, 0 if size == "all" else int(size))
            for way in asked.ways.split(","):
                for seed in range(asked.seeds):
                    name = f"{source}/{size}/{way}/{seed}"
                    if name in runs or (way.startswith("mobilenet_v2") and asked.weights is None):
                        continue
                    began = time.perf_counter()
                    with cache(asked.out.with_suffix(".cache")):
                        runs[name] = (
                            scratch(chosen, seed) if way == "scratch" else transferred(chosen, way, asked.weights, seed)
                        )
                    print(f"{name}: {runs[name]:.4f} in {time.perf_counter() - began:.0f} s", flush=True)
                    asked.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
                    keras.backend.clear_session()
    if asked.plot:
        draw(runs, asked.plot)
    if asked.table:
        print(table(runs))


def means(runs: dict[str, float]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean top-1 over seeds, by source, way and pictures a class."""
    gathered: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name in sorted(runs, key=lambda name: list(NAMES).index(name.split("/")[0])):
        source, size, way, _ = name.split("/")
        gathered.setdefault(source, {}).setdefault(way, {}).setdefault(size, []).append(runs[name])
    return {
        source: {way: {size: sum(v) / len(v) for size, v in sizes.items()} for way, sizes in ways.items()}
        for source, ways in gathered.items()
    }


def table(runs: dict[str, float]) -> str:
    """The means as a Markdown table: a row for each data set and way, a column for each number of pictures."""
    sizes = [size for size in SIZES if any(name.split("/")[1] == size for name in runs)]
    lines = [f"| data | way | {' | '.join(sizes)} |", "|---|---|" + "---|" * len(sizes)]
    for source, ways in means(runs).items():
        for way in (way for way in WAYS if way in ways):
            cells = [f"{ways[way][size]:.3f}" if size in ways[way] else "" for size in sizes]
            lines.append(f"| {NAMES[source]} | {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(runs: dict[str, float], file: Path) -> None:
    """One panel a data set, one line a way."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    found = means(runs)
    figure, panels = pyplot.subplots(1, len(found), figsize=(10, 3.6), sharey=True, squeeze=False)
    lines = {}
    for panel, (source, ways) in zip(panels[0], found.items(), strict=True):
        for way in (way for way in WAYS if way in ways):
            sizes = [size for size in SIZES if size in ways[way]]
            places = [SIZES.index(size) for size in sizes]
            lines[way] = panel.plot(places, [ways[way][size] for size in sizes], WAYS[way], markersize=5)[0]
        panel.set(title=NAMES[source], xlabel="labelled pictures a class", xticks=range(len(SIZES)), xticklabels=SIZES)
        panel.grid(alpha=0.3)
    panels[0][0].set(ylabel="top-1 on the test split", ylim=(0, 1.02))
    shown = [way for way in WAYS if way in lines]
    figure.legend([lines[way] for way in shown], shown, loc="lower center", ncols=len(WAYS), fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(file, dpi=100)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cifar", type=Path, help="a folder with one folder of pictures per class")
    parser.add_argument("--flowers", type=Path, help="likewise")
    parser.add_argument("--weights", help="MobileNetV2's, as a file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sources", default="digits,cifar,flowers")
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--ways", default=",".join(WAYS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
