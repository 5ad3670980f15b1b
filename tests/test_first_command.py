"""`tfransfer train digits`: the README's first command, which needs no network."""

import json
import os
import subprocess
import sys

import pytest
from small_world import SEED

import tfransfer as tr
from tfransfer.recipe import read_recipe

pytestmark = pytest.mark.slow
# Any attempt to reach another machine ends the process.
NO_NETWORK = """
import os, socket
def refuse(*asked, **options):
    os.write(2, b"the network was asked for\\n")
    os._exit(70)
socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = refuse
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training, head and fine-tuning, on the built-in base and data."""
    folder = tmp_path_factory.mktemp("digits")
    return tr.train(
        "digits", out=folder / "run", head_epochs=3, fine_tune_epochs=1, views=1, seed=SEED, exports=["tflite"]
    )


def test_digits_take_the_built_in_base_and_are_not_mirrored(run):
    assert run.manifest["plan"]["base"] == "mini"
    assert run.manifest["plan"]["weights"] == "built-in"
    assert run.manifest["plan"]["image_size"] == 96
    assert run.manifest["data"]["source"] == "digits"
    recipe = read_recipe(run.folder / "recipe.toml")
    assert recipe.base == "mini"
    assert not recipe.augment.flip


@pytest.mark.learns
def test_something_is_learned_of_digits(run):
    assert run.metrics["test"]["top1"] > 0.5


def test_run_is_scored_again_where_the_cache_is_another(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TFRANSFER_CACHE", str(tmp_path))
    before = run.metrics["test"]["top1"]
    assert tr.load_run(run.folder).evaluate()["test"]["top1"] == pytest.approx(before, abs=1e-6)


def test_own_data_is_known_by_its_name(run):
    assert set(tr.load_run(run.folder).evaluate("digits")) == {"validation", "test"}


@pytest.mark.slow
def test_readme_first_command_needs_no_network_and_is_right(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    home = {"HOME": str(tmp_path), "KERAS_HOME": str(tmp_path / "keras"), "TFRANSFER_CACHE": str(tmp_path / "cache")}
    ran = subprocess.run(
        [sys.executable, "-m", "tfransfer", "train", "digits", "--json"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | home | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["metrics"]["test"]["top1"] >= 0.9
    assert set(said["exports"]) == {"keras", "savedmodel", "tflite"}
    assert said["seconds"] < 600, "a minute and a half on two idle cores; benchmarks measure it"


def test_the_network_guard_of_this_file_works(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    ask = "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')"
    ran = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=False
    )
    assert ran.returncode == 70
