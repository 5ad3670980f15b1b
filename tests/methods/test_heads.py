"""Ways to make a head: chosen by name, each one file."""

import typing

import numpy as np
import pytest
from small_world import session

from tfransfer.display.progress import quiet, silent
from tfransfer.methods.heads import registry
from tfransfer.methods.heads.linear_probe import LinearProbe
from tfransfer.methods.heads.method import HeadData, HeadMethod, SolvedHead
from tfransfer.recipe import HeadPhase
from tfransfer.training.phases import train_phases


def blobs(count, seed, classes=3, width=4):
    """Examples of each class about a corner of its own."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    features = 4 * np.eye(classes, width)[labels] + random.normal(size=(count, width))
    return HeadData(features.astype(np.float32), np.eye(classes, dtype=np.float32)[labels], np.ones(count, np.float32))


def accuracy(head, data):
    return np.mean((data.features @ head.kernel + head.bias).argmax(axis=1) == data.targets.argmax(axis=1))


def test_the_recipe_names_every_method():
    names = typing.get_args(typing.get_type_hints(HeadPhase)["method"])
    assert set(names) == set(registry.METHODS)


def test_a_linear_probe_separates_what_is_separable():
    head = LinearProbe().solve(blobs(120, 1), blobs(60, 2))
    assert (head.kernel.shape, head.bias.shape) == ((4, 3), (3,))
    assert head.kernel.dtype == head.bias.dtype == np.float32
    assert accuracy(head, blobs(60, 3)) > 0.8
    assert head.facts["inverse_penalty"] in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def test_weights_count_in_a_linear_probe():
    """Examples without weight may as well be missing."""
    data, wrong = blobs(60, 1), blobs(60, 4)
    both = HeadData(
        np.concatenate([data.features, wrong.features]),
        np.concatenate([data.targets, np.roll(wrong.targets, 1, axis=1)]),
        np.repeat(np.float32([1, 0]), 60),
    )
    assert accuracy(LinearProbe().solve(both, blobs(60, 2)), blobs(60, 3)) > 0.8


def test_a_class_that_training_lacks_is_not_predicted():
    data = blobs(120, 1)
    two = HeadData(*(part[data.targets[:, 2] == 0] for part in (data.features, data.targets, data.weights)))
    head = LinearProbe().solve(two, blobs(60, 2))
    predicted = (blobs(60, 3).features @ head.kernel + head.bias).argmax(axis=1)
    assert not (predicted == 2).any()


class NearestMean(HeadMethod):
    """Logits from the distance to each class's mean: a further method is one class."""

    name = "linear-probe"

    def in_words(self, epochs):
        return "the nearest mean"

    def solve(self, training, validation):
        means = training.targets.T @ training.features / training.targets.sum(axis=0)[:, np.newaxis]
        return SolvedHead(means.T, -0.5 * (means**2).sum(axis=1), {"shortest": 1.0})


@pytest.mark.usefixtures("fresh_cache")
def test_the_registry_decides_what_makes_the_head(dataset, monkeypatch):
    monkeypatch.setitem(registry.METHODS, "linear-probe", NearestMean())
    world = session(dataset, head__method="linear-probe", fine_tune__epochs=0)
    world.decide_caching(silent, always=True)
    (result,) = train_phases(world, lambda phase: (), quiet, silent).results
    expected = NearestMean().solve(*world.head_data())
    np.testing.assert_array_equal(world.whole.model.get_layer("logits").kernel, expected.kernel)
    (row,) = result.history
    assert (row["epoch"], row["shortest"]) == (1, 1.0)
    assert result.validation["loss"] == row["val_loss"]
