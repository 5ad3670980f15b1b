"""Optimizers and schedules of the two phases."""

from typing import Any

import keras

from tfransfer import hyperrules


def head_optimizer(learning_rate: float) -> keras.optimizers.Optimizer:
    """Adam with a fixed learning rate."""
    return keras.optimizers.Adam(learning_rate)


def fine_tune_optimizer(
    learning_rate: float, steps: int, warmup: float, weight_decay: float, clip_norm: float, model: keras.Model
) -> keras.optimizers.Optimizer:
    """AdamW with warm-up and cosine decay, weight decay on kernels only, gradients clipped by their global norm.

    Args:
        learning_rate: At the end of the warm-up.
        steps: Of the whole phase; the rate reaches 0 at its end.
        warmup: Fraction of the steps in which the rate rises from 0.
        weight_decay: 0 for none.
        clip_norm: 0 for none.
        model: Whose biases and norms are left out of the weight decay.
    """
    rising = hyperrules.warmup_steps(steps, warmup)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if rising else learning_rate,
        decay_steps=max(1, steps - rising),
        warmup_target=learning_rate if rising else None,
        warmup_steps=rising,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay, global_clipnorm=clip_norm or None)
    if weight_decay:
        optimizer.exclude_from_weight_decay(var_list=not_decayed(model))
    return optimizer


def not_decayed(model: keras.Model) -> list[Any]:
    """Trainable variables of one dimension or none: biases, scales and shifts of norms."""
    return [variable for variable in model.trainable_variables if len(variable.shape) < 2]


def scaled(optimizer: keras.optimizers.Optimizer, dtype_policy: str) -> keras.optimizers.Optimizer:
    """The optimizer with dynamic loss scaling where float16 needs it."""
    if dtype_policy == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
