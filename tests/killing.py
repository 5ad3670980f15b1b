"""Runs trainings in forks of a process that has imported TensorFlow, and kills them.

A fork starts at once, where a fresh process imports for ten seconds, and SIGKILL leaves of it what it leaves of any
process. The parent must not have run any operation: forks of TensorFlow's threads would hang.
"""

import csv
import functools
import io
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from small_world import colour_folder, tiny_model

from tfransfer import pipeline


@dataclass
class Ended:
    """How a process ended: its exit status (negative: the signal), after how many seconds, and what it wrote."""

    status: int
    seconds: float
    said: str


def run(
    target: Callable[[], object],
    log: Path,
    cache: Path,
    kill_when: Callable[[], bool] | None = None,
    number: int = signal.SIGKILL,
    largest_file: int | None = None,
) -> Ended:
    """Call a function in a fork; it ends by itself, or is sent a signal.

    Args:
        target: What to call.
        log: Takes its output.
        cache: TFRANSFER_CACHE.
        kill_when: Asked all the time whether to send the signal; None lets the fork come to its end.
        number: The signal.
        largest_file: Bytes; writing more fails as on a full disk.
    """
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(target, log, cache, largest_file)
    while kill_when is not None and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if kill_when():
            os.kill(child, number)
            break
        time.sleep(0.002)
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - began, log.read_text(errors="replace"))


def _become(target: Callable[[], object], log: Path, cache: Path, largest_file: int | None) -> None:
    """Be the function, in a fork; never returns."""
    code = 1
    try:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "ERROR", "TFRANSFER_CACHE": str(cache)}
        if largest_file is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        target()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


# What is trained: with features from each engine, and with the frozen part in every step.
WAYS = {"litert": {"features.engine": "litert"}, "keras": {"features.engine": "keras"}, "plain": {"cache": False}}
SETTINGS = {
    "head.epochs": 6, "head.patience": 0, "fine_tune.epochs": 6, "fine_tune.unfreeze": 1, "fine_tune.patience": 0,
    "batch_size": 8, "head.mixup": 0.2,
}  # fmt: skip
# Where a training is killed, and up to how many seconds after it came there.
STAGES = {
    "nothing": 6.0,
    "extraction": 3.0,
    "head": 1.5,
    "after head": 1.0,
    "fine_tune": 1.5,
    "after fine_tune": 4.0,
    "export": 4.0,
}


def train(data: Path, out: Path, way: str, exports: Sequence[str] = ()) -> None:
    """A small training of everything that a large one has; begun, or gone on with where something is left of it."""
    pipeline.train(
        data, tiny_model(), preprocessing="tf", out=out, resume=True, exports=exports, say=print,
        **SETTINGS, **WAYS[way],
    )  # fmt: skip


def weights_of(run: Path) -> dict[str, np.ndarray]:
    """Every array in a run's model file."""
    found: dict[str, np.ndarray] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with zipfile.ZipFile(run / "model.keras") as archive:
        content = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(take)
    return found


def same(one: Path, other: Path) -> bool:
    """Whether two runs have the same weights, bit for bit."""
    a, b = weights_of(one), weights_of(other)
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def stage_of(folder: Path) -> str:
    """How far a run came."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except FileNotFoundError:
        return "nothing"
    if "progress" not in manifest:
        return "finished" if "savedmodel" in manifest["exports"] else "export"
    done, phase = manifest["progress"]["done"], manifest["progress"]["phase"]
    return phase or (f"after {done[-1]}" if done else "extraction")


def arrives(folder: Path, stage: str, delay: float) -> Callable[[], bool]:
    """Whether a run came to a stage, and so many seconds have passed since."""
    order, since = [*STAGES, "finished"], [0.0]

    def asked() -> bool:
        if not since[0] and order.index(stage_of(folder)) >= order.index(stage):
            since[0] = time.monotonic()
        return bool(since[0]) and time.monotonic() - since[0] >= delay

    return asked


def kill_and_resume(place: Path, data: Path, way: str, stage: str, delay: float) -> dict[str, object]:
    """Kill a training a moment after it came to a stage; resume it; compare it with the undisturbed one."""
    out = place / "run"
    begin = functools.partial(train, data, out, way, ["savedmodel"] if stage == "export" else [])
    killed = run(begin, place / "log", place / "cache", arrives(out, stage, delay))
    came = stage_of(out)
    ended = run(begin, place / "log", place / "cache")
    told: dict[str, object] = {"way": way, "stage": stage, "came to": came, "killed": killed.status}
    if ended.status:
        return told | {"error": ended.said[-2000:]}
    kept = json.loads((out / "manifest.json").read_text())["plan"]["features"]["head"]
    with (out / "history.csv").open() as stream:
        epochs = [f"{row['phase']} {row['epoch']}" for row in csv.DictReader(stream)]
    return told | {
        "same": same(out, undisturbed(place.parent, data, way if kept else "plain")),
        "epochs": epochs,
        "files": sorted(path.name for path in out.iterdir()),
    }


def undisturbed(folder: Path, data: Path, way: str) -> Path:
    """The run of a training that nothing disturbed, which is made at the first call."""
    if not (folder / way).exists():
        (folder / way).mkdir()
        whole = run(functools.partial(train, data, folder / way / "run", way), folder / "log", folder / way)
        if whole.status:
            sys.exit(whole.said)
    return folder / way / "run"


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill and resume, and compare with the same training undisturbed; one JSON object a line."""
    data = colour_folder(folder / "data", per_class=30)
    moments = random.Random(seed)
    for number in range(kills):
        place = folder / str(number)
        place.mkdir()
        stage = list(STAGES)[2 * number % len(STAGES)]  # few kills are spread over the whole training
        way, delay = moments.choice(list(WAYS)), moments.uniform(0, STAGES[stage])
        told = kill_and_resume(place, data, way, stage, delay)
        print(json.dumps(told | {"delay": round(delay, 2)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
