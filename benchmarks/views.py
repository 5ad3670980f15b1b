"""What keeping several views of each training photo gains: test top-1 by number of views, photos a class and seed.

Trains both phases, 10 + 10 epochs, on the same split; one cache serves all runs. What was measured before stands in
the file named by `--out` and is not measured again, so a stopped measurement goes on.

    python benchmarks/views.py PHOTOS --weights FILE --out results/views.json --cases 0:2,0:4,10:2 --seeds 3

A case is the number of training photos a class (0 for all of them), a colon, and the number of views.
"""

import json
import statistics
from typing import Any

from measuring import arguments, cache, few, machine, train, versions

import tfransfer


def main() -> None:
    """Measure."""
    asked = arguments(__doc__, cases="0:1,0:2,0:4,50:1,50:2,50:4,50:8,10:1,10:2,10:4,10:8", seeds=3, epochs=10)
    if asked.out is None:
        raise SystemExit("--out FILE is needed: the figures are kept there from run to run")
    found: dict[str, Any] = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    found |= {"machine": machine(), "versions": versions()}
    runs = found.setdefault("runs", {})
    data = tfransfer.load_data(asked.photos)
    with cache(asked.out.with_suffix(".cache")):
        for case in asked.cases.split(","):
            per_class, views = map(int, case.split(":"))
            for seed in range(asked.seeds):
                if f"{case}:{seed}" in runs:
                    continue
                epochs = {"head_epochs": asked.epochs, "fine_tune_epochs": asked.epochs}
                made = train(few(data, per_class), asked.weights, views=views, seed=seed, unfreeze="block_14", **epochs)
                runs[f"{case}:{seed}"] = {key: made[key] for key in ("test_top1", "validation_top1", "trained_seconds")}
                found["test_top1"] = curve(runs)
                asked.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found["test_top1"], indent=2))


def curve(runs: dict[str, Any]) -> dict[str, Any]:
    """Mean, lowest and highest test top-1 over the seeds of each case."""
    cases: dict[str, list[float]] = {}
    for name, run in runs.items():
        cases.setdefault(name.rpartition(":")[0], []).append(run["test_top1"])
    return {
        case: {"mean": round(statistics.fmean(all_), 4), "lowest": min(all_), "highest": max(all_), "seeds": len(all_)}
        for case, all_ in cases.items()
    }


if __name__ == "__main__":
    main()
