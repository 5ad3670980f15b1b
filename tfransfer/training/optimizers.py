"""Optimizers and learning-rate schedules of the two phases."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from tfransfer import hyperrules
from tfransfer.recipe import FineTunePhase, HeadPhase
from tfransfer.training.model import TransferModel, layer_shares
from tfransfer.training.phase import HEAD, Phase


def phase_optimizer(phase: Phase, steps: int, whole: TransferModel) -> keras.optimizers.Optimizer:
    """The optimizer of a phase with `steps` steps; call it after freezing and unfreezing layers."""
    if phase.name == HEAD:
        return head_optimizer(phase.recipe.head, phase.plan.head_learning_rate)
    settings = phase.recipe.fine_tune
    shares = None if settings.layer_decay == 1 else layer_shares(whole, settings.layer_decay)
    return fine_tune_optimizer(settings, phase.plan.fine_tune_learning_rate, steps, whole.model, shares)


def head_optimizer(settings: HeadPhase, learning_rate: float) -> keras.optimizers.Optimizer:
    """Adam with a fixed learning rate.

    Args:
        settings: The whole head section of the recipe, so that a new setting is read here alone.
        learning_rate: From the plan, where a value that the recipe leaves open is decided.
    """
    return keras.optimizers.Adam(learning_rate)


def fine_tune_optimizer(
    settings: FineTunePhase,
    learning_rate: float,
    steps: int,
    model: keras.Model,
    shares: Sequence[float] | None = None,
) -> keras.optimizers.Optimizer:
    """AdamW with warm-up, then cosine decay or a constant rate; decays kernels only, clips by the global norm.

    Args:
        settings: The whole fine-tune section of the recipe, so that a new setting is read here alone.
        learning_rate: Rate at the end of the warm-up, from the plan.
        steps: Number of steps of the whole phase; the cosine reaches 0 at its end.
        model: The model; its biases and norms are excluded from weight decay.
        shares: Factors of the learning rate, one per trainable variable of the model; None for the same rate.
    """
    schedule = _schedule(settings, learning_rate, steps)
    kind = keras.optimizers.AdamW if shares is None else partial(LayerwiseAdamW, shares)
    optimizer = kind(schedule, weight_decay=settings.weight_decay, global_clipnorm=settings.clip_norm or None)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_list=not_decayed(model))
    return optimizer


def _schedule(settings: FineTunePhase, peak: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = hyperrules.warmup_steps(steps, settings.warmup)
    end = 1.0 if settings.schedule == "constant" else 0.0
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else peak,
        decay_steps=max(1, steps - warmup),
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
        alpha=end,
    )


def not_decayed(model: keras.Model) -> list[Any]:
    """Trainable variables of at most one dimension: biases, and the scales and shifts of norms."""
    return [variable for variable in model.trainable_variables if len(variable.shape) < 2]


def scaled(optimizer: keras.optimizers.Optimizer, dtype_policy: str) -> keras.optimizers.Optimizer:
    """The optimizer, with dynamic loss scaling under mixed float16."""
    if dtype_policy == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW with a factor of the learning rate for each variable, which scales its weight decay, too.

    Source: J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018
    (discriminative fine-tuning).

    Args:
        shares: Factors for the first variables that the optimizer is built with, in order; 1 for any others.
        learning_rate: As in AdamW.
        **options: As in AdamW.
    """

    def __init__(self, shares: Sequence[float], learning_rate: Any, **options: Any) -> None:
        super().__init__(learning_rate, **options)
        self._shares = tuple(shares)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable at its own rate."""
        super().update_step(gradient, variable, learning_rate * self._share(variable))

    def _share(self, variable: Any) -> float:
        index = self._get_variable_index(variable)
        return self._shares[index] if index < len(self._shares) else 1.0

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        decay = getattr(self, "weight_decay")  # noqa: B009  Keras gives it no type
        for share in sorted({1.0, *self._shares}):
            group = [v for v in variables if self._share(v) == share]
            setattr(self, "weight_decay", decay * share if decay else decay)  # noqa: B010
            super()._apply_weight_decay(group)
        setattr(self, "weight_decay", decay)  # noqa: B010


class ColumnwiseAdam(keras.optimizers.Adam):
    """Adam with a learning rate for each column (last axis) of every variable.

    Adam's update is elementwise, so the columns train independently.

    Args:
        rates: float, shape (columns,).
        **options: As in Adam.
    """

    def __init__(self, rates: Any, **options: Any) -> None:
        super().__init__(1.0, **options)
        self._rates = rates

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable at the rates of its columns."""
        super().update_step(gradient, variable, learning_rate * keras.ops.cast(self._rates, variable.dtype))


def gradients_are_summed(optimizer: keras.optimizers.Optimizer) -> None:
    """Tell an optimizer that its gradients are already summed over all replicas.

    Keras would clip each replica's gradients before summing, which gives other results than one device.
    """
    for part in (optimizer, getattr(optimizer, "inner_optimizer", None)):
        if part is not None:
            part._all_reduce_sum_gradients = list
