"""Paths that TensorFlow does not take for patterns."""

import os
import tempfile

import pytest

from tfransfer.errors import WriteError
from tfransfer.system import plain_paths
from tfransfer.system.plain_paths import is_plain, plain_path


@pytest.fixture
def no_links(monkeypatch):
    """This process has made no links yet."""
    monkeypatch.setattr(plain_paths, "_FOLDERS", {})


def test_a_path_without_special_characters_is_used_as_it_is(tmp_path):
    assert plain_path(tmp_path / "a b") == tmp_path / "a b"


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "a\\b"])
def test_a_path_with_special_characters_is_reached_through_a_link(name, tmp_path, no_links):
    (tmp_path / name).mkdir()
    link = plain_path(tmp_path / name)
    assert is_plain(link)
    assert not is_plain(tmp_path / name)
    (link / "new").write_text("text")
    assert (tmp_path / name / "new").read_text() == "text"
    assert plain_path(tmp_path / name) == link, "one link for each path"
    assert is_plain(plain_path(tmp_path / name / "not there yet"))


def test_a_temporary_folder_with_special_characters_holds_no_links(tmp_path, monkeypatch, no_links):
    (tmp_path / "t[1]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t[1]"))
    monkeypatch.setattr(plain_paths, "_PLACES", (tempfile.gettempdir, lambda: tmp_path))
    assert plain_path(tmp_path / "t[1]").parent.parent == tmp_path


def test_where_links_are_not_allowed_the_path_is_refused_with_the_remedy(tmp_path, monkeypatch, no_links):
    def refuse(*_, **__):
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    (tmp_path / "a[1]").mkdir()
    with pytest.raises(WriteError, match=r"\[ .*privilege is not held.*without these"):
        plain_path(tmp_path / "a[1]")
