import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import hub_modules
import keras
import numpy as np
import pytest
import tensorflow as tf

from tfransfer.base.hub import layer as hub_layer
from tfransfer.base.hub.layer import HubLayer
from tfransfer.base.saved import save_endpoints
from tfransfer.errors import BaseModelError, SettingError

PICTURES = np.random.default_rng(1).random((8, hub_modules.SIZE, hub_modules.SIZE, 3), dtype="float32")
LABELS = np.arange(8) % 2
TEXTS = np.array(["good film", "bad book", "good good", "unknown film"], dtype=object)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(scope="module")
def pictures(written):
    return hub_modules.write_pictures(written / "pictures")


@pytest.fixture(scope="module")
def texts(written):
    return hub_modules.write_texts(written / "texts")


@pytest.fixture
def forgetful(monkeypatch, fresh_cache):
    """This process has loaded no module yet, and the cache is empty."""
    monkeypatch.setattr(hub_layer, "_LOADED", {})
    return fresh_cache


def classifier(layer, compiled=True, run_eagerly=True):
    text = layer.input_kind == "text"
    inputs = keras.Input(() if text else PICTURES.shape[1:], dtype="string" if text else "float32")
    model = keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))
    if compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss, run_eagerly=run_eagerly)  # eager is sooner done
    return model


