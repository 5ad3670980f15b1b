"""Presets of KerasHub, written here with tiny backbones, as bases."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfransfer
from tfransfer.base.cuts import cuts
from tfransfer.base.kerashub.build import build_kerashub, with_sequence_length
from tfransfer.base.names import is_preset
from tfransfer.base.preprocessing import entry, preprocess
from tfransfer.base.saved import save_endpoints
from tfransfer.base.taps import POOLED_TAP, model_to
from tfransfer.errors import BaseModelError, SettingError, WeightsNotFoundError
from tfransfer.features.engines import TokenEngine, keras_engine
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.training.model import assemble, unfreeze

keras_hub = pytest.importorskip("keras_hub")
models = keras_hub.models

SIZE = 16
WORDS = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "##s", "un", "##known", "."]
TEXTS = ["A good film.", "bad films", "unknown Zebra", "", "good " * 40]
SCALE, OFFSET = [0.01, 0.02, 0.03], [-0.1, 0.0, 0.1]


def vit():
    return models.ViTBackbone((SIZE, SIZE, 3), 8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16)


def dinov2():
    return models.DINOV2Backbone(8, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16,
                                 image_shape=(SIZE, SIZE, 3))  # fmt: skip


def resnet():
    return models.ResNetBackbone([64], [7], [64, 64], [1, 1], [1, 2], block_type="basic_block")


def bert():
    return models.BertBackbone(len(WORDS), 2, 2, 8, 16, max_sequence_length=12)


def written(backbone, folder, *parts):
    """A preset with weights that are far from their start, so that none may be lost unseen."""
    random = np.random.default_rng(3)
    backbone.set_weights([value + random.uniform(0.05, 0.2, value.shape) for value in backbone.get_weights()])
    for part in (backbone, *parts):
        part.save_to_preset(str(folder))
    return str(folder)


CONVERTERS = {
    "vit": keras_hub.layers.ViTImageConverter,
    "dinov2": keras_hub.layers.DINOV2ImageConverter,
    "resnet": keras_hub.layers.ResNetImageConverter,
}


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    place = tmp_path_factory.mktemp("presets")
    found = {}
    for make in (vit, dinov2, resnet):
        name = make.__name__
        converter = CONVERTERS[name](image_size=(SIZE, SIZE), scale=SCALE, offset=OFFSET)
        found[name] = written(make(), place / name, converter)
    found["bert"] = written(bert(), place / "bert", keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True))
    return found


def pixels(size=SIZE):
    return np.random.default_rng(0).integers(0, 256, (3, size, size, 3)).astype(np.float32)


def rescaled(base, values):
    """Pixels as the base's own preprocessing hands them on."""
    start = entry(base.kind, base.image_size)
    return keras.Model(start, preprocess(start, base.preprocessing))(values)


def class_and_mean(tokens, padding_mask):
    """The class token beside the mean of all tokens without padding."""
    mask = np.asarray(padding_mask, np.float32)[..., np.newaxis]
    return np.concatenate([tokens[:, 0], (tokens * mask).sum(axis=1) / mask.sum(axis=1)], axis=1)


@pytest.mark.parametrize("name", ["vit", "dinov2", "resnet"])
def test_features_of_pictures_are_those_of_keras_hub(presets, name):
    base = build_kerashub(presets[name])
    converter = keras_hub.layers.ImageConverter.from_preset(presets[name])
    backbone = models.Backbone.from_preset(presets[name])
    given = converter(pixels())
    expected = np.asarray(backbone({"images": given} if name == "dinov2" else given, training=False))
    if expected.ndim == 3:  # of those that give no maps, both have a class token
        expected = np.concatenate([expected[:, 0], expected[:, 1:].mean(axis=1)], axis=1)
    np.testing.assert_allclose(base.model(rescaled(base, pixels()), training=False), expected, atol=1e-5)
    assert (base.kind, base.image_size, base.weights) == ("image", SIZE, "preset")


def test_of_a_pair_for_pictures_and_texts_the_half_for_pictures_is_the_base(tmp_path):
    pictures = models.SigLIPVisionEncoder(
        patch_size=8, hidden_dim=8, num_layers=2, num_heads=2, intermediate_dim=16, image_shape=(SIZE, SIZE, 3)
    )
    texts = models.SigLIPTextEncoder(
        vocabulary_size=9, embedding_dim=8, hidden_dim=8, num_layers=1, num_heads=2, intermediate_dim=16,
        max_sequence_length=6,
    )  # fmt: skip
    converter = keras_hub.layers.SigLIPImageConverter(image_size=(SIZE, SIZE), scale=SCALE, offset=OFFSET)
    base = build_kerashub(written(models.SigLIPBackbone(pictures, texts), tmp_path, converter))
    expected = pictures({"images": converter(pixels())}, training=False)
    np.testing.assert_allclose(base.model(rescaled(base, pixels()), training=False), expected, atol=1e-5)
    assert [block.name for block in base.blocks] == ["encoder_block_0", "encoder_block_1"]


