"""Equal fingerprints for equal frozen parts, whatever Keras called their layers this time; others for others."""

import keras
import pytest
from small_world import tiny_base

from tfransfer.base.build import build_base
from tfransfer.base.fingerprint import fingerprint
from tfransfer.base.taps import POOLED_TAP, model_to


def built(name):
    return model_to(build_base(name, 32, "random", seed=1), [POOLED_TAP])


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("efficientnet_b0", "convnext_tiny"))],
)
def test_building_a_base_again_gives_the_same(name):
    assert fingerprint(built(name)) == fingerprint(built(name))


def test_freezing_changes_nothing_and_a_weight_does():
    base = tiny_base()
    model = model_to(base, [POOLED_TAP])
    before = fingerprint(model)
    base.model.trainable = False
    assert fingerprint(model) == before
    moving = base.model.get_layer("b2_bn").moving_mean
    moving.assign(moving + 1e-6)
    assert fingerprint(model) != before


def test_structure_counts_where_weights_are_the_same():
    def model(kind, name):
        inputs = keras.Input((8, 8, 3))
        return keras.Model(inputs, keras.layers.Activation(kind, name=name)(inputs))

    assert fingerprint(model("relu", "relu")) != fingerprint(model("tanh", "tanh"))
    assert fingerprint(model("relu", "relu")) == fingerprint(model("relu", "another_name"))

    def strided(strides):
        inputs = keras.Input((8, 8, 3))
        return keras.Model(inputs, keras.layers.MaxPooling2D(2, strides=strides, padding="same")(inputs))

    assert fingerprint(strided(1)) != fingerprint(strided(2))


def test_code_of_layers_of_ones_own_counts():
    class Twice(keras.layers.Layer):
        def call(self, values):
            return 2 * values

    first = Twice

    class Twice(keras.layers.Layer):
        def call(self, values):
            return 3 * values

    def model(layer):
        inputs = keras.Input((4,))
        return keras.Model(inputs, layer(inputs))

    assert fingerprint(model(first())) != fingerprint(model(Twice()))
    assert fingerprint(model(first())) == fingerprint(model(first()))
