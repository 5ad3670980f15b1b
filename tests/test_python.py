"""The library as a notebook uses it."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_world import SIZE, colour_dataset, colour_folder, recipe, session, tiny_model

import tfransfer as tr
from tfransfer.base.build import build_base
from tfransfer.display.progress import quiet, silent
from tfransfer.errors import WriteError
from tfransfer.recipe import read_recipe
from tfransfer.training import phases
from tfransfer.training.opening import open_session

DOCS = Path(__file__).parent.parent / "docs" / "training.md"


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return colour_folder(tmp_path_factory.mktemp("colours") / "my colours")


@pytest.fixture(scope="module")
def run(colours, tmp_path_factory):
    """A run on a keras.Model of the user's own, with the user's own metric and callback."""
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, logs["top2"], self.params["epochs"]))

    made = tr.train(
        tr.load_data(colours),
        tiny_model(dropout=0.1),
        preprocessing="tf",
        recipe=recipe(head__learning_rate=0.05, head__epochs=4),
        out=tmp_path_factory.mktemp("runs") / "own",
        loss=keras.losses.CategoricalFocalCrossentropy(),
        metrics=lambda: [keras.metrics.TopKCategoricalAccuracy(2, name="top2")],
        callbacks=lambda phase: [Watch()],
        exports=["tflite"],
    )
    made.seen = seen
    return made


@pytest.mark.learns
def test_own_model_metric_loss_and_callback_are_taken(run):
    assert run.manifest["plan"]["weights"] == "user"
    assert {"top2", "val_top2"} <= set(run.history[0])
    assert [(epoch, epochs) for epoch, _, epochs in run.seen] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 6), (5, 6)]
    assert run.metrics["test"]["top1"] >= 0.5
    assert (run.folder / "model.tflite").exists()


def test_own_metrics_are_measured_on_the_held_out_splits_and_outlive_an_evaluation(run):
    recorded = {name: scored["top2"] for name, scored in run.metrics.items()}
    assert set(recorded) == {"validation", "test"}
    assert all(run.metrics[name]["top1"] <= value <= 1 for name, value in recorded.items())
    assert {name: scored["top2"] for name, scored in run.evaluate().items()} == recorded
    assert {name: scored["top2"] for name, scored in run.metrics.items()} == recorded


def test_model_is_a_plain_keras_model(run, tmp_path):
    assert type(run.model).__module__.startswith("keras.")
    assert run.model.input_shape == (None, SIZE, SIZE, 3)
    pixels = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3)).astype(np.float32)
    answer = run.model.predict(pixels, verbose=0)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    run.model.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    np.testing.assert_allclose(again.predict(pixels, verbose=0), answer, atol=1e-6)


def test_predict_takes_paths_arrays_pil_images_and_lists(run, colours):
    path = sorted((colours / "red").iterdir())[0]
    by_path = run.predict(path)
    with Image.open(path) as picture:
        picture.load()
        by_image = run.predict(picture)
        pixels = np.asarray(picture)
    by_array = run.predict(pixels)
    assert by_path.label == by_image.label == by_array.label
    assert by_path.probability == pytest.approx(by_array.probability, abs=1e-5)
    assert by_path.probability == pytest.approx(by_image.probability, abs=1e-5)
    listed = run.predict([path, pixels, str(path)], top=2)
    assert [p.label for p in listed] == [by_path.label] * 3
    assert len(listed[0].top) == 2
    assert [p.label for p in run.predict(np.stack([pixels, pixels]))] == [by_path.label] * 2
    assert len(run.predict(colours / "red")) == 24


def test_pixels_scaled_to_one_are_refused(run):
    with pytest.raises(tr.TransferError, match=r"Multiply by 255"):
        run.predict(np.full((8, 8, 3), 0.5))
    with pytest.raises(tr.TransferError, match=r"\(height, width, 3\)"):
        run.predict(np.zeros((8, 8, 5), np.uint8))


def test_run_is_opened_again_and_asked(run, colours):
    again = tr.load_run(run.folder)
    assert again.classes == ("blue", "green", "red")
    assert again.predict(sorted((colours / "blue").iterdir())[0]).name.endswith(".png")
    assert again.evaluate()["test"]["confusion_matrix"] == run.metrics["test"]["confusion_matrix"]
    assert "own" in repr(again)
    assert "my colours" in repr(again.data or tr.load_data(colours))


def test_recipe_of_the_run_is_kept_and_can_be_read(run, tmp_path):
    kept = read_recipe(run.folder / "recipe.toml")
    assert kept.head.learning_rate == 0.05
    assert kept.preprocessing == "tf"
    assert kept.base == "keras.Model tiny"


def test_tensorboard_logs_are_written_by_the_option_and_as_documented(colours, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    (documented,) = re.findall(r"callbacks=(lambda phase: \[keras.*\])\)", DOCS.read_text(encoding="utf-8"))
    settings = recipe(head__epochs=1, fine_tune__epochs=0)
    made = tr.train(
        colours, tiny_model(), preprocessing="tf", recipe=settings, out=tmp_path / "run", exports=[], tensorboard=True,
        callbacks=eval(documented),
    )  # fmt: skip
    assert list((tmp_path / "logs" / "train").glob("events*"))
    assert list((made.folder / "tensorboard" / "head").rglob("events*"))


def test_history_gives_numbers(run):
    assert [(row["phase"], row["epoch"]) for row in run.history] == [
        *(("head", epoch) for epoch in range(1, 5)),
        *(("fine_tune", epoch) for epoch in range(1, 3)),
    ]
    numbers = [value for row in run.history for name, value in row.items() if name not in ("phase", "epoch")]
    assert {type(value) for value in numbers} == {float}


def test_history_is_one_table_over_both_phases(run):
    with (run.folder / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        *(("head", str(i)) for i in range(1, 5)),
        *(("fine_tune", str(i)) for i in range(1, 3)),
    ]


def test_out_of_memory_is_tried_once_more_with_half_the_batch(tmp_path, monkeypatch):
    world = session(colour_dataset(tmp_path / "data"), head__epochs=1, fine_tune__epochs=0)
    start = [w.copy() for w in world.whole.model.get_weights()]
    honest, sizes, said = phases.Loop.run, [], []

    def small_gpu(loop, batches, *rest):
        sizes.append(batches.batch)
        if batches.batch > 4:
            for weight in loop.parts.trained.weights:
                weight.assign(weight + 1)
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        for a, b in zip(start, world.whole.model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        return honest(loop, batches, *rest)

    monkeypatch.setattr(phases.Loop, "run", small_gpu)
    kept = phases.train_phases(world, lambda phase: (), quiet, said.append)
    assert sizes == [8, 4]
    assert kept.results[0].batch == 4
    assert "out of memory with 8 images per step: trying again with 4" in said


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
        *(pytest.param(n, marks=pytest.mark.long) for n in ("resnet50", "convnext_tiny", "vgg16")),
    ],
)
def test_mixed_precision_trains_and_is_exported_in_float32(name, colours):
    settings = recipe(base=name, weights="random", image_size=32, precision="mixed_bfloat16", head__epochs=1)
    world = open_session(tr.load_data(colours), settings, silent)
    kept = phases.train_phases(world, lambda phase: (), quiet, silent)
    assert np.isfinite([row["loss"] for row in kept.history_rows()]).all()
    mixed, plain = world.whole.model, world.model_for_export()
    assert {layer.compute_dtype for layer in plain._flatten_layers()} == {"float32"}
    assert "bfloat16" in {layer.compute_dtype for layer in mixed._flatten_layers()}
    assert mixed.output.dtype == "float32"
    for a, b in zip(mixed.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_balanced_class_weights_reach_the_training(tmp_path):
    data = colour_dataset(tmp_path / "data")
    few = [e for e in data.split("train") if e.label == 0][4:]
    data = replace(data, examples=tuple(e for e in data.examples if e not in few))
    world = session(data, class_weights="balanced")
    weights = np.concatenate([w for _, _, w in world.pixel_batches("head", 1)(4).training(0, 0).as_numpy_iterator()])
    assert len(np.unique(weights.round(5))) == 2
    assert weights.max() / weights.min() > 2


def test_settings_that_contradict_each_other_are_refused(colours, tmp_path):
    with pytest.raises(ValueError, match="nothing would be trained"):
        tr.train(colours, unfreeze="none", fine_tune_epochs=3, out=tmp_path / "run")
    with pytest.raises(ValueError, match=r"Did you mean mobilenet_v2\?|did you mean mobilenet_v2\?"):
        tr.train(colours, "mobilnet_v2", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_format_that_fails_does_not_cost_the_run(colours, tmp_path):
    """LiteRT has no operation for the inverse error function."""
    pixels = keras.Input((SIZE, SIZE, 3))
    odd = keras.Model(pixels, keras.ops.erfinv(keras.layers.Conv2D(4, 3, activation="tanh")(pixels)) * 0.1)
    with pytest.raises(tr.TransferError, match="tflite"):
        tr.train(colours, odd, preprocessing="tf", recipe=recipe(fine_tune__epochs=0), out=tmp_path / "run",
                 exports=["savedmodel", "tflite"])  # fmt: skip
    kept = tr.load_run(tmp_path / "run")
    assert set(kept.manifest["exports"]) == {"keras", "savedmodel"}
    assert not (tmp_path / "run" / "model.tflite").exists()
    assert len(kept.predict(colours / "red")) == 24


class Stranger(keras.layers.Layer):
    def call(self, values):
        return values * 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": 3}, "base must be a name or a keras.Model, not int"),
        ({"callbacks": [keras.callbacks.TerminateOnNaN()]}, "lambda phase"),
        ({"metrics": [keras.metrics.Mean()]}, "metrics must be a function"),
        ({"loss": "cross entropy"}, "Keras has no loss 'cross entropy'"),
        ({"metrics": lambda: [keras.metrics.F1Score()]}, "'f1_score' returns 3 numbers"),
        ({"precision": "mixed_float16"}, "the base was built in 'float32'"),
        ({"base": "stranger"}, "cannot be loaded in a fresh process"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason(options, message, colours, tmp_path):
    if options.get("base") == "stranger":
        options = {"base": keras.Sequential([keras.Input((8, 8, 3)), Stranger()])}
    options = {"base": tiny_model(), "recipe": recipe(head__epochs=1)} | options
    with pytest.raises(tr.TransferError, match=message):
        tr.train(colours, preprocessing="tf", out=tmp_path / "run", exports=[], **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_loss_by_name_or_as_a_function_is_taken(colours, tmp_path):
    for number, loss in enumerate(["categorical_crossentropy", keras.losses.categorical_crossentropy]):
        made = tr.train(colours, tiny_model(), preprocessing="tf", recipe=recipe(head__epochs=1, fine_tune__epochs=0),
                        out=tmp_path / str(number), exports=[], loss=loss, image_size=SIZE)  # fmt: skip
        assert np.isfinite(made.history[0]["loss"])


def test_a_picture_that_vanishes_in_training_is_named(tmp_path):
    data = colour_dataset(tmp_path / "data")
    (data.root / data.split("train")[3].path).unlink()
    with pytest.raises(tr.TransferError, match=r"cannot be read now: .*\.png"):
        phases.train_phases(session(data), lambda phase: (), quiet, silent)


def test_figures_that_cannot_be_written_are_still_told(run, monkeypatch):
    def refuse(*given):
        raise WriteError("metrics.json cannot be written: Read-only file system.")

    monkeypatch.setattr("tfransfer.runs.evaluation.write_json", refuse)
    said = []
    assert tr.evaluate(run, say=said.append)["test"]["top1"] >= 0
    assert any("warning" in line and "Read-only" in line for line in said)


def test_own_data_is_scored_on_its_held_out_splits_only(run, colours):
    assert set(run.evaluate(colours)) == {"validation", "test"}
    assert set(run.evaluate(tr.load_data(colours))) == {"validation", "test"}


def test_random_weights_follow_the_seed():
    first, second, other = (build_base("mobilenet", 32, "random", seed).model.get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
