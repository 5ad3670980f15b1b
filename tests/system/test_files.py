"""Paths as users write them."""

import os
from pathlib import Path

import pytest

import tfransfer as tr
from tfransfer.errors import DataNotFoundError, SettingError
from tfransfer.recipe import read_recipe
from tfransfer.runs.run_folder import place_for
from tfransfer.system.files import special_kind, user_path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def test_the_tilde_is_the_home_folder(home, monkeypatch):
    assert user_path("~/a/b") == home / "a" / "b"
    assert user_path(Path("~")) == home
    assert user_path("a/~/b") == Path("a/~/b")
    assert user_path("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
    monkeypatch.chdir(home)
    (home / "~").mkdir()
    assert user_path("~/a") == Path("~/a"), "a folder of that name comes first"


def test_the_tilde_is_expanded_wherever_a_path_is_given(home, command):
    assert place_for("data", "~/runs/1") == home / "runs" / "1"
    (home / "r.toml").write_text("seed = 7\n")
    assert read_recipe(Path("~/r.toml")).seed == 7
    for call in (tr.load_run, tr.verify):
        with pytest.raises((DataNotFoundError, FileNotFoundError), match=str(home / "run")):
            call("~/run")
    with pytest.raises(DataNotFoundError, match=str(home / "splits.csv")):
        tr.load_data("digits", splits_file="~/splits.csv")
    (home / "flowers" / "rose").mkdir(parents=True)
    assert str(home / "flowers") in command("train", home / "flowers", "--out=~/run", "--recipe=~/r.toml")[2]
    assert f"the run folder {home / 'run'} does not exist" in command("evaluate", "~/run")[2]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_what_could_be_read_for_ever_is_told_from_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingError, match="it is a named pipe"):
        read_recipe(tmp_path / "pipe")
    assert special_kind(tmp_path / "pipe") == "a named pipe"
    assert special_kind(Path("/dev/zero")) == "a device"
    assert special_kind(tmp_path) == special_kind(Path(__file__)) == special_kind(tmp_path / "nothing") == ""
