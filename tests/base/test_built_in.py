"""The base that comes with tfransfer, and when it steps in."""

from pathlib import Path

import keras
import numpy as np
import pytest
from small_world import colour_folder

import tfransfer
from tfransfer.base.build import build_base, build_default_base
from tfransfer.base.preprocessing import preprocess
from tfransfer.base.records import BASES
from tfransfer.errors import SettingError, WeightsNotFoundError

ASSETS = Path(tfransfer.__file__).parent / "assets"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Neither a download nor an earlier one."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def fails(*asked, **options):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", fails)


def test_it_is_small_and_whole():
    assert (ASSETS / "mini.npz").stat().st_size <= 2_000_000
    assert (ASSETS / "mini.md").is_file()
    base = build_base("mini")
    assert (base.image_size, base.weights, base.preprocessing) == (96, "built-in", "tf")
    assert base.model.count_params() == BASES["mini"].parameters
    assert all(np.isfinite(weight).all() for weight in base.model.get_weights())
    assert len(base.blocks) == 17


def test_its_arrays_stand_where_their_names_say():
    """An order that Keras changes would load without a word where shapes agree."""
    base = build_base("mini")
    with np.load(ASSETS / "mini.npz", allow_pickle=False) as archive:
        names = [name.partition("/")[2] for name in sorted(archive.files)]
    assert names == [weight.path for weight in base.model.weights]


def test_it_knows_a_mirrored_picture_again():
    base = build_base("mini")
    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (16, 6, 6, 3)).astype(np.float32)
    pictures = keras.ops.image.resize(coarse, (96, 96))
    features = np.asarray(base.model(preprocess(pictures, base.preprocessing), training=False)).mean((1, 2))
    mirrored = np.asarray(base.model(preprocess(pictures[:, :, ::-1], base.preprocessing), training=False)).mean((1, 2))
    apart = np.linalg.norm(features[:, None] - mirrored[None], axis=-1)
    assert (apart.argmin(1) == np.arange(16)).mean() > 0.5, "by chance it would be a sixteenth"


def test_other_sizes_keep_its_weights():
    small, large = build_base("mini", 64), build_base("mini", 128)
    for a, b in zip(small.model.get_weights(), large.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(SettingError, match="below the smallest that mini takes, 32"):
        build_base("mini", 16)


def test_it_steps_in_where_the_weights_of_the_default_cannot_be_had(no_network):
    said = []
    base = build_default_base(say=said.append)
    assert (base.name, base.instead_of, base.image_size) == ("mini", "mobilenet_v2", 96)
    (warning,) = said
    assert "warning" in warning
    assert "Network is unreachable" in warning
    assert "weights=FILE" in warning
    assert len(warning.splitlines()) == 1


@pytest.mark.slow
def test_a_run_says_at_its_end_what_it_stands_in_for_and_can_be_repeated(no_network, command, tmp_path):
    data = colour_folder(tmp_path / "data")
    settings = ("--head-epochs", 1, "--fine-tune-epochs", 0, "--image-size", 32, "--export", "none")
    code, shown, told = command("train", data, *settings, "--out", tmp_path / "run")
    assert code == 0, told
    last = (shown + told).splitlines()[-4:]
    assert any("base: mini" in line and "the weights of mobilenet_v2 are not available" in line for line in last)
    first = (tmp_path / "run" / "recipe.toml").read_text().splitlines()[0]
    assert first.startswith("# tfransfer train")
    assert first.endswith("--base mini")


def test_it_does_not_step_in_for_a_base_that_was_named(no_network):
    with pytest.raises(WeightsNotFoundError):
        build_base("mobilenet_v2")


@pytest.mark.slow
def test_it_does_not_step_in_where_there_are_weights(no_network, tmp_path):
    build_base("mobilenet_v2", 32, "random").model.save_weights(tmp_path / "a.weights.h5")
    base = build_default_base(32, str(tmp_path / "a.weights.h5"))
    assert (base.name, base.instead_of) == ("mobilenet_v2", "")
