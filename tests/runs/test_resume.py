"""Law 5: killed and resumed is the same as never killed. What is stopped says how to go on, and loses nothing."""

import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
from small_world import recipe, session, tiny_model

from tfransfer import pipeline
from tfransfer.errors import BaseModelError, DataError, RunError, SettingError, WriteError
from tfransfer.methods.losses import as_loss
from tfransfer.methods.supervised import Supervised
from tfransfer.runs import job, run_folder, start
from tfransfer.runs.run import load_run
from tfransfer.system.signals import Stopped
from tfransfer.tasks.regression import Regression
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.training import checkpoint
from tfransfer.training.loop import Loop
from tfransfer.training.model import freeze_base

KILLS = int(os.environ.get("TFRANSFER_KILLS", "3"))
TINY = {"preprocessing": "tf", "exports": [], "recipe": recipe(head__mixup=0.2, head__epochs=3, fine_tune__epochs=3)}


class StopAt(keras.callbacks.Callback):
    """Sends this process a signal in the middle of an epoch."""

    def __init__(self, epoch, step, number):
        super().__init__()
        self.at, self.number, self.first, self.epoch, self.sent = (epoch, step), number, None, 0, False

    def on_epoch_begin(self, epoch, logs=None):
        self.first = epoch if self.first is None else self.first  # epochs are counted over both phases
        self.epoch = epoch - self.first

    def on_train_batch_end(self, batch, logs=None):
        if not self.sent and (self.epoch, batch) >= self.at:  # several steps may be one call
            self.sent = True
            os.kill(os.getpid(), self.number)


def stopped(data, out, phase, epoch, step, number=signal.SIGTERM, **options):
    """Begin a training that is stopped at a step."""
    stop = lambda name: [StopAt(epoch, step, number)] if name == phase else []  # noqa: E731
    with pytest.raises(Stopped) as told:
        pipeline.train(data, tiny_model(), out=out, callbacks=stop, **(TINY | options))
    return str(told.value)


@pytest.fixture(scope="module", autouse=True)
def _model_known_to_save():
    """Whether a user's own model can be saved is tried in a process of its own; elsewhere that is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "require_saving", lambda *arguments: None)
        yield


@pytest.fixture(scope="module")
def undisturbed(colour_photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    return pipeline.train(colour_photos, tiny_model(), out=out, **TINY)


def check_resumed_is_never_stopped(data, out, undisturbed, monkeypatch, phase, epoch, step):
    """Weights and history at the end of training are those of the undisturbed run; what follows is left out."""
    ended = []
    stopped(data, out, phase, epoch, step)
    with monkeypatch.context() as patch:
        patch.setattr(job, "finish_run", lambda run, session, kept, progress, say: ended.append((session, kept)))
        pipeline.train(data, tiny_model(), out=out, resume=True, **TINY)
    session, kept = ended[0]
    for a, b in zip(session.whole.model.get_weights(), undisturbed.model.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes(), "a weight differs from the undisturbed run's"
    rows = [(row["phase"], row["epoch"], row["loss"], row["val_loss"]) for row in kept.history_rows()]
    assert rows == [(row["phase"], row["epoch"], row["loss"], row["val_loss"]) for row in undisturbed.history]


@pytest.mark.law
@pytest.mark.parametrize("place", [("head", 1, 3), ("fine_tune", 0, 3), ("fine_tune", 2, 5)])
def test_law_5_stopped_and_resumed_is_never_stopped(colour_photos, tmp_path, undisturbed, monkeypatch, place):
    check_resumed_is_never_stopped(colour_photos, tmp_path / "run", undisturbed, monkeypatch, *place)


@pytest.mark.slow
@pytest.mark.law
@pytest.mark.parametrize("forgotten", ["optimizer", "step", "metric"])
def test_law_5_breaks_when_part_of_the_state_is_forgotten(colour_photos, tmp_path, undisturbed, monkeypatch, forgotten):
    real = Loop.restore

    def careless(self, state):
        fresh = self.snapshot().arrays
        state.arrays |= {name: array for name, array in fresh.items() if name.startswith(forgotten)}
        state.step = 0 if forgotten == "step" else state.step
        real(self, state)

    monkeypatch.setattr(Loop, "restore", careless)
    with pytest.raises(AssertionError):
        check_resumed_is_never_stopped(colour_photos, tmp_path / "run", undisturbed, monkeypatch, "fine_tune", 2, 3)


def test_second_signal_does_not_wait(colour_photos, tmp_path):
    class Twice(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        pipeline.train(
            colour_photos, tiny_model(), out=tmp_path / "run", **TINY,
            callbacks=lambda phase: [Twice()],
        )  # fmt: skip
    assert not (tmp_path / "run" / run_folder.STATE).exists()


def test_handlers_of_signals_are_put_back(colour_photos, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stopped(colour_photos, tmp_path / "run", "head", 0, 3, signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def signal_in_the_converter(monkeypatch):
    """SIGTERM while TensorFlow's converter collects garbage: its exception is raised in a callback, and lost there."""
    collect = gc.collect

    class Garbage:
        pass

    def collecting(*given):
        garbage = Garbage()
        _callback = weakref.ref(garbage, lambda gone: signal.raise_signal(signal.SIGTERM))
        del garbage
        return collect(*given)

    monkeypatch.setattr(gc, "collect", collecting)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("signal_in_the_converter")
