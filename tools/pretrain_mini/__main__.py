"""Train `mini`, the base that tfransfer brings along, on a folder of photos.

    python tools/pretrain_mini PHOTOS --teacher MOBILENET_V2_WEIGHTS --work FOLDER

The first weights are cut out of the teacher's, then the labels and the teacher's features are learned together.
Without `--teacher` the labels alone are learned from. A stopped training goes on from its last whole epoch when it is
started again with the same arguments. Nothing here is TensorFlow's own but a shortcut for CPUs: KERAS_BACKEND=jax or
torch trains the same network on a GPU.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from inherit import inherit
from photos import Crops, read_photos
from teacher import network, targets
from training import Schedule, train


def main() -> None:
    """Read, ask the teacher, train, write the weights."""
    asked = _arguments()
    stages = tuple(tuple(map(int, stage.split(":"))) for stage in asked.stages.split(","))
    work = asked.work
    work.mkdir(parents=True, exist_ok=True)
    wanted = {key: str(value) for key, value in vars(asked).items() if key not in ("work", "kept")}
    told = work / "arguments.json"
    if told.exists() and json.loads(told.read_text(encoding="utf-8")) != wanted:
        raise SystemExit(f"{work} holds a training with other arguments ({told}); name another folder.")
    told.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    kept = asked.kept or work
    kept.mkdir(parents=True, exist_ok=True)
    photos = read_photos(asked.photos, kept, asked.stored)
    crops = Crops(photos, asked.views, asked.seed)
    print(f"{len(photos.labels)} photos of {len(photos.classes)} classes, {photos.held_out.sum()} held out", flush=True)
    taught = targets(crops, asked.teacher, asked.teacher_size, kept, _say) if asked.teacher else []
    schedule = Schedule(
        stages, asked.batch, asked.learning_rate, labels=asked.labels, features=asked.features, seed=asked.seed
    )
    narrowed = asked.teacher and not asked.random_start
    start = (
        (lambda base: inherit(network(asked.teacher, base.input_shape[1]), base)) if narrowed else (lambda base: None)
    )
    student = train(schedule, crops, taught, work, _say, start)
    _write(student.base, work / "mini.npz")
    _say(f"held-out top-1 {student.top1(crops, photos.split(True)):.4f}; weights in {work / 'mini.npz'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pretrain_mini", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder with one folder of photos per class")
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoint and the result")
    parser.add_argument("--kept", type=Path, help="folder of what several trainings share; default: --work")
    parser.add_argument("--teacher", type=Path, help="weights file of MobileNetV2 without its top")
    parser.add_argument("--random-start", action="store_true", help="do not begin with the teacher's best channels")
    parser.add_argument("--teacher-size", type=int, default=160, help="side of the teacher's input in pixels")
    parser.add_argument("--stored", type=int, default=64, help="side in pixels at which photos are kept in memory")
    parser.add_argument("--stages", default="96:12", help="SIDE:EPOCHS, comma-separated")
    parser.add_argument("--views", type=int, default=4, help="crops of each photo; the first one is the whole photo")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--labels", type=float, default=1.0, help="weight of the labels in the loss")
    parser.add_argument("--features", type=float, default=4.0, help="weight of the teacher's features in the loss")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _write(base: keras.Model, file: Path) -> None:
    """The base's weights in float16, in the order of `base.weights`, named so that a mistake in the order shows."""
    arrays = {f"{number:03}/{w.path}": np.asarray(w).astype(np.float16) for number, w in enumerate(base.weights)}
    partial = file.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    partial.replace(file)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
