"""How far a small test split's figure is from the truth, and how far the head's cross-validated one.

Twenty random subsets of flower_photos are trained on, head only; what the model gets right on all other photos, whose
features are computed once, is the truth.

    python benchmarks/small_splits.py PHOTOS --weights FILE --out results/small_splits.json
"""

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import arguments, cache, machine, versions

import tfransfer as tr
from tfransfer.data.dataset import Dataset
from tfransfer.data.index import labels_of
from tfransfer.display.progress import quiet, silent
from tfransfer.features.pooled import pooled_features
from tfransfer.recipe import Recipe
from tfransfer.tasks.head import require_head
from tfransfer.training.opening import named_base


def subset(data: Dataset, chosen: np.ndarray, place: Path) -> Path:
    """A folder with links to the chosen photos."""
    for i in chosen:
        example = data.examples[i]
        link = place / example.path
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(data.path_of(example), link)
    return place


def measure(data: Dataset, features: np.ndarray, seed: int, options: Any, work: Path) -> dict[str, Any]:
    """One subset: the shares of its classes, and three figures of the same model."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(data.examples), options.size, replace=False)
    out = work / f"run {seed}"
    run = tr.train(
        subset(data, chosen, work / f"photos {seed}"), base="mobilenet_v2", weights=options.weights, out=out,
        head_epochs=10, fine_tune_epochs=0, seed=seed, exports=(), recipe=Recipe().with_settings({"features.views": 2}),
    )  # fmt: skip
    kernel, bias = require_head(run.model).logits.get_weights()
    others = np.setdiff1d(np.arange(len(data.examples)), chosen)
    right = (features[others] @ kernel + bias).argmax(axis=1) == labels_of(data.examples)[others]
    test = run.metrics["test"]
    off = max(
        abs(run.data.counts()[split][name] - share * sum(of[name] for of in run.data.counts().values()))
        for split, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items() for name in run.data.classes
    )  # fmt: skip
    return {
        "seed": seed, "truth": float(right.mean()), "n_truth": len(others), "test": test["top1"], "n_test": test["n"],
        "cross_validated": test["cross_validated_head"]["top1"], "validation": run.metrics["validation"]["top1"],
        "furthest_from_share": float(off),
    }  # fmt: skip


def main() -> None:
    """Measure all subsets and write the table."""
    options = arguments(__doc__, subsets=20, size=330)
    if options.out is None:
        raise SystemExit("--out FILE is needed: the figures are kept there from run to run")
    found: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    found |= {"machine": machine(), "versions": versions(), "photos": options.size}
    rows = found.setdefault("rows", [])
    data = tr.load_data(options.photos)
    recipe = Recipe(base="mobilenet_v2", weights=options.weights)
    with (
        cache(options.out.with_suffix(".cache").absolute()),
        tempfile.TemporaryDirectory(dir=options.out.parent) as work,
    ):
        features = pooled_features(data, named_base(recipe, "float32", silent), recipe, quiet, print)
        for seed in range(len(rows), options.subsets):
            rows.append(measure(data, features, seed, options, Path(work)))
            found["summary"] = summary(rows)
            options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["summary"], indent=1))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and largest distance of each figure from the truth, and of a class's count from its share of a split."""
    distances = {key: [abs(row[key] - row["truth"]) for row in rows] for key in ("test", "cross_validated")}
    return {
        "subsets": len(rows),
        "mean_error": {key: round(statistics.fmean(all_), 4) for key, all_ in distances.items()},
        "largest_error": {key: round(max(all_), 4) for key, all_ in distances.items()},
        "furthest_from_share": round(max(row["furthest_from_share"] for row in rows), 4),
    }


if __name__ == "__main__":
    main()