@pytest.mark.parametrize("way", ["train", "export"])
def test_signal_that_arrives_while_a_file_is_converted_stops_the_run(colour_photos, tmp_path, undisturbed, way):
    out = tmp_path / "run"
    shutil.copytree(undisturbed.folder, out)
    with pytest.raises(Stopped) as told:
        if way == "train":
            pipeline.train(colour_photos, tiny_model(), out=out, resume=True, **TINY | {"exports": ["tflite"]})
        else:
            pipeline.export(out, "tflite")
    assert way == "export" or "To resume" in str(told.value)
    assert "tflite" not in load_run(out).manifest.exports
    assert not [path.name for path in out.iterdir() if path.name.startswith(".writing") or path.suffix == ".tflite"]


@pytest.mark.parametrize("task", [CLASSIFICATION, Regression().fitted(np.arange(4, dtype=np.float32).reshape(4, 1))])
def test_metrics_that_make_variables_late_are_restored(dataset, task):
    """R2 and F1 make variables when they first see targets: a new loop must have them too."""
    metrics = lambda: task.metrics() + [keras.metrics.F1Score(average="macro")]  # noqa: E731
    world = session(dataset)
    parts = freeze_base(world.whole)
    loss, phase = as_loss(task.loss(0.0)), world.phase("head")
    loops = [
        Loop(world.whole.model, parts, keras.optimizers.Adam(), Supervised(loss), metrics, phase) for _ in range(2)
    ]
    loops[0].run(world.pixel_batches("head", 1)(8), 1)
    loops[1].restore(loops[0].snapshot())
    assert loops[1].state.epoch == 1


def test_callbacks_with_another_state_are_left_alone(colour_photos, tmp_path):
    class Busy(keras.callbacks.Callback):
        state = "idle"

    class Odd(keras.callbacks.Callback):
        def state(self):
            return {"path": Path("x")}

        def restore(self, state):
            pass

    short = TINY | {"recipe": recipe(head__epochs=1, fine_tune__epochs=0)}
    with pytest.raises(SettingError, match="plain values"):
        pipeline.train(
            colour_photos, tiny_model(), out=tmp_path / "run", callbacks=lambda phase: [Busy(), Odd()], **short
        )


def test_stopped_before_its_manifest_a_run_leaves_nothing_and_a_killed_one_is_no_hindrance(colour_photos, tmp_path):
    out = tmp_path / "run"

    def stop(*given):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "write_recipe", stop)
        with pytest.raises(Stopped, match="nothing was saved"):
            pipeline.train(colour_photos, tiny_model(), out=out, **TINY)
    assert not out.exists()
    out.mkdir()
    (out / "splits.csv").write_text("path,label,split\n")  # as SIGKILL leaves it
    (out / ".writing-x").mkdir()
    run_folder.require_free(out, overwrite=False)
    (out / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError):
        run_folder.require_free(out, overwrite=False)


