"""What reaches a terminal: no control characters of whoever named the files and classes."""

import io
import json

import pytest
from PIL import Image
from rich.console import Console

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


def phase_shown(interactive):
    """What is left on the screen, or in the log, of a phase of three epochs."""
    terminal, stream = Terminal(), io.StringIO()
    terminal.console = Console(file=stream, force_terminal=interactive, width=200, highlight=False)
    bars = []
    for epoch in range(1, 4):
        with terminal.progress(f"fine-tune {epoch}/3", 10, "images") as advance:
            advance(10, val_top1=epoch / 10)
        bars.append(stream.getvalue())
    terminal.say("fine-tune: selected epoch 3")
    return stream.getvalue(), bars


def test_a_log_has_a_line_for_each_epoch():
    shown, _ = phase_shown(interactive=False)
    assert shown.count("10 images in") == 3


def test_a_terminal_has_one_line_for_each_phase_which_is_updated():
    shown, bars = phase_shown(interactive=True)
    assert "10 images in" not in shown
    assert shown.count("fine-tune: selected epoch") == 1
    assert "val_top1 0.1" in bars[1].removeprefix(bars[0]), "the last epoch's values stay until there are new ones"
    assert "3/3" in shown


def test_other_work_leaves_a_line_on_a_terminal_too():
    terminal, stream = Terminal(), io.StringIO()
    terminal.console = Console(file=stream, force_terminal=True, width=200, highlight=False)
    with terminal.progress("evaluating test", 10, "images") as advance:
        advance(10)
    assert "evaluating test: 10 images in" in stream.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252", "utf-16"])
@pytest.mark.parametrize("name", ["größe 猫 ☕", "not utf-8 \udce9", HOSTILE])
def test_json_is_json_whatever_the_encoding_of_standard_output(encoding, name, monkeypatch):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, errors="backslashreplace")  # as `main` sets it
    monkeypatch.setattr("sys.stdout", stream)
    Terminal(json=True).emit({"label": name})
    assert json.loads(written.getvalue().decode(encoding)) == {"label": name}
