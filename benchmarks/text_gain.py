"""What pretraining gains for texts, by labelled texts a class, on reviews (SST-2) and news (AG News).

    ngrams                      the built-in base that is not pretrained, both phases
    words head, words           the built-in pretrained base: a new head, then both phases
    minilm head, minilm         a sentence encoder, a KerasHub preset, where one is given

Reviews keep their own splits; of the news, each seed draws half as the test split, and a fifth of the rest validates. A
seed draws the labelled texts, too. What was measured before stands in the file named by `--out` and is not measured
again, so a stopped measurement goes on.

    python benchmarks/text_gain.py --sst FOLDER --news FILE --minilm PRESET --out text_gain.json --table
"""

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from measuring import cache, machine, train, versions

import tfransfer
from tfransfer.data.dataset import Dataset

WAYS = ("ngrams", "words head", "words", "minilm head", "minilm")
SIZES = ("5", "20", "100", "all")
NAMES = {"sst": "SST-2, reviews", "news": "AG News, 3,800 items"}
Row = tuple[str, str, str]  # text, label, split


def reviews(folder: Path) -> list[Row]:
    """SST-2 as GLUE hands it out: a table without a header for each split."""
    rows: list[Row] = []
    for name, split in (("train", "train"), ("dev", "validation"), ("test", "test")):
        for line in (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines():
            text, label = line.split("\t")
            rows.append((text, {"0": "negative", "1": "positive"}[label], split))
    return rows


def news(file: Path, seed: int) -> list[Row]:
    """A table with the columns text and label; half of it is the test split, and a fifth of the rest validates."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(stream)]
    order = np.random.default_rng(seed).permutation(len(rows))
    half = len(rows) // 2
    ends = {"test": half, "validation": half + half // 5, "train": len(rows)}
    splits = np.repeat(list(ends), np.diff([0, *ends.values()]))
    return [(*rows[place], str(split)) for place, split in zip(order, splits, strict=True)]


def load(rows: list[Row], per_class: int, seed: int) -> Dataset:
    """The data with so many labelled texts of each class in training, drawn by the seed; 0 takes all."""
    taken: dict[str, int] = {}
    chosen = []
    for place in np.random.default_rng(seed).permutation(len(rows)):
        text, label, split = rows[place]
        if split == "train" and per_class:
            taken[label] = taken.get(label, 0) + 1
            if taken[label] > per_class:
                continue
        chosen.append((text, label, split))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text", "label", "split"), *chosen])
        return tfransfer.load_data(path)


def measure(data: Dataset, way: str, preset: str, seed: int) -> dict[str, Any]:
    """Top-1 of `tfransfer.train` as it comes, with or without its second phase, and its seconds."""
    base, *phases = way.split(" ")
    settings: dict[str, Any] = {"fine_tune_epochs": 0} if phases else {}
    found = train(data, "imagenet", preset if base == "minilm" else base, seed=seed, **settings)
    return {key: found[key] for key in ("validation_top1", "test_top1", "seconds", "kept")}


def main() -> None:
    """Measure what is missing, then print the table."""
    asked = _arguments()
    found: dict[str, Any] = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    found |= {"machine": machine(), "versions": versions()}
    runs = found.setdefault("runs", {})
    for source, size, way, seed in (
        (source, size, way, seed)
        for source in NAMES if getattr(asked, source)
        for size in asked.sizes.split(",")
        for way in asked.ways.split(",") if asked.minilm or not way.startswith("minilm")
        for seed in range(asked.seeds)
    ):  # fmt: skip
        name = f"{source}/{size}/{way}/{seed}"
        if name in runs:
            continue
        began = time.perf_counter()
        rows = reviews(asked.sst) if source == "sst" else news(asked.news, seed)
        with cache(asked.out.with_suffix(".cache")):
            data = load(rows, 0 if size == "all" else int(size), seed)
            runs[name] = measure(data, way, asked.minilm, seed)
        print(f"{name}: {runs[name]['test_top1']:.4f} in {time.perf_counter() - began:.0f} s", flush=True)
        asked.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        keras.backend.clear_session()
    if asked.table:
        print(table(runs))


def table(runs: dict[str, dict[str, Any]]) -> str:
    """Means of the test top-1 over the seeds, with standard deviations, as a Markdown table."""
    lines = [f"| data | way | {' | '.join(SIZES)} |", "|---|---|" + "---|" * len(SIZES)]
    for source, title in NAMES.items():
        for way in WAYS:
            cells = []
            for size in SIZES:
                values = [run["test_top1"] for name, run in runs.items() if name.startswith(f"{source}/{size}/{way}/")]
                cells.append(f"{np.mean(values):.3f} ± {np.std(values):.3f}" if values else "")
            if any(cells):
                lines.append(f"| {title} | {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sst", type=Path, help="a folder with train.tsv, dev.tsv and test.tsv")
    parser.add_argument("--news", type=Path, help="a table with the columns text and label")
    parser.add_argument("--minilm", default="", help="a KerasHub preset, such as kerashub:FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--ways", default=",".join(WAYS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
