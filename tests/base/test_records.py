"""The table of bases, held to Keras Applications itself."""

import inspect

import keras
import numpy as np
import pytest

from tfransfer.base.blocks import top_blocks
from tfransfer.base.build import build_base
from tfransfer.base.cuts import cuts, split_at
from tfransfer.base.listing import bases
from tfransfer.base.preprocessing import preprocess
from tfransfer.base.records import BASES, TEXT_BASES, find_base
from tfransfer.errors import SettingError

ONE_OF_EACH_FAMILY = [
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_b0",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "nasnet_mobile",
    "resnet50",
    "resnet50_v2",
    "vgg16",
    "vgg19",
    "xception",
]
# One for each way in which a base can be cut: residual sums and chains.
QUICK_TO_BUILD = ("mobilenet_v2", "vgg16")


def tier(name):
    """Where a base is tested: in each run, in CI's slow tests, or before a release."""
    marks = [] if name in QUICK_TO_BUILD else [pytest.mark.slow if name in ONE_OF_EACH_FAMILY else pytest.mark.long]
    return pytest.param(name, marks=marks)


WHOLE_TABLE = [tier(name) for name in sorted(BASES)]


def smallest(name):
    return max(64, BASES[name].family.smallest)


@pytest.fixture(scope="module")
def built():
    made = {}

    def build(name):
        if name not in made:
            made.clear()  # the large ones do not fit side by side
            keras.backend.clear_session()
            made[name] = build_base(name, smallest(name), "random")
        return made[name]

    return build


def test_one_of_each_family_is_tested_by_ci():
    assert {BASES[n].family.module for n in ONE_OF_EACH_FAMILY} == {b.family.module for b in BASES.values()}


def test_table_covers_every_builder_of_the_installed_keras():
    builders = {n for n, f in vars(keras.applications).items() if inspect.isfunction(f)}
    assert builders == {base.builder for base in BASES.values()}


@pytest.mark.parametrize("name", WHOLE_TABLE)
def test_base_is_as_its_record_says(built, name):
    record, base = BASES[name], built(name)
    assert base.model.output_shape[-1] == record.features
    assert base.model.count_params() == record.parameters
    _blocks_are_ordered_and_cover_the_top(base, record)
    _preprocessing_is_the_bases_own(record)
    if record.family.clean:
        _every_block_boundary_is_a_cut(base)
    else:
        assert any(block.cut_below is None for block in base.blocks)


def _blocks_are_ordered_and_cover_the_top(base, record):
    blocks = base.blocks
    assert len(blocks) >= 5
    assert len({block.name for block in blocks}) == len(blocks)
    assert [b.start for b in blocks[1:]] == [b.stop for b in blocks[:-1]]
    assert blocks[-1].stop == len(base.model.operations)
    assert all(block.parameters > 0 for block in blocks)
    inside = [layer.name for block in blocks for layer in block.layers]
    outside = [layer.name for layer in base.model.layers if layer.name not in set(inside)]
    assert len(outside) < len(inside) / 2, "the stem is the smaller part"
    for name in filter(None, record.family.closing.split(", ")):
        assert any(layer.name == name or layer.name.startswith(name) for layer in blocks[-1].layers)


def _every_block_boundary_is_a_cut(base):
    places = {cut.index for cut in cuts(base.model)}
    assert all(block.cut_below is not None and block.start - 1 in places for block in base.blocks)


def _preprocessing_is_the_bases_own(record):
    pixels = keras.Input((4, 4, 3))
    ours = keras.Model(pixels, preprocess(pixels, record.family.preprocessing))
    picture = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    own = getattr(keras.applications, record.family.module).preprocess_input(picture.copy())
    np.testing.assert_allclose(ours(picture), own, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", WHOLE_TABLE)
def test_prefix_then_suffix_is_the_base(built, name):
    base = built(name)
    found = cuts(base.model)
    picture = np.random.default_rng(0).normal(size=(1, base.image_size, base.image_size, 3)).astype(np.float32)
    whole = np.asarray(base.model(picture, training=False))
    for cut in [found[1], found[len(found) // 2], found[-2]]:
        prefix, suffix = split_at(base.model, cut)
        parts = np.asarray(suffix(prefix(picture, training=False), training=False))
        np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
        assert {id(w) for w in prefix.weights} | {id(w) for w in suffix.weights} == {id(w) for w in base.model.weights}


def test_top_three_blocks_of_mobilenet_v2_end_with_its_closing_convolution(built):
    chosen = top_blocks(built("mobilenet_v2").blocks, 3)
    assert [block.name for block in chosen] == ["block_14", "block_15", "block_16"]
    assert [layer.name for layer in chosen[-1].layers][-3:] == ["Conv_1", "Conv_1_bn", "out_relu"]
    assert top_blocks(built("mobilenet_v2").blocks, "block_14") == chosen


def test_impossible_unfreeze_settings_are_named(built):
    blocks = built("mobilenet_v2").blocks
    with pytest.raises(SettingError, match="17 blocks; 18 cannot"):
        top_blocks(blocks, 18)
    with pytest.raises(SettingError, match="Did you mean block_1"):
        top_blocks(blocks, "blok_15")


def test_mistyped_base_is_answered_with_the_right_name():
    with pytest.raises(SettingError, match=r"did you mean mobilenet_v2\?"):
        find_base("mobilnet_v2")
    with pytest.raises(SettingError, match="lists them"):
        find_base("zzz")


def test_image_size_below_the_smallest_is_refused():
    with pytest.raises(SettingError, match="below the smallest that inception_v3 takes, 75"):
        build_base("inception_v3", 74, "random")


def test_listing_says_which_weights_are_here(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert [row.name for row in bases() if row.weights_here] == ["mini", "words", "ngrams"]
    models = tmp_path / "models"
    models.mkdir()
    (models / BASES["vgg16"].weights_file).write_bytes(b"weights")
    assert [row.name for row in bases() if row.weights_here] == ["mini", "vgg16", "words", "ngrams"]
    assert [row.name for row in bases() if row.built_in] == ["mini", "words", "ngrams"]
    assert len(bases()) == len(BASES) + len(TEXT_BASES)
