"""Held-out examples go through the engine of the frozen part, with the same outputs as the whole model in Keras."""

import numpy as np
import pytest
from small_world import colour_folder

from tfransfer.data.loading import load_data
from tfransfer.display.progress import quiet, silent
from tfransfer.evaluation.predictions import predict_examples
from tfransfer.recipe import Recipe
from tfransfer.runs.split_model import split_inference
from tfransfer.training.opening import open_session
from tfransfer.training.phase import FINE_TUNE, HEAD

SETTINGS = {"base": "mini", "image_size": 32, "fine_tune.epochs": 1, "fine_tune.unfreeze": 4, "head.epochs": 1}


def opened(dataset, engine):
    """A session whose features are extracted, with weights in the head and the top blocks that training might leave."""
    session = open_session(dataset, Recipe().with_settings(SETTINGS | {"features.engine": engine}), silent)
    session.decide_caching(silent, always=True)
    session.caching.extract(session.recipe, quiet, silent)
    random = np.random.default_rng(0)
    top = {id(weight) for layer in session.base.blocks[-1].layers for weight in layer.weights}
    head = {id(weight) for weight in session.whole.model.layers[-2].weights}
    for weight in session.whole.model.weights:
        if id(weight) in top | head and len(weight.shape) > 1:  # a variance must stay above 0
            weight.assign(weight + 0.05 * random.normal(size=weight.shape))
    return session


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_data(colour_folder(tmp_path_factory.mktemp("colours") / "data", per_class=20, size=40))


def whole_and_split(session, infer):
    examples, size = session.dataset.split("test"), session.plan.image_size
    keep = np.arange(len(examples))
    return [
        predict_examples(session.whole.model, session.dataset, examples, size, keep=keep, infer=way)
        for way in (None, infer)
    ]


def test_the_outputs_and_the_features_are_those_of_the_whole_model(dataset, fresh_cache):
    session = opened(dataset, "litert")
    infer = split_inference(session, FINE_TUNE, silent)
    assert infer is not None
    whole, split = whole_and_split(session, infer)
    np.testing.assert_allclose(split.outputs, whole.outputs, atol=1e-4)
    np.testing.assert_allclose(split.features, whole.features, atol=1e-2 * np.abs(whole.features).max())
    np.testing.assert_array_equal(split.positions, whole.positions)


def test_after_the_head_phase_only_the_head_runs_in_keras(dataset, fresh_cache):
    session = open_session(dataset, Recipe().with_settings(SETTINGS | {"features.engine": "litert"}), silent)
    session.decide_caching(silent, always=True)
    session.caching.extract(session.recipe, quiet, silent)
    whole, split = whole_and_split(session, split_inference(session, HEAD, silent))
    np.testing.assert_allclose(split.outputs, whole.outputs, atol=1e-4)


def test_what_is_trainable_stays_as_it_was(dataset, fresh_cache):
    session = opened(dataset, "litert")
    before = [layer.trainable for layer in session.whole.model._flatten_layers()]
    split_inference(session, FINE_TUNE, silent)
    assert [layer.trainable for layer in session.whole.model._flatten_layers()] == before


def test_an_engine_that_is_off_is_named_and_not_used(dataset, fresh_cache, monkeypatch):
    session, said = opened(dataset, "litert"), []
    honest = session.caching.engine.run
    monkeypatch.setattr(session.caching.engine, "run", lambda pixels: [2 * values for values in honest(pixels)])
    assert split_inference(session, FINE_TUNE, said.append) is None
    assert "the litert engine is off by" in said[0]


def test_where_keras_is_the_engine_the_whole_model_runs(dataset, fresh_cache):
    assert split_inference(opened(dataset, "keras"), FINE_TUNE, silent) is None


def test_an_engine_is_not_opened_on_blocks_that_were_trained(dataset, fresh_cache):
    opened(dataset, "auto").caching.source.engine_memory().update(engine="litert")
    session, said = opened(dataset, "litert"), []
    session.caching.engine = None  # as where every feature was cached before
    assert split_inference(session, FINE_TUNE, said.append) is None
    assert said == []
    assert session.caching.source.engine_memory().values["engine"] == "litert"
