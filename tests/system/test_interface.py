"""How messages name options: as keywords in Python, as flags on the command line."""

import pytest

from tfransfer.system.interface import command_line, option

CASES = [
    (("overwrite", True), "overwrite=True", "--overwrite"),
    (("cache", False), "cache=False", "--no-cache"),
    (("label_column",), "label_column", "--label-column"),
    (("task", "single-label"), "task='single-label'", "--task single-label"),
    (("separator", "|"), "separator='|'", "--separator '|'"),
    (("missing_labels", ""), "missing_labels=''", "--missing-labels ''"),
    (("missing_labels", "NA"), "missing_labels='NA'", "--missing-labels NA"),
    (("batch_size", 8), "batch_size=8", "--batch-size 8"),
    (("accumulate", 2), "accumulate=2", "--set accumulate=2"),
    (("read_as", "table"), "read_as='table'", "--source table"),
    (("splits_file",), "splits_file", "--splits"),
]


@pytest.mark.parametrize(("given", "python", "flag"), CASES)
def test_an_option_is_named_as_its_caller_would_give_it(given, python, flag):
    assert option(*given) == python
    with command_line():
        assert option(*given) == flag
    assert option(*given) == python


def test_a_word_stands_in_for_what_only_the_user_knows():
    assert option("weights", stand_in="FILE") == "weights=FILE"
    with command_line():
        assert option("weights", stand_in="FILE") == "--weights FILE"


def test_messages_name_flags_again_after_an_error(command, tmp_path):
    assert "--path-column" in _of_a_table(command, tmp_path)
    assert option("path_column") == "path_column"


def _of_a_table(command, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    return command("train", tmp_path / "t.csv", "--out", tmp_path / "run")[2]
