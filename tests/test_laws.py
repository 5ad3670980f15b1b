"""The laws of the design. Each is held by a check, and each check is seen to fail when the law's code is broken."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections import defaultdict
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from manifests import manifest_of
from small_world import SIZE, colour_folder, read_picture, recipe, session, subject, tiny_base, tiny_model

from tfransfer import pipeline
from tfransfer.base import build, untrusted
from tfransfer.base.loading import load_model
from tfransfer.base.preprocessing import preprocess
from tfransfer.base.taps import model_to, pooled
from tfransfer.data import flow, indexing, splits
from tfransfer.data.dataset import Dataset
from tfransfer.data.loading import load_data
from tfransfer.display.progress import quiet, silent
from tfransfer.errors import (
    BaseModelError,
    DataError,
    ExportError,
    RunError,
    RunExistsError,
    TransferError,
    WriteError,
)
from tfransfer.exports import formats, parity
from tfransfer.exports.exporting import export_model
from tfransfer.methods.supervised import Supervised
from tfransfer.runs import job, run_folder, scoring
from tfransfer.runs.run import Run
from tfransfer.system import files
from tfransfer.training import model as model_parts
from tfransfer.training import phases
from tfransfer.training.model import all_layers, freeze_base, unfreeze

pytestmark = pytest.mark.law


def broken(check, *arguments):
    """See a check fail."""
    with pytest.raises((AssertionError, ExportError)):
        check(*arguments)


# Law 1: frozen is frozen.


def weights_of(layers):
    return {layer.name: [w.copy() for w in layer.get_weights()] for layer in layers}


def check_frozen_is_frozen(dataset, base):
    """Every weight of a frozen layer, and every BatchNormalization, is bit-identical after a phase."""
    world = session(dataset, base, fine_tune__learning_rate=0.01, fine_tune__unfreeze=2)
    layers = [layer for layer in all_layers(base.model) if not getattr(layer, "layers", None)]
    start = weights_of(layers)
    for phase in ("head", "fine_tune"):
        parts = freeze_base(world.whole) if phase == "head" else unfreeze(world.whole, 2)
        trained = {id(layer) for block in base.blocks[-2:] for layer in block.layers} if phase == "fine_tune" else set()
        adam = lambda steps: keras.optimizers.Adam(0.01)  # noqa: E731
        phases.run_phase(world, world.phase(phase), parts, optimizer=adam)
        end = weights_of(layers)
        for layer in layers:
            same = all(np.array_equal(a, b) for a, b in zip(start[layer.name], end[layer.name], strict=True))
            frozen = id(layer) not in trained or isinstance(layer, keras.layers.BatchNormalization)
            if frozen:
                assert same, f"{layer.name} is frozen and moved in the {phase} phase"
        if phase == "fine_tune":
            moved = [n for n in start if any(not np.array_equal(a, b) for a, b in zip(start[n], end[n], strict=True))]
            assert moved, "nothing was trained"


def check_frozen_layers_are_in_inference_mode(dataset, base, trained_blocks):
    """What reaches the first trained layer in a training step is what inference gives, though the base has dropout."""
    world = session(dataset, base)
    parts = unfreeze(world.whole, trained_blocks) if trained_blocks else freeze_base(world.whole)
    seen = []

    class Recording:
        losses = ()

        def __call__(self, features, training):
            seen.append(features)
            return parts.trained(features, training=training)

    recorded = replace(parts, trained=Recording())
    loop = phases.Loop(
        world.whole.model, replace(parts), keras.optimizers.SGD(0.0), Supervised(world.task.loss(0.0)),
        world.task.metrics, world.phase("head"),
    )  # fmt: skip
    loop.parts = recorded
    batch = next(iter(world.pixel_batches("head", 1)(8).training(0, 0)))
    for _ in range(2):
        loop._train_step(batch, tf.constant(0))
    expected = parts.frozen(tf.cast(batch[0], tf.float32), training=False)
    assert seen, "the first trained layer was never called"
    for features in seen:
        np.testing.assert_allclose(features, expected, atol=1e-6)


def test_law_1_frozen_weights_are_bit_identical(dataset):
    check_frozen_is_frozen(dataset, tiny_base())


def test_law_1_holds_for_a_real_base(dataset):
    check_frozen_is_frozen(dataset, build.build_base("efficientnet_b0", 32, "random"))


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_law_1_frozen_dropout_is_silent(dataset, blocks):
    check_frozen_layers_are_in_inference_mode(dataset, tiny_base(dropout=0.9), blocks)


def test_law_1_frozen_layers_that_no_cut_separates_are_quiet_too(dataset):
    """Two branches leave the lowest trained block without a cut below it: its frozen neighbour must not drop."""
    pixels = keras.Input((SIZE, SIZE, 3))
    left = keras.layers.Dropout(0.9, name="left")(keras.layers.Conv2D(4, 3, name="left_conv")(pixels))
    right = keras.layers.Conv2D(4, 3, name="right_conv")(pixels)
    base = build.base_from_model(keras.Model(pixels, keras.layers.Add(name="both")([left, right])), "tf")
    world = session(dataset, base)
    parts = unfreeze(world.whole, 1)
    base.model.get_layer("left").trainable = False
    parts = replace(parts, quieted=model_parts._noisy_and_frozen(base.model))
    assert [layer.name for layer in parts.quieted] == ["left"]
    picture = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    calm = np.asarray(base.model(picture, training=False))
    with model_parts.quiet_frozen(parts):
        np.testing.assert_array_equal(np.asarray(base.model(picture, training=True)), calm)
    assert base.model.get_layer("left").rate == 0.9
    assert not np.array_equal(np.asarray(base.model(picture, training=True)), calm)


@keras.saving.register_keras_serializable("tests")
class Composite(keras.layers.Layer):
    """A block as one layer, with BatchNormalization and dropout inside."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv = keras.layers.Conv2D(4, 3, padding="same")
        self.norm = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(0.5)

    def build(self, shape):
        self.conv.build(shape)
        self.norm.build((*shape[:-1], 4))
        super().build(shape)

    def call(self, values):
        return self.drop(self.norm(self.conv(values)))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 4)


