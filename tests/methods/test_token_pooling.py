"""What a head takes of tokens, by a probe on features of which the answer is known."""

import numpy as np
import pytest

from tfransfer.base.tokens import TokenPooling, selected
from tfransfer.methods.token_pooling import probe_each
from tfransfer.tasks.single_label import CLASSIFICATION

COUNT, WIDTH = 200, 6
RANDOM = np.random.default_rng(0)
LABELS = RANDOM.permutation(np.arange(COUNT) % 4)


def features(of_class, of_mean):
    """Noise, but for one strong signal in each half."""
    found = RANDOM.normal(size=(COUNT, 2 * WIDTH))
    found[:, 0] += 8 * of_class
    found[:, WIDTH] += 8 * of_mean
    return found


NOTHING, LOW, HIGH = np.zeros(COUNT), LABELS % 2, LABELS // 2


@pytest.mark.parametrize(
    ("halves", "classes", "best"),
    [((LOW, NOTHING), 2, "class"), ((NOTHING, LOW), 2, "mean"), ((LOW, HIGH), 4, "both")],
)
def test_the_half_that_knows_is_taken(halves, classes, best):
    targets = np.eye(classes, dtype=np.float32)[LABELS % classes]
    figures = probe_each(CLASSIFICATION, features(*halves), targets, [str(i) for i in range(COUNT)], 0)
    assert max(figures, key=figures.get) == best
    assert figures[best] > 0.9
    assert list(figures) == list(TokenPooling.choices)


def test_of_two_that_do_equally_well_the_mean_is_taken():
    targets = np.eye(2, dtype=np.float32)[LOW]
    figures = probe_each(CLASSIFICATION, features(20 * LOW, 20 * LOW), targets, [str(i) for i in range(COUNT)], 0)
    assert max(figures, key=figures.get) == "mean"


def test_a_layer_selects_as_the_probe_does():
    given = features(LOW, HIGH).astype(np.float32)
    for pooling in TokenPooling.choices:
        layer = TokenPooling(pooling)
        np.testing.assert_array_equal(layer(given), selected(given, pooling))
        assert layer.compute_output_shape(given.shape) == selected(given, pooling).shape
        assert TokenPooling.from_config(layer.get_config()).pooling == pooling
