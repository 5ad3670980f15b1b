"""What a budget says, and which file is the best that keeps to it."""

from pathlib import Path

import pytest

from tfransfer.errors import SettingError
from tfransfer.exports.accuracy import Accuracy
from tfransfer.exports.budget import Budget, best, parse_budget, parse_size
from tfransfer.exports.exporting import Export
from tfransfer.exports.parity import Parity


def file(name, size, value, drop=0.0, ms=5.0):
    parity = Parity(10, 10, 0.0, latency_ms={"1": 2 * ms, "2": ms})
    return Export(name, Path(name), size, parity, Accuracy("top1", value, drop))


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("4MB, 15ms, top1-drop 1", Budget(1.0, 4e6, 15.0)),
        ("top1-drop 0.5", Budget(0.5)),
        ("drop: 2 points , 3.5 MiB", Budget(2.0, 3.5 * 2**20)),
        ("900kb", Budget(size=9e5)),
        ("0.1s", Budget(latency=100.0)),
    ],
)
def test_budgets_read(text, limits):
    assert parse_budget(text) == limits


@pytest.mark.parametrize("text", ["", "4", "MB", "4 apples", "-4MB", "4MB, 5MB", "drop", "1e3MB", "nan MB"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(SettingError):
        parse_budget(text)


@pytest.mark.parametrize("text", ["4", "4 m", "ms", "4MB5"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(SettingError, match="expected"):
        parse_size(text)


def test_the_most_accurate_file_within_the_limits_wins_then_the_smallest():
    files = [file("f32", 9_000_000, 0.93), file("f16", 4_500_000, 0.93), file("int8", 2_700_000, 0.92, drop=0.01)]
    assert best(files, Budget()).format == "f16"
    assert best(files, Budget(size=4e6)).format == "int8"
    assert best(files, Budget(size=4e6, drop=0.5)) is None
    assert best(files, Budget(size=4e6, drop=1.0)).format == "int8"


def test_latency_is_that_on_as_many_cores_as_are_fastest():
    assert best([file("a", 1, 0.9, ms=10.0)], Budget(latency=10.0)) is not None
    assert best([file("a", 1, 0.9, ms=10.1)], Budget(latency=10.0)) is None
    unknown = Export("a", Path("a"), 1, Parity(1, 1, 0.0))
    assert "latency is unknown" in Budget(latency=1.0).excess(unknown)[0]
