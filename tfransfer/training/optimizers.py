"""Optimizers and schedules of the two phases."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from tfransfer import hyperrules
from tfransfer.recipe import FineTunePhase, HeadPhase
from tfransfer.training.model import TransferModel, layer_shares
from tfransfer.training.phase import HEAD, Phase


def phase_optimizer(phase: Phase, steps: int, whole: TransferModel) -> keras.optimizers.Optimizer:
    """The optimizer of a phase of so many steps, whose layers are already frozen and unfrozen."""
    if phase.name == HEAD:
        return head_optimizer(phase.recipe.head, phase.plan.head_learning_rate)
    settings = phase.recipe.fine_tune
    shares = None if settings.layer_decay == 1 else layer_shares(whole, settings.layer_decay)
    return fine_tune_optimizer(settings, phase.plan.fine_tune_learning_rate, steps, whole.model, shares)


def head_optimizer(settings: HeadPhase, learning_rate: float) -> keras.optimizers.Optimizer:
    """Adam with a fixed learning rate.

    Args:
        settings: The head phase's section of the recipe, whole, so that a new setting is read here alone.
        learning_rate: The plan's, which is decided where the section leaves it open.
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
        settings: The fine-tune phase's section of the recipe, whole, so that a new setting is read here alone.
        learning_rate: At the end of the warm-up: the plan's, which is decided where the section leaves it open.
        steps: Of the whole phase; a cosine reaches 0 at its end.
        model: Whose biases and norms are left out of the weight decay.
        shares: Of the learning rate, one for each of the model's trainable variables; None gives all the same.
    """
    schedule = _schedule(settings, learning_rate, steps)
    kind = keras.optimizers.AdamW if shares is None else partial(LayerwiseAdamW, shares)
    optimizer = kind(schedule, weight_decay=settings.weight_decay, global_clipnorm=settings.clip_norm or None)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_list=not_decayed(model))
    return optimizer


def _schedule(settings: FineTunePhase, peak: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    rising = hyperrules.warmup_steps(steps, settings.warmup)
    ends_at = 1.0 if settings.schedule == "constant" else 0.0
    return keras.optimizers.schedules.CosineDecay(
        0.0 if rising else peak,
        decay_steps=max(1, steps - rising),
        warmup_target=peak if rising else None,
        warmup_steps=rising,
        alpha=ends_at,
    )


def not_decayed(model: keras.Model) -> list[Any]:
    """Trainable variables of one dimension or none: biases, scales and shifts of norms."""
    return [variable for variable in model.trainable_variables if len(variable.shape) < 2]


def scaled(optimizer: keras.optimizers.Optimizer, dtype_policy: str) -> keras.optimizers.Optimizer:
    """The optimizer with dynamic loss scaling where float16 needs it."""
    if dtype_policy == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW in which each variable has its own share of the learning rate, in its weight decay too.

    Source: J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018
    (discriminative fine-tuning).

    Args:
        shares: For the first variables that the optimizer is built with, in that order; further ones learn at the
            whole rate.
        learning_rate: As for AdamW, and so are the options.
        **options: Of AdamW.
    """

    def __init__(self, shares: Sequence[float], learning_rate: Any, **options: Any) -> None:
        super().__init__(learning_rate, **options)
        self._shares = tuple(shares)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's update, at its own rate."""
        super().update_step(gradient, variable, learning_rate * self._share(variable))

    def _share(self, variable: Any) -> float:
        place = self._get_variable_index(variable)
        return self._shares[place] if place < len(self._shares) else 1.0

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        whole = getattr(self, "weight_decay")  # noqa: B009  Keras gives it no type
        for share in sorted({1.0, *self._shares}):
            own = [v for v in variables if self._share(v) == share]
            setattr(self, "weight_decay", whole * share if whole else whole)  # noqa: B010
            super()._apply_weight_decay(own)
        setattr(self, "weight_decay", whole)  # noqa: B010


class ColumnwiseAdam(keras.optimizers.Adam):
    """Adam in which each column of every variable, its last axis, has its own learning rate.

    Adam computes each number's update from that number's gradients alone, so the columns learn as if apart.

    Args:
        rates: float, shape (columns,).
        **options: Of Adam.
    """

    def __init__(self, rates: Any, **options: Any) -> None:
        super().__init__(1.0, **options)
        self._rates = rates

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's update, at the rate of each column."""
        super().update_step(gradient, variable, learning_rate * keras.ops.cast(self._rates, variable.dtype))


def gradients_are_summed(optimizer: keras.optimizers.Optimizer) -> None:
    """Tell an optimizer that its gradients are those of all replicas already.

    Keras would sum them after clipping each replica's by itself, which is another training than one device's.
    """
    for part in (optimizer, getattr(optimizer, "inner_optimizer", None)):
        if part is not None:
            part._all_reduce_sum_gradients = list
