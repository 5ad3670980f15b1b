"""Both phases against the loop of Keras's transfer-learning guide, on the same photos, weights and split.

Each round trains, interleaved: the guide's two phases for two whole epochs each, then ours from an empty cache (head
phase alone; then, from the cache that this left, head phase alone again; then both phases for all epochs from another
empty cache). The guide's time for all epochs is what its `fit` took beside its epochs, its first epoch, and its second
epoch as often as it is needed; its accuracy comes from a whole run of `guide.py`.

    python benchmarks/phases.py PHOTOS --weights FILE --epochs 10
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import arguments, cache, median, report, train


def guide_side(asked: Any) -> dict[str, float]:
    """Seconds of the guide's phases, for as many epochs as were asked for."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "guide.json"
        script = Path(__file__).with_name("guide.py")
        more = ["--head-epochs", "2", "--fine-tune-epochs", "2", "--lowest", asked.lowest, "--out", str(out)]
        command = [sys.executable, str(script), str(asked.photos), "--weights", asked.weights, *more]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = json.loads(out.read_text(encoding="utf-8"))
    sides = {}
    for phase in ("head", "fine_tune"):
        first, second = found[f"{phase}_epoch_seconds"]
        start = found[f"{phase}_seconds"] - first - second
        sides[f"{phase}_seconds"] = start + first + second * (asked.epochs - 1)
        sides[f"{phase}_epoch"] = second
    rest = found["seconds"] - found["head_seconds"] - found["fine_tune_seconds"]
    return sides | {"seconds": rest + sides["head_seconds"] + sides["fine_tune_seconds"] + found["test_seconds"]}


def our_side(asked: Any, seed: int) -> dict[str, Any]:
    """Seconds of our phases, from an empty cache and from a warm one."""
    with cache() as kept:
        cold = train(asked.photos, asked.weights, head_epochs=asked.epochs, fine_tune_epochs=0, seed=seed)
        with cache(kept):
            warm = train(asked.photos, asked.weights, head_epochs=asked.epochs, fine_tune_epochs=0, seed=seed)
    with cache():
        whole = train(
            asked.photos,
            asked.weights,
            head_epochs=asked.epochs,
            fine_tune_epochs=asked.epochs,
            unfreeze=asked.lowest,
            seed=seed,
        )
    return {"cold": cold, "warm": warm, "whole": whole}


def main() -> None:
    """Measure."""
    asked = arguments(__doc__, epochs=10, lowest="block_14")
    theirs, ours = [], []
    for number in range(asked.rounds):
        theirs.append(guide_side(asked))
        ours.append(our_side(asked, number))
    guide_medians = {key: median([one[key] for one in theirs]) for key in theirs[0]}
    epochs = [s for one in ours for s in one["whole"]["epoch_seconds"]["fine_tune"][1:]]
    mine = {
        "head_cold": median([one["cold"]["trained_seconds"] for one in ours]),
        "head_warm": median([one["warm"]["trained_seconds"] for one in ours]),
        "fine_tune_epoch": median(epochs),
        "trained": median([one["whole"]["trained_seconds"] for one in ours]),
        "whole": median([one["whole"]["seconds"] for one in ours]),
    }
    ratios = {
        "head_cold": guide_medians["head_seconds"] / mine["head_cold"],
        "head_warm": guide_medians["head_seconds"] / mine["head_warm"],
        "fine_tune_epoch": guide_medians["fine_tune_epoch"] / mine["fine_tune_epoch"],
        "whole": guide_medians["seconds"] / mine["whole"],
    }
    tests = [one["whole"]["test_top1"] for one in ours]
    report(
        {
            "guide_seconds": guide_medians,
            "our_seconds": mine,
            "ratios": {key: round(value, 2) for key, value in ratios.items()},
            "our_test_top1": tests,
            "our_mean_test_top1": sum(tests) / len(tests),
            "rounds": {"guide": theirs, "ours": ours},
        },
        asked.out,
    )


if __name__ == "__main__":
    main()
