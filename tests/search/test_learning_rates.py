"""`tfransfer lr` and `tfransfer.find_learning_rate`."""

import json
from dataclasses import replace

import pytest

import tfransfer
from tfransfer.search.learning_rates import FoundRate, find_learning_rate
from tfransfer.search.rate_finder import Tried

QUICK = {"head.epochs": 2, "image_size": 32}


def test_test_data_chooses_nothing(dataset, tmp_path):
    lost = tuple(
        replace(e, path="not there.png", label=0) if e.split == "test" else e for e in dataset.examples
    )  # which would fail, or change the figures, if anything read it
    without = replace(dataset, examples=lost)
    found, known = (find_learning_rate(d, "mini", rates=(1e-3, 1e-2), **QUICK) for d in (without, dataset))
    assert found == known


def test_the_command_gives_the_option_the_table_and_the_plot(command, colour_photos, tmp_path):
    plot = tmp_path / "plots" / "rates.png"
    code, shown, elsewhere = command(
        "lr", colour_photos, "--base", "mini", "--image-size", 32, "--set", "head.epochs=2", "--rates", "1e-8,1e-2",
        "--out", plot, "--json",
    )  # fmt: skip
    assert code == 0
    said = json.loads(shown)
    assert said["option"] == "--set head.learning_rate=0.01"
    assert said["plot"] == str(plot)
    assert [one["learning_rate"] for one in said["tried"]] == [1e-8, 1e-2]
    assert "at an end of what was tried" in elsewhere
    assert plot.read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rates", "1e-3,x"], "--rates wants numbers with commas between"),
        (["--rates", "1e-3"], "rates must be two or more"),
        (["--rates", "0,1e-3"], "a learning rate must be above 0"),
        (["--base", "min"], "did you mean mini?"),
        (["--set", "head.method=linear-probe"], "has no learning rate"),
        (["--set", "head.epoch=3"], "Did you mean epochs?"),
        (["--split", "x"], "--split wants NAME=SPLIT"),
        (["--out", "rates.txt"], "a plot is a .png, .svg or .pdf"),
    ],
)
def test_wrong_usage_exits_with_2_and_a_hint(command, words, message):
    code, shown, elsewhere = command("lr", "digits", *words)
    assert (code, shown) == (2, "")
    assert message in elsewhere


def test_a_rate_between_others_is_not_at_an_end():
    tried = tuple(Tried(rate, loss, 0.5, 1) for rate, loss in ((1e-3, 0.7), (1e-2, 0.5), (1e-1, 0.9)))
    found = FoundRate(tried, "top1", "mini")
    assert found.suggestion == 1e-2
    assert not found.at_an_end
    assert FoundRate(tried[:2], "top1", "mini").at_an_end
    assert "0.01" in found._repr_html_()
    assert found.plot()._repr_png_()


def test_it_is_a_public_name():
    assert tfransfer.find_learning_rate is find_learning_rate
