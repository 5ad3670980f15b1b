"""What an objective can have besides the supervised loss: further streams, and variables that are resumed."""

import keras
import numpy as np
import pytest
from device_jobs import ONE, PLAIN, TWO, check_same, trained
from small_world import colour_folder, session, tiny_base
from toy_objective import use

from tfransfer.display.progress import quiet, silent
from tfransfer.training.callbacks import values_of
from tfransfer.training.checkpoint import Checkpoints
from tfransfer.training.loop import Loop
from tfransfer.training.model import unfreeze
from tfransfer.training.phase import FINE_TUNE
from tfransfer.training.phases import Hooks, run_phase, train_phases

SETTINGS = {
    "fine_tune__unfreeze": 2, "fine_tune__epochs": 3, "fine_tune__patience": 0, "fine_tune__learning_rate": 0.02,
}  # fmt: skip


class Kill(keras.callbacks.Callback):
    """Ends the process's training in the middle of an epoch, as SIGKILL would: nothing is saved any more."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.place, self.epoch = (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) >= self.place:
            raise MemoryError("killed")


def fine_tuned(dataset, *callbacks, path=None, **settings):
    """Weights after the fine-tune phase and the objective's variables."""
    world = session(dataset, tiny_base(), **(SETTINGS | settings))
    made = use(world)
    hooks = Hooks(callbacks=lambda phase: callbacks, checkpoints=Checkpoints(path, every=0.0))
    result = run_phase(world, world.phase(FINE_TUNE), unfreeze(world.whole, 2), hooks)
    return result, world.whole.model.get_weights(), values_of(made[-1].variables)


def test_it_trains_with_its_stream_and_its_own_variables(dataset):
    result, weights, (center, seen) = fine_tuned(dataset)
    steps = len(dataset.split("train")) // 8
    assert seen == 3 * steps * 8
    assert np.abs(center).max() > 0
    losses = [row["loss"] for row in result.history]
    assert losses[-1] < losses[0]
    plain = session(dataset, tiny_base(), **SETTINGS, fine_tune__mixup=0.0)
    run_phase(plain, plain.phase(FINE_TUNE), unfreeze(plain.whole, 2))
    assert any(not np.array_equal(a, b) for a, b in zip(weights, plain.whole.model.get_weights(), strict=True))


def check_killed_is_undisturbed(dataset, path, place):
    _, weights, variables = fine_tuned(dataset)
    with pytest.raises(MemoryError):
        fine_tuned(dataset, Kill(*place), path=path)
    result, resumed, resumed_variables = fine_tuned(dataset, path=path)
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    for a, b in zip([*weights, *variables], [*resumed, *resumed_variables], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("place", [pytest.param((0, 4), marks=pytest.mark.slow), (1, 4)])
def test_killed_and_resumed_is_the_same_as_never_killed(dataset, tmp_path, place):
    check_killed_is_undisturbed(dataset, tmp_path / "state.npz", place)


@pytest.mark.slow
@pytest.mark.parametrize("group", ["objective/0", "objective/1"])
def test_it_breaks_when_a_variable_is_not_restored(dataset, tmp_path, monkeypatch, group):
    honest = Loop.restore

    def forgetful(loop, state):
        state.arrays[group] = np.zeros_like(state.arrays[group])
        honest(loop, state)

    monkeypatch.setattr(Loop, "restore", forgetful)
    with pytest.raises(AssertionError):
        check_killed_is_undisturbed(dataset, tmp_path / "state.npz", (1, 4))


def test_both_phases_of_a_session_minimize_it(dataset):
    world = session(dataset, **SETTINGS)
    made = use(world)
    kept = train_phases(world, lambda phase: (), quiet, silent)
    assert [result.name for result in kept.results] == ["head", "fine_tune"]
    assert len(made) == 2


def test_a_stream_that_nobody_gives_is_named(dataset):
    world = session(dataset, **SETTINGS)
    use(world)
    world.streams = {}
    with pytest.raises(ValueError, match="no stream named unlabeled"):
        run_phase(world, world.phase(FINE_TUNE), unfreeze(world.whole, 2))


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objectives")
    data = colour_folder(folder / "data", per_class=16, size=48)
    toy = PLAIN | {"objective": True}
    pieces = {"name": "pieces", "settings": PLAIN["settings"] | {"accumulate": 2}}
    return trained(data, folder, ONE | toy, TWO | toy, ONE | toy | pieces)


@pytest.mark.slow
def test_two_devices_agree_with_one(ends):
    assert ends["two"][2] == 2
    check_same(ends, "two")
    assert ends["one"][0][-1] > 0, "the examples that the objective counted"


@pytest.mark.slow
def test_a_batch_in_pieces_agrees_with_a_whole_one(ends):
    check_same(ends, "pieces")
