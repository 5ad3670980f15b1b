"""One training on several devices or machines is that on one; what cannot be shared is refused."""

import json
import shutil
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from device_jobs import ONE, PLAIN, TWO, check_same, trained
from small_world import colour_folder, recipe, some_flowers, tiny_base

from tfransfer.data.loading import load_data
from tfransfer.data.share import Share
from tfransfer.display.progress import silent
from tfransfer.errors import SettingError
from tfransfer.methods.supervised import Supervised
from tfransfer.recipe import Recipe
from tfransfer.training.callbacks import values_of
from tfransfer.training.devices import Devices, choose_devices
from tfransfer.training.loop import Loop
from tfransfer.training.model import unfreeze
from tfransfer.training.opening import open_session
from tfransfer.training.planning import make_plan

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tools"))
import launch_workers

WORKERS = {"name": "workers", "workers": 2, "apart": True}
ADAMW = {
    "adamw": True,
    "settings": {
        "fine_tune.layer_decay": 0.5, "fine_tune.average": 0.9,
        "fine_tune.weight_decay": 1e-2, "fine_tune.clip_norm": 0.5,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def flowers(flower_photos, tmp_path_factory):
    return some_flowers(flower_photos, tmp_path_factory.mktemp("flowers"), per_class=21)[0].parent.parent


@pytest.fixture(scope="module")
def ends(flowers, tmp_path_factory):
    variants = [
        ONE, TWO, TWO | {"name": "in pieces", "settings": {"accumulate": 3}},
        ONE | ADAMW | {"name": "one adamw"}, TWO | ADAMW | {"name": "two adamw"},
    ]  # fmt: skip
    return trained(flowers, tmp_path_factory.mktemp("devices"), *variants)


@pytest.mark.slow
def test_two_devices_of_one_machine_train_as_one_does(ends):
    assert ends["two"][2] == 2
    check_same(ends, "two")


@pytest.mark.slow
def test_two_workers_train_as_one_does_and_so_do_devices_on_pixels(flowers, ends, tmp_path):
    plain = [ONE | PLAIN | {"name": "one plain"}, TWO | PLAIN | {"name": "two plain"}]
    ends = ends | trained(flowers, tmp_path, WORKERS, *plain)
    assert ends["workers"][2] == 2
    check_same(ends, "workers")
    check_same(ends, "two plain", "one plain")


@pytest.mark.slow
def test_a_batch_in_pieces_gives_the_same_gradients(ends):
    check_same(ends, "in pieces")


@pytest.mark.slow
def test_rates_by_layer_and_averaged_weights_are_the_same_on_two_devices(ends):
    check_same(ends, "two adamw", "one adamw", few=0.02)  # Adam divides by small numbers
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(ends["one"][0], ends["one adamw"][0], strict=True))


@pytest.mark.parametrize(("workers", "pieces"), [(1, 1), (1, 3), (2, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("examples", [1, 12, 13, 50])
def test_shares_of_a_split_are_each_example_once(workers, pieces, examples):
    shares = [Share(number, workers, pieces).evaluated(examples, 4) for number in range(workers)]
    counted = np.concatenate([positions[weights > 0] for positions, weights in shares])
    assert sorted(counted) == list(range(examples))
    assert len({len(positions) for positions, _ in shares}) == 1
    if workers * pieces > 1:
        assert all(len(positions) % (4 * pieces) == 0 for positions, _ in shares)


@pytest.mark.parametrize(("workers", "pieces"), [(1, 1), (2, 1), (2, 3), (3, 2)])
def test_pieces_of_a_batch_follow_one_another(workers, pieces):
    batch = np.arange(24) * 7
    parts = [part for number in range(workers) for part in Share(number, workers, pieces).of(batch)]
    assert {len(part) for part in parts} == {24 // workers // pieces}
    np.testing.assert_array_equal(np.concatenate(parts), batch)


class Replicas(Devices):
    """As many devices as a test wants; nothing is trained on them."""

    @property
    def replicas(self):
        return 4


@pytest.mark.parametrize(
    ("settings", "images", "batch"), [({}, 10**4, 128), ({}, 200, 16), ({"batch_size": 64}, 10**4, 64), ({}, 6, 4)]
)
def test_a_batch_grows_with_the_devices_and_is_shared_equally(settings, images, batch):
    chosen = recipe(batch_size=settings.get("batch_size", 8)) if settings else recipe().with_settings({})
    values = chosen.to_dict()
    if not settings:
        values.pop("batch_size")
    plan = make_plan(type(chosen).from_dict(values), tiny_base(), images, "float32", Replicas(name="4 GPUs"))
    assert plan.batch_size == batch
    assert plan.head_learning_rate == pytest.approx(1e-3 * max(1, batch / 32) ** 0.5)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(SettingError, match="batch_size is 30, which 4 devices cannot share equally: use 28 or 32"):
        make_plan(recipe(batch_size=30), tiny_base(), 1000, "float32", Replicas())
    with pytest.raises(SettingError, match="3 training examples are too few"):
        make_plan(recipe(), tiny_base(), 3, "float32", Replicas(name="4 GPUs"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("gpus", "expected auto, cpu, gpu, tpu"),
        ("gpu:0,", "expected auto, cpu, gpu, tpu"),
        ("gpu:7", "devices is 'gpu:7', but TensorFlow finds"),
        ("cpu:9", "devices is 'cpu:9', but TensorFlow finds"),
        ("cpu:0,0", "TensorFlow finds 1 CPU here"),
        ("cpu:5", "TensorFlow finds 1 CPU here"),
        ("tpu", "no TPU can be reached"),
    ],
)
def test_devices_that_are_not_there_are_named(setting, message):
    with pytest.raises(SettingError, match=message):
        choose_devices(setting, {})


@pytest.mark.parametrize(
    ("environment", "name"),
    [({}, "local"), ({"TPU_NAME": "mine"}, "mine"), ({"COLAB_TPU_ADDR": "10.0.0.2:8470"}, "grpc://10.0.0.2:8470")],
)
def test_a_tpu_that_nothing_names_is_looked_for_in_this_machine(environment, name, monkeypatch):
    """As Colab's are, whose environment names none: TensorFlow's resolver says `local` for that."""
    asked = []

    def connect(name):
        asked.append(name)
        raise tf.errors.NotFoundError(None, None, "TPUs not found in the cluster.")

    monkeypatch.setattr(tf.distribute.cluster_resolver.TPUClusterResolver, "connect", connect)
    with pytest.raises(SettingError, match=r"TPUs not found in the cluster\. On a machine with one"):
        choose_devices("tpu", environment)
    assert asked == [name]


@pytest.mark.parametrize(
    "config", ["{", "[]", '{"cluster": {}}', '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker"}}']
)
def test_unreadable_tf_config_is_named(config):
    with pytest.raises(SettingError, match="TF_CONFIG cannot be read"):
        choose_devices("auto", {"TF_CONFIG": config})


def test_tf_config_of_one_worker_is_one_device():
    config = {"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 0}}
    devices = choose_devices("auto", {"TF_CONFIG": json.dumps(config)})
    assert (devices.workers, devices.replicas, devices.chief) == (1, 1, True)


def test_what_is_chosen_is_said():
    devices = choose_devices("cpu", {})
    assert (devices.name, devices.why) == ("one CPU", "as requested")
    assert devices.agreed(b"as it is") == b"as it is"
    assert devices.any(True) and not devices.any(False)
    if not tf.config.list_physical_devices("GPU"):
        assert choose_devices("auto", {}).name == "the CPU"


WORDS = [
    "train", "--base", "mini", "--image-size", "32", "--head-epochs", "3", "--fine-tune-epochs", "6", "--unfreeze", "4",
    "--batch-size", "12", "--export", "none", "--set", "features.engine=keras", "--set", "fine_tune.patience=0",
]  # fmt: skip


def start(count, data, out, folder, *more):
    """Workers of the real command, as the launcher starts them."""
    command = [sys.executable, "-m", "tfransfer", *WORDS, str(data), "--out", str(out), *more]
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        patch.setenv("TFRANSFER_CACHE", str(folder.parent / "cache"))
        return launch_workers.launch(count, command, folder)


def weights(run):
    return keras.saving.load_model(run / "model.keras").get_weights()


@pytest.mark.slow
def test_workers_with_other_pictures_are_refused_together(tmp_path):
    """As many, so that nothing else would stop them: one would train on what another validates on."""
    one = colour_folder(tmp_path / "one", per_class=12, size=32)
    other = shutil.copytree(one, tmp_path / "other")
    shutil.copy(one / "red" / "003.png", other / "red" / "004.png")
    with pytest.raises(AssertionError, match="worker 1's data differs from worker 0's"):
        trained(one, tmp_path, WORKERS | {"data": [str(one), str(other)]})


@pytest.mark.long
def test_a_killed_worker_is_said_and_the_job_started_again_ends_as_if_undisturbed(tmp_path, capfd):
    """Three workers; one is killed with SIGKILL in the middle of the second phase."""
    data = colour_folder(tmp_path / "data", per_class=40, size=32)
    assert launch_workers.wait(start(3, data, tmp_path / "whole", tmp_path / "logs")) == [0, 0, 0]
    workers = start(3, data, tmp_path / "run", tmp_path / "logs killed")
    manifest = tmp_path / "run" / "manifest.json"
    while not (manifest.exists() and json.loads(manifest.read_text()).get("progress", {}).get("phase") == "fine_tune"):
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.05)
    capfd.readouterr()
    workers[1].kill()
    killed = time.monotonic()
    codes = launch_workers.wait(workers, patience=90)
    assert time.monotonic() - killed < 60
    assert codes[0] == codes[2] == 1
    said = capfd.readouterr().err
    assert "another of the 3 workers died" in said
    assert "--resume" in said
    assert launch_workers.wait(start(3, data, tmp_path / "run", tmp_path / "logs again", "--resume")) == [0, 0, 0]
    for a, b in zip(weights(tmp_path / "run"), weights(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_training_step_compiles_as_one_for_a_tpu(colour_photos):
    """MobileNetV2 in bfloat16 with mixup, dropout, averaging and metrics: XLA takes the step whole, or refuses it."""
    settings = {"base": "mobilenet_v2", "weights": "random", "image_size": 96, "precision": "mixed_bfloat16",
                "batch_size": 8, "fine_tune.average": 0.9, "features.cache": False}  # fmt: skip
    made = Recipe().with_settings(settings)
    world = open_session(load_data(colour_photos), made, silent)
    parts = unfreeze(world.whole, "all")
    loop = Loop(
        world.whole.model, parts, keras.optimizers.AdamW(1e-3, global_clipnorm=1.0),
        Supervised(world.task.loss(0.1), mixup=0.3), world.task.metrics, world.phase("fine_tune"),
    )  # fmt: skip
    batch = next(iter(world.pixel_batches("fine_tune", 1)(8).training(0, 0)))
    before = values_of(loop.variables)
    step = tf.function(loop._train_step, jit_compile=True)
    step(batch, tf.constant(0))
    assert "bf16" in step.experimental_get_compiler_ir(batch, tf.constant(0))(stage="hlo")
    assert np.isfinite(float(loop.training_metrics[0].result()))
    assert any(not np.array_equal(a, b) for a, b in zip(before, values_of(loop.variables), strict=True))
