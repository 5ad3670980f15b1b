"""What reaches a terminal: no control characters of whoever named the files and classes."""

import json

import pytest
from PIL import Image

from tfransfer.display.terminal import Terminal, visible

HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\u202ecat\r\x7f"


def harmless(text):
    return not set(text) & set("\x1b\x07\x9b\u202e\r\x7f")


def test_control_characters_are_shown_as_escapes():
    assert visible(HOSTILE) == r"\x1b[2J\x1b]0;title\x07\x9b31m\u202ecat\r\x7f"
    assert visible("größe 猫 ☕\n\tמילה [red]") == "größe 猫 ☕\n\tמילה [red]"


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_that_is_said_moves_the_cursor(as_json, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout", __import__("sys").stdout)  # Terminal replaces it
    terminal = Terminal(as_json)
    terminal.say(f"skipped: {HOSTILE}")
    terminal.table(HOSTILE, [HOSTILE, "n"], [[HOSTILE, 1.5]])
    with terminal.progress(HOSTILE, 1, "pictures") as advance:
        advance(1)
    terminal.emit({"label": HOSTILE})
    out, err = capsys.readouterr()
    assert harmless(out + err)
    assert (out + err).count("cat") == 5 + as_json
    if as_json:
        assert json.loads(out) == {"label": HOSTILE}


def test_names_of_classes_and_files_are_harmless_in_a_command(tmp_path, command):
    hostile = HOSTILE.replace("\r", "")  # a line break in a class is refused
    for name in (hostile, "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            colour = (40 * number, 200 * (name == "dog"), 9)
            Image.new("RGB", (8, 8), colour).save(tmp_path / "data" / name / f"{number}.png")
    (tmp_path / "data" / hostile / f"{hostile}.png").write_bytes(b"")
    _, out, err = command("check", tmp_path / "data", "--no-suspects", "--out", tmp_path / "issues.csv")
    assert "title" in out
    assert harmless(out + err)
    code, out, err = command("predict", tmp_path / HOSTILE, "a.jpg")
    assert (code, "title" in err) == (1, True)
    assert harmless(out + err)
