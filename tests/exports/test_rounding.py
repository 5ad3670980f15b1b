"""Weights on the integers' grid: how well the errors are made up for, and that the converter leaves them alone."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from sklearn.datasets import load_digits

from tfransfer.base.build import build_base
from tfransfer.exports import litert, rounding
from tfransfer.exports.rounding import Representative, rounded, rounded_kernels, temporary_kernels


def nearest(weights):
    step = np.abs(weights).max(axis=1, keepdims=True) / 127
    return np.round(weights / step) * step


def correlated(groups, count, rng):
    mixed = rng.normal(size=(groups, count, 400)) * np.linspace(0.1, 2, count)[:, None]
    return mixed + rng.normal(size=(groups, 1, 400))


@pytest.mark.parametrize("groups, count", [(1, 300), (7, 9)])
def test_errors_are_made_up_for_where_inputs_go_together(groups, count):
    rng = np.random.default_rng(0)
    weights, inputs = rng.normal(size=(groups, count, 5)), correlated(groups, count, rng)

    def error(changed):
        return np.square((changed - weights).transpose(0, 2, 1) @ inputs).mean()

    found = rounded(weights, inputs @ inputs.transpose(0, 2, 1))
    assert error(found) < 0.65 * error(nearest(weights))


def test_rounded_weights_are_steps_and_the_largest_one_stays():
    rng = np.random.default_rng(1)
    weights, inputs = rng.normal(size=(3, 140, 4)), correlated(3, 140, rng)
    found = rounded(weights, inputs @ inputs.transpose(0, 2, 1))
    steps = found / (np.abs(weights).max(axis=1, keepdims=True) / 127)
    assert steps == pytest.approx(np.round(steps), abs=1e-9)
    assert np.array_equal(np.abs(found).max(axis=1), np.abs(weights).max(axis=1))


def test_inputs_that_are_never_there_do_no_harm():
    weights = np.random.default_rng(2).normal(size=(2, 9, 3))
    assert rounded(weights, np.zeros((2, 9, 9))) == pytest.approx(nearest(weights))
    assert not rounded(np.zeros((1, 9, 3)), np.zeros((1, 9, 9))).any()


@pytest.fixture(scope="module")
def mini():
    built = build_base("mini", 64)
    pixels = keras.Input((64, 64, 3))
    values = keras.layers.GlobalAveragePooling2D()(built.model(keras.layers.Rescaling(1 / 127.5, -1)(pixels)))
    return keras.Model(pixels, values)


@pytest.fixture(scope="module")
def pictures():
    small = np.repeat((load_digits().images[:96, ..., None] * 15).astype(np.uint8), 3, axis=3)
    return small.repeat(8, axis=1).repeat(8, axis=2)


@pytest.mark.slow
def test_a_real_base_says_nearly_the_same_with_rounded_kernels(mini, pictures):
    seen, others = pictures[::2], pictures[1::2].astype(np.float32)
    kernels = rounded_kernels(mini, seen)
    assert len(kernels) == 52, "every convolution of the base"
    before = mini.predict(others, verbose=0)
    plainly = [(variable, _nearest_kernel(variable)) for variable, _ in kernels]
    errors = []
    for chosen in (kernels, plainly):
        with temporary_kernels(chosen):
            errors.append(np.square(mini.predict(others, verbose=0) - before).mean())
    assert errors[0] < 0.5 * errors[1]
    assert np.array_equal(mini.predict(others, verbose=0), before), "the model is as it was"


def _nearest_kernel(variable):
    kernel = keras.ops.convert_to_numpy(variable)
    if variable.path.split("/")[-2].endswith("depthwise"):
        flat = kernel.reshape(-1, *kernel.shape[2:]).transpose(1, 0, 2)
        return nearest(flat).transpose(1, 0, 2).reshape(kernel.shape)
    return nearest(kernel.reshape(1, -1, kernel.shape[-1])).reshape(kernel.shape)


def test_the_converter_keeps_the_integers_that_were_chosen(tmp_path):
    pixels = keras.Input((16, 16, 3))
    inside = keras.layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="first")(pixels)
    inside = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(inside))
    inside = keras.layers.DepthwiseConv2D(3, padding="same", name="second")(inside)
    inside = keras.layers.GlobalAveragePooling2D()(inside)
    model = keras.Model(pixels, keras.layers.Dense(3, activation="softmax", name="probabilities")(inside))
    rng = np.random.default_rng(0)
    norm = model.get_layer("norm")
    norm.set_weights([rng.uniform(0.5, 2, 6), rng.normal(size=6), rng.normal(size=6), rng.uniform(0.5, 2, 6)])
    shown = Representative(model, rng.integers(0, 256, (40, 16, 16, 3)).astype(np.uint8))
    there = _integers(litert.convert(model, litert.INT8, shown))
    for name, axes in (("first", (0, 1, 2)), ("second", (0, 1))):
        (chosen,) = [values for variable, values in shown.kernels if variable is model.get_layer(name).kernel]
        kernel = keras.ops.convert_to_numpy(model.get_layer(name).kernel)
        steps = np.round(chosen / (np.abs(kernel).max(axis=axes, keepdims=True) / 127)).astype(int)
        expected = steps.transpose(3, 0, 1, 2)
        assert any(found.shape == expected.shape and np.array_equal(found, expected) for found in there), name


@pytest.mark.parametrize("name, changed", [("FLOAT32", 0), ("FLOAT16", 0), ("DYNAMIC", 1), ("INT8", 2), ("INT16X8", 2)])
def test_only_kernels_that_become_integers_are_rounded(name, changed, monkeypatch):
    pixels = keras.Input((8, 8, 3))
    large = keras.layers.Conv2D(40, 3, name="large")(pixels)  # 1,080 weights
    small = keras.layers.GlobalAveragePooling2D()(keras.layers.DepthwiseConv2D(3, name="small")(large))
    model = keras.Model(pixels, keras.layers.Dense(2, name="probabilities")(small))
    shown = Representative(model, np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8))
    before = model.get_weights()
    seen = []
    monkeypatch.setattr(litert, "_converted", lambda model, *_: seen.extend(model.get_weights()) or b"")
    litert.convert(model, getattr(litert, name), shown)
    assert sum(not np.array_equal(one, other) for one, other in zip(before, seen, strict=True)) == changed
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))


def _integers(content):
    """What stands in a file as int8 with four axes, read by LiteRT's schema."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    (graph,) = model.subgraphs
    kept = [t for t in graph.tensors if t.type == schema.TensorType.INT8 and t.shape is not None and len(t.shape) == 4]
    data = [(model.buffers[t.buffer].data, t.shape) for t in kept]
    return [bytes_.view(np.int8).reshape(shape).astype(int) for bytes_, shape in data if bytes_ is not None]


def test_a_model_is_watched_only_while_it_is_rounded(mini, pictures):
    rounded_kernels(mini, pictures[:4])
    assert not [layer for layer in mini._flatten_layers() if "call" in vars(layer)]


def test_what_runs_out_of_sight_is_left_to_the_converter(monkeypatch, mini, pictures):
    monkeypatch.setattr(rounding, "_WIDEST", 0)
    kept = rounded_kernels(mini, pictures[:4])
    assert {variable.path.split("/")[-2].split("_")[-1] for variable, _ in kept} == {"depthwise"}
