"""TF-Hub modules as bases, from training to the exported files, each step in a process of its own."""

import csv
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from hub_modules import write_mobilenet_by_tf_keras, write_network, write_pictures, write_texts
from small_world import SEED, colour_folder, some_flowers

import tfransfer
from tfransfer.base.build import build_base
from tfransfer.base.hub import layer as hub_layer
from tfransfer.base.hub.build import build_hub, pattern_of
from tfransfer.base.taps import POOLED_TAP, model_to
from tfransfer.errors import BaseModelError, SettingError

SIZE, PER_CLASS = 96, 20
PLAIN = {"engine": "keras", "head_epochs": 3, "image_size": SIZE, "views": 2}


def in_own_process(*words, cache, fail=False):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TFRANSFER_CACHE": str(cache)}
    ran = subprocess.run(
        [sys.executable, "-m", "tfransfer", *map(str, words)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert fail or ran.returncode == 0, ran.stdout + ran.stderr
    return ran


@pytest.fixture(scope="module")
def photos(flower_photos, tmp_path_factory):
    """Some real photos of each of five flowers."""
    return some_flowers(flower_photos, tmp_path_factory.mktemp("flowers"), PER_CLASS)[0].parent.parent


@pytest.fixture(
    scope="module",
    params=[pytest.param("tf_module", marks=pytest.mark.slow), pytest.param("tf_keras", marks=pytest.mark.long)],
)
def module(request, mobilenet_v2_weights, tmp_path_factory):
    """MobileNetV2 with its real weights as a module of TF-Hub's reusable kind, written in either of the usual ways."""
    network = keras.applications.MobileNetV2(
        include_top=False, weights=str(mobilenet_v2_weights), input_shape=(SIZE, SIZE, 3), pooling="avg"
    )
    folder = tmp_path_factory.mktemp("module") / "mobilenet"
    if request.param == "tf_module":
        return write_network(network, folder)
    pytest.importorskip("tf_keras")
    return write_mobilenet_by_tf_keras(network, folder)


@pytest.fixture(scope="module")
def trained(photos, module, tmp_path_factory):
    """A run of the real command on the module: both phases, the two top blocks unfrozen by a pattern."""
    place = tmp_path_factory.mktemp("trained")
    said = in_own_process(
        "train", photos, "--base", module, "--unfreeze", "block_15_|block_16_|Conv_1", "--head-epochs", 3,
        "--fine-tune-epochs", 2, "--set", "features.views=1", "--set", "features.engine=keras", "--seed", SEED,
        "--out", place / "run", cache=place / "cache",
    )  # fmt: skip
    return place / "run", place / "cache", said.stdout


def test_features_are_those_of_the_same_network_in_keras(module, mobilenet_v2_weights):
    hub, plain = build_hub(str(module)), build_base("mobilenet_v2", SIZE, str(mobilenet_v2_weights))
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.float32)
    ours, theirs = (model_to(base, [POOLED_TAP])(pixels, training=False) for base in (hub, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def head_losses(photos, out, **settings):
    """The loss after each step of a head phase."""
    seen = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["loss"])

    tfransfer.train(
        photos, out=out, fine_tune_epochs=0, exports=(), callbacks=lambda phase: [Note()], **PLAIN, **settings
    )
    return seen


@pytest.fixture(scope="module")
def losses_in_keras(photos, mobilenet_v2_weights, tmp_path_factory):
    """The same head phase's losses on the base that comes from Keras Applications."""
    out = tmp_path_factory.mktemp("keras") / "run"
    return head_losses(photos, out, base="mobilenet_v2", weights=str(mobilenet_v2_weights))


def test_head_losses_are_those_of_the_same_network_in_keras_step_by_step(
    photos, module, losses_in_keras, tmp_path, fresh_cache
):
    ours = head_losses(photos, tmp_path / "hub", base=str(module))
    assert len(ours) == len(losses_in_keras) > 2
    np.testing.assert_allclose(ours, losses_in_keras, atol=1e-3)


def test_two_top_blocks_are_unfrozen_by_pattern_and_by_count(module):
    base = build_hub(str(module))
    chosen = []
    for setting in (2, "block_15_|block_16_|Conv_1"):
        base.module.unfreeze(pattern_of(base, setting))
        chosen.append([variable.name for variable in base.module.trainable_variables])
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 2 * 3 + 1  # the kernels: BatchNorm stays frozen
    assert [block.name for block in base.blocks][-2:] == ["block_15", "block_16"]


@pytest.mark.learns
def test_both_phases_run_and_batch_norm_stays(trained):
    run, _, shown = trained
    assert "what matches block_15_|block_16_|Conv_1 unfrozen" in shown
    with (run / "history.csv").open(newline="") as stream:
        phases = [row["phase"] for row in csv.DictReader(stream)]
    assert phases == ["head"] * 3 + ["fine_tune"] * 2
    assert json.loads((run / "metrics.json").read_text())["test"]["top1"] > 0.3
    assert {"keras", "savedmodel", "tflite"} == set(json.loads((run / "manifest.json").read_text())["exports"])


def test_evaluate_predict_and_export_elsewhere(trained, photos, command, monkeypatch):
    run, cache, _ = trained
    monkeypatch.setenv("TFRANSFER_CACHE", str(cache))
    monkeypatch.setattr(hub_layer, "_LOADED", {})  # as in a process that has loaded no module yet
    before = json.loads((run / "metrics.json").read_text())
    assert json.loads(command("evaluate", run, "--json")[1]) == before
    picture = next(photos.rglob("*.jpg"))
    assert len(json.loads(in_own_process("predict", run, picture, "--json", cache=cache).stdout)["predictions"]) == 1
    (run / "model.tflite").unlink()
    assert command("export", run, "--to", "tflite")[0] == 0
    assert (run / "model.tflite").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("module", ["tf_module"], indirect=True)
def test_on_another_machine_the_program_in_a_run_is_loaded_only_when_trusted(
    trained, photos, tmp_path, command, monkeypatch
):
    run, _, _ = trained
    picture = next(photos.rglob("*.jpg"))
    monkeypatch.setenv("TFRANSFER_CACHE", str(tmp_path))
    monkeypatch.setattr(hub_layer, "_LOADED", {})
    code, _, errors = command("predict", run, picture)
    assert code == 1
    assert "embeds a SavedModel" in errors
    assert "--trust" in errors
    assert command("predict", run, picture, "--trust")[0] == 0
    with pytest.raises(BaseModelError, match="program"):
        _ = tfransfer.load_run(_changed(run, tmp_path / "changed")).model


def _changed(run, to):
    """A copy of a run whose model's file is another, though what it says of itself is the same."""
    shutil.copytree(run, to)
    with (to / "model.keras").open("ab") as stream:
        stream.write(b"\0")
    return to


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return colour_folder(tmp_path_factory.mktemp("colours") / "data")


@pytest.mark.slow
def test_a_module_that_cannot_be_trained_says_so_and_serves_frozen(colours, tmp_path, fresh_cache):
    frozen = write_pictures(tmp_path / "frozen", trainable=False)
    said = []
    run = tfransfer.train(colours, base=str(frozen), out=tmp_path / "run", head_epochs=4, say=said.append)
    assert any("used as a frozen base" in line for line in said)
    assert list(run.manifest["phases"]) == ["head"]
    with pytest.raises(SettingError, match="cannot be trained"):
        tfransfer.train(colours, base=str(frozen), out=tmp_path / "run2", fine_tune_epochs=2, unfreeze="all")


def test_a_pattern_that_matches_nothing_is_said_before_anything_is_trained(colours, tmp_path, fresh_cache):
    module = write_pictures(tmp_path / "module")
    with pytest.raises(SettingError, match="nothing_like_it"):
        tfransfer.train(colours, base=str(module), out=tmp_path / "run", unfreeze="nothing_like_it")
    with pytest.raises(SettingError, match="image size 64 contradicts the module"):
        tfransfer.train(colours, base=str(module), out=tmp_path / "run", image_size=64)
    assert not (tmp_path / "run").exists()


def test_a_damaged_module_is_named(colours, tmp_path, fresh_cache):
    module = write_pictures(tmp_path / "module")
    (module / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(BaseModelError, match="module"):
        tfransfer.train(colours, base=str(module), out=tmp_path / "run")


def _sentences(path):
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [row[0] for row in rows], np.array([int(row[1]) for row in rows])


def _trained_vectors(sentences, labels, words, features=16):
    """Vectors of words that were trained on sentences for a moment, as a published text module's were."""
    numbers = {word: number for number, word in enumerate(words)}
    bags = np.zeros((len(sentences), len(words) + 1), np.float32)
    for row, sentence in enumerate(sentences):
        for word in sentence.split():
            bags[row, numbers.get(word, len(words))] += 1 / len(sentence.split())
    start = keras.initializers.RandomNormal(stddev=0.5, seed=0)
    vectors = keras.layers.Dense(features, use_bias=False, kernel_initializer=start)
    model = keras.Sequential([vectors, keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.03), "binary_crossentropy")
    model.fit(bags, labels, epochs=4, batch_size=64, verbose=0)
    return vectors.get_weights()[0]


@pytest.mark.long
def test_a_text_module_beats_a_majority_vote(test_data, tmp_path, fresh_cache):
    sentences, labels = _sentences(test_data / "sst2" / "train.tsv")
    counts = {}
    for word in " ".join(sentences).split():
        counts[word] = counts.get(word, 0) + 1
    words = sorted(word for word, count in counts.items() if count > 2)
    module = write_texts(tmp_path / "words", words, _trained_vectors(sentences[:4000], labels[:4000], words))
    data = tmp_path / "reviews"
    data.mkdir()
    for name, count in {"train": 3000, "dev": 500, "test": 1000}.items():
        lines = (test_data / "sst2" / f"{name}.tsv").read_text().splitlines(keepends=True)[-count:]
        (data / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(lines))
    run = tfransfer.train(data, base=str(module), out=tmp_path / "run", fine_tune_epochs=2)
    _, asked = _sentences(test_data / "sst2" / "test.tsv")
    majority = max(asked[-1000:].mean(), 1 - asked[-1000:].mean())
    assert run.metrics["test"]["top1"] >= majority + 0.1
    assert list(run.manifest["phases"]) == ["head", "fine_tune"]
    again = tfransfer.load_run(run.folder)
    assert again.predict("a lovely and moving film").label == run.predict("a lovely and moving film").label
