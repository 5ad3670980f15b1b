"""The report of a real run, and what a notebook asks of runs, data and bases."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_world import SIZE, colour_folder, forget_data, recipe, tiny_model

import tfransfer as tr
from tfransfer.data import flow
from tfransfer.data.health import survey
from tfransfer.display import listeners
from tfransfer.display.progress import quiet, silent
from tfransfer.display.terminal import Terminal
from tfransfer.runs import report as run_report
from tfransfer.runs.report import gather, photos_of, report_or_warn


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on noisy colours, where the report and its data stand, and the lines that were said."""
    place, said = tmp_path_factory.mktemp("looking"), []
    data = colour_folder(place / "data", per_class=40)
    for number in range(0, 40, 2):  # half of what is red is labelled blue, so that there are mistakes
        (data / "red" / f"{number:03}.png").rename(data / "blue" / f"red {number:03}.png")
    run = tr.train(
        tr.load_data(data), tiny_model(dropout=0.1), preprocessing="tf",
        recipe=recipe(head__learning_rate=0.02), out=place / "run", exports=[], say=said.append,
    )  # fmt: skip
    assert not [line for line in said if "warning" in line], said
    return run


@pytest.fixture
def alone(trained, tmp_path):
    """A copy of the run's folder, whose training data is gone."""
    folder = tmp_path / "copied"
    shutil.copytree(trained.folder, folder)
    forget_data(folder)
    return tr.load_run(folder)