def test_without_a_class_token_the_mean_over_tokens_serves(tmp_path):
    plain = models.ViTBackbone((SIZE, SIZE, 3), 8, 1, 2, 8, 16, use_class_token=False)
    said = []
    base = build_kerashub(written(plain, tmp_path), say=said.append)
    expected = np.asarray(plain(pixels() / 255)).mean(axis=1)
    np.testing.assert_allclose(base.model(pixels() / 255), expected, atol=1e-5)
    assert base.preprocessing == "none"
    assert "does not say how pixels are scaled" in said[0]


def test_an_encoder_packed_into_one_layer_has_blocks_and_cuts(presets):
    for name, blocks in {
        "vit": ["transformer_block_1", "transformer_block_2"],
        "dinov2": ["layers_0", "layers_1"],
    }.items():
        base = build_kerashub(presets[name])
        assert [block.name for block in base.blocks] == blocks
        assert all(block.cut_below is not None for block in base.blocks)
        assert len(cuts(base.model)) > len(blocks)
    names = [block.name for block in build_kerashub(presets["resnet"], 24).blocks]
    assert names == ["stack0_block0", "stack1_block0"]


def test_an_open_input_takes_the_size_asked_for(presets):
    base = build_kerashub(presets["resnet"], 24)
    assert base.image_size == 24
    assert base.model.input_shape == (None, 24, 24, 3)
    with pytest.raises(SettingError, match=r"image size 32 contradicts the preset .* is 16 pixels"):
        build_kerashub(presets["vit"], 32)


def test_features_of_texts_are_those_of_keras_hub(presets):
    base = build_kerashub(presets["bert"])
    read = models.TextClassifierPreprocessor.from_preset(presets["bert"], sequence_length=12)
    tokens = read(TEXTS)
    outputs = np.asarray(models.Backbone.from_preset(presets["bert"])(tokens)["sequence_output"])
    expected = class_and_mean(outputs, tokens["padding_mask"])
    given = tf.constant(TEXTS)
    np.testing.assert_allclose(base.model(given, training=False), expected, atol=1e-5)
    np.testing.assert_allclose(tf.function(base.model)(given), expected, atol=1e-5)
    assert (base.kind, base.image_size) == ("text", 0)
    assert [block.name for block in base.blocks] == ["transformer_layer_0", "transformer_layer_1"]


def test_batches_of_similar_length_give_the_same_features_in_the_same_order(presets):
    base = build_kerashub(presets["bert"])
    frozen = model_to(base, [POOLED_TAP])
    engine = keras_engine(frozen)
    assert isinstance(engine, TokenEngine)
    texts = np.array(["good " * (n % 11) + "film" for n in range(70)] + TEXTS, object)
    (found,) = engine.run(texts)
    np.testing.assert_allclose(found, frozen(tf.constant(texts), training=False), atol=1e-5)


def test_texts_are_cut_where_the_data_says(presets):
    base = build_kerashub(presets["bert"])
    texts = ["good film", "good " * 8]
    assert base.tokens.lengths(texts).tolist() == [4, 10]
    whole = np.asarray(base.model(tf.constant(texts), training=False))
    short = with_sequence_length(build_kerashub(presets["bert"]), 6)
    assert short.tokens.sequence_length == 6
    cut = np.asarray(short.model(tf.constant(texts), training=False))
    np.testing.assert_allclose(cut[0], whole[0], atol=1e-5)
    assert np.abs(cut[1] - whole[1]).max() > 1e-3


@pytest.mark.slow
def test_roberta_tokens_in_a_graph_are_its_own(tmp_path):
    pieces = ["<s>", "<pad>", "</s>", "<mask>", "a", "i", "r", "p", "l", "n", "e", "Ġ", "ai", "air", "Ġai", "Ġair"]
    tokenizer = keras_hub.tokenizers.RobertaTokenizer(
        {piece: number for number, piece in enumerate(pieces)}, ["a i", "ai r", "Ġ ai", "Ġai r"]
    )
    backbone = models.RobertaBackbone(len(pieces), 1, 2, 8, 16, max_sequence_length=12)
    base = build_kerashub(written(backbone, tmp_path, tokenizer))
    read = models.RobertaTextClassifierPreprocessor(tokenizer, sequence_length=12)
    texts = ["air plane", "a line in air", ""]
    tokens = read(texts)
    expected = class_and_mean(np.asarray(backbone(tokens)), tokens["padding_mask"])
    np.testing.assert_allclose(base.model(tf.constant(texts), training=False), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "top"), [("vit", "transformer_block_2"), ("bert", "transformer_layer_1")])