def composite_base():
    pixels = keras.Input((SIZE, SIZE, 3))
    values = keras.layers.Conv2D(4, 3, name="stem")(pixels)
    for name in ("first", "second"):
        values = keras.layers.Conv2D(4, 1, name=f"{name}_in")(Composite(name=name)(values))
    return build.base_from_model(keras.Model(pixels, values), "tf")


def test_law_1_and_10_reach_into_composite_layers(dataset):
    """BatchNormalization inside an unfrozen layer of layers stays frozen, and its dropout follows the seed."""
    endings = []
    for _ in range(2):
        base = composite_base()
        world = session(dataset, base, fine_tune__unfreeze=2, fine_tune__learning_rate=0.01)
        noise = np.random.default_rng(0)
        base.model.set_weights([np.abs(noise.normal(size=w.shape)) * 0.1 for w in base.model.get_weights()])
        norms = [base.model.get_layer(name).norm for name in ("first", "second")]
        before = [[w.copy() for w in norm.get_weights()] for norm in norms]
        phases.train_phases(world, lambda phase: (), quiet, silent)
        for norm, old in zip(norms, before, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(norm.get_weights(), old, strict=True))
        endings.append([w for w in world.whole.model.get_weights() if w.dtype == np.float32])
    assert all(np.array_equal(a, b) for a, b in zip(*endings, strict=True))


@pytest.mark.slow
def test_law_1_breaks_when_batch_normalization_is_unfrozen(dataset, monkeypatch):
    def careless(model, layers):
        model.trainable = True
        chosen = {id(leaf) for layer in layers for leaf in all_layers(layer)}
        for leaf in all_layers(model)[1:]:
            leaf.trainable = id(leaf) in chosen

    monkeypatch.setattr(model_parts, "_set_trainable", careless)
    broken(check_frozen_is_frozen, dataset, tiny_base())


@pytest.mark.slow
def test_law_1_breaks_when_one_flag_for_the_whole_model_is_trusted(dataset, monkeypatch):
    def whole(base, taps):
        real = model_to(base, taps)
        return lambda pixels, training: real(pixels, training=True)

    monkeypatch.setattr(model_parts, "model_to", whole)

    def check():
        base = tiny_base(dropout=0.9)
        world = session(dataset, base)
        parts = freeze_base(world.whole)
        batch = next(iter(world.pixel_batches("head", 1)(8).training(0, 0)))
        calm = pooled(base.model(preprocess(tf.cast(batch[0], tf.float32), "tf"), training=False))
        np.testing.assert_allclose(parts.frozen(tf.cast(batch[0], tf.float32), training=False), calm, atol=1e-6)

    broken(check)
    monkeypatch.undo()
    check()


