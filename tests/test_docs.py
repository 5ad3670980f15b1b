"""The examples of the documentation's pages run as they are written."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
# Pages whose examples need a run and photos, and nothing else.
PAGES = ["docs/predict.md"]
COLOURS = {"photo.jpg": (210, 50, 40), "photos/a.jpg": (40, 60, 200), "photos/b.jpg": (50, 180, 60)}


def blocks(page, language):
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", (ROOT / page).read_text("utf-8"))


@pytest.fixture
def place(lite_run, tmp_path, monkeypatch):
    """A folder with the run and the photos that the pages speak of."""
    shutil.copytree(lite_run, tmp_path / "saved_models" / "flower_photos")
    (tmp_path / "photos").mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (30, 20), colour).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_python_examples_of_a_page_run_in_order(page, place):
    names = {}
    for source in blocks(page, "python"):
        exec(compile(source, page, "exec"), names)
    assert names["features"].shape[0] == names["near"].shape[0] == 2
    assert names["table"].columns.tolist() == ["path", *names["run"].classes]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_as_they_are_written(page, place, command):
    commands = [line for block in blocks(page, "sh") for line in block.splitlines()]
    assert len(commands) > 2
    for line in commands:
        code, _, wrong = command(*shlex.split(line, comments=True)[1:])
        assert (code, wrong) == (0, ""), line