def test_only_the_unfrozen_top_block_learns(presets, name, top):
    base = build_kerashub(presets[name])
    whole = assemble(base, 2, 0.0, CLASSIFICATION, 0)
    parts = unfreeze(whole, 1)
    before = [value.numpy() for value in base.model.weights]
    given = pixels() if base.kind == "image" else tf.constant(TEXTS[:3])
    with tf.GradientTape() as tape:
        said = parts.trained(parts.frozen(given, training=False), training=True)
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(np.array([0, 1, 1]), said))
    variables = parts.trained.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert all(gradient is not None for gradient in gradients)
    keras.optimizers.SGD(1.0).apply_gradients(zip(gradients, variables, strict=True))
    pairs = zip(base.model.weights, before, strict=True)
    changed = [weight.path for weight, old in pairs if not np.array_equal(weight.numpy(), old)]
    assert changed
    inside = {weight.path for weight in base.blocks[-1].layers[0].weights}
    after = {"ln/gamma", "ln/beta"} if name == "vit" else set()  # belongs to the last block
    assert base.blocks[-1].name == top
    assert {path for path in changed if not any(path.endswith(end) for end in after)} <= inside


FRESH = """
import sys
import numpy as np
import tensorflow as tf
import tensorflow_text
folder, texts = sys.argv[1], tf.constant({texts!r})
loaded = tf.saved_model.load(folder + "/saved")
np.save(folder + "/saved_said.npy", loaded.signatures["serving_default"](texts)["said"])
assert not {{"keras_hub", "tfransfer"}} & set(sys.modules)

import keras
import tfransfer.base.kerashub.build, tfransfer.base.kerashub.text
np.save(folder + "/vit_said.npy", keras.saving.load_model(folder + "/vit.keras")(np.load(folder + "/pixels.npy")))
np.save(folder + "/bert_said.npy", keras.saving.load_model(folder + "/bert.keras")(texts))
"""


