import hashlib
import io
import re
import shutil
import sys
import tarfile

import hub_modules
import pytest

from tfransfer.base.hub import files
from tfransfer.base.hub.blocks import name_blocks, top_pattern
from tfransfer.base.hub.files import cache_module, find_module, is_handle, module_hash
from tfransfer.errors import BaseModelError, SettingError, WeightsNotFoundError

URL = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return hub_modules.write_texts(tmp_path_factory.mktemp("module") / "texts")


@pytest.fixture
def copied(module, tmp_path):
    return shutil.copytree(module, tmp_path / "copied")


def packed(folder, archive, inside="."):
    with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as opened:
        opened.add(folder, inside)
    return archive


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A cache of tensorflow_hub, and no network."""
    pytest.importorskip("tensorflow_hub")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    return tmp_path / "hub"


def in_hub_cache(hub_cache, module, url=URL):
    """Put a module where tensorflow_hub keeps what it downloaded."""
    return shutil.copytree(module, hub_cache / hashlib.sha1(url.encode()).hexdigest())


def test_handles_are_told_from_names_and_other_folders(copied, tmp_path):
    for text in (URL, "https://www.kaggle.com/models/google/x/tensorFlow2/y/1", "gs://a/b", str(copied), "lost.tar.gz"):
        assert is_handle(text), text
    (tmp_path / "module.tar").touch()
    assert is_handle(str(tmp_path / "module.tar"))
    for text in ("mobilenet_v2", str(tmp_path), "weights.h5", "lost.tar", "model.keras", ""):
        assert not is_handle(text), text


def test_a_folder_is_its_own_module(module):
    assert find_module(str(module)) == module


@pytest.mark.parametrize("name", ["m.tar.gz", "m.tgz", "m.tar"])
@pytest.mark.parametrize("inside", [".", "feature_vector"])
def test_an_archive_is_unpacked_once_into_the_cache(module, fresh_cache, tmp_path, name, inside, monkeypatch):
    archive = packed(module, tmp_path / name, inside)
    found = find_module(str(archive))
    assert found.is_relative_to(fresh_cache / "modules") and module_hash(found) == module_hash(module)
    monkeypatch.setattr(files.tarfile, "open", None)
    assert find_module(str(archive)) == found


def test_an_archive_that_writes_elsewhere_is_refused_and_leaves_nothing(module, fresh_cache, tmp_path):
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(module, ".")
        opened.addfile(tarfile.TarInfo("../../../escaped"), io.BytesIO())
    with pytest.raises(BaseModelError, match="OutsideDestinationError"):
        find_module(str(archive))
    assert not [path for path in tmp_path.rglob("*") if path.name == "escaped"]
    assert not list((fresh_cache / "modules").iterdir())


def test_an_archive_that_would_fill_the_disk_is_refused(module, fresh_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    with pytest.raises(BaseModelError, match=r"more than 1\.0 kB"):
        find_module(str(packed(module, tmp_path / "m.tar.gz")))
    assert not list((fresh_cache / "modules").iterdir())


def test_a_cut_off_archive_is_refused_and_leaves_nothing(module, fresh_cache, tmp_path):
    archive = packed(module, tmp_path / "m.tar.gz")
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(BaseModelError, match=r"m\.tar\.gz cannot be unpacked"):
        find_module(str(archive))
    assert not list((fresh_cache / "modules").iterdir())


def test_an_archive_without_a_savedmodel_is_refused(fresh_cache, tmp_path):
    (tmp_path / "plain").mkdir()
    with pytest.raises(BaseModelError, match="one SavedModel"):
        find_module(str(packed(tmp_path / "plain", tmp_path / "m.tar.gz")))


def test_what_is_no_handle_or_not_there_is_said(tmp_path):
    with pytest.raises(SettingError, match="none of these"):
        find_module("mobilenet_v9")
    with pytest.raises(WeightsNotFoundError, match=r"no file .*lost\.tar\.gz"):
        find_module(str(tmp_path / "lost.tar.gz"))


def test_what_tensorflow_hub_has_kept_is_found_without_network(module, hub_cache):
    kept = in_hub_cache(hub_cache, module)
    assert find_module(URL) == kept


def test_without_network_it_says_what_to_do(hub_cache):
    with pytest.raises(WeightsNotFoundError, match=r"(?s)mobilenet_v2_100_224.*folder or \.tar\.gz.*TFHUB_CACHE_DIR"):
        find_module(URL)


def test_without_tensorflow_hub_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_hub", None)
    with pytest.raises(SettingError, match=r'pip install "tfransfer\[hub\]"'):
        find_module(URL)


def cut_off(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGES = {
    "holds no saved_model.pb": lambda folder: (folder / "saved_model.pb").unlink(),
    "saved_model.pb cannot be read": lambda folder: cut_off(folder / "saved_model.pb"),
    "saved_model.pb holds no graph": lambda folder: (folder / "saved_model.pb").write_bytes(b""),
    "variables.index is missing": lambda folder: shutil.rmtree(folder / "variables"),
    "its variables cannot be read": lambda folder: cut_off(folder / "variables/variables.data-00000-of-00001"),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_a_damaged_entry_of_the_cache_is_named_and_to_be_deleted(module, hub_cache, said):
    kept = in_hub_cache(hub_cache, module)
    DAMAGES[said](kept)
    with pytest.raises(BaseModelError, match=rf"(?s){said}.*Delete this cache entry \({kept}\)"):
        find_module(URL)


def test_a_flipped_bit_in_the_variables_is_found(copied):
    data = copied / "variables/variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[10] ^= 1
    data.write_bytes(content)
    with pytest.raises(BaseModelError, match="damaged"):
        find_module(str(copied))


def test_a_module_without_variables_is_whole(tmp_path):
    import tensorflow as tf

    outer = hub_modules.bare()
    outer.__call__ = tf.function(lambda x: x, input_signature=[tf.TensorSpec((None, 8, 8, 3))])
    tf.saved_model.save(outer, str(tmp_path / "bare"))
    shutil.rmtree(tmp_path / "bare/variables")
    assert find_module(str(tmp_path / "bare")) == tmp_path / "bare"


def test_the_hash_follows_names_and_bytes_and_nothing_else(module, copied):
    assert module_hash(copied) == module_hash(module) and len(module_hash(module)) == 32
    (copied / "README.md").write_text("a note")
    assert module_hash(copied) == module_hash(module)
    (vocabulary,) = (copied / "assets").iterdir()
    renamed = vocabulary.rename(vocabulary.with_name("other.txt"))
    assert module_hash(copied) != module_hash(module)
    renamed.rename(vocabulary).write_text("other")
    assert module_hash(copied) != module_hash(module)


def test_a_module_is_kept_by_content_and_mended(module, fresh_cache):
    kept = cache_module(module, module_hash(module))
    (kept / "saved_model.pb").write_bytes(b"damaged")
    assert cache_module(module, module_hash(module)) == kept and module_hash(kept) == module_hash(module)
    with pytest.raises(BaseModelError, match="hash differs"):
        cache_module(module, "0" * 32)


@pytest.mark.parametrize(
    ("names", "blocks"),
    [
        (["Conv1/kernel", "block_1_expand/kernel", "block_15_expand/kernel"], ["block_1", "block_15"]),
        (["stem_conv/kernel", "block5a_se/kernel", "block5b_se/kernel"], ["block5a", "block5b"]),
        (["conv1_conv/kernel", "conv4_block10_1_conv/kernel", "conv5_block3_1_conv/kernel"], None),
        (["conv4_block2_1_conv/kernel", "conv4_block10_1_conv/kernel"], ["conv4_block2", "conv4_block10"]),
        (["bert/encoder/layer_2/dense/kernel", "bert/encoder/layer_11/dense/kernel"], ["layer_2", "layer_11"]),
        (["resnet/block_group3/block_0/conv/kernel", "resnet/block_group4/block_0/conv/kernel"], None),
        (["M/expanded_conv/project/weights", "M/expanded_conv_12/expand/weights"], ["expanded_conv_12"]),
        (
            ["stages_2_blocks_1_conv/kernel", "stages_3_blocks_0_conv/kernel"],
            ["stages_2_blocks_1", "stages_3_blocks_0"],
        ),
        (["patch_embed/kernel", "blocks.7.attn/kernel", "blocks.10.attn/kernel"], ["blocks.7", "blocks.10"]),
        (["InceptionV3/Mixed_6e/conv/weights", "InceptionV3/Mixed_7a/conv/weights"], ["Mixed_6e", "Mixed_7a"]),
        (["layer_normalization_1/gamma", "conv2d_3/kernel", "kernel"], []),
    ],
)
def test_names_tell_the_blocks_in_order_whatever_the_order_of_the_names(names, blocks):
    found = [block for block, _ in name_blocks(names)]
    assert found == (["conv4_block10", "conv5_block3"] if blocks is None and "conv1" in names[0] else found)
    assert blocks is None or found == blocks
    assert [block for block, _ in name_blocks(names[::-1])] == found


def members(names):
    return [[name for name in names if re.search(pattern, name)] for _, pattern in name_blocks(names)]


def test_each_pattern_finds_its_block_and_no_other():
    names = [
        "stem/k",
        "block_1/k",
        "block_1_BN/gamma",
        "pool/k",
        "block_15/k",
        "block_2/k",
        "Conv_1/k",
        "Conv_1_bn/beta",
    ]
    assert members(names) == [
        ["block_1/k", "block_1_BN/gamma", "pool/k"],
        ["block_2/k"],
        [names[4], names[6], names[7]],
    ]
    names = ["stages_1_downsample/k", "stages_1_blocks_0/k", "stages_1_blocks_1/k", "norm/k"]
    assert members(names) == [names[:1], names[1:2], names[2:]]


def test_the_top_pattern_joins_the_highest_blocks():
    blocks = name_blocks(["stem/k", "block_1/k", "block_2/k", "block_3/k", "Conv_1/k"])
    found = [
        name
        for name in ("stem/k", "block_1/k", "block_2/k", "block_30/k", "Conv_1/k", "Conv_1/k2")
        if re.search(top_pattern(blocks, 2), name)
    ]
    assert found == ["block_2/k", "Conv_1/k"]
    with pytest.raises(SettingError, match="3 blocks; 4"):
        top_pattern(blocks, 4)
    with pytest.raises(SettingError, match="no block numbers"):
        top_pattern([], 1)
