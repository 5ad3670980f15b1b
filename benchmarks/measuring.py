"""What the benchmarks share: the photos with their split, our side of the job, medians, the machine's name."""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow  # noqa: F401  imported before any clock starts

import tfransfer
from tfransfer import pipeline
from tfransfer.data.dataset import Dataset
from tfransfer.runs import manifest


def arguments(doc: str, **more: Any) -> argparse.Namespace:
    """The command line of a benchmark: the photos, the base's weights, rounds, where the figures go."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--weights", default="imagenet", help="MobileNetV2's, as a file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    for name, default in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


def photos_and_splits(root: Path) -> tuple[list[dict], list[str]]:
    """A row (path, label, split) per photo, as tfransfer splits the folder, and the classes."""
    data = tfransfer.load_data(root)
    rows = [{"path": e.path, "label": data.classes[e.label], "split": e.split} for e in data.examples]
    return rows, list(data.classes)


@contextmanager
def cache(folder: Path | None = None) -> Iterator[Path]:
    """A cache folder of one's own: a new one, removed at the end, or the one given."""
    made = folder or Path(tempfile.mkdtemp(prefix="tfransfer-benchmark-"))
    before = os.environ.get("TFRANSFER_CACHE")
    os.environ["TFRANSFER_CACHE"] = str(made)
    try:
        yield made
    finally:
        os.environ.pop("TFRANSFER_CACHE")
        if before is not None:
            os.environ["TFRANSFER_CACHE"] = before
        if folder is None:
            shutil.rmtree(made, ignore_errors=True)


def few(data: Dataset, per_class: int) -> Dataset:
    """The same validation and test photos, and the first `per_class` training photos of each class."""
    if not per_class:
        return data
    kept, seen = [], dict.fromkeys(range(len(data.classes)), 0)
    for example in data.examples:
        if example.split == "train":
            seen[example.label] += 1
            if seen[example.label] > per_class:
                continue
        kept.append(example)
    return replace(data, examples=tuple(kept))


def train(photos: Path | Dataset, weights: str, base: str = "mobilenet_v2", **settings: Any) -> dict[str, Any]:
    """Our side: `tfransfer.train` from the folder of photos, or from loaded data, on.

    Returns:
        Seconds to the end of each phase and to the finished run (evaluated, saved, loaded again and compared), seconds
        of each epoch, top-1.
    """
    began, marks = time.perf_counter(), {}

    def say(line: str) -> None:
        print(f"{time.perf_counter() - began:7.1f} {line}", flush=True)
        marks[line.split(":")[0]] = time.perf_counter() - began

    named = None if weights == "imagenet" else weights
    with tempfile.TemporaryDirectory() as folder:
        run = pipeline.train(photos, base, weights=named, out=Path(folder) / "run", exports=(), say=say, **settings)
        seconds = time.perf_counter() - began
        epochs = {
            phase: [float(row["seconds"]) for row in run.history if row["phase"] == phase]
            for phase in ("head", "fine_tune")
        }
        return {
            "seconds": seconds,
            "head_seconds": marks["head"],
            "fine_tune_seconds": marks.get("fine-tune", marks["head"]) - marks["head"],
            "trained_seconds": marks.get("fine-tune", marks["head"]),
            "epoch_seconds": epochs,
            "kept": run.manifest.kept,
            "features": run.manifest.features.to_dict(),
            "validation_top1": run.metrics["validation"]["top1"],
            "test_top1": run.metrics["test"]["top1"],
        }


def median(values: list[float]) -> float:
    """The median."""
    return float(statistics.median(values))


def report(found: dict[str, Any], out: Path | None) -> None:
    """Print the figures with the machine's name, and write them where asked."""
    found = {"machine": machine(), "versions": versions()} | found
    print(json.dumps(found, indent=2))
    if out:
        out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    return manifest.versions()


def machine() -> str:
    """Processor and number of cores."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
