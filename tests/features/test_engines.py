"""Engines say what Keras says, whichever runs; the faster one is chosen, and remembered."""

import numpy as np
import pytest
from small_world import SIZE, tiny_base

from tfransfer.base.build import build_base
from tfransfer.base.taps import POOLED_TAP, Tap, model_to
from tfransfer.errors import SettingError
from tfransfer.features import choosing, litert
from tfransfer.features.engines import KerasEngine, largest_difference, listed
from tfransfer.features.memory import EngineMemory

pytestmark = pytest.mark.usefixtures("fresh_cache")

PICTURES = np.random.default_rng(0).integers(0, 256, (9, SIZE, SIZE, 3)).astype(np.uint8)
MANY = 10**6


@pytest.fixture(scope="module")
def frozen():
    base = tiny_base()
    cut = base.blocks[-1].cut_below
    return model_to(base, [Tap(cut.name, cut), POOLED_TAP])


@pytest.fixture(scope="module")
def expected(frozen):
    return [v.numpy() for v in listed(frozen(PICTURES.astype(np.float32), training=False))]


@pytest.fixture(scope="module")
def converted(frozen):
    return litert.convert(frozen)


def open_engine(frozen, rows=MANY, setting="auto", said=None, name="tiny"):
    return choosing.open_engine(
        frozen, PICTURES, rows, EngineMemory({"frozen": name}), setting, (said if said is not None else []).append
    )


def test_both_engines_say_what_keras_says(frozen, expected, converted):
    for engine in (KerasEngine(frozen), litert.LiteRTEngine(converted)):
        found = engine.run(PICTURES)
        assert [v.shape for v in found] == [v.shape for v in expected]
        assert largest_difference(found, expected) < 1e-5


def test_what_is_said_of_a_picture_does_not_depend_on_its_neighbours(frozen, converted):
    for engine in (KerasEngine(frozen), litert.LiteRTEngine(converted, workers=3)):
        together = engine.run(PICTURES)
        alone = engine.run(PICTURES[4:5])
        again = engine.run(PICTURES[::-1])
        for whole, one, turned in zip(together, alone, again, strict=True):
            np.testing.assert_array_equal(whole[4], one[0])
            np.testing.assert_array_equal(whole, turned[::-1])


def test_more_than_a_batch_is_run(frozen, expected):
    many = np.concatenate([PICTURES] * 8)
    np.testing.assert_allclose(KerasEngine(frozen).run(many)[1], np.tile(expected[1], (8, 1)), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet",
        pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
        pytest.param("convnext_tiny", marks=pytest.mark.long),
    ],
)
def test_litert_agrees_with_keras_on_real_bases(name):
    model = model_to(build_base(name, 32, "random", seed=1), [POOLED_TAP])
    pictures = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    found = litert.LiteRTEngine(litert.convert(model)).run(pictures)
    assert largest_difference(found, [model(pictures.astype(np.float32), training=False).numpy()]) < 1e-4


def test_few_pictures_are_not_worth_a_conversion(frozen, monkeypatch):
    monkeypatch.setattr(litert, "convert", lambda model: pytest.fail("converted"))
    choice = open_engine(frozen, rows=10)
    assert choice.engine.name == "keras"
    assert "too few" in choice.why


def test_the_measured_winner_is_chosen_and_remembered(frozen, monkeypatch):
    monkeypatch.setattr(choosing, "_rate", lambda engine, pictures: {"keras": 50.0, "litert": 51.0}[engine.name])
    first = open_engine(frozen)
    assert (first.engine.name, first.why) == ("litert", "measured")
    assert first.rates == {"keras": 50.0, "litert": 51.0}
    assert first.difference < 1e-5
    monkeypatch.setattr(litert, "convert", lambda model: pytest.fail("converted again"))
    assert open_engine(frozen).engine.name == "litert"
    monkeypatch.setattr(choosing, "_rate", lambda engine, pictures: {"keras": 52.0, "litert": 51.0}[engine.name])
    slower = open_engine(frozen)
    assert slower.engine.name == "keras"
    assert choosing.remembered_engine(EngineMemory({"frozen": "tiny"}), "auto") == "keras"
    assert choosing.remembered_engine(EngineMemory({"frozen": "other"}), "auto") is None


def test_an_engine_that_is_off_is_not_used(frozen, monkeypatch):
    real = litert.LiteRTEngine.run

    def off(engine, pixels):
        values = real(engine, pixels)
        values[0][0] *= 1.01
        return values

    monkeypatch.setattr(litert.LiteRTEngine, "run", off)
    said = []
    assert open_engine(frozen, said=said).engine.name == "keras"
    assert "off by" in said[0]


def test_a_base_that_does_not_convert_runs_in_keras(frozen, monkeypatch):
    def fails(model):
        raise RuntimeError("ConverterError: an operation it does not know\nmore lines")

    monkeypatch.setattr(litert, "convert", fails)
    said = []
    choice = open_engine(frozen, said=said)
    assert choice.engine.name == "keras"
    assert said == [
        "features: this base does not convert to LiteRT (ConverterError: an operation it does not know); using Keras"
    ]


def test_without_a_wheel_keras_runs_and_asking_for_litert_is_refused(frozen, monkeypatch):
    monkeypatch.setattr(litert, "available", lambda: False)
    assert open_engine(frozen).engine.name == "keras"
    with pytest.raises(SettingError, match="ai-edge-litert is not installed"):
        open_engine(frozen, setting="litert")


def test_a_named_engine_is_taken(frozen):
    assert open_engine(frozen, rows=1, setting="litert").engine.name == "litert"
    assert open_engine(frozen, setting="keras").engine.name == "keras"


def test_a_damaged_conversion_is_made_again(frozen, tmp_path):
    open_engine(frozen, setting="litert")
    file = next((tmp_path / "cache" / "engines").glob("*.tflite"))
    file.write_bytes(file.read_bytes()[:-100])
    assert EngineMemory({"frozen": "tiny"}).converted() is None
    assert open_engine(frozen, setting="litert").engine.name == "litert"
    assert EngineMemory({"frozen": "tiny"}).converted() is not None


def test_a_cache_that_cannot_be_written_costs_time_only(frozen, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TFRANSFER_CACHE", str(tmp_path / "file"))
    assert open_engine(frozen, setting="litert").engine.name == "litert"


def test_values_that_are_no_numbers_are_infinitely_far():
    good = [np.ones((2, 3), np.float32)]
    assert largest_difference([np.full((2, 3), np.nan, np.float32)], good) == float("inf")
    assert largest_difference([np.ones((2, 4), np.float32)], good) == float("inf")
    assert largest_difference([np.full((2, 3), 1.5, np.float32)], good) == pytest.approx(0.5)