@pytest.mark.slow
def test_files_load_in_a_fresh_process_the_saved_model_without_keras_hub(presets, tmp_path):
    np.save(tmp_path / "pixels.npy", pixels())
    expected = {}
    for name, given in {"vit": pixels(), "bert": tf.constant(TEXTS)}.items():
        model = assemble(build_kerashub(presets[name]), 2, 0.1, CLASSIFICATION, 0).model
        model.save(tmp_path / f"{name}.keras")
        expected[name] = np.asarray(model(given))
    signature = [tf.TensorSpec([None], tf.string)]  # of bert, the last one
    serve = tf.function(lambda texts: {"said": model(texts, training=False)}, input_signature=signature)
    save_endpoints(model, {"serving_default": serve}, tmp_path / "saved")
    expected["saved"] = expected["bert"]
    ran = subprocess.run(
        [sys.executable, "-c", FRESH.format(texts=TEXTS), str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    for name, answer in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}_said.npy"), answer, atol=1e-5, err_msg=name)


def test_a_prefix_marks_a_preset():
    assert is_preset("kerashub:bert_tiny_en_uncased")
    assert not is_preset("bert_tiny_en_uncased")


def test_an_unknown_name_is_answered_with_what_resembles_it(tmp_path):
    with pytest.raises(SettingError, match=r"Did you mean .*bert_tiny_en_uncased"):
        build_kerashub("bert_tiny_en_uncasd")
    with pytest.raises(SettingError, match="no such folder"):
        build_kerashub(str(tmp_path / "nothing"))


@pytest.mark.parametrize("preset", ["bert_tiny_en_uncased", "kaggle://keras/bert/keras/bert_tiny_en_uncased"])
def test_without_network_the_message_says_what_to_do(monkeypatch, preset):
    def unreachable(*arguments, **options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("kagglehub.model_download", unreachable)
    with pytest.raises(WeightsNotFoundError, match=r"no route to host.* copy the folder"):
        build_kerashub(preset)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(SettingError, match=r'pip install "tfransfer\[kerashub\]"'):
        build_kerashub("bert_tiny_en_uncased")


def test_folders_that_are_no_whole_preset_are_named(presets, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseModelError, match=r"no preset of KerasHub.*config\.json"):
        build_kerashub(str(tmp_path / "empty"))
    damaged = shutil.copytree(presets["vit"], tmp_path / "damaged")
    weights = damaged / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(BaseModelError, match="damaged or no backbone"):
        build_kerashub(str(damaged))
    (damaged / "config.json").write_text('{"registered_name": ')
    with pytest.raises(BaseModelError, match="cannot be read"):
        build_kerashub(str(damaged))
    (damaged / "config.json").write_text('{"name": "mine"}')
    with pytest.raises(BaseModelError, match="describes no backbone"):
        build_kerashub(str(damaged))


def test_a_damaged_scale_is_not_taken_for_none(presets, tmp_path):
    damaged = shutil.copytree(presets["vit"], tmp_path / "damaged")
    (damaged / "image_converter.json").write_text('{"scale": ')
    with pytest.raises(BaseModelError, match="damaged"):
        build_kerashub(str(damaged))


@pytest.mark.parametrize("name", ["config.json", "image_converter.json"])
def test_a_preset_that_names_a_program_is_refused_before_keras_reads_it(presets, tmp_path, monkeypatch, name):
    hostile = shutil.copytree(presets["vit"], tmp_path / "hostile")
    config = json.loads((hostile / name).read_text())
    config["config"]["dtype"] = {"module": "os", "class_name": "function", "config": "system", "registered_name": None}
    (hostile / name).write_text(json.dumps(config))
    read = lambda *given, **options: pytest.fail("Keras has read it")  # noqa: E731
    monkeypatch.setattr(models.Backbone, "from_preset", read)
    with pytest.raises(BaseModelError, match=r"names the function 'os\.system'.*could run a program"):
        build_kerashub(str(hostile))


def test_a_text_preset_without_its_vocabulary_is_named(presets, tmp_path):
    damaged = shutil.copytree(presets["bert"], tmp_path / "damaged")
    shutil.rmtree(damaged / "assets")
    with pytest.raises(BaseModelError, match=r"vocabulary\.txt"):
        build_kerashub(str(damaged))


def test_backbones_that_are_no_base_are_refused(tmp_path):
    decoder = models.GPT2Backbone(20, 1, 2, 8, 16, max_sequence_length=12)
    with pytest.raises(BaseModelError, match="classifies no texts with GPT2Backbone"):
        build_kerashub(written(decoder, tmp_path / "gpt2"))
    seq2seq = models.BartBackbone(20, 1, 2, 8, 16, max_sequence_length=12)
    with pytest.raises(BaseModelError, match="must have one output; BartBackbone has 2"):
        build_kerashub(written(seq2seq, tmp_path / "bart"))
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "config.json").write_text(json.dumps(keras.saving.serialize_keras_object(plain)))
    with pytest.raises(BaseModelError, match="no backbone"):
        build_kerashub(str(tmp_path / "plain"))
    grey = models.ViTBackbone((SIZE, SIZE, 1), 8, 1, 2, 8, 16)
    with pytest.raises(BaseModelError, match="square RGB"):
        build_kerashub(written(grey, tmp_path / "grey"))


@pytest.mark.slow
def test_a_preset_for_pictures_goes_from_training_to_files(presets, dataset, tmp_path, fresh_cache):
    run = tfransfer.train(dataset, base=f"kerashub:{presets['vit']}", out=tmp_path / "run", engine="keras",
                          head_epochs=2, fine_tune_epochs=1, unfreeze=1)  # fmt: skip
    assert set(run.manifest["exports"]) == {"keras", "savedmodel", "tflite"}
    assert list(run.manifest["plan"]["unfrozen"]) == ["transformer_block_2"]
    assert run.manifest["plan"]["features"]["cut"]
    assert run.manifest["plan"]["pooling"] in ("class", "mean", "both")
    assert tfransfer.load_run(run.folder).evaluate() == run.metrics


@pytest.mark.slow
def test_a_preset_for_texts_goes_from_training_to_a_saved_model(presets, tmp_path, fresh_cache):
    lines = [f"{'good' if n % 2 else 'bad'} film{' a' * (n // 2)},{n % 2}" for n in range(60)]
    (tmp_path / "films.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    run = tfransfer.train(tmp_path / "films.csv", base=f"kerashub:{presets['bert']}", out=tmp_path / "run",
                          engine="keras", head_epochs=2, fine_tune_epochs=1, pooling="mean")  # fmt: skip
    assert set(run.manifest["exports"]) == {"keras", "savedmodel"}
    assert (run.manifest["plan"]["pooling"], run.manifest["plan"]["sequence_length"]) == ("mean", 12)
    assert run.embed(["good film"]).shape == (1, 8)
    assert tfransfer.load_run(run.folder).evaluate() == run.metrics
