"""A run's folder that was edited by hand, or comes from anyone: each fault is named, none is a traceback."""

import copy
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tfransfer.display.progress import quiet, silent
from tfransfer.errors import RunError, TransferError
from tfransfer.evaluation import answers
from tfransfer.evaluation.answers import read_answers
from tfransfer.evaluation.report import figures, page, words
from tfransfer.exports.model_card import model_card
from tfransfer.exports.signature import signature_table
from tfransfer.exports.table import export_rows
from tfransfer.runs import report, scoring
from tfransfer.runs.run import load_run
from tfransfer.system.files import read_arrays
from tfransfer.tasks.task import find_task

ODD = [None, -1, 1e29, 10**30, "x", "\0", [], {}, [1], {"a": {"b": [1]}}, float("nan"), "left out"]
ABSTENTION = {"threshold": 0.5, "precision": 0.9, "splits": {"test": {"threshold": 0.5, "coverage": 0.5, "top1": 1.0}}}


@pytest.fixture
def folder(tmp_path):
    """A finished run, whose data is gone."""
    place = Path(shutil.copytree(Path(__file__).parent / "old_run" / "finished", tmp_path / "run"))
    manifest = json.loads((place / "manifest.json").read_text()) | {"abstention": ABSTENTION}
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


def places(values, place=()):
    """Where the values in plain values are, the first one of each list."""
    if place:
        yield place
    inside = values.items() if isinstance(values, dict) else enumerate(values[:1]) if isinstance(values, list) else ()
    for key, value in inside:
        yield from places(value, (*place, key))


def edited(values, place, odd):
    changed = copy.deepcopy(values)
    part = changed
    for key in place[:-1]:
        part = part[key]
    if odd == "left out":
        del part[place[-1]]
    else:
        part[place[-1]] = odd
    return changed


def shown(folder):
    """All that a report, a card, a table and a notebook show of a run's records, without drawing it."""
    run = load_run(folder)
    manifest, task, metrics = run.manifest.to_dict(), find_task(run.task), run.metrics
    told = [repr(run), run._repr_html_(), words.summary(manifest, "photos"), words.phases(manifest)]
    told += [words.facts(manifest, manifest["plan"]), page._counts(manifest["data"]), scoring.reading_of(run)]
    told += [page._exports(manifest.get("exports", {}), task), figures.selected_row(manifest, run.history)]
    told += [model_card(manifest, metrics, run.manifest.exports), scoring.data_at_hand(run, quiet, silent)]
    signature_table(run.manifest.exports)
    export_rows(run.task, [(folder, name, one) for name, one in run.manifest.exports.items()])
    for split, scored in metrics.items():
        told += [words.headline(task, split, "photos", scored, None), words.other_figures(task, scored)]
        told += [figures.matrix_of(scored, manifest["classes"]), page._per_class(task, scored)]
    return told


@pytest.mark.slow
@pytest.mark.parametrize("name", ["manifest.json", "metrics.json"])
def test_no_edit_of_a_runs_records_is_a_traceback(folder, name):
    whole, failures = json.loads((folder / name).read_text()), []
    tried = [(place, odd) for place in places(whole) for odd in ODD]
    for place, odd in tried:
        (folder / name).write_text(json.dumps(edited(whole, place, odd)))
        try:
            shown(folder)
        except TransferError as error:
            if not any(named in str(error) for named in ("manifest", "metrics.json")):
                failures.append(f"{place} = {odd!r}: the message names no file: {error}")
        except Exception as error:
            failures.append(f"{place} = {odd!r}: {type(error).__name__}: {error}")
    assert len(tried) > 400 and not failures, f"{len(failures)} of {len(tried)}:\n" + "\n".join(failures[:40])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"plan": {"image_size": -1}}, "plan.image_size must be between 1 and"),
        ({"plan": {"image_size": 10**29}}, "plan.image_size must be between 1 and"),
        ({"data": {"counts": {"train": 3}}}, "data.counts must be an object in which each value is an object"),
        ({"data": {"source": "cloud"}}, "data.source must be one of"),
        ({"phases": {"head": {"epochs": "two"}}}, "phases.head.epochs must be a whole number"),
        ({"exports": {"keras": {"file": "../../x", "bytes": 1}}}, "the name of a file in the run's folder"),
        ({"exports": {"keras": {"bytes": 1}}}, "exports.keras.file must be given"),
        ({"exports": {"keras": {"file": "a", "signatures": [{"input": 3}]}}}, "exports.keras.signatures.input must be"),
        (
            {"exports": {"keras": {"file": "a", "signatures": [{"input": {"name": "a", "shape": 3, "dtype": "b"}}]}}},
            "exports.keras.signatures.input.shape must be",
        ),
        ({"classes": ["blue", "blue"]}, "classes must be a list of one or more different names"),
        ({"thresholds": [0.5]}, "thresholds must be 3 numbers"),
        ({"temperature": 0}, "temperature must be between"),
        ({"versions": {"keras": 3}}, "versions must be an object in which each value is a text"),
    ],
)
def test_a_manifest_that_cannot_be_true_is_refused_in_one_place(folder, edit, message):
    manifest = json.loads((folder / "manifest.json").read_text())
    for key, value in edit.items():
        manifest[key] = manifest[key] | value if isinstance(value, dict) else value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError) as told:
        load_run(folder)
    assert message in str(told.value) and "manifest.json" in str(told.value)