# Law 3: what is exported is what was evaluated. Law 4: pixels in.


@pytest.fixture(scope="module")
def trained(dataset):
    world = session(dataset, tiny_base(dropout=0.2), head__epochs=4, head__learning_rate=0.02)
    phases.train_phases(world, lambda phase: (), quiet, silent)
    return world.whole.model


@pytest.fixture(scope="module")
def pictures(dataset):
    examples = dataset.split("validation")
    return np.stack([read_picture(dataset, e, SIZE) for e in examples])


def lite_answers(path, pictures):
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    given, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert given["dtype"] == np.uint8
    answers = []
    for picture in pictures:
        interpreter.set_tensor(given["index"], picture[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(said["index"])[0].copy())
    return np.stack(answers)


def check_export_is_what_was_evaluated(model, classes, pictures, folder):
    """LiteRT and SavedModel files, read by their own libraries, say what the model in memory says."""
    for name in ("savedmodel", "tflite"):
        export_model(subject(model, classes, pictures), name, folder)
    expected = np.asarray(model(pictures.astype(np.float32), training=False))
    served = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    np.testing.assert_allclose(served(images=tf.constant(pictures))["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(lite_answers(folder / "model.tflite", pictures), expected, atol=1e-5)
    with zipfile.ZipFile(folder / "model.tflite") as packed:
        assert packed.read("labels.txt").decode().splitlines() == list(classes)


def test_law_3_exports_say_what_was_evaluated(trained, dataset, pictures, tmp_path):
    check_export_is_what_was_evaluated(trained, dataset.classes, pictures, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.tflite", "saved_model"]


def perturbed(writer):
    def write(model, classes, path, *rest):
        copy = keras.models.clone_model(model)
        copy.set_weights([w + 0.05 for w in model.get_weights()])
        writer(copy, classes, path, *rest)

    return write


def swapped(writer):
    return lambda model, classes, path, *rest: writer(model, classes[::-1], path, *rest)


def augmenting(writer):
    def write(model, classes, path, *rest):
        pixels = keras.Input(model.input_shape[1:])
        noisy = keras.layers.GaussianNoise(60.0)
        stirred = model(_AlwaysOn(noisy)(pixels))
        writer(keras.Model(pixels, stirred), classes, path, *rest)

    return write


class _AlwaysOn(keras.layers.Layer):
    """A layer that acts in inference too, as a carelessly placed augmentation layer does."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, values):
        return self.inner(values, training=True)


@pytest.mark.parametrize("tamper", [perturbed, swapped, augmenting])
@pytest.mark.parametrize("name", ["savedmodel", "tflite"])
def test_law_3_gate_refuses_a_tampered_file_and_leaves_nothing(
    trained, dataset, pictures, tmp_path, monkeypatch, tamper, name
):
    kind = formats.FORMATS[name]
    monkeypatch.setitem(formats.FORMATS, name, replace(kind, write=tamper(kind.write)))
    with pytest.raises(ExportError):
        export_model(subject(trained, dataset.classes, pictures), name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_law_3_a_refused_export_leaves_the_file_that_was_there(trained, dataset, pictures, tmp_path, monkeypatch):
    (tmp_path / "model.tflite").write_bytes(b"the old one")
    kind = formats.FORMATS["tflite"]
    monkeypatch.setitem(formats.FORMATS, "tflite", replace(kind, write=perturbed(kind.write)))
    broken(export_model, subject(trained, dataset.classes, pictures), "tflite", tmp_path)
    assert (tmp_path / "model.tflite").read_bytes() == b"the old one"


@pytest.mark.slow
def test_law_3_breaks_without_the_gate(trained, dataset, pictures, tmp_path, monkeypatch):
    kind = formats.FORMATS["tflite"]
    monkeypatch.setitem(formats.FORMATS, "tflite", replace(kind, write=perturbed(kind.write)))
    monkeypatch.setattr(parity, "check", lambda *given: parity.Parity(1, 1, 0.0))
    broken(check_export_is_what_was_evaluated, trained, dataset.classes, pictures, tmp_path)


def check_pixels_in(base, dataset):
    """The model on raw pixels equals the base's own preprocessing done by hand, then base and head."""
    model = session(dataset, base).whole.model
    picture = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    by_hand = base.model(picture / 127.5 - 1, training=False)
    for name in ("pooling", "logits", "probabilities"):
        by_hand = model.get_layer(name)(by_hand)
    np.testing.assert_allclose(model(picture, training=False), by_hand, atol=1e-5)


def check_nothing_random_is_exported(model, classes, pictures, folder):
    export_model(subject(model, classes, pictures), "savedmodel", folder)
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    assert loaded.signatures
    for signature in loaded.signatures.values():
        functions = [signature.graph, *(f.graph for f in signature.graph._functions.values() if hasattr(f, "graph"))]
        kinds = {operation.type for graph in functions for operation in graph.get_operations()}
        assert kinds & {"Conv2D", "MatMul"}, "this is not the model's graph"
        assert not {kind for kind in kinds if "Random" in kind}


def test_law_4_preprocessing_is_in_the_graph(dataset):
    check_pixels_in(tiny_base(), dataset)


def test_law_4_no_random_operation_is_exported(trained, dataset, pictures, tmp_path):
    check_nothing_random_is_exported(trained, dataset.classes, pictures, tmp_path)


@pytest.mark.slow
def test_law_4_breaks_without_preprocessing(dataset, monkeypatch):
    monkeypatch.setattr(model_parts, "preprocess", lambda pixels, kind: pixels)
    broken(check_pixels_in, tiny_base(), dataset)


@pytest.mark.slow
def test_law_4_breaks_when_augmentation_is_left_in(trained, dataset, pictures, tmp_path, monkeypatch):
    kind = formats.FORMATS["savedmodel"]
    monkeypatch.setitem(formats.FORMATS, "savedmodel", replace(kind, write=augmenting(kind.write)))
    monkeypatch.setattr(parity, "check", lambda *given: parity.Parity(1, 1, 0.0))
    broken(check_nothing_random_is_exported, trained, dataset.classes, pictures, tmp_path)


# Law 6: splits are disjoint by content, recorded, stable; each example is scored once; test data chooses nothing.


def check_splits(folder, tmp_path):
    """Add copies and new pictures to a folder: content stands on one side, and little of what was there moves."""
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    before = {e.path: e.split for e in load_data(place).examples}
    for picture in sorted(place.glob("*/0*.png"))[:30]:
        shutil.copy(picture, picture.with_name("again-" + picture.name))
    colour_folder(tmp_path / "more", per_class=40, noise=60)
    for picture in (tmp_path / "more").glob("*/*.png"):
        shutil.copy(picture, place / picture.parent.name / ("new-" + picture.name))
    after = load_data(place)
    sides = defaultdict(set)
    for example in after.examples:
        sides[(place / example.path).read_bytes()].add(example.split)
    assert all(len(found) == 1 for found in sides.values()), "equal files stand on two sides"
    assert before.keys() <= {e.path for e in after.examples}, "examples are gone"
    moved = [e.path for e in after.examples if before.get(e.path, e.split) != e.split]
    # Where no class had to keep its share nothing would move; where splits were drawn again, a third would.
    assert len(moved) < 0.15 * len(before)


def test_law_6_splits_are_disjoint_and_stable(colour_photos, tmp_path):
    check_splits(colour_photos, tmp_path)


@pytest.mark.slow
def test_law_6_breaks_when_splits_depend_on_the_path(colour_photos, tmp_path, monkeypatch):
    honest = indexing._example
    monkeypatch.setattr(indexing, "_example", lambda found, *rest: replace(honest(found, *rest), content=found.path))
    broken(check_splits, colour_photos, tmp_path)


@pytest.mark.slow
def test_law_6_breaks_when_splits_depend_on_the_number_of_files(colour_photos, tmp_path, monkeypatch):
    honest, assign = splits.unit_of, splits._assign

    def counting(examples, *rest):
        monkeypatch.setattr(splits, "unit_of", lambda seed, name: honest(seed + len(examples), name))
        return assign(examples, *rest)

    monkeypatch.setattr(splits, "_assign", counting)
    broken(check_splits, colour_photos, tmp_path)


def check_test_pictures_choose_nothing(tmp_path):
    """Both phases run to the end though every test picture is gone, and each example is scored exactly once."""
    dataset = load_data(colour_folder(tmp_path / "data"))
    for example in dataset.split("test"):
        (dataset.root / example.path).unlink()
    try:
        phases.train_phases(session(dataset), lambda phase: (), quiet, silent)
    except DataError as error:
        raise AssertionError("a test picture was read in training") from error


def test_law_6_test_pictures_choose_nothing(tmp_path):
    check_test_pictures_choose_nothing(tmp_path)


@pytest.mark.slow
def test_law_6_breaks_when_the_test_split_is_validated_on(tmp_path, monkeypatch):
    honest = Dataset.split
    monkeypatch.setattr(Dataset, "split", lambda self, name: honest(self, "test" if name == "validation" else name))

    def check():
        dataset = load_data(colour_folder(tmp_path / "data"))
        for example in [e for e in dataset.examples if e.split == "test"]:
            (dataset.root / example.path).unlink()
        try:
            phases.train_phases(session(dataset), lambda phase: (), quiet, silent)
        except DataError as error:
            raise AssertionError from error

    broken(check)


def test_law_6_each_example_is_scored_exactly_once(trained, dataset, tmp_path):
    run = Run(tmp_path, manifest_of(dataset.classes, image_size=SIZE), dataset, trained)
    scored = scoring.score_splits(run, trained, dataset, quiet)
    assert scored.keys() == {"validation", "test"}
    for name, (metrics, said) in scored.items():
        assert [e.path for e in said.examples] == [e.path for e in dataset.split(name)]
        assert metrics["n"] == len(said.outputs) == len(dataset.split(name)) > 0
        expected = np.stack([read_picture(dataset, e, SIZE) for e in said.examples]).astype(np.float32)
        np.testing.assert_allclose(said.outputs, trained(expected, training=False), atol=1e-5)


def check_the_better_phase_is_kept(dataset):
    """A fine-tuning that ruins the model is rolled back: the head phase's weights stand at the end."""
    lines, of_head = [], []
    world = session(dataset, head__epochs=4, head__learning_rate=0.05)

    class Ruin(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            of_head.extend(self.model.get_weights())

        def on_train_batch_end(self, batch, logs=None):
            self.model.get_layer("logits").bias.assign([9.0, -9.0, -9.0])

    callbacks = lambda phase: [Ruin()] if phase == "fine_tune" else []  # noqa: E731
    selected = phases.train_phases(world, callbacks, quiet, lines.append)
    head, fine_tune = selected.results
    assert head.validation["top1"] > fine_tune.validation.get("top1", 0), "this fine-tuning was meant to do harm"
    assert selected.phase == "head"
    assert any("rolled back" in line for line in lines)
    for a, b in zip(of_head, world.whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.learns
def test_law_6_a_fine_tuning_that_does_not_help_is_rolled_back_and_said(dataset):
    check_the_better_phase_is_kept(dataset)


@pytest.mark.slow
def test_law_6_breaks_when_the_last_phase_is_kept(dataset, monkeypatch):
    monkeypatch.setattr(phases, "better", lambda task, head, fine_tune: fine_tune)
    broken(check_the_better_phase_is_kept, dataset)


# Law 7: nothing is lost.


def check_files_are_whole(path):
    path.write_text("old")
    with pytest.raises(RuntimeError), files.whole(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed here")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_law_7_files_appear_whole_or_not_at_all(tmp_path):
    check_files_are_whole(tmp_path / "file.txt")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_text("old")
    with files.whole(folder) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert [p.name for p in folder.iterdir()] == ["new"]


@pytest.mark.slow
def test_law_7_breaks_when_files_are_written_in_place(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "whole", lambda path: contextlib.nullcontext(path))
    broken(check_files_are_whole, tmp_path / "file.txt")


def check_runs_are_not_overwritten(folder, place):
    place.mkdir()
    (place / run_folder.MANIFEST).write_text("an older run")
    with pytest.raises(RunExistsError):
        pipeline.train(folder, out=place)
    assert (place / run_folder.MANIFEST).read_text() == "an older run"


def test_law_7_a_run_is_never_overwritten_without_being_told(colour_photos, tmp_path):
    check_runs_are_not_overwritten(colour_photos, tmp_path / "run")


def check_a_failed_replacement_leaves_the_old_run(folder, place, monkeypatch):
    tiny = recipe(head__epochs=1, fine_tune__epochs=0)
    pipeline.train(folder, tiny_model(), preprocessing="tf", recipe=tiny, out=place, exports=[])
    old = {p.name: p.read_bytes() for p in place.iterdir()}
    monkeypatch.setattr(job, "finish_run", lambda *a: (_ for _ in ()).throw(WriteError("the disk is full")))
    with pytest.raises(WriteError):
        pipeline.train(
            folder, tiny_model(), preprocessing="tf", recipe=tiny, out=place, exports=[], overwrite=True, seed=9
        )
    assert place.is_dir(), "the old run is gone"
    assert {p.name: p.read_bytes() for p in place.iterdir()} == old
    assert {p.name for p in place.parent.iterdir()} == {place.name, run_folder.aside_of(place).name}


def test_law_7_a_failed_replacement_leaves_the_old_run(colour_photos, tmp_path, monkeypatch):
    check_a_failed_replacement_leaves_the_old_run(colour_photos, tmp_path / "run", monkeypatch)


@pytest.mark.slow
def test_law_7_breaks_when_the_old_run_is_removed_first(colour_photos, tmp_path, monkeypatch):
    def careless(place):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place

    monkeypatch.setattr(run_folder, "_fresh", careless)
    broken(check_a_failed_replacement_leaves_the_old_run, colour_photos, tmp_path / "run", monkeypatch)


def test_law_7_pictures_inside_the_run_folder_are_never_replaced(colour_photos, tmp_path):
    shutil.copytree(colour_photos, tmp_path / "run" / "photos")
    (tmp_path / "run" / run_folder.MANIFEST).write_text("{}")
    with pytest.raises(RunExistsError, match="the data is in"):
        pipeline.train(
            tmp_path / "run" / "photos", tiny_model(), preprocessing="tf", out=tmp_path / "run", overwrite=True
        )
    assert len(list((tmp_path / "run" / "photos").glob("*/*.png"))) == len(list(colour_photos.glob("*/*.png")))


@pytest.mark.slow
def test_law_7_breaks_when_nobody_looks(colour_photos, tmp_path, monkeypatch):
    careless = lambda place, overwrite: (place / run_folder.MANIFEST).write_text("new")  # noqa: E731
    monkeypatch.setattr(run_folder, "require_free", careless)
    monkeypatch.setattr(job, "open_session", lambda *a, **k: (_ for _ in ()).throw(RunExistsError("too late")))
    broken(check_runs_are_not_overwritten, colour_photos, tmp_path / "run")


# Law 8: --help and --version import no TensorFlow; importing tfransfer touches no network and no device.


def check_starts_light(program):
    watch = (
        "import sys, socket\n"
        "def refuse(*a, **k): raise SystemExit('network touched')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        f"{program}\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'tensorflow_hub', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


HELP = """
from tfransfer.cli import main
for words in (["--help"], ["--version"], ["train", "--help"], ["bases"]):
    sys.argv = ["tfransfer", *words]
    try:
        main.main()
    except SystemExit as error:
        assert not error.code, (words, error.code)
"""


def test_law_8_help_version_and_bases_start_without_tensorflow():
    check_starts_light("import tfransfer; tfransfer.Recipe(); tfransfer.bases; dir(tfransfer)")
    check_starts_light(HELP)


@pytest.mark.slow
def test_law_8_breaks_when_the_pipeline_is_imported_at_once():
    broken(check_starts_light, "import tfransfer; tfransfer.train")


# Law 9: what is loaded from disk is data.


def lambda_code():
    """A Python lambda as Keras writes it."""
    return {
        "class_name": "__lambda__",
        "config": {"value": "4wEAAAA=", "code": "4wEA", "defaults": None, "closure": None},
    }


def as_function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def as_layer(module, name, **config):
    return {"module": module, "class_name": name, "config": {"name": "evil", **config}, "registered_name": None}


# Each puts something that is no data in the place of a layer of a config; `{canary}` is a file that it would write.
PROGRAMS = {
    "any function": as_function("os", "system"),
    "any class": as_layer("subprocess", "Popen", args="touch {canary}", shell=True),
    "a class without its module": {"class_name": "Lambda", "config": {"function": lambda_code()}},
    "a builtin": as_function("builtins", "exec"),
    "a download": as_function("keras.utils", "get_file"),
    "another file": as_function("keras.models", "load_model"),
    "a switch of safe mode": as_function("keras.config", "enable_unsafe_deserialization"),
    "that switch inside Keras": as_function("keras.src.backend.common.global_state", "set_global_attribute"),
    "a reader of configs": as_function("keras.losses", "deserialize"),
    "a lambda": as_layer("keras.layers", "Lambda", function=lambda_code()),
    "a lambda by another path": as_layer("keras.src.layers.core.lambda_layer", "Lambda", function=lambda_code()),
    "a lambda inside": as_layer("keras.layers", "Dense", units=2, activation=lambda_code()),
    "a SavedModel": as_layer("keras.layers", "TFSMLayer", filepath="{canary}"),
    "a SavedModel by another path": as_layer("keras.src.export.tfsm_layer", "TFSMLayer", filepath="{canary}"),
    "a torch file": as_layer("keras.layers", "TorchModuleWrapper"),
    "a file of words": as_layer("keras.layers", "StringLookup", vocabulary="/etc/passwd"),
    "a type": {"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess", "registered_name": None,
               "config": ["touch {canary}"]},
    "a class of nobody's": as_layer("strangers_module", "Layer"),
}  # fmt: skip


def changed_member(file, name, content):
    """Replace a member of a `.keras` file."""
    with zipfile.ZipFile(file) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for member, old in members.items():
            archive.writestr(member, content if member == name else old)


def dense_file(folder):
    """A small model, as Keras saves it."""
    numbers = keras.Input((2,), name="numbers")
    keras.Model(numbers, keras.layers.Dense(2, activation="gelu", name="dense")(numbers)).save(folder / "model.keras")
    return folder / "model.keras"


def hostile_file(folder, part):
    """A model with one layer more, which is called with a command that writes the file `canary`."""
    file = dense_file(folder)
    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))
    evil = json.loads(json.dumps(part).replace("{canary}", str(folder / "canary")))
    evil |= {"name": "evil", "inbound_nodes": [{"args": [f"touch {folder / 'canary'}"], "kwargs": {}}]}
    config["config"]["layers"].insert(1, evil)
    changed_member(file, "config.json", json.dumps(config))
    return file


def check_programs_are_refused(folder, parts=tuple(PROGRAMS)):
    """A `.keras` file that names a program is refused before Keras reads it, and the way round is said."""
    for number, name in enumerate(parts):
        place = folder / str(number)
        place.mkdir()
        file = hostile_file(place, PROGRAMS[name])
        with pytest.MonkeyPatch.context() as patch:
            read = []
            patch.setattr(keras.saving, "load_model", lambda *given, read=read, **options: read.append(given))
            with contextlib.suppress(BaseModelError, RunError):
                load_model(file)
        assert not read, f"{name}: Keras has read the file"
        with pytest.raises(TransferError) as told:
            load_model(file)
        assert not (place / "canary").exists(), f"{name}: it ran"
        assert isinstance(told.value, BaseModelError) and "trust=True" in str(told.value), (name, told.value)


def test_law_9_a_program_in_a_config_is_refused_before_keras_reads_it(tmp_path):
    check_programs_are_refused(tmp_path)


@pytest.mark.slow
def test_law_9_breaks_when_configs_are_left_to_keras(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "require_known_config", lambda config, name: None)
    broken(check_programs_are_refused, tmp_path)


@pytest.mark.slow
def test_law_9_breaks_when_any_layer_of_keras_is_data(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "_PROGRAMS", ())
    monkeypatch.setattr(untrusted, "_FILE_ARGUMENTS", ())
    broken(check_programs_are_refused, tmp_path, ("a SavedModel",))


def test_law_9_what_keras_writes_is_loaded(tmp_path):
    """Layers, operations, compiled losses, own registered layers: all that `save` writes is known."""
    numbers = keras.Input((SIZE, SIZE, 3))
    values = Composite(name="own")(numbers)
    values = keras.ops.mean(values, axis=(1, 2))
    values = keras.layers.Dense(4, activation=keras.activations.gelu, kernel_regularizer="l2", dtype="float16")(values)
    values = keras.layers.Bidirectional(keras.layers.LSTM(2))(values[:, None])
    start = keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator(1))
    model = keras.Model(numbers, keras.layers.Dense(2, kernel_initializer=start)(values))
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 9)), keras.losses.mean_squared_error
    )
    model.save(tmp_path / "model.keras")
    picture = np.ones((1, SIZE, SIZE, 3), np.float32)
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(picture, training=False), model(picture, training=False))


def outside(weights, kind, elsewhere):
    """Replace the first array of numbers by something that is not inside the file."""
    place = next(name for name in ("layers/dense/vars", "_layer_checkpoint_dependencies/dense/vars") if name in weights)
    del weights[place]["0"]
    if kind == "external link":
        weights[place]["0"] = h5py.ExternalLink(str(elsewhere), "numbers")
    elif kind == "soft link":
        weights[place]["0"] = h5py.SoftLink("/layers/dense/vars/1")
    elif kind == "external storage":
        weights[place].create_dataset("0", (2, 2), "f4", external=[(str(elsewhere), 0, 16)])
    elif kind == "virtual":
        layout = h5py.VirtualLayout((2, 2), "f4")
        layout[:] = h5py.VirtualSource(str(elsewhere), "numbers", (2, 2))
        weights[place].create_virtual_dataset("0", layout)
    else:
        weights[place].create_dataset("0", (2**20, 2**20), "f4", chunks=(1, 1))


def check_weights_are_numbers(folder):
    """Weights that are read from elsewhere, or are not there, are refused before Keras reads the file."""
    with h5py.File(folder / "elsewhere.h5", "w") as other:
        other["numbers"] = np.ones((2, 2), np.float32)
    for kind in ("external link", "soft link", "external storage", "virtual", "shape without numbers"):
        file = dense_file(folder)
        with zipfile.ZipFile(file) as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content, "r+") as weights:
            outside(weights, kind, folder / "elsewhere.h5")
        changed_member(file, "model.weights.h5", content.getvalue())
        with pytest.raises(RunError) as told:
            load_model(file)
        assert "its weights are" in str(told.value) or "it declares weights" in str(told.value), (kind, told.value)


