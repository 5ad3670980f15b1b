"""Law 6: test data chooses nothing. Spoil the test split, and all that a run chooses is bit for bit the same.

Training reads no test picture at all (tests/test_laws.py); here is what is chosen after it, and what labels decide.
"""

import csv
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from small_world import SIZE, read_picture, recipe, session, tiny_base, tiny_model

import tfransfer as tr
from tfransfer.display.progress import quiet, silent
from tfransfer.runs import finish, handover, scoring
from tfransfer.runs.start import start_run
from tfransfer.tasks.task import find_task
from tfransfer.training import opening, phases
from tfransfer.training.model import freeze_base, unfreeze
from tfransfer.training.phase import PhaseResult
from tfransfer.training.phases import Selected

pytestmark = pytest.mark.law

# A temperature is fitted on no fewer than 50 (`calibration.FEWEST`).
COUNT = 60
LABELS = {
    "single-label": lambda warm, bright: "warm" if warm else "cold",
    "multi-label": lambda warm, bright: ";".join(["warm"] * warm + ["bright"] * bright) or "dark",
    "regression": lambda warm, bright: 3 * warm + 40 * bright,
}
SETTINGS = recipe(seed=0, head__learning_rate=0.02, preprocessing="tf", features__engine="keras")


def write_table(root, task, spoiled):
    """Noisy pictures, a fifth of them with wrong labels; a spoiled test split is noise, labelled anyhow."""
    root.mkdir(parents=True)
    rows = [("path", "label", "split")]
    for split in ("train", "validation", "test"):
        random, noise = np.random.default_rng(len(split)), spoiled and split == "test"
        for number in range(COUNT):
            warm, bright = number % 2, number // 2 % 2
            colour = np.array([60 + 70 * warm, 80, 130 - 70 * warm]) + 60 * bright
            pixels = colour + random.normal(0, 50, (SIZE, SIZE, 3))
            if noise:
                pixels, warm, bright = random.uniform(0, 256, (SIZE, SIZE, 3)), 1 - warm, int(number < COUNT // 4)
            wrong = random.random(2) < 0.2
            name = f"{split}{number}.png"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name)
            rows.append((name, LABELS[task](int(warm ^ wrong[0]), int(bright ^ wrong[1])), split))
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return root / "labels.csv"


def finished(place, task, spoiled):
    """A run of a model that was not trained, finished: calibrated, evaluated, saved."""
    dataset = tr.load_data(write_table(place / "data", task, spoiled), task=task)
    world = opening.open_session(dataset, SETTINGS, silent, own_model=tiny_model())
    (place / "run").mkdir()
    run = start_run(place / "run", world, "")
    run._model = world.model_for_export()
    held = finish.finish_run(run, world, Selected([PhaseResult(name="head")]), quiet, silent)
    return run, handover.subject_of(run, ["tflite-int8"], held=held)


def choices(place, task, spoiled):
    """All that is chosen without training, by name, and the metrics on test."""
    run, subject = finished(place, task, spoiled)
    representative = subject.representative()
    chosen = {
        "classes": run.classes,
        "temperature": run.manifest.temperature,
        "thresholds": run.manifest.thresholds,
        "weights": [array.tobytes() for array in run.model.get_weights()],
        "rescaling": [layer.get_config() for layer in run.model.layers if layer.name == "values"],
        "int8 ranges": representative.pictures.tobytes(),
        "int8 rounding": [kernel.tobytes() for _, kernel in representative.kernels],
        "compared with files": [array.tobytes() for array in (subject.held.given, subject.held.targets)],
        "samples": handover._samples(run).tobytes(),
    }
    if task == "single-label":
        scored = scoring.score_splits(run, run.model, run.data, quiet)
        chosen["abstention"] = scoring.choose_abstention(run, scored, precision=0.4).threshold
    return chosen, run.metrics["test"]


def check_test_data_chooses_nothing(place, task, of=choices):
    """What a run chose; it is the same with a spoiled test split."""
    (honest, figures), (spoiled, other_figures) = (of(place / str(number), task, bool(number)) for number in range(2))
    assert figures != other_figures, "this test split is not spoiled"
    assert honest.keys() == spoiled.keys()
    differing = ", ".join(name for name, value in honest.items() if value != spoiled[name])
    assert not differing, f"test data chose: {differing}"
    return honest


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=() if task == "multi-label" else pytest.mark.slow) for task in LABELS]
)
def test_law_6_a_spoiled_test_split_changes_nothing_that_is_chosen(task, tmp_path):
    chosen = check_test_data_chooses_nothing(tmp_path, task)
    assert (chosen["temperature"] != 1) == find_task(task).calibrates, "no temperature was fitted"
    assert (chosen["thresholds"] is not None) == (task == "multi-label")


def whole_run(place, task, spoiled):
    """As `choices`, of a run that was trained and exported."""
    data = tr.load_data(write_table(place / "data", task, spoiled), task=task)
    run = tr.train(data, tiny_model(), recipe=SETTINGS, out=place / "run", exports=["tflite-int8"])
    record, file = run.manifest.to_dict(), run.folder / "model_int8.tflite"
    with zipfile.ZipFile(file) as packed:  # the labels behind the model have the time of writing
        model = file.read_bytes()[: min(entry.header_offset for entry in packed.infolist())]
    del record["plan"]["features"]  # says that the second run found the features of the first one
    chosen = {name: record.get(name) for name in ("classes", "plan", "kept", "temperature", "thresholds")}
    for phase, result in record["phases"].items():
        chosen |= {f"{phase}: {name}": value for name, value in result.items() if name != "seconds"}
    chosen |= {"weights": [array.tobytes() for array in run.model.get_weights()], "int8": model}
    return chosen, run.metrics["test"]


