"""The command line, called in this process."""

import json
import sys

import pytest

from tfransfer import __version__, hyperrules
from tfransfer.base.records import BASES, TEXT_BASES
from tfransfer.cli import main


def test_version(command):
    assert command("--version") == (0, f"tfransfer, version {__version__}\n", "")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (hyperrules.batch_size, "[default: {} to {} per device,"),
        (hyperrules.head_epochs, "trains the head. [default: {} to {},"),
        (hyperrules.fine_tune_epochs, "0 skips it. [default: {} to {},"),
        (hyperrules.views, "augmented. [default: {} to {},"),
    ],
)
def test_help_gives_the_range_of_a_default_that_depends_on_the_data(command, rule, text):
    with_base = rule in (hyperrules.fine_tune_epochs, hyperrules.views)
    bases = [(kind,) for kind in (hyperrules.FULL, hyperrules.SMALL, hyperrules.UNTRAINED)] if with_base else [()]
    defaults = [rule(2**power, *base) for power in range(24) for base in bases]
    _, shown, _ = command("train", "--help")
    assert text.format(min(defaults), max(defaults)) in " ".join(shown.split())


def test_each_command_is_explained_in_one_line_of_80_characters(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, shown, _ = command("--help")
    commands = shown.partition("Commands:\n")[2].splitlines()
    assert len(commands) == len(main.cli.commands)
    assert "..." not in shown.partition("Commands:\n")[2]


def test_bases_lists_every_base_in_a_table(command):
    code, shown, _ = command("bases")
    assert code == 0
    assert {line.split()[0] for line in shown.splitlines()[1:]} >= set(BASES)
    assert "2,257,984" in shown


def test_json_is_one_object_on_standard_output_and_the_table_goes_elsewhere(command):
    _, shown, elsewhere = command("bases", "--json")
    assert len(json.loads(shown)["bases"]) == len(BASES) + len(TEXT_BASES)
    assert "mobilenet_v2" in elsewhere


def test_a_base_shows_its_blocks_and_what_belongs_to_the_top_one(command):
    _, shown, _ = command("bases", "mobilenet_v2")
    lines = shown.splitlines()
    assert lines[2].split()[:2] == ["1", "block_16"]
    assert lines[-2].split()[:2] == ["17", "expanded_conv"]
    assert "Conv_1, Conv_1_bn after block_16 is unfrozen with the top block" in lines[-1]


def test_a_base_without_clean_block_boundaries_says_so(command):
    _, shown, _ = command("bases", "nasnet_mobile")
    assert "nasnet_mobile has no clean block boundary" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train"], "Missing argument 'DATA'"),
        (["train", "x", "--imge-size", "3"], "'--image-size'?"),
        (["train", "x", "--head-epochs", "many"], "not a valid integer"),
        (["train", "x", "--base", "mobilnet_v2"], "did you mean mobilenet_v2?"),
        (["bases", "mobilnet_v2"], "did you mean mobilenet_v2?"),
        (["train", "x", "--image-size", "16"], "below the smallest that mobilenet_v2 takes, 32"),
        (["train", "x", "--set", "head.epoch=3"], "Did you mean epochs?"),
        (["train", "x", "--set", "head.epochs"], "--set takes KEY=VALUE"),
        (["train", "x", "--unfreeze", "none", "--fine-tune-epochs", "2"], "nothing would be trained"),
        (["train", "x", "--export", "tflit"], "Did you mean tflite or "),
        (["predict", "x"], "Missing argument 'INPUTS...'"),
        (["predict", "x", "y", "--top", "0"], "--top"),
    ],
)
def test_wrong_usage_exits_with_2_and_a_hint(command, words, message):
    code, shown, elsewhere = command(*words)
    assert code == 2
    assert message in elsewhere
    assert shown == ""


@pytest.mark.parametrize(
    "words",
    [
        ["train", "digits", "--base", "mobilnet_v2"],
        ["train", "digits", "--set", "base=mobilnet_v2"],
        ["train", "digits", "--image-size", "16"],
        ["lr", "digits", "--base", "mobilnet_v2"],
        ["sweep", "digits", "--bases", "mini,mobilnet_v2"],
        ["check", "digits", "--base", "mobilnet_v2"],
    ],
)
def test_a_wrong_base_is_refused_before_tensorflow_is_imported(command, words, monkeypatch):
    def load():
        raise AssertionError("TensorFlow was imported")

    for name in ("train", "lr", "sweep", "check"):
        monkeypatch.setattr(sys.modules[f"tfransfer.cli.{name}"], "load_pipeline", load)
    assert command(*words)[0] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "no such folder"], "the folder no such folder does not exist"),
        (["evaluate", "no such run"], "the run folder no such run does not exist"),
        (["predict", "no such run", "x.jpg"], "the run folder no such run does not exist"),
        (["export", "no such run", "--to", "tflite"], "the run folder no such run does not exist"),
        (["train", "x", "--recipe", "no such.toml"], "recipe file no such.toml does not exist"),
    ],
)
def test_failure_exits_with_1_and_says_what_is_missing(command, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, shown, elsewhere = command(*words)
    assert code == 1
    assert message in elsewhere
    assert "Traceback" not in elsewhere
    assert shown == ""
    assert list(tmp_path.iterdir()) == []


def test_interrupted_says_so_and_speaks_of_no_run(command, monkeypatch):
    def stop(*words, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(main.cli, "main", stop)
    code, _, elsewhere = command("train", "x")
    assert code == 1
    assert "stopped before the end" in elsewhere
    assert "run" not in elsewhere


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "manifest.json is damaged"),
        ("[]", "expected an object"),
        ('{"schema": 99}', "schema 99; this tfransfer reads 1"),
        ('{"schema": 1, "classes": []}', "'plan' is missing"),
        ('{"schema": 1, "classes": [], "plan": {}, "data": {}}', "no finished run: model.keras is missing"),
    ],
)
def test_damaged_run_is_named(command, tmp_path, manifest, message):
    (tmp_path / "manifest.json").write_text(manifest)
    code, _, elsewhere = command("predict", tmp_path, tmp_path)
    assert code == 1
    assert message in elsewhere
