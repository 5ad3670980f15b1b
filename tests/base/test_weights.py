"""Where a base's weights come from."""

import keras
import numpy as np
import pytest

from tfransfer.base import weights
from tfransfer.base.build import base_from_model, build_base
from tfransfer.base.preprocessing import preprocess
from tfransfer.base.records import BASES
from tfransfer.errors import BaseModelError, DataNotFoundError, SettingError, WeightsNotFoundError


class Wanted(Exception):
    pass


@pytest.fixture
def asked(monkeypatch):
    """Records what Keras would download instead of downloading it."""
    seen = {}

    def get_file(fname=None, origin=None, **others):
        seen.update(file=fname, url=origin)
        raise Wanted("URL fetch failure on " + origin)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    return seen


@pytest.mark.parametrize(
    "name",
    [
        n if n in {"mobilenet", "vgg16"} else pytest.param(n, marks=pytest.mark.long)
        for n, base in BASES.items()
        if not base.built_in
    ],
)
def test_download_is_the_one_that_the_record_names(asked, name):
    base = BASES[name]
    for size in sorted({base.image_size, *base.family.weights_sizes}):
        with pytest.raises(WeightsNotFoundError):
            weights.build_with_download(base, size)
        assert asked == {"file": base.weights_file_at(size), "url": base.weights_url_at(size)}


def test_failed_download_names_the_file_its_source_and_two_ways_on(asked):
    with pytest.raises(WeightsNotFoundError) as caught:
        build_base("mobilenet_v2", 224)
    message = str(caught.value)
    assert "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5" in message
    assert "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/" in message
    assert "weights=FILE" in message
    assert ".keras/models" in message


def test_weights_file_is_loaded(tmp_path):
    first = build_base("mobilenet", 32, "random").model
    first.save_weights(tmp_path / "a.weights.h5")
    second = build_base("mobilenet", 32, str(tmp_path / "a.weights.h5"))
    assert second.weights == "a.weights.h5"
    for a, b in zip(first.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_of_another_architecture_are_refused(tmp_path):
    build_base("mobilenet", 32, "random").model.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(BaseModelError, match=r"other.weights.h5 does not hold the weights of mobilenet_v2"):
        build_base("mobilenet_v2", 32, str(tmp_path / "other.weights.h5"))


def test_file_that_holds_no_weights_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(BaseModelError, match=r"text\.h5"):
        build_base("mobilenet", 32, str(tmp_path / "text.h5"))
    with pytest.raises(DataNotFoundError, match=r"absent\.h5 does not exist"):
        build_base("mobilenet", 32, str(tmp_path / "absent.h5"))


@pytest.mark.slow
def test_efficientnet_from_a_file_computes_what_keras_computes_with_its_own_download(monkeypatch, tmp_path):
    """tensorflow#62193: built with weights="imagenet" there is one more rescaling in the graph."""
    start = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    values = start.get_weights()
    values[0], values[1] = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    start.set_weights(values)
    file = str(tmp_path / "b0.weights.h5")
    start.save_weights(file)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *a, **k: file)
    keras_own = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    ours = build_base("efficientnet_b0", 32, file)
    pixels = keras.Input((32, 32, 3))
    whole = keras.Model(pixels, ours.model(preprocess(pixels, ours.preprocessing)))
    picture = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(keras_own(picture))
    np.testing.assert_allclose(whole(picture), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert not np.allclose(ours.model(picture), expected, rtol=1e-2), "without the rescaling it is another network"


def test_own_model_needs_its_preprocessing_named():
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(SettingError, match="needs its preprocessing"):
        base_from_model(model, None)
    assert base_from_model(model, "tf").image_size == 16
    with pytest.raises(SettingError, match="contradicts the base"):
        base_from_model(model, "tf", 32)


def test_own_model_of_another_kind_is_refused():
    words = keras.Sequential([keras.Input((16,)), keras.layers.Dense(4)])
    with pytest.raises(BaseModelError, match="square RGB pictures"):
        base_from_model(words, "none")


def test_a_url_as_weights_is_refused_with_the_remedy():
    with pytest.raises(
        DataNotFoundError, match=r"does not exist\. Nothing is downloaded here: download the files first"
    ):
        build_base("mobilenet_v2", 32, "https://example.org/weights.h5")
