"""Which epoch is kept, and when a phase stops early."""

import keras
import numpy as np
import pytest

from tfransfer.training.callbacks import KeepBest


def told(epochs, **options):
    """A KeepBest that was told of epochs, pairs of validation top-1 and loss; the weight is the epoch's number."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    best = KeepBest(**({"patience": 0} | options))
    best.set_model(model)
    for epoch, (top1, loss) in enumerate(epochs):
        model.set_weights([np.float32([[epoch]])])
        best.on_epoch_end(epoch, {"val_top1": top1, "val_loss": loss})
    best.on_train_end()
    assert model.get_weights()[0] == best.kept_epoch
    return best


EPOCHS = [(0.8, 0.5), (0.9, 0.7), (0.9, 0.6), (0.86, 0.1), (0.84, 0.1)]


def test_best_epoch_is_kept_where_the_metric_is_no_share():
    assert told(EPOCHS).kept_epoch == 2, "an equal one with a lower loss"


@pytest.mark.parametrize(("held_out", "kept"), [(10**6, 2), (20, 4), (50, 3), (0, 2)])
def test_last_epoch_within_one_standard_error_of_the_best_is_kept(held_out, kept):
    """0.9 of 20 is known to 0.067, of 50 to 0.042, of a million to 0.0003."""
    best = told(EPOCHS, held_out=held_out)
    assert (best.kept_epoch, best.best_epoch) == (kept, 2)
    assert best.kept_logs["val_top1"] == EPOCHS[kept][0]


def test_better_epoch_leaves_behind_what_was_within_the_error_of_a_worse_one():
    assert told([(0.5, 1.0), (0.45, 1.0), (0.9, 0.5), (0.6, 0.4)], held_out=100).kept_epoch == 2


def test_patience_counts_from_the_best_epoch_not_from_the_kept_one():
    best = told(EPOCHS, patience=2, held_out=30)
    assert best.model.stop_training
    assert not getattr(told(EPOCHS[:4], patience=2, held_out=30).model, "stop_training", False)


def test_state_is_restored():
    best = told(EPOCHS[:4], held_out=30)
    again = KeepBest(0, held_out=30)
    again.set_model(best.model)
    again.restore(best.state())
    for one in (best, again):
        one.on_epoch_end(4, {"val_top1": 0.8, "val_loss": 0.1})
        assert (one.kept_epoch, one.best_epoch) == (3, 2)
