"""The user's own loss, metrics and callbacks: what cannot work is refused before anything is trained or written."""

import keras
import numpy as np
import pytest
from small_world import recipe, tiny_model

import tfransfer as tr
from tfransfer.errors import SettingError
from tfransfer.runs import job
from tfransfer.runs.own_parts import OwnParts, own_callbacks, require_own_parts, require_usable
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.tasks.task import find_task

METRICS = keras.metrics
CALLBACKS = keras.callbacks
DIRECTIONS = {"loss": "min", "val_loss": "min", "top1": "max", "val_top1": "max"}


def check(**own):
    own = OwnParts(**own)
    require_usable(own)
    own_callbacks(own.callbacks, require_own_parts(own, CLASSIFICATION, 3), ("head", "fine_tune"))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"loss": "sparse_categorical_crossentropy"}, "one-hot.*'categorical_crossentropy'"),
        ({"loss": keras.losses.SparseCategoricalCrossentropy()}, "one-hot.*CategoricalCrossentropy"),
        ({"loss": keras.losses.sparse_categorical_crossentropy}, "one-hot"),
        ({"loss": keras.losses.CategoricalCrossentropy(from_logits=True)}, "from_logits"),
        ({"loss": lambda targets, outputs: targets[:, :2] - outputs}, "the loss .* cannot be computed"),
        ({"metrics": lambda: ["accuracy"]}, r"'accuracy'.*keras\.metrics.*top1 is always measured"),
        ({"metrics": lambda: [METRICS.SparseCategoricalAccuracy()]}, "one-hot.*CategoricalAccuracy"),
        ({"metrics": lambda: [METRICS.F1Score()]}, "'f1_score' returns 3 numbers"),
        ({"metrics": lambda: [METRICS.CategoricalAccuracy(name="top1")]}, "'top1' is already measured"),
        ({"metrics": lambda: METRICS.F1Score}, "must return a list of Keras metrics"),
        ({"metrics": lambda phase: []}, r"metrics\(\) cannot be called: .*phase"),
        ({"callbacks": lambda: None}, r"callbacks\('head'\) cannot be called"),
        ({"callbacks": lambda phase: ["early"]}, "must return a list of Keras callbacks; it returned 'early'"),
        ({"callbacks": lambda phase: [CALLBACKS.EarlyStopping(monitor="val_accuracy")]}, "Did you mean|val_top1"),
        ({"callbacks": lambda phase: [CALLBACKS.ReduceLROnPlateau(monitor="top2")]}, "'top2'.*measured are loss, top1"),
        (
            {
                "metrics": lambda: [METRICS.MeanMetricWrapper(lambda _, outputs: outputs[:, 0], name="odd")],
                "callbacks": lambda phase: [CALLBACKS.EarlyStopping(monitor="val_odd")],
            },
            "mode='min' or mode='max'",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_the_remedy(own, message):
    with pytest.raises(SettingError, match=message):
        check(**own)


def test_what_works_is_taken():
    check(
        loss=keras.losses.CategoricalFocalCrossentropy(),
        metrics=lambda: METRICS.TopKCategoricalAccuracy(2, name="top2"),
        callbacks=lambda phase: CALLBACKS.EarlyStopping(monitor="val_top2") if phase == "head" else None,
    )
    own = OwnParts(loss="binary_crossentropy", metrics=lambda: [METRICS.AUC()])
    assert require_own_parts(own, find_task("multi-label"), 3)["val_auc"] == "max"
    require_own_parts(OwnParts(loss="mse"), find_task("regression"), 1)


def made(*callbacks):
    return own_callbacks(lambda phase: list(callbacks), DIRECTIONS, ["head"])("head")


@pytest.mark.parametrize("kind", ["EarlyStopping", "ReduceLROnPlateau"])
def test_a_callback_that_monitors_one_of_our_metrics_knows_that_higher_is_better(kind):
    (one,) = made(getattr(CALLBACKS, kind)(monitor="val_top1"))
    (loss,) = made(getattr(CALLBACKS, kind)(monitor="val_loss"))
    assert one.mode == "max"
    assert loss.mode in ("auto", "min")
    (chosen,) = made(getattr(CALLBACKS, kind)(monitor="val_top1", mode="min"))
    assert chosen.mode == "min"


def test_a_single_callback_or_none_is_a_list():
    only = CALLBACKS.TerminateOnNaN()
    assert own_callbacks(lambda phase: only, DIRECTIONS, ["head"])("head") == [only]
    assert own_callbacks(lambda phase: None, DIRECTIONS, ["head"])("head") == []


def test_callbacks_are_built_before_training_and_anew_where_a_phase_begins_again():
    phases = []
    give = own_callbacks(lambda phase: phases.append(phase), DIRECTIONS, ["head", "fine_tune"])
    assert phases == ["head", "fine_tune"]
    give("head")
    assert len(phases) == 2
    give("head")
    assert phases[2:] == ["head"]


def test_nothing_is_written_where_one_of_them_is_refused(colour_photos, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "require_saving", lambda *given: None)
    for own in ({"metrics": lambda: ["accuracy"]}, {"callbacks": lambda phase: [3]}, {"loss": np.mean}):
        with pytest.raises(SettingError):
            tr.train(colour_photos, tiny_model(), preprocessing="tf", out=tmp_path / "run", **own, recipe=recipe())
        assert not (tmp_path / "run").exists()
