"""Make a plan from a recipe, the data and the base: resolve every setting before the first step."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfransfer import hyperrules
from tfransfer.base.blocks import ALL, NONE, top_blocks
from tfransfer.base.build import BuiltBase
from tfransfer.errors import SettingError
from tfransfer.recipe import Recipe
from tfransfer.system.interface import option
from tfransfer.training.devices import Devices
from tfransfer.training.plan import Plan

_TENSOR_CORES = (7, 0)


def make_plan(
    recipe: Recipe, base: BuiltBase, training_images: int, precision: str, devices: Devices | None = None
) -> Plan:
    """Decide what the recipe leaves open.

    Args:
        recipe: The user's settings.
        base: The built base.
        training_images: Size of the training split.
        precision: The dtype policy the base was built with.
        devices: Devices to train on; None is one device.

    Raises:
        SettingError: The base has no such block, or the devices cannot share a batch equally.
    """
    devices = devices or Devices()
    batch = _shared_batch(recipe.batch_size, training_images, devices)
    head_epochs = recipe.head.epochs or hyperrules.head_epochs(training_images)
    setting = recipe.fine_tune.unfreeze
    _require_trainable(recipe, base)
    unfreeze = default_unfreeze(base, training_images) if setting is None else setting
    epochs, patience = recipe.fine_tune.epochs, recipe.fine_tune.patience
    fine_tune_epochs = hyperrules.fine_tune_epochs(training_images, base.pretraining) if epochs is None else epochs
    if patience is None:
        patience = hyperrules.fine_tune_patience(fine_tune_epochs, base.pretraining)
    if unfreeze in (NONE, 0):
        fine_tune_epochs = 0
    return Plan(
        base=base.name,
        weights=base.weights,
        image_size=base.image_size,
        batch_size=batch,
        head_epochs=head_epochs,
        fine_tune_epochs=fine_tune_epochs,
        fine_tune_learning_rate=recipe.fine_tune.learning_rate
        or hyperrules.fine_tune_learning_rate(batch, base.pretraining),
        fine_tune_patience=patience,
        unfreeze=unfreeze if fine_tune_epochs else NONE,
        unfrozen=_names(base, unfreeze) if fine_tune_epochs else (),
        precision=precision,
        steps_per_call=steps_per_call(),
        instead_of=base.instead_of,
        head_learning_rate=recipe.head.learning_rate or hyperrules.head_learning_rate(batch),
        devices=devices.name,
        replicas=devices.replicas,
        pooling=recipe.pooling if base.both_tokens else "",
    )


def _shared_batch(requested: int | None, images: int, devices: Devices) -> int:
    """The global batch size, a multiple of the number of devices."""
    if images < devices.replicas:
        raise SettingError(
            f"{images} training examples are too few for {devices.name}: use fewer with {option('devices')}."
        )
    if requested and requested % devices.replicas:
        lower = requested - requested % devices.replicas
        fitting = [str(size) for size in (lower, lower + devices.replicas) if size]
        raise SettingError(
            f"batch_size is {requested}, which {devices.replicas} devices cannot share equally: use "
            f"{' or '.join(fitting)}."
        )
    batch = min(requested or hyperrules.batch_size(images, devices.replicas), images)
    return batch - batch % devices.replicas


def _require_trainable(recipe: Recipe, base: BuiltBase) -> None:
    requested = recipe.fine_tune.epochs or recipe.fine_tune.unfreeze not in (None, NONE, 0)
    if requested and base.module is not None and not base.module.can_train:
        raise SettingError(f"{base.name} cannot be trained: {base.module.why_frozen} Use 0 fine-tune epochs.")


def _names(base: BuiltBase, unfreeze: int | str) -> tuple[str, ...]:
    if unfreeze == ALL:
        return ("stem", *(block.name for block in base.blocks)) if base.blocks else ("all of it",)
    if base.module is not None and isinstance(unfreeze, str) and unfreeze not in {b.name for b in base.blocks}:
        return (f"what matches {unfreeze}",)
    return tuple(block.name for block in top_blocks(base.blocks, unfreeze))


def default_unfreeze(base: BuiltBase, training_images: int) -> int | str:
    """The default of what the fine-tune phase unfreezes: nothing in a module that cannot be trained."""
    if base.module is not None and not base.module.can_train:
        return NONE
    if not base.blocks:
        return ALL
    return hyperrules.unfrozen_blocks(len(base.blocks), base.pretraining, training_images)


def steps_per_call() -> int:
    """Steps per call: on a GPU enough to hide the call's overhead, on a CPU few enough for a live progress bar."""
    return 16 if tf.config.list_physical_devices("GPU") else 4


def choose_precision(setting: str, devices: Devices | None = None) -> str:
    """The dtype policy: the user's; else mixed precision on TPUs and if all GPUs have tensor cores; else float32."""
    if setting != "auto":
        return setting
    if devices and not devices.on_gpu:
        return "mixed_bfloat16" if devices.on_tpu else "float32"
    gpus: Sequence[Any] = tf.config.list_physical_devices("GPU")
    capabilities = [tf.config.experimental.get_device_details(g).get("compute_capability", (0, 0)) for g in gpus]
    return "mixed_float16" if gpus and all(tuple(c) >= _TENSOR_CORES for c in capabilities) else "float32"


def own_precision(model: Any, recipe: Recipe) -> str:
    """The dtype policy of the user's own model, which cannot be changed.

    Raises:
        SettingError: The recipe has another one.
    """
    policy = str(model.dtype_policy.name)
    if recipe.precision not in ("auto", policy):
        raise SettingError(
            f"precision is {recipe.precision!r}, but the base was built in {policy!r}: rebuild it, or use 'auto'."
        )
    return policy


def require_sense(recipe: Recipe) -> None:
    """Refuse settings that contradict each other.

    Raises:
        SettingError: Two settings contradict each other.
    """
    if recipe.fine_tune.unfreeze in (NONE, 0) and recipe.fine_tune.epochs:
        raise SettingError(
            f"fine_tune.unfreeze is {recipe.fine_tune.unfreeze!r}, so nothing would be trained in the "
            f"{recipe.fine_tune.epochs} requested fine-tune epochs: unfreeze some blocks, or use 0 epochs."
        )
