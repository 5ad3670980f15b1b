"""Heat maps find what decides: a red square that was planted in a corner."""

import keras
import numpy as np
import pytest

from tfransfer.base.build import base_from_model
from tfransfer.evaluation.attention import GRAD_CAM, OCCLUSION, heat_maps
from tfransfer.evaluation.report.drawing import brightest_part, overlay
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.training.model import assemble

SIZE = 32
CORNERS = {"top left": (2, 2), "top right": (2, 22), "bottom left": (22, 2), "bottom right": (22, 22)}


def redness(values):
    """A convolution whose first channel is redness and whose second is blueness."""
    layer = keras.layers.Conv2D(2, 2, strides=2, activation="relu")
    found = layer(values)
    kernel = np.zeros((2, 2, 3, 2), np.float32)
    kernel[:, :, :, 0] = [1, -0.5, -0.5]
    kernel[:, :, :, 1] = [-0.5, -0.5, 1]
    layer.set_weights([kernel / 400, np.zeros(2)])
    return found


def ending(kind, values):
    if kind == "map":
        return values
    if kind == "pooled inside":
        return keras.layers.GlobalAveragePooling2D()(values)
    return keras.ops.mean(keras.layers.Reshape((-1, 2))(values), axis=1)


def model_on(kind):
    pixels = keras.Input((SIZE, SIZE, 3))
    base = base_from_model(keras.Model(pixels, ending(kind, redness(pixels))), "none")
    model = assemble(base, 2, 0.5, CLASSIFICATION, 0).model
    model.get_layer("logits").set_weights([10 * np.eye(2), np.zeros(2)])
    return model


def square(corner, colour=(250, 0, 0)):
    picture = np.full((SIZE, SIZE, 3), 90, np.uint8)
    top, left = CORNERS[corner]
    picture[top : top + 8, left : left + 8] = colour
    return picture


@pytest.mark.parametrize(("kind", "method"), [("map", GRAD_CAM), ("pooled inside", GRAD_CAM), ("tokens", OCCLUSION)])
def test_heat_map_finds_the_square_that_decides(kind, method):
    found = heat_maps(model_on(kind), np.stack([square(corner) for corner in CORNERS]), [0] * 4)
    assert found.method == method
    assert found.maps.shape == (4, SIZE, SIZE)
    assert found.maps.dtype == np.float32
    assert [brightest_part(heat) for heat in found.maps] == list(CORNERS)
    assert (found.maps.min(), found.maps.max()) == (0, 1)


def test_pixels_are_no_feature_map():
    """A base that is one opaque layer, as a TF-Hub module is."""
    pixels = keras.Input((SIZE, SIZE, 3))
    opaque = keras.Model(pixels, keras.layers.Dense(2)(keras.layers.Flatten()(pixels)))
    model = assemble(base_from_model(opaque, "none"), 2, 0.0, CLASSIFICATION, 0).model
    assert heat_maps(model, square("top left")[np.newaxis], [0]).method == OCCLUSION


def test_it_is_about_the_class_that_is_asked_for():
    picture = np.maximum(square("top left"), 0)
    picture[22:30, 22:30] = (0, 0, 250)
    model = model_on("map")
    parts = [brightest_part(heat_maps(model, picture[np.newaxis], [output]).maps[0]) for output in (0, 1)]
    assert parts == ["top left", "bottom right"]


def test_where_nothing_speaks_for_a_class_the_map_is_empty():
    grey = np.full((1, SIZE, SIZE, 3), 90, np.uint8)
    for kind in ("map", "tokens"):
        heat = heat_maps(model_on(kind), grey, [0]).maps[0]
        assert heat.max() == 0
        assert brightest_part(heat) == "nowhere"


def test_occlusion_stops_when_its_time_is_over_but_not_before_the_first():
    found = heat_maps(model_on("tokens"), np.stack([square("top left")] * 3), [0] * 3, seconds=0)
    assert len(found.maps) == 1


def test_the_overlay_is_brighter_where_the_map_is():
    heat = np.zeros((SIZE, SIZE), np.float32)
    heat[:8, :8] = 1
    shown = overlay(np.full((SIZE, SIZE, 3), 60, np.uint8), heat)
    assert shown.dtype == np.uint8
    assert shown[:8, :8].mean() > shown[20:, 20:].mean() + 50
