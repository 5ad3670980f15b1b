"""Devices to train on: one, several in one machine, several machines, or a TPU, through tf.distribute.

The batch size is global, so that the result does not depend on the number of devices; `hyperrules` has the defaults
for it and the learning rates. Each replica takes an equal part of the batch; gradients are summed.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tfransfer.data.share import Share
from tfransfer.errors import SettingError, TransferError

AUTO, CPU, GPU, TPU = "auto", "cpu", "gpu", "tpu"
_FORM = re.compile(r"(cpu|gpu)(?::([0-9]+(?:,[0-9]+)*))?")
# What the other workers raise when one is gone.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)


class WorkerLostError(TransferError, ConnectionError):
    """One of several workers died or cannot be reached."""


@dataclass(frozen=True)
class Devices:
    """The devices to train on.

    Attributes:
        strategy: The tf.distribute strategy in whose scope model and optimizer are built.
        name: Shown to the user and written to the manifest, e.g. "2 GPUs".
        why: Why these were chosen, in a few words.
        worker: This process's number.
        workers: How many processes train together.
    """

    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy, repr=False)
    name: str = "one device"
    why: str = "there is no other"
    worker: int = 0
    workers: int = 1

    @property
    def chief(self) -> bool:
        """Whether this process makes the decisions and writes the run's folder."""
        return self.worker == 0

    @property
    def replicas(self) -> int:
        """Number of devices over all workers."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def scoped(self) -> bool:
        """Whether variables must be created in the strategy's scope: others cannot be trained there."""
        return self.strategy is not tf.distribute.get_strategy() or tf.distribute.has_strategy()

    @property
    def on_tpu(self) -> bool:
        """Whether the device is a TPU."""
        return isinstance(self.strategy, tf.distribute.TPUStrategy)

    @property
    def on_gpu(self) -> bool:
        """Whether the devices are GPUs."""
        if self.strategy is tf.distribute.get_strategy():
            return bool(tf.config.list_physical_devices("GPU"))
        return any("GPU" in device for device in self.strategy.extended.worker_devices)

    @property
    def share(self) -> Share:
        """This process's part of each batch."""
        return Share(self.worker, self.workers, self.replicas // self.workers)

    def agreed(self, value: bytes | None) -> bytes:
        """The chief's value, at every worker; all workers must call this at the same point.

        Args:
            value: The chief's value; the other workers' values are ignored.
        """
        sent = (value if self.chief else None) or b""
        if self.workers == 1:
            return sent
        size = int(self._sum(np.array([len(sent)], np.int32))[0])
        padded = np.frombuffer(sent.ljust(-(-size // 4) * 4, b"\0"), np.int32)
        if not self.chief:
            padded = np.zeros(-(-size // 4), np.int32)
        return self._sum(padded).tobytes()[:size]

    def meet(self) -> None:
        """Wait until every worker has called this."""
        if self.workers > 1:
            self._sum(np.zeros(1, np.int32))

    def any(self, wanted: bool) -> bool:
        """Whether `wanted` is true at any worker; all workers must call this at the same point."""
        return wanted if self.workers == 1 else bool(self._sum(np.array([wanted], np.int32))[0])

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of the workers' int32 arrays of one shape (n,)."""
        return np.asarray(self._summing(tf.constant(values)))

    @cached_property
    def _summing(self) -> Any:
        def once(values: tf.Tensor) -> tf.Tensor:
            """Count each worker once: only its first replica contributes."""
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            contributes = tf.equal(replica % (self.replicas // self.workers), 0)
            return tf.where(contributes, values, tf.zeros_like(values))

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)])
        def summing(values: tf.Tensor) -> tf.Tensor:
            per_replica = self.strategy.run(once, args=(values,))
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)

        return summing


def choose_devices(setting: str = AUTO, environment: Mapping[str, str] | None = None) -> Devices:
    """Open the devices that a training runs on. With several workers, call it before TensorFlow runs anything.

    Args:
        setting: "auto", "cpu", "gpu", some of these such as "gpu:0,1", or "tpu".
        environment: Variables in which TF_CONFIG or SLURM list the workers; None takes the process's own.

    Raises:
        SettingError: There is no such device, or the environment contradicts itself.
    """
    environment = os.environ if environment is None else environment
    if setting == TPU or (setting == AUTO and any(name in environment for name in ("COLAB_TPU_ADDR", "TPU_NAME"))):
        return _tpu(environment)
    form = _FORM.fullmatch(setting)
    if setting != AUTO and form is None:
        raise SettingError(f"devices is {setting!r}; expected auto, cpu, gpu, tpu, or some such as gpu:0,1.")
    resolver, why = _cluster(environment)
    if resolver is not None:
        return _workers(resolver, why)
    return _requested(*form.groups()) if form else _default()


def _default() -> Devices:
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return _mirrored([gpu.name for gpu in gpus], "GPUs", "all of this machine")
    return Devices(name="one GPU" if gpus else "the CPU", why="the only one" if gpus else "there is no GPU")


def _requested(kind: str, numbers: str | None) -> Devices:
    available = tf.config.list_logical_devices(kind.upper())
    requested = [int(number) for number in numbers.split(",")] if numbers else list(range(len(available)))
    if not requested or max(requested) >= len(available) or len(set(requested)) != len(requested):
        setting = kind if numbers is None else f"{kind}:{numbers}"
        count = f"{len(available)} {kind.upper()}{'' if len(available) == 1 else 's'}"
        raise SettingError(f"devices is {setting!r}, but TensorFlow finds {count} here.")
    names = [available[number].name for number in requested]
    if len(names) > 1:
        return _mirrored(names, f"{kind.upper()}s", "as requested")
    strategy = tf.distribute.OneDeviceStrategy(names[0])
    return Devices(strategy, f"one {kind.upper()}", "as requested")


def _mirrored(names: list[str], kind: str, why: str) -> Devices:
    cpu = all("CPU" in name for name in names)
    cross = tf.distribute.ReductionToOneDevice() if cpu else None
    return Devices(tf.distribute.MirroredStrategy(names, cross_device_ops=cross), f"{len(names)} {kind}", why)


def _cluster(environment: Mapping[str, str]) -> tuple[tf.distribute.cluster_resolver.ClusterResolver | None, str]:
    """The cluster that TF_CONFIG or SLURM describe, and which of them; None for a single process."""
    if "TF_CONFIG" in environment:
        count, number = _read_config(environment["TF_CONFIG"])
        if count > 1 and not 0 <= number < count:
            raise SettingError(f"TF_CONFIG says that this is worker {number} of {count}.")
        return (tf.distribute.cluster_resolver.TFConfigClusterResolver() if count > 1 else None), "TF_CONFIG"
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")  # srun sets it; SLURM_NTASKS is set before tasks are started
    if "SLURM_PROCID" in environment and tasks.isdigit() and int(tasks) > 1:
        return tf.distribute.cluster_resolver.SlurmClusterResolver(), "SLURM"
    return None, ""


def _read_config(text: str) -> tuple[int, int]:
    """The number of workers in TF_CONFIG, and which of them this is."""
    try:
        config = json.loads(text)
        chiefs, workers = config["cluster"].get("chief", []), config["cluster"].get("worker", [])
        number = int(config["task"]["index"]) + (len(chiefs) if config["task"]["type"] == "worker" else 0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingError(f"TF_CONFIG cannot be read: {type(error).__name__}: {error}.") from error
    return len(chiefs) + len(workers), number


def _workers(resolver: tf.distribute.cluster_resolver.ClusterResolver, why: str) -> Devices:
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError as error:
        raise SettingError(
            "several workers must be opened before TensorFlow runs anything: call choose_devices first, or use the "
            f"command ({error})."
        ) from error
    cluster = resolver.cluster_spec().as_dict()
    chiefs, workers = len(cluster.get("chief", [])), len(cluster.get("worker", []))
    number = int(resolver.task_id or 0) + (chiefs if resolver.task_type == "worker" else 0)
    return Devices(strategy, f"{chiefs + workers} workers", f"listed in {why}", number, chiefs + workers)


def _tpu(environment: Mapping[str, str]) -> Devices:
    """The TPU in the environment variables, else this machine's own, which Colab's runtimes have."""
    address = environment.get("COLAB_TPU_ADDR")
    name = environment.get("TPU_NAME") or (f"grpc://{address}" if address else "local")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(name)
        strategy = tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(" used by ")[0]
        raise SettingError(
            f"no TPU can be reached: {reason.rstrip('.')}. On a machine with one, install TensorFlow's build for TPUs, "
            "the package tensorflow-tpu."
        ) from error
    return Devices(strategy, f"a TPU of {strategy.num_replicas_in_sync} cores", "it is available")
