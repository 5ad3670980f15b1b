"""Keywords of public functions: `**` means settings everywhere, and an unknown keyword is never passed over."""

import inspect

import pytest

import tfransfer as tr
from tfransfer.errors import DataNotFoundError, SettingError
from tfransfer.system.keywords import keywords_of

# What takes neither data nor a run has no keywords that could be misspelt unnoticed.
FUNCTIONS = [
    "bundle", "check", "embed", "evaluate", "export", "export_within", "find_learning_rate", "load_data", "load_run",
    "predict", "predict_proba", "serve", "sweep", "train", "verify",
]  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_misspelt_keyword_is_refused_with_the_right_one(name):
    function = getattr(tr, name)
    known = keywords_of(function)[-1]
    with pytest.raises(SettingError, match=rf"Did you mean .*\b{known}\b.*\?"):
        function(["nothing"], **{known + "s": 1})


@pytest.mark.parametrize(
    "name", ["evaluate", "predict", "predict_proba", "embed", "export", "report", "explain", "plot_confusion"]
)
def test_a_misspelt_keyword_of_a_run_is_refused(name):
    method = getattr(tr.Run, name)
    known = keywords_of(method)[-1]
    with pytest.raises(SettingError, match=f"Did you mean {known}"):
        method(None, **{known + "s": 1})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_keywords_beyond_the_named_ones_are_settings(name):
    parameters = inspect.signature(getattr(tr, name)).parameters.values()
    assert [p.name for p in parameters if p.kind is p.VAR_KEYWORD] in ([], ["settings"])


@pytest.mark.parametrize("function", [tr.train, tr.sweep, tr.find_learning_rate])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head_epoch": 3}, "unknown setting 'head_epoch'; known here: base, .* Did you mean head_epochs"),
        ({"head.epoch": 3}, "unknown setting 'head.epoch'.* Did you mean epochs"),
        ({"label_column": "kind"}, "'label_column' sets how data is read: pass it to load_data, or in reading="),
    ],
)
def test_settings_are_checked_before_the_data_is_read(function, settings, message, tmp_path):
    with pytest.raises(SettingError, match=message):
        function(tmp_path / "nowhere", **settings)


def test_settings_of_find_learning_rate_act_on_data_that_is_loaded(dataset):
    found = tr.find_learning_rate(dataset, "mini", rates=(1e-3, 1e-2), image_size=32, head_epochs=1)
    assert {one.epoch for one in found.tried} == {1}


@pytest.mark.parametrize("function", [tr.check, tr.sweep, tr.find_learning_rate])
def test_how_data_is_read_is_refused_for_data_that_is_loaded(function, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match="already loaded, so label_column has no effect"):
        function(dataset, base="mini", reading={"label_column": "kind"})
    with pytest.raises(SettingError, match=r"reading takes no 'lable_column'.* Did you mean label_column"):
        function(tmp_path / "x.csv", reading={"lable_column": "kind"})
    with pytest.raises(DataNotFoundError):
        function(tmp_path / "x.csv", reading={"label_column": "kind"})
