"""Trains the same phase on one device, on two of one machine and on several workers, each in forks of one process.

The parent imports TensorFlow and runs nothing, so that a fork can open what devices it wants.
"""

import json
import os
import sys
import traceback
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfransfer.data.loading import load_data
from tfransfer.display.progress import quiet, silent
from tfransfer.recipe import Recipe
from tfransfer.runs import workers
from tfransfer.training import optimizers
from tfransfer.training.callbacks import values_of
from tfransfer.training.devices import choose_devices
from tfransfer.training.model import layer_shares, unfreeze
from tfransfer.training.opening import open_session
from tfransfer.training.phases import run_phase

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import toy_objective
from launch_workers import configs

# Everything is on that must not depend on the devices; dropout and mixup do, by design.
SETTINGS = {
    "base": "mini", "image_size": 48, "batch_size": 12, "head.dropout": 0.0, "fine_tune.mixup": 0.0,
    "fine_tune.epochs": 3, "fine_tune.unfreeze": 3, "fine_tune.patience": 0, "class_weights": "balanced",
    "features.engine": "keras", "features.views": 2, "label_smoothing": 0.1,
}  # fmt: skip


def train(data: Path, out: Path, job: dict) -> None:
    """One worker's part of a job; the chief writes weights and history."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * job.get("logical", 1))
    devices = choose_devices(job.get("devices", "auto"))
    recipe = Recipe().with_settings(SETTINGS | job.get("settings", {}))
    world = open_session(load_data(data), recipe, silent, devices=devices)
    workers.decide_together(world, devices, silent, None)
    parts = unfreeze(world.whole, 3)
    world.caching.extract(recipe, quiet, silent, devices)

    def optimizer(steps: int) -> keras.optimizers.Optimizer:
        if job.get("adamw"):
            shares = layer_shares(world.whole, recipe.fine_tune.layer_decay)
            return optimizers.fine_tune_optimizer(recipe.fine_tune, 1e-3, steps, world.whole.model, shares)
        return keras.optimizers.SGD(0.05, global_clipnorm=0.5)  # most gradients here are longer

    objectives = toy_objective.use(world) if job.get("objective") else []
    done = run_phase(world, world.phase("fine_tune"), parts, optimizer=optimizer)
    if devices.chief:
        own = [w for objective in objectives for w in values_of(objective.variables)]
        weights = {str(n): w for n, w in enumerate([*world.whole.model.get_weights(), *own])}
        np.savez(out, history=json.dumps(done.history), replicas=devices.replicas, **weights)
    devices.meet()


def fork(data: Path, folder: Path, job: dict) -> list[int]:
    """Start a job's workers; gives their process numbers."""
    count, started = job.get("workers", 1), []
    for number, config in enumerate(configs(count)):
        child = os.fork()
        if child:
            started.append(child)
            continue
        code = 1
        try:
            stream = os.open(folder / f"{job['name']}-{number}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            os.environ["TFRANSFER_CACHE"] = str(folder / f"cache-{job['name']}-{number if job.get('apart') else 0}")
            if count > 1:
                os.environ["TF_CONFIG"] = config
            own = Path(job["data"][number]) if "data" in job else data
            train(own, folder / f"{job['name']}.npz", job)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return started


if __name__ == "__main__":
    for one in json.loads(sys.argv[3]):
        for worker in fork(Path(sys.argv[1]), Path(sys.argv[2]), one):
            _, status = os.waitpid(worker, 0)
            if status:
                logs = Path(sys.argv[2]).glob(f"{one['name']}-*.log")
                sys.exit(
                    f"{one['name']} failed:\n" + "\n".join(log.read_text(errors="replace")[-3000:] for log in logs)
                )