def test_two_processes_do_not_train_into_one_folder(halfway, colour_photos):
    holder = (
        "import fcntl, sys, time\n"
        f"stream = open({str(halfway / '.lock')!r}, 'wb'); fcntl.flock(stream, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(120)\n"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(FileExistsError, match="another process is writing to"):
            pipeline.train(colour_photos, tiny_model(), out=halfway, resume=True, **TINY)
        other.kill()


def test_a_stopped_replacement_is_not_thrown_away_unasked(halfway, colour_photos, tmp_path):
    halfway.rename(run_folder.aside_of(tmp_path / "new"))
    with pytest.raises(FileExistsError, match=r"unfinished run that was to replace .*: use resume=True"):
        pipeline.train(colour_photos, tiny_model(), out=tmp_path / "new", **TINY)
    assert (run_folder.aside_of(tmp_path / "new") / run_folder.STATE).exists()


def test_a_failed_swap_puts_the_old_run_back(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old").write_text("")
    with pytest.raises(FileNotFoundError):
        run_folder.put_in_place(tmp_path / "missing", tmp_path / "run")
    assert (tmp_path / "run" / "old").exists()


def test_another_loss_is_refused(halfway, colour_photos):
    with pytest.raises(SettingError, match="was started with loss and metrics"):
        pipeline.train(colour_photos, tiny_model(), out=halfway, resume=True, loss="mse", **TINY)


@pytest.fixture(scope="module")
def stopped_once(colour_photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("stopped") / "run"
    stopped(colour_photos, out, "fine_tune", 1, 3)
    return out


@pytest.fixture
def halfway(stopped_once, tmp_path):
    """A run that was stopped in the second epoch of its second phase."""
    return shutil.copytree(stopped_once, tmp_path / "run")


def test_manifest_says_where_a_stopped_run_stands(halfway):
    manifest = json.loads((halfway / "manifest.json").read_text())
    progress = manifest["progress"]
    assert (progress["phase"], progress["epoch"], progress["step"]) == ("fine_tune", 1, 4)
    assert progress["done"] == ["head"]
    assert progress["kept_epoch"] == 1
    assert manifest["plan"]["features"]["views"] >= 1


def test_unfinished_run_is_refused_with_what_to_do(halfway, colour_photos):
    with pytest.raises(RunError, match="resume=True"):
        pipeline.evaluate(halfway)
    with pytest.raises(FileExistsError, match="is not finished: use resume=True"):
        pipeline.train(colour_photos, tiny_model(), out=halfway, **TINY)


def test_other_settings_are_refused(halfway, colour_photos):
    other = TINY | {"recipe": recipe(head__learning_rate=0.5)}
    with pytest.raises(SettingError, match=r"head\.learning_rate = 0\.5"):
        pipeline.train(colour_photos, tiny_model(), out=halfway, resume=True, **other)


def test_settings_need_not_be_said_again_and_callbacks_without_a_state_are_named(halfway, colour_photos, undisturbed):
    class Watch(keras.callbacks.Callback):
        pass

    said = []
    run = pipeline.train(
        colour_photos, tiny_model(), preprocessing="tf", exports=[], out=halfway, resume=True, say=said.append,
        callbacks=lambda phase: [Watch()],
    )  # fmt: skip
    assert [row["loss"] for row in run.history] == [row["loss"] for row in undisturbed.history]
    assert {path.name for path in halfway.iterdir()} == {path.name for path in undisturbed.folder.iterdir()}
    assert "progress" not in run.manifest
    assert "which stopped in epoch 2 of the fine-tune phase" in said[0]
    assert any("Watch have no state() and restore()" in line for line in said)


def test_other_data_is_refused_and_nothing_is_lost(halfway, colour_photos, tmp_path):
    before = {path.name: path.read_bytes() for path in halfway.iterdir()}
    shutil.copytree(colour_photos, tmp_path / "data")
    (tmp_path / "data" / "red" / "000.png").unlink()
    with pytest.raises(DataError):
        pipeline.train(tmp_path / "data", tiny_model(), out=halfway, resume=True, **TINY)
    assert {path.name: path.read_bytes() for path in halfway.iterdir()} == before


def test_another_base_is_refused(halfway, colour_photos):
    other = tiny_model()
    other.set_weights([0.5 * weight for weight in other.get_weights()])
    with pytest.raises(BaseModelError, match="weights or layers differ"):
        pipeline.train(colour_photos, other, out=halfway, resume=True, **TINY)
    with pytest.raises(SettingError, match="pass it as base again"):
        pipeline.train(colour_photos, out=halfway, resume=True, exports=[])


@pytest.mark.parametrize("harm", ["cut", "noise", "pickle", "empty"])
def test_damaged_state_is_refused(halfway, colour_photos, harm):
    file = halfway / run_folder.STATE
    content = file.read_bytes()
    if harm == "pickle":
        np.savez(file, plain=np.array([{"a": print}], dtype=object))
    else:
        file.write_bytes({"cut": content[: len(content) // 2], "noise": content[::-1], "empty": b""}[harm])
    with pytest.raises(RunError, match="damaged"):
        pipeline.train(colour_photos, tiny_model(), out=halfway, resume=True, **TINY)


@pytest.mark.parametrize("harm", [{"plan": {}}, {"plan": {"features": {}, "base": 3}}, {"plan": []}])
def test_damaged_manifest_is_refused(halfway, colour_photos, harm):
    manifest = json.loads((halfway / "manifest.json").read_text())
    (halfway / "manifest.json").write_text(json.dumps(manifest | harm))
    with pytest.raises(RunError, match="cannot be resumed"):
        pipeline.train(colour_photos, tiny_model(), out=halfway, resume=True, **TINY)


def test_state_of_another_model_is_refused(halfway, colour_photos):
    found = checkpoint.read_checkpoint(halfway / run_folder.STATE)
    found.loop.arrays["weight/0"] = np.zeros((3, 3), np.float32)
    checkpoint.write_checkpoint(halfway / run_folder.STATE, found)
    with pytest.raises(RunError, match="another model"):
        pipeline.train(colour_photos, tiny_model(), out=halfway, resume=True, **TINY)


def test_a_replacement_that_is_stopped_leaves_the_old_run_and_goes_on(colour_photos, tmp_path):
    out = tmp_path / "run"
    old = TINY | {"recipe": recipe(head__epochs=1, fine_tune__epochs=0)}
    pipeline.train(colour_photos, tiny_model(), out=out, **old)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    stopped(colour_photos, out, "fine_tune", 0, 3, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    run = pipeline.train(colour_photos, tiny_model(), out=out, resume=True, **TINY)
    assert run.folder == out
    assert len(run.history) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_resume_begins_where_nothing_is_left_and_adds_the_exports_that_a_finished_run_lacks(colour_photos, tmp_path):
    out, said = tmp_path / "run", []
    short = TINY | {"recipe": recipe(head__epochs=1, fine_tune__epochs=0)}
    pipeline.train(colour_photos, tiny_model(), out=out, resume=True, **short)
    hashed = (out / "model.keras").read_bytes()
    (out / ".writing-x").mkdir()  # as a process that was killed in an export leaves it
    run = pipeline.train(colour_photos, tiny_model(), out=out, resume=True, say=said.append, **short | {
        "exports": ["tflite"]})  # fmt: skip
    assert not (out / ".writing-x").exists()
    assert (out / "model.tflite").is_file()
    assert (out / "model.keras").read_bytes() == hashed
    assert "is already finished" in said[0]
    assert set(run.manifest["exports"]) == {"keras", "tflite"}


def test_full_disk_in_the_middle_loses_nothing(colour_photos, tmp_path, undisturbed, monkeypatch):
    """The state cannot be written any more; with room again, the run goes on from the last one."""
    real, written = checkpoint.write_checkpoint, []

    def fills_up(path, state):
        written.append(state)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        if len(written) == 5:
            before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limit[1]))
        try:
            real(path, state)
        finally:
            if len(written) == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, limit)
                signal.signal(signal.SIGXFSZ, before)

    monkeypatch.setattr(checkpoint, "write_checkpoint", fills_up)
    with pytest.raises(WriteError, match="disk is full"):
        pipeline.train(colour_photos, tiny_model(), out=tmp_path / "run", **TINY)
    assert checkpoint.read_checkpoint(tmp_path / "run" / run_folder.STATE).done
    run = pipeline.train(colour_photos, tiny_model(), out=tmp_path / "run", resume=True, **TINY)
    for a, b in zip(run.model.get_weights(), undisturbed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_law_5_killed_at_any_moment(tmp_path):
    """SIGKILL before the manifest, in extraction, head, boundary, fine-tuning, saving and export; see `killing.py`."""
    ran = subprocess.run(
        [sys.executable, Path(__file__).parent.with_name("killing.py"), tmp_path, str(KILLS), "7"],
        capture_output=True, text=True, check=False, env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    trials = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert len(trials) == KILLS
    epochs = [f"{phase} {epoch}" for phase in ("head", "fine_tune") for epoch in range(1, 7)]
    for trial in trials:
        assert "error" not in trial, trial
        assert trial["same"], trial
        assert trial["epochs"] == epochs, trial
        assert not [name for name in trial["files"] if name.startswith(".") or name == run_folder.STATE], trial