def test_train_leaves_a_report_with_photos_and_what_it_was_made_from(trained):
    page = (trained.folder / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" in page
    assert "Grad-CAM" in page
    assert "<svg" in page
    kept = np.load(trained.folder / "answers.npz", allow_pickle=False)
    test = trained.data.split("test")
    assert kept["paths"].tolist() == [example.path for example in test]
    assert len(kept["points"]) == len(test)
    right = (kept["outputs"].argmax(axis=1) == kept["targets"].argmax(axis=1)).mean()
    assert right == pytest.approx(trained.metrics["test"]["top1"])


def test_the_photos_of_findings_are_shown_and_what_cannot_be_read_is_not(tmp_path):
    data = colour_folder(tmp_path / "data", per_class=8)
    shutil.copy(data / "red" / "001.png", data / "red" / "copy.png")
    (data / "red" / "damaged.png").write_bytes((data / "red" / "002.png").read_bytes()[:200])
    read = tr.load_data(data)
    found = photos_of(read, survey.index_findings(read))
    assert {kind: len(found[kind]) for kind in ("duplicate", "truncated")} == {"duplicate": 2, "truncated": 0}
    assert np.array_equal(*found["duplicate"])
    assert found["duplicate"][0].mean(axis=(0, 1)).argmax() == 0, "red"


def test_the_report_is_made_again_without_the_data_and_says_what_is_missing(alone, command):
    (alone.folder / "report.html").unlink()
    code, shown, errors = command("report", alone.folder)
    assert code == 0, errors
    assert str(alone.folder / "report.html") in shown
    page = (alone.folder / "report.html").read_text(encoding="utf-8")
    assert "No photos are shown, because the training data is not available" in page
    assert "data:image/jpeg" not in page
    assert "Reliability diagram" in page


def test_the_report_of_an_older_run_is_made_from_its_figures(alone):
    (alone.folder / "answers.npz").unlink()
    page = alone.report().read_text(encoding="utf-8")
    assert "Confusion matrix" in page
    assert "Reliability diagram" not in page


def test_answers_that_are_missing_are_asked_for_again_where_the_data_is(trained, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(trained.folder, folder)
    before = np.load(folder / "answers.npz")["outputs"]
    (folder / "answers.npz").unlink()
    tr.load_run(folder).report()
    np.testing.assert_allclose(np.load(folder / "answers.npz")["outputs"], before, atol=1e-5)
    (folder / "answers.npz").unlink()
    tr.load_run(folder).evaluate()
    np.testing.assert_allclose(np.load(folder / "answers.npz")["outputs"], before, atol=1e-5)


def test_a_photo_that_is_gone_costs_the_photos_and_not_the_report(trained, tmp_path, monkeypatch):
    def lost(*given):
        raise tr.TransferError("a picture that could be read before cannot be read now: x.png")

    monkeypatch.setattr(flow, "pixels_of", lost)
    content = gather(trained, 3, quiet, silent)
    assert "x.png" in content.missing
    assert content.shown[0].pixels is None


def test_a_report_that_fails_does_not_cost_the_run(trained, monkeypatch):
    def broken(*given):
        raise ZeroDivisionError("a plot failed")

    monkeypatch.setattr(run_report, "render", broken)
    said = []
    report_or_warn(trained, quiet, said.append)
    assert said == [
        f"warning: the report was not written: a plot failed. Try again with tfransfer report {trained.folder}"
    ]


def test_plots_show_themselves_as_pictures(trained):
    for plot in (trained.plot_history(), trained.plot_confusion(), trained.plot_confusion("validation")):
        assert plot._repr_png_().startswith(b"\x89PNG")
    assert len(trained.plot_history().axes) == 2
    with pytest.raises(tr.TransferError, match="was not scored on 'train'"):
        trained.plot_confusion("train")


def test_explain_gives_a_heat_map_of_the_model_s_size_and_what_was_said(trained):
    example = trained.data.split("test")[0]
    path = trained.data.path_of(example)
    found = trained.explain(path)
    assert found.heat.shape == (SIZE, SIZE)
    assert 0 <= found.heat.min() <= found.heat.max() <= 1
    assert found.label == found.prediction.label == trained.predict(path).label
    assert found._repr_html_().count("<img") == 2
    with Image.open(path) as picture:
        assert trained.explain(picture, label="red").label == "red"
    with pytest.raises(tr.TransferError, match="no class 'pink'"):
        trained.explain(path, label="pink")
    with pytest.raises(tr.TransferError, match="one image"):
        trained.explain([path, path])


def test_mistakes_and_examples_are_galleries(trained):
    wrong = round((1 - trained.metrics["test"]["top1"]) * trained.metrics["test"]["n"])
    shown = trained.show_mistakes(limit=99)
    assert len(shown.cards) == wrong
    assert shown._repr_html_().count("<img") == 2 * wrong
    gallery = trained.data.show(5, "validation")
    assert len(gallery.cards) == 5
    assert all(f'alt="{card.caption[1]}' in gallery._repr_html_() for card in gallery.cards)
    assert repr(gallery) == repr(trained.data.show(5, "validation"))
    with pytest.raises(tr.TransferError, match="split must be one of"):
        trained.data.show(split="tset")


def test_reprs_are_tables_in_which_names_can_do_nothing(trained, solid_folder):
    assert "<td" in trained._repr_html_()
    assert f"{trained.metrics['test']['top1']:.3f}" in trained._repr_html_()
    data = tr.load_data(solid_folder("data", {"<b>red": 12, "blue": 12}))
    assert "&lt;b&gt;red" in data._repr_html_()
    assert "<b>red" not in data._repr_html_() + data.show()._repr_html_()
    bases = tr.bases()
    assert bases._repr_html_().count("<tr>") == len(bases) + 1
    assert "mini" in next(b for b in bases if b.name == "mini")._repr_html_()
    assert bases[:3]._repr_html_().count("<tr>") == 4


def test_a_script_is_quiet_unless_it_asks():
    assert listeners.listeners(None, None) == (quiet, silent)
    assert listeners.listeners(False, None) == (quiet, silent)
    progress, say = listeners.listeners(True, None)
    assert isinstance(progress.__self__, Terminal)
    assert isinstance(say.__self__, Terminal)
    assert listeners.listeners(quiet, print) == (quiet, print)
    assert listeners.listeners(None, print) == (quiet, print)


def test_a_notebook_has_one_output_however_long_the_work(monkeypatch):
    shown = []

    class Handle:
        def update(self, html):
            shown[-1] = html.data

    module = type(sys)("IPython.display")
    module.HTML = lambda data: type("HTML", (), {"data": data})()
    module.display = lambda html, display_id: shown.append(html.data) or Handle()
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    notebook = listeners.Notebook()
    for epoch in range(500):
        with notebook.progress(f"head <{epoch}>", 10, "images") as advance:
            for _ in range(10):
                advance(1, loss=0.5)
    assert len(shown) == 1
    assert shown[0].count("\n") < 100
    assert "head &lt;499&gt;: 10 images" in shown[0]
    assert "<progress" not in shown[0]
    for phase in ("head", "fine-tune"):
        for epoch in range(1, 4):
            with notebook.progress(f"{phase} {epoch}/3", 10, "images"):
                pass
    assert re.findall(r"(head|fine-tune) (\d)/3", shown[0]) == [("head", "3"), ("fine-tune", "3")]


@pytest.mark.long
def test_a_notebook_shows_training_by_itself_and_stays_short(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    root = Path(tr.__file__).parent.parent
    cells = [
        f"import sys; sys.path.insert(0, {str(root)!r})\nimport tfransfer as tr\ndata = tr.load_data('digits')\ndata",
        f"run = tr.train(data, 'mini', head_epochs=3, unfreeze='none', out={str(tmp_path / 'run')!r}, exports=[])\nrun",
        "run.plot_history()",
        "run.show_mistakes(2)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    trained = notebook.cells[1].outputs
    (bar,) = [o for o in trained if o.output_type == "display_data"]
    assert "head 3/3" in bar.data["text/html"]
    assert len(bar.data["text/html"]) < 5000
    assert "<table" in next(o for o in trained if o.output_type == "execute_result").data["text/html"]
    assert "image/png" in notebook.cells[2].outputs[0].data
    assert "<img" in notebook.cells[3].outputs[0].data["text/html"]