@pytest.mark.slow
def test_law_6_a_whole_run_and_its_integers_are_the_same_with_a_spoiled_test_split(tmp_path):
    chosen = check_test_data_chooses_nothing(tmp_path, "multi-label", whole_run)
    assert {"head: validation", "fine_tune: kept_epoch"} <= chosen.keys()


def swapped(dataset, split):
    """The dataset with the test split in place of another one."""
    places = {"test": split, split: "test"}
    examples = [replace(example, split=places.get(example.split, example.split)) for example in dataset.examples]
    return replace(dataset, examples=tuple(examples))


def see_it_broken(place, task, choice):
    with pytest.raises(AssertionError, match=f"test data chose.*{choice}"):
        check_test_data_chooses_nothing(place, task)


@pytest.mark.slow
def test_law_6_breaks_when_the_temperature_is_fitted_on_test(tmp_path, monkeypatch):
    honest = finish._calibrate

    def careless(run, dataset, *rest):
        _, temperature = honest(run, swapped(dataset, "validation"), *rest)
        return scoring.predict_split(run, run.model, dataset, "validation", quiet), temperature

    monkeypatch.setattr(finish, "_calibrate", careless)
    see_it_broken(tmp_path, "single-label", "temperature")


@pytest.mark.slow
def test_law_6_breaks_when_thresholds_are_chosen_on_test(tmp_path, monkeypatch):
    honest, calibrate, known = scoring.thresholds_of, finish._calibrate, []

    def remembering(run, dataset, *rest):
        known[:] = run, dataset
        return calibrate(run, dataset, *rest)

    def careless(task, validation):
        run, dataset = known
        return honest(task, scoring.predict_split(run, run.model, dataset, "test", quiet))

    monkeypatch.setattr(finish, "_calibrate", remembering)
    monkeypatch.setattr(scoring, "thresholds_of", careless)
    see_it_broken(tmp_path, "multi-label", "thresholds")


@pytest.mark.slow
def test_law_6_breaks_when_integers_are_calibrated_on_test(tmp_path, monkeypatch):
    honest = handover.representative
    monkeypatch.setattr(handover, "representative", lambda run, dataset: honest(run, swapped(dataset, "train")))
    see_it_broken(tmp_path, "single-label", "int8 ranges.*int8 rounding")


# The better phase is judged on validation: by what its model does there, not by the training's own metrics.


def check_validation_decides(task):
    """Of two phases that training and validation rank differently, validation's is taken."""
    headline = find_task(task).headline

    def result(name, value, loss):
        row = {headline: 1 - value, "loss": 1 - loss, f"val_{headline}": value, "val_loss": loss, "seconds": 0.0}
        return PhaseResult(name=name, history=[row], kept_epoch=1, validation={headline: value, "loss": loss})

    for head, fine_tune, expected in [
        ((0.9, 0.5), (0.6, 0.5), "head"),
        ((0.6, 0.5), (0.9, 0.5), "fine_tune"),
        ((0.7, 0.2), (0.7, 0.4), "head"),
        ((0.7, 0.4), (0.7, 0.2), "fine_tune"),
    ]:
        chosen = phases.better(find_task(task), result("head", *head), result("fine_tune", *fine_tune))
        assert chosen.name == expected, f"{head} and then {fine_tune} on validation"


@pytest.mark.parametrize("task", LABELS)
def test_law_6_of_two_phases_the_better_one_on_validation_is_taken(task):
    check_validation_decides(task)


def test_law_6_breaks_when_training_metrics_decide(monkeypatch):
    def careless(task, *results):
        return max(results, key=lambda result: (result.history[-1][task.headline], -result.history[-1]["loss"]))

    monkeypatch.setattr(phases, "better", careless)
    with pytest.raises(AssertionError, match="on validation"):
        check_validation_decides("single-label")


@pytest.mark.parametrize("way", ["head", "linear-probe", "fine_tune"])
def test_law_6_what_a_phase_is_judged_by_is_measured_on_the_validation_split(way, dataset):
    settings = {"head__method": way, "features__dtype": "float32"} if way == "linear-probe" else {}
    world = session(dataset, tiny_base(), **settings)
    if way == "fine_tune":
        result = phases.run_phase(world, world.phase("fine_tune"), unfreeze(world.whole, 1))
    elif way == "head":
        result = phases.run_phase(world, world.phase("head"), freeze_base(world.whole))
    else:
        world.decide_caching(silent, always=True)
        world.caching.extract(world.recipe, quiet, silent, world.devices)
        method = phases.head_method(way)
        result = phases.solve_head(world, world.phase("head"), freeze_base(world.whole), method)
    examples = dataset.split("validation")
    pictures = np.stack([read_picture(dataset, example, SIZE) for example in examples]).astype(np.float32)
    outputs, targets = np.asarray(world.whole.model(pictures, training=False)), dataset.targets(examples)
    assert result.validation["top1"] == pytest.approx((outputs.argmax(1) == targets.argmax(1)).mean())
    assert result.validation["loss"] == pytest.approx(float(world.keras_loss(targets, outputs)), rel=1e-3)