def test_law_9_weights_are_numbers_inside_the_file(tmp_path):
    check_weights_are_numbers(tmp_path)


@pytest.mark.slow
def test_law_9_breaks_when_weights_are_left_to_keras(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "require_plain_weights", lambda file: None)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_weights_are_numbers(tmp_path)


# Law 10: same seed, same machine, same plan: same result.


def final_weights(folder, seed):
    world = session(load_data(folder), tiny_base(), seed=seed, fine_tune__unfreeze=2, fine_tune__mixup=0.1)
    kept = phases.train_phases(world, lambda phase: (), quiet, silent)
    return [*world.whole.model.get_weights(), *kept.results[0].weights, *kept.results[1].weights]


def check_same_seed_same_result(folder):
    first, second = final_weights(folder, 5), final_weights(folder, 5)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_law_10_same_seed_same_result(colour_photos):
    check_same_seed_same_result(colour_photos)
    first, other = final_weights(colour_photos, 5), final_weights(colour_photos, 6)
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.slow
def test_law_10_breaks_when_augmentation_draws_from_hidden_state(colour_photos, monkeypatch):
    hidden = np.random.default_rng()
    monkeypatch.setattr(flow, "_fold", lambda seed, *numbers: tf.constant(hidden.integers(0, 2**31, 2)))
    broken(check_same_seed_same_result, colour_photos)


@pytest.mark.slow
def test_law_10_breaks_when_dropout_draws_from_hidden_state(colour_photos, monkeypatch):
    hidden = np.random.default_rng()

    def draw(self, step):
        for state in self._seed_states:
            state.assign(hidden.integers(0, 2**31, 2))

    monkeypatch.setattr(phases.Loop, "_set_generators", draw)
    broken(check_same_seed_same_result, colour_photos)
