"""`tfransfer train digits`: the README's first command, which needs no network."""

import json
import os
import subprocess
import sys

import pytest

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
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("first_command")


@pytest.fixture(scope="module")
def said(place):
    """What the command prints as JSON, without network and with an empty cache."""
    (place / "sitecustomize.py").write_text(NO_NETWORK)
    home = {"HOME": str(place), "KERAS_HOME": str(place / "keras"), "TFRANSFER_CACHE": str(place / "cache")}
    ran = subprocess.run(
        [sys.executable, "-m", "tfransfer", "train", "digits", "--json"],
        capture_output=True, text=True, check=False, cwd=place,
        env=os.environ | home | {"PYTHONPATH": os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def run(place, said):
    return tr.load_run(place / "saved_models" / "digits")


@pytest.mark.learns
def test_it_needs_no_network_and_is_right(said):
    assert said["metrics"]["test"]["top1"] >= 0.9
    assert set(said["exports"]) == {"keras", "savedmodel", "tflite"}
    assert said["seconds"] < 600, "a minute and a half on two idle cores; benchmarks measure it"


def test_digits_take_the_built_in_base_and_are_not_mirrored(run):
    assert run.manifest["plan"]["base"] == "mini"
    assert run.manifest["plan"]["weights"] == "built-in"
    assert run.manifest["plan"]["image_size"] == 96
    assert run.manifest["data"]["source"] == "digits"
    recipe = read_recipe(run.folder / "recipe.toml")
    assert recipe.base == "mini"
    assert not recipe.augment.flip


def test_run_is_scored_again_where_the_cache_is_another(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TFRANSFER_CACHE", str(tmp_path))
    before = run.metrics["test"]["top1"]
    assert tr.load_run(run.folder).evaluate()["test"]["top1"] == pytest.approx(before, abs=1e-6)


def test_own_data_is_known_by_its_name(run):
    assert set(tr.load_run(run.folder).evaluate("digits")) == {"validation", "test"}


def test_the_network_guard_of_this_file_works(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    ask = "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')"
    ran = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=False
    )
    assert ran.returncode == 70