def test_classes_that_the_model_does_not_have_are_named(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"classes": ["blue", "green"]}))
    with pytest.raises(RunError, match=r"do not belong together.*\(3,\).*2 classes"):
        load_run(folder).model  # noqa: B018


def test_a_metric_that_is_no_number_is_not_known(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["test"]["top1"] = float("nan")
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert load_run(folder).metrics["test"]["top1"] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("phase,loss\nhead,1\n", "line 2 must be a phase, an epoch and numbers"),
        ("phase,epoch,loss\nhead,1,much\n", "loss in line 2 must be a number; it is 'much'"),
        ("phase,epoch\nhead,1,2,3\n", "line 2 must be a phase"),
    ],
)
def test_a_history_that_is_no_table_of_epochs_is_named(folder, content, message):
    (folder / "history.csv").write_text(content)
    with pytest.raises(RunError, match=r"history\.csv is damaged") as told:
        load_run(folder).history  # noqa: B018
    assert message in str(told.value)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices that are read for ever")
@pytest.mark.parametrize("name", ["manifest.json", "metrics.json", "history.csv", "recipe.toml", "data_issues.csv"])
@pytest.mark.parametrize("device", ["/dev/zero", "pipe", "large"])
def test_a_file_that_does_not_end_is_not_read(folder, name, device, monkeypatch):
    (folder / name).unlink()
    if device == "pipe":
        os.mkfifo(folder / name)
    elif device == "large":
        with (folder / name).open("wb") as stream:
            stream.truncate(10**12)  # takes no room on the disk
    else:
        (folder / name).symlink_to(device)
    if name in ("recipe.toml", "data_issues.csv"):
        assert report._read(folder / name) == ""
        return
    with pytest.raises(RunError, match=name):
        _ = (load_run(folder).metrics, load_run(folder).history)


def test_records_that_are_nested_too_deep_are_named(folder):
    for name in ("metrics.json", "manifest.json"):
        (folder / name).write_text("[" * 200_000 + "]" * 200_000)
        with pytest.raises(RunError, match=f"{name} is damaged: it is nested too deep"):
            load_run(folder).metrics  # noqa: B018


def saved_answers(folder, **changes):
    with np.load(folder / "answers.npz") as archive:
        arrays = dict(archive)
    np.savez_compressed(folder / "answers.npz", **(arrays | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": np.array([0, 1, 99])},
        {"positions": np.array([-1, 1, 2])},
        {"positions": np.array([0.5, 1, 2])},
        {"points": np.zeros((3, 3), np.float32)},
        {"outputs": np.full((3, 3), np.nan, np.float32)},
        {"outputs": np.array([["a"] * 3] * 3)},
        {"targets": np.zeros((3, 2), np.float32)},
    ],
)
def test_answers_that_do_not_fit_are_not_used(folder, changes):
    assert read_answers(folder / "answers.npz", ("blue", "green", "red")) is not None
    saved_answers(folder, **changes)
    assert read_answers(folder / "answers.npz", ("blue", "green", "red")) is None


@pytest.mark.parametrize("kind", ["inflates", "says so alone"])
def test_answers_that_would_fill_the_memory_are_not_unpacked(folder, monkeypatch, kind):
    """Zeros inflate to a thousand times their size; a header alone makes NumPy allocate; the report says it."""
    monkeypatch.setattr(answers, "_LARGEST", 10**6)
    content = io_header((10**6, 750)) + b"\0" * (2 * 10**6 if kind == "inflates" else 64)
    with zipfile.ZipFile(folder / "answers.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("outputs.npy", content)
    with pytest.raises(ValueError, match="take more than" if kind == "inflates" else "not what its header says"):
        read_arrays(folder / "answers.npz", 10**6)
    said = []
    assert report.gather(load_run(folder), 1, quiet, said.append).answers is None
    assert any("answers.npz is damaged, too large" in line for line in said)


def io_header(shape):
    """The first bytes of an `.npy` file of float32."""
    start = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(start).to_bytes(2, "little") + start.encode()
