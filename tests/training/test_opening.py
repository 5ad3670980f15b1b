"""What is said of a base as a session is opened."""

import keras
import pytest
from small_world import SIZE, recipe, tiny_model

from tfransfer.training.opening import open_session

LAYERS = keras.layers


def with_top(*top):
    body = tiny_model()
    return keras.Sequential([body, LAYERS.GlobalAveragePooling2D(), *top])


@pytest.mark.parametrize(
    ("top", "warned"),
    [
        ([LAYERS.Dense(10, activation="softmax")], True),
        ([LAYERS.Dense(10), LAYERS.Softmax()], True),
        ([LAYERS.Dense(10), LAYERS.Activation("softmax")], True),
        ([LAYERS.Dense(10, activation="relu")], False),
        ([], False),
    ],
)
def test_a_base_with_its_softmax_top_is_warned_of(dataset, top, warned):
    said = []
    for base in (with_top(*top), keras.Sequential([keras.Input((SIZE, SIZE, 3)), with_top(*top)])):
        said.clear()
        open_session(dataset, recipe(preprocessing="tf"), said.append, own_model=base)
        assert any("softmax over 10 classes" in line and "include_top=False" in line for line in said) == warned
