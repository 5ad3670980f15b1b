"""Learning rates that are tried all at once, on kept features."""

import itertools

import keras
import numpy as np
import pytest
from small_world import session as session_of

from tfransfer.display.progress import quiet, silent
from tfransfer.errors import SettingError
from tfransfer.search import rate_finder
from tfransfer.search.rate_finder import Tried, lowest, try_rates
from tfransfer.training import optimizers
from tfransfer.training.model import freeze_base
from tfransfer.training.phase import HEAD
from tfransfer.training.phases import run_phase


def extracted(dataset, **settings):
    made = session_of(dataset, **({"fine_tune__epochs": 0, "fine_tune__unfreeze": "none"} | settings))
    made.decide_caching(silent, always=True)
    made.caching.extract(made.recipe, quiet, silent)
    return made


def head_phase(session, rate: float):
    """What the head phase itself reaches at a rate."""

    def optimizer(steps):
        return optimizers.head_optimizer(session.recipe.head, rate)

    return run_phase(session, session.phase(HEAD), freeze_base(session.whole), optimizer=optimizer)


@pytest.mark.parametrize("settings", [{}, {"head__mixup": 0.4, "head__dropout": 0.5, "head__patience": 1}])
def test_each_rate_reaches_what_the_head_phase_would_reach_with_it(dataset, settings):
    rates = (1e-4, 3e-2, 0.5)
    found = try_rates(extracted(dataset, head__epochs=4, **settings), rates, quiet)
    for rate, one in zip(rates, found, strict=True):
        result = head_phase(extracted(dataset, head__epochs=4, **settings), rate)
        assert one.rate == rate
        assert one.epoch == result.kept_epoch
        assert one.score == pytest.approx(result.validation["top1"], abs=1e-6)
        assert one.loss == pytest.approx(result.validation["loss"], rel=1e-3)


def test_the_best_of_rates_that_stand_still_and_explode_is_the_one_between(dataset):
    found = try_rates(extracted(dataset, head__epochs=6), (1e-8, 3e-2, 300.0), quiet)
    assert lowest(found).rate == 3e-2


def test_a_single_epoch_wants_a_high_rate(dataset):
    assert lowest(try_rates(extracted(dataset, head__epochs=1), (1e-4, 1e-3, 1e-1), quiet)).rate == 1e-1


def test_the_model_is_left_as_it_was(dataset):
    session = extracted(dataset)
    before = [np.array(w) for w in session.whole.model.get_weights()]
    try_rates(session, (1e-2, 1e-1), quiet)
    for was, now in zip(before, session.whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_without_kept_features_it_says_why_there_are_none(dataset):
    session = session_of(dataset, features__cache=False)
    session.decide_caching(silent)
    with pytest.raises(SettingError, match=r"none are cached: features\.cache is off"):
        try_rates(session, (1e-3, 1e-2), quiet)


def test_the_lowest_is_by_loss_and_not_by_score():
    assert lowest([Tried(1e-3, 0.5, 0.8, 3), Tried(1e-2, 0.6, 0.9, 3)]).rate == 1e-3


def test_columns_learn_as_if_each_had_an_adam_of_its_own():
    random = np.random.default_rng(0)
    start, rates = random.normal(size=(3, 2)).astype(np.float32), (1e-3, 0.2)
    gradients = random.normal(size=(5, 3, 2)).astype(np.float32)
    together = keras.Variable(start)
    apart = [keras.Variable(start[:, i]) for i in range(2)]
    wide, narrow = optimizers.ColumnwiseAdam(np.array(rates)), [keras.optimizers.Adam(rate) for rate in rates]
    for gradient in gradients:
        wide.apply([gradient], [together])
        for i, optimizer in enumerate(narrow):
            optimizer.apply([gradient[:, i]], [apart[i]])
    expected = np.stack([keras.ops.convert_to_numpy(v) for v in apart], axis=1)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(together), expected, rtol=1e-5)


def test_rates_that_are_tried_unasked_ascend_three_to_a_decade():
    rates = rate_finder.RATES
    assert list(rates) == sorted(rates)
    assert max(b / a for a, b in itertools.pairwise(rates)) < 2.3
    assert (rates[0], rates[-1]) == (1e-5, 0.1)