def fit(model, epochs=1):
    return model.fit(PICTURES, LABELS, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


def values(layer):
    return {name: v.numpy().copy() for name, v in zip(layer.variable_names, layer.weights, strict=True)}


def moved(layer, before):
    return {name for name, value in values(layer).items() if not np.array_equal(value, before[name])}


def features_of(folder, inputs, **kwargs):
    """What plain TensorFlow says."""
    return tf.nest.flatten(tf.saved_model.load(str(folder))(tf.constant(inputs), **kwargs))[0].numpy()


def test_a_module_of_pictures_gives_what_plain_tensorflow_gives(pictures):
    layer = HubLayer(pictures)
    assert (layer.input_kind, layer.image_size, layer.feature_size, layer.can_train) == ("image", 8, 6, True)
    np.testing.assert_array_equal(layer(PICTURES), features_of(pictures, PICTURES))


def test_a_module_in_a_folder_whose_name_tensorflow_takes_for_a_pattern_loads_and_saves(
    pictures, texts, forgetful, tmp_path
):
    for module, inputs in ((pictures, PICTURES), (texts, TEXTS)):
        folder = shutil.copytree(module, tmp_path / "modules [1]" / module.name)
        layer = HubLayer(folder)
        np.testing.assert_array_equal(layer(inputs), features_of(module, inputs))
    archive = shutil.make_archive(str(tmp_path / "modules [1]" / "packed"), "gztar", pictures)
    assert HubLayer(archive).feature_size == 6
    model = classifier(layer, compiled=False)
    serve = tf.function(lambda texts: {"out": model(texts)}, input_signature=[tf.TensorSpec((None,), tf.string)])
    save_endpoints(model, {"serving_default": serve}, tmp_path / "saved")  # needs the vocabulary again
    saved = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    np.testing.assert_array_equal(saved(tf.constant(TEXTS))["out"], model(tf.constant(TEXTS)))


def test_the_weights_are_the_modules_own_variables_not_copies(pictures):
    layer = HubLayer(pictures)
    assert len(layer.weights) == 20
    layer.weights[0].assign(layer.weights[0] * 0)
    assert not np.array_equal(layer(PICTURES), features_of(pictures, PICTURES))


def test_frozen_by_default_and_nothing_moves(pictures):
    layer = HubLayer(pictures)
    before = values(layer)
    fit(classifier(layer))
    assert layer.trainable_weights == [] and not moved(layer, before)


def test_trained_it_moves_all_but_batch_norm(pictures):
    layer = HubLayer(pictures, trainable=True)
    before = values(layer)
    fit(classifier(layer))
    assert moved(layer, before) == {"stem/kernel", "block_1_conv/kernel", "block_2_conv/kernel", "Conv_1/kernel"}
    np.testing.assert_array_equal(layer(PICTURES, training=True), layer(PICTURES, training=False))


def test_only_the_highest_block_moves_after_unfreezing_it(pictures):
    layer = HubLayer(pictures)
    layer.unfreeze(layer.top_pattern(1))
    before = values(layer)
    fit(classifier(layer))
    assert moved(layer, before) == {"block_2_conv/kernel", "Conv_1/kernel"}


def test_the_model_freezes_and_unfreezes_it(pictures):
    layer = HubLayer(pictures, trainable=True, pattern="block_2")
    model = classifier(layer, compiled=False)
    model.trainable = False
    assert layer.trainable_weights == []
    model.trainable = True
    assert [v.name for v in layer.trainable_weights] == ["block_2_conv_kernel"]


def test_unfreezing_again_replaces_the_pattern(pictures):
    layer = HubLayer(pictures, trainable=True, pattern="block_2")
    layer.unfreeze("block_1")
    assert layer.pattern == "block_1" and [v.name for v in layer.trainable_weights] == ["block_1_conv_kernel"]
    layer.unfreeze()
    assert len(layer.trainable_weights) == 4


def test_statistics_move_only_where_they_are_asked_to(pictures):
    layer = HubLayer(pictures, trainable=True, statistics="trained")
    before = values(layer)
    fit(classifier(layer))
    assert {"stem_bn/moving_mean", "Conv_1_bn/moving_variance", "stem_bn/gamma"} <= moved(layer, before)
    layer.trainable = False
    before = values(layer)
    layer(PICTURES, training=True)
    assert not moved(layer, before)


@pytest.mark.parametrize("pattern", ["block_9", "block_2_conv_bn"])
def test_a_pattern_that_trains_nothing_is_refused_with_examples(pictures, pattern):
    with pytest.raises(SettingError, match=r"stem/kernel, block_1_conv/kernel"):
        HubLayer(pictures, pattern=pattern)
    with pytest.raises(SettingError, match="matches no trainable variable"):
        HubLayer(pictures).unfreeze(pattern)


def test_other_words_for_the_statistics_are_refused(pictures):
    with pytest.raises(SettingError, match="frozen"):
        HubLayer(pictures, statistics="moving")


def test_regularization_losses_count_while_it_is_trained(pictures):
    layer = HubLayer(pictures, trainable=True)
    layer(PICTURES, training=True)
    kernel = values(layer)["Conv_1/kernel"]
    assert float(sum(layer.losses)) == pytest.approx(0.01 * (kernel**2).sum(), rel=1e-5)
    layer.trainable = False
    layer(PICTURES, training=True)
    assert layer.losses == []


def test_it_computes_in_float32_under_a_mixed_policy(pictures):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = HubLayer(pictures)
        assert layer(PICTURES).dtype == tf.float32 and layer.compute_dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_module_written_by_keras_2_trains_in_a_sequential_model(written):
    pytest.importorskip("tf_keras")
    folder = hub_modules.write_by_tf_keras(written / "keras2")
    layer = HubLayer(folder, trainable=True)
    assert layer.block_patterns()[-1][0] == "block2"
    np.testing.assert_array_equal(layer(PICTURES), features_of(folder, PICTURES, training=False))
    before = values(layer)
    model = keras.Sequential([layer, keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model)
    assert moved(layer, before) == {"block1_conv/kernel", "block1_conv/bias", "block2_conv/kernel", "block2_conv/bias"}


def test_a_network_of_keras_3_gives_its_own_features_and_blocks(written):
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for name in ("stem", "block_1_expand", "block_2_expand", "Conv_1"):
        x = keras.layers.BatchNormalization(name=f"{name}_BN")(keras.layers.Conv2D(3, 3, padding="same", name=name)(x))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    expected = model.predict(PICTURES * 2 - 1, verbose=0)
    layer = HubLayer(hub_modules.write_network(model, written / "network"))
    np.testing.assert_allclose(layer(PICTURES), expected, atol=1e-6)
    layer.unfreeze(layer.top_pattern(1))
    trained = [n for n, v in zip(layer.variable_names, layer.weights, strict=True) if v.trainable]
    assert trained == ["block_2_expand/kernel", "block_2_expand/bias", "Conv_1/kernel", "Conv_1/bias"]


def test_a_module_of_any_size_takes_two_sizes(written):
    layer = HubLayer(hub_modules.write_pictures(written / "any", size=None))
    assert layer.image_size is None and layer.feature_size == 6
    assert layer(PICTURES).shape == layer(PICTURES[:, :5, :5]).shape == (8, 6)


def test_texts_train_from_strings(texts):
    layer = HubLayer(texts, trainable=True)
    assert (layer.input_kind, layer.image_size, layer.feature_size) == ("text", None, 5)
    before = values(layer)["embedding/table"]
    np.testing.assert_array_equal(layer(tf.constant(TEXTS))[2], before[0])
    classifier(layer).fit(tf.data.Dataset.from_tensors((tf.constant(TEXTS), LABELS[:4])), shuffle=False, verbose=0)
    assert moved(layer, {"embedding/table": before})


def test_a_module_of_texts_written_by_keras_2_trains(written):
    """Among its variables there is one that comes back as None: the table of the vocabulary."""
    pytest.importorskip("tf_keras")
    layer = HubLayer(hub_modules.write_texts_by_tf_keras(written / "keras2_texts"), trainable=True)
    assert (layer.input_kind, layer.feature_size, len(layer.weights)) == ("text", 5, 1)
    before = values(layer)
    classifier(layer).fit(tf.data.Dataset.from_tensors((tf.constant(TEXTS), LABELS[:4])), shuffle=False, verbose=0)
    assert moved(layer, before) == set(layer.variable_names)


def test_a_module_without_trainable_variables_says_so(written):
    layer = HubLayer(hub_modules.write_pictures(written / "fixed", trainable=False), trainable=True)
    assert layer.trainable_weights == [] and not layer.can_train and "no trainable variables" in layer.why_frozen
    with pytest.raises(SettingError, match="no trainable variables"):
        layer.unfreeze("block")


def test_a_savedmodel_with_signatures_only_is_a_frozen_base(written):
    folder = hub_modules.write_signatures(written / "signatures")
    layer = HubLayer(folder, trainable=True)
    expected = tf.saved_model.load(str(folder)).signatures["default"](images=tf.constant(PICTURES))["default"]
    np.testing.assert_array_equal(layer(PICTURES), expected)
    assert not layer.can_train and "signatures only" in layer.why_frozen
    fit(classifier(layer))


def test_a_module_in_the_format_of_tf1_is_a_frozen_base(written):
    folder = written / "tf1"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        images = tf.compat.v1.placeholder(tf.float32, (None, 8, 8, 3))
        scale = tf.compat.v1.get_variable("scale", initializer=[1.0, 2.0, 3.0], use_resource=True)
        features = tf.reduce_mean(images, [1, 2]) * scale
        session.run(tf.compat.v1.global_variables_initializer())
        signature = tf.compat.v1.saved_model.predict_signature_def({"images": images}, {"default": features})
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, [], {"default": signature})
        builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    layer = HubLayer(folder)
    np.testing.assert_allclose(layer(PICTURES), PICTURES.mean((1, 2)) * [1, 2, 3], rtol=1e-5)
    assert not layer.can_train


def test_several_outputs_without_a_known_name_are_refused_by_name(written):
    outer = hub_modules.bare()
    spec = tf.TensorSpec((None, 8, 8, 3))
    outer.__call__ = tf.function(lambda x: {"near": x, "far": x}, input_signature=[spec])
    tf.saved_model.save(outer, str(written / "two"))
    with pytest.raises(BaseModelError, match="far, near"):
        HubLayer(written / "two")


def test_what_takes_neither_pictures_nor_texts_is_refused(written):
    outer = hub_modules.bare()
    outer.__call__ = tf.function(lambda x: x, input_signature=[tf.TensorSpec((None, 16000))])
    tf.saved_model.save(outer, str(written / "sound"))
    with pytest.raises(BaseModelError, match=r"pictures.*or texts.*16000"):
        HubLayer(written / "sound")


def test_the_config_names_no_folder_and_rebuilds_the_graph_without_the_module(pictures, forgetful):
    model = classifier(HubLayer(pictures, trainable=True, pattern="block"), compiled=False)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    assert str(pictures.parent) not in json.dumps(config)
    hub_layer._LOADED.clear()
    again = keras.saving.deserialize_keras_object(config, safe_mode=False)
    assert again.output_shape == (None, 2) and again.layers[1].pattern == "block"
    assert len(again.layers[1].trainable_weights) == 2
    with pytest.raises(BaseModelError, match="without its SavedModel"):
        again.layers[1](PICTURES)


def test_a_clone_has_the_module_with_variables_of_its_own(pictures):
    layer = HubLayer(pictures, trainable=True)
    clone = keras.models.clone_model(classifier(layer, compiled=False)).layers[1]
    np.testing.assert_array_equal(clone(PICTURES), layer(PICTURES))
    assert not {id(v.value) for v in clone.weights} & {id(v.value) for v in layer.weights}


def test_saved_and_loaded_it_goes_on_as_if_it_had_not_been(pictures, forgetful, tmp_path):
    """The tuned values, which are tuned, and the optimizer's state survive; the original folder is not needed."""
    source = shutil.copytree(pictures, tmp_path / "source")
    model = classifier(HubLayer(source, trainable=True, pattern="block_2|Conv_1"), run_eagerly=False)
    fit(model, epochs=2)
    model.save(tmp_path / "model.keras")
    shutil.rmtree(source)
    hub_layer._LOADED.clear()
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
    layer = again.layers[1]
    assert (layer.trainable, layer.pattern, len(layer.trainable_weights)) == (True, "block_2|Conv_1", 2)
    np.testing.assert_array_equal(again.predict(PICTURES, verbose=0), model.predict(PICTURES, verbose=0))
    fit(model), fit(again)
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert layer.facts.hash in os.listdir(forgetful / "modules")


def test_keras_safe_mode_refuses_and_says_why(pictures, tmp_path):
    classifier(HubLayer(pictures)).save(tmp_path / "model.keras")
    with pytest.raises(BaseModelError, match=r"embeds a SavedModel.*trust=True"):
        keras.models.load_model(tmp_path / "model.keras")


def test_a_copy_made_without_trust_takes_no_module_from_a_file(pictures, forgetful):
    config = HubLayer(pictures).get_config()
    hub_layer._LOADED.clear()
    with pytest.raises(BaseModelError, match="safe_mode=False only"):
        HubLayer.from_config(config).load_assets(str(pictures))


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras goes on after a layer that failed
def test_a_changed_module_inside_the_file_is_refused(pictures, forgetful, tmp_path):
    classifier(HubLayer(pictures)).save(tmp_path / "model.keras")
    hub_layer._LOADED.clear()
    with zipfile.ZipFile(tmp_path / "model.keras") as old, zipfile.ZipFile(tmp_path / "other.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (b" " if name.endswith("saved_model.pb") else b""))
    with pytest.raises(ValueError, match="hash differs"):
        keras.models.load_model(tmp_path / "other.keras", safe_mode=False)
    assert not (forgetful / "modules").exists()


def test_a_module_that_changed_on_disk_is_not_saved(pictures, tmp_path):
    source = shutil.copytree(pictures, tmp_path / "source")
    model = classifier(HubLayer(source))
    (source / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(BaseModelError, match="changed or moved since it was loaded"):
        model.save(tmp_path / "model.keras")


def export(model, folder, spec):
    """As `saved.save_endpoints`, and with the modules' tables and assets."""
    outer = tf.Module()
    outer.weights = [variable.value for variable in model.variables]
    outer.resources = [layer.resources for layer in model.layers if isinstance(layer, HubLayer)]
    outer.serve = tf.function(lambda x: {"output": model(x, training=False)}, input_signature=[spec])
    tf.saved_model.save(outer, str(folder), signatures={"serving_default": outer.serve})
    return folder


def test_exported_it_says_the_same_as_savedmodel_and_litert(pictures, tmp_path):
    model = classifier(HubLayer(pictures, trainable=True))
    fit(model)
    expected = model.predict(PICTURES, verbose=0)
    folder = export(model, tmp_path / "exported", tf.TensorSpec((1, 8, 8, 3), name="x"))
    size = (folder / "variables/variables.data-00000-of-00001").stat().st_size
    assert size < 1.5 * (pictures / "variables/variables.data-00000-of-00001").stat().st_size
    loaded = tf.saved_model.load(str(folder))
    served = loaded.serve(tf.constant(PICTURES[:1]))["output"]
    np.testing.assert_allclose(served, expected[:1], atol=1e-5)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], PICTURES[:1])
    interpreter.invoke()
    said = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(said, expected[:1], atol=1e-5)


def run(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": f"{Path(hub_modules.__file__).parent}:{Path(__file__).parents[3]}"}
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout.decode().splitlines()[-1])


IN_ANOTHER_PROCESS = """
import json, sys, tensorflow as tf
texts = tf.constant(json.loads(sys.argv[3]))
plain = tf.saved_model.load(sys.argv[1]).signatures["serving_default"](texts)["output"]
import keras, tfransfer.base.hub.layer
model = keras.models.load_model(sys.argv[2], safe_mode=False)
print(json.dumps([plain.numpy().tolist(), model(texts).numpy().tolist()]))
"""


@pytest.mark.slow
def test_a_text_model_is_served_and_loaded_in_another_process(texts, fresh_cache, tmp_path):
    source = shutil.copytree(texts, tmp_path / "source")
    model = classifier(HubLayer(source, trainable=True))
    model.fit(tf.data.Dataset.from_tensors((tf.constant(TEXTS), LABELS[:4])), shuffle=False, verbose=0)
    expected = model(tf.constant(TEXTS)).numpy()
    folder = export(model, tmp_path / "exported", tf.TensorSpec((None,), tf.string))
    model.save(tmp_path / "model.keras")
    shutil.rmtree(source)
    plain, loaded = run(IN_ANOTHER_PROCESS, folder, tmp_path / "model.keras", json.dumps(TEXTS.tolist()))
    np.testing.assert_allclose(plain, expected, atol=1e-6)
    np.testing.assert_allclose(loaded, expected, atol=1e-6)


ON_TWO_REPLICAS = """
import json, sys, keras, numpy as np, tensorflow as tf
from tfransfer.base.hub.layer import HubLayer
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
pictures, labels = np.random.default_rng(1).random((8, 8, 8, 3), dtype="float32"), np.arange(8) % 2
def tune(eager):
    keras.utils.set_random_seed(0)
    layer = HubLayer(sys.argv[1], trainable=True, pattern="block_2")
    model = keras.Sequential([keras.Input((8, 8, 3)), layer, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=eager)
    model.fit(pictures, labels, batch_size=8, shuffle=False, verbose=0)
    return model
with strategy.scope():
    two = tune(eager=False)
    two.save(sys.argv[2])
    again = keras.models.load_model(sys.argv[2], safe_mode=False)
one = tune(eager=True)
start = HubLayer(sys.argv[1])
gaps = [float(np.abs(a.numpy() - b.numpy()).max()) for a, b in zip(one.weights, two.weights)]
pairs = zip(start.variable_names, start.weights, two.layers[0].weights)
moves = [name for name, a, b in pairs if (a.numpy() != b.numpy()).any()]
print(json.dumps([strategy.num_replicas_in_sync, max(gaps), moves,
                  float(np.abs(again.predict(pictures, verbose=0) - one(pictures)).max())]))
"""


@pytest.mark.slow
def test_two_replicas_train_what_one_does(pictures, fresh_cache, tmp_path):
    replicas, gap, moves, reloaded = run(ON_TWO_REPLICAS, pictures, tmp_path / "model.keras")
    assert replicas == 2 and gap < 1e-5 and moves == ["block_2_conv/kernel"] and reloaded < 1e-5
