"""What `tfransfer lr` suggests for the head phase, against a grid of seven learning rates that are trained one by one.

For each seed the suggestion is made and trained, and so is each rate of the grid; all are compared by their mean
validation top-1. The suggestion should be within 1.5 points of the grid's best.

    python benchmarks/learning_rates.py PHOTOS --base mini
    python benchmarks/learning_rates.py PHOTOS --base mobilenet_v2 --weights FILE
"""

import time
from statistics import fmean
from typing import Any

from measuring import arguments, report

from tfransfer import load_data
from tfransfer.data.dataset import Dataset
from tfransfer.display.progress import quiet, silent
from tfransfer.recipe import Recipe
from tfransfer.search.learning_rates import find_learning_rate
from tfransfer.training.opening import open_session
from tfransfer.training.phases import train_phases

GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def trained(data: Dataset, recipe: Recipe, rate: float) -> float:
    """Validation top-1 of the head phase at a learning rate, trained by itself."""
    session = open_session(data, recipe.with_settings({"head.learning_rate": rate}), silent)
    session.decide_caching(silent, always=True)
    return train_phases(session, lambda phase: (), quiet, silent).results[0].validation["top1"]


def of_seed(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """The suggestion, how long it took, and top-1 at it and at each rate of the grid."""
    find_learning_rate(data, recipe=recipe, rates=GRID[:2])  # features are extracted before the clock starts
    began = time.perf_counter()
    found = find_learning_rate(data, recipe=recipe)
    seconds = time.perf_counter() - began
    print(f"seed {recipe.seed}: {found.suggestion:g} in {seconds:.0f} s", flush=True)
    return {
        "suggestion": found.suggestion,
        "seconds": seconds,
        "suggested_top1": trained(data, recipe, found.suggestion),
        "grid_top1": {f"{rate:g}": trained(data, recipe, rate) for rate in GRID},
    }


def main() -> None:
    """Measure."""
    asked = arguments(__doc__, base="mini")
    data = load_data(str(asked.photos))
    weights = None if asked.weights == "imagenet" else asked.weights
    base = Recipe(base=asked.base, weights=weights).with_settings({"fine_tune.epochs": 0})
    seeds = [of_seed(data, base.with_settings({"seed": seed})) for seed in range(asked.rounds)]
    grid = {rate: fmean(one["grid_top1"][rate] for one in seeds) for rate in seeds[0]["grid_top1"]}
    suggested = fmean(one["suggested_top1"] for one in seeds)
    for rate, value in grid.items():
        print(f"{rate:>8} {value:.4f}")
    print(f"suggested {suggested:.4f}")
    report(
        {
            "photos": asked.photos.name,
            "base": asked.base,
            "suggested_mean_top1": suggested,
            "grid_mean_top1": grid,
            "best_of_grid": max(grid.values()),
            "points_below_the_best": 100 * (max(grid.values()) - suggested),
            "seeds": seeds,
        },
        asked.out,
    )


if __name__ == "__main__":
    main()
