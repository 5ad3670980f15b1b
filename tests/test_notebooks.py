"""The notebooks: their files, and whether their code still gives outputs of the kinds that are kept in them."""

import importlib.util
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/tfransfer/tfransfer/blob/main/notebooks/{})"
)
INSTALL = re.compile(r'%pip install -q "tfransfer(\[[a-z,]+\])? @ git\+https://github.com/tfransfer/tfransfer"')
# Of a class. Half a minute of training a notebook, and still a few of each class in each split.
PHOTOS = 50
AT_ONCE = 2
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def load_tool():
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "tools" / "run_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run_notebooks = load_tool()


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def executions(flower_photos, request):
    """Notebooks that run, two at a time: most of the time that a short training takes keeps one core busy."""
    selected = [item.callspec.params["path"] for item in request.session.items if "executions" in item.fixturenames]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {path: pool.submit(run_notebooks.execute, path, flower_photos, PHOTOS) for path in selected}


# Each is minutes of training; the first one stands for them in CI, and all are run before a release.
@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow if p.stem.startswith("01") else pytest.mark.long) for p in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_notebook_runs_with_no_network_and_gives_the_kinds_of_output_that_it_keeps(path, executions):
    executed, seconds = executions[path].result()
    sys.stdout.write(f"{path.name}: {seconds:.0f} s\n")
    assert run_notebooks.disagreements(nbformat.read(path, as_version=4), executed) == []
    check_scores_agree(executed)


@every_notebook
def test_file_is_a_valid_notebook_that_opens_with_its_own_badge(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert (book.nbformat, book.nbformat_minor) == (4, 5)
    assert book.metadata.kernelspec.name == "python3"
    first = book.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert BADGE.format(path.name) in first.source


@every_notebook
def test_first_code_cell_alone_installs_and_only_what_is_missing(path):
    first, *others = code_cells(nbformat.read(path, as_version=4))
    assert first.metadata.get("tags") == ["install"]
    assert "except ImportError:" in first.source
    assert INSTALL.search(first.source)
    assert not [cell.source for cell in others if "pip install" in cell.source]


@every_notebook
def test_every_cell_was_executed_once_in_order_without_errors_and_warnings(path):
    cells = code_cells(nbformat.read(path, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


@every_notebook
def test_file_is_small_and_names_no_folder_of_the_machine_that_it_ran_on(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) <= 1_000_000
    assert not re.findall(r"""(?<![\w.:/])/(?:work|tmp|root|home|Users)/[^\s"'<]*""", text)
    assert '"execution":' not in text


@every_notebook
def test_notebook_and_those_that_it_leads_to_are_in_the_table_of_the_readme(path):
    listed = set(
        re.findall(r"^\| \[.+\]\(notebooks/(\w+\.ipynb)\)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    )
    cells = nbformat.read(path, as_version=4).cells
    linked = {name for cell in cells for name in re.findall(r"\]\((\w+\.ipynb)\)", cell.source)}
    assert linked | {path.name} <= listed


@every_notebook
def test_cells_are_short_enough_to_read(path):
    long = [cell.source for cell in code_cells(nbformat.read(path, as_version=4)) if cell.source.count("\n") >= 16]
    assert not long


RESIZED = re.compile(r"\.resize\(([^\n]*)")
# What a notebook prints where it scores the run's model itself.
SCORED = re.compile(r"on validation: (\d\.\d+), in the run (\d\.\d+)")


def texts_of(cell):
    return [output.text for output in cell.outputs if output.output_type == "stream"]


@every_notebook
def test_pictures_are_resized_with_the_filter_of_the_training(path):
    """Pillow's own default is bicubic, and a model that was trained on bilinear pixels pays for it."""
    calls = [call for cell in code_cells(nbformat.read(path, as_version=4)) for call in RESIZED.findall(cell.source)]
    assert [call for call in calls if "Image.Resampling.BILINEAR" not in call] == []


def check_scores_agree(book):
    """A model of a run, scored by hand, does what the run says of it; the number of such scores."""
    scores = [pair for cell in code_cells(book) for text in texts_of(cell) for pair in SCORED.findall(text)]
    assert [(here, in_run) for here, in_run in scores if here != in_run] == []
    return len(scores)


def test_kept_score_of_the_model_in_plain_keras_is_that_of_the_run():
    assert check_scores_agree(nbformat.read(ROOT / "notebooks" / "02_two_phases.ipynb", as_version=4)) == 1


def small_notebook(*sources):
    return new_notebook(cells=[new_markdown_cell("# Small"), *map(new_code_cell, sources)])


@pytest.fixture(scope="module")
def executed_small(tmp_path_factory):
    """The file of a notebook, and the notebook once it was executed."""
    path = tmp_path_factory.mktemp("notebook") / "small.ipynb"
    book = small_notebook(
        "import os\nimport sys\nprint('a')\nprint(os.getcwd())",
        "from IPython.display import HTML, display\nshown = display(HTML('<b>0</b>'), display_id=True)",
        "shown.update(HTML('<b>1</b>'))\nprint(sorted(os.listdir()), os.environ['https_proxy'])",
        "HTML(os.getcwd() + '/there')",
        "1",
    )
    nbformat.write(book, path)
    photos = path.parent / "photos"
    for name in ("reds/1.jpg", "reds/2.jpg", "reds/notes.txt", "blues/1.jpg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"")
    return path, run_notebooks.execute(path, photos, 1)[0]


def test_executed_outputs_are_clean(executed_small):
    path, book = executed_small
    first, second, third, fourth, _ = code_cells(book)
    assert [output.text for output in first.outputs] == ["a\n.\n"]
    assert [output.data["text/html"] for output in second.outputs] == ["<b>1</b>"]
    assert third.outputs[0].text == "['flower_photos'] http://127.0.0.1:9\n"
    assert fourth.outputs[0].data["text/html"] == "there"
    assert set(book.metadata) == {"kernelspec", "language_info"}
    assert [cell.id for cell in book.cells] == [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert not [cell for cell in book.cells if "execution" in cell.metadata]


def test_kinds_are_told_in_order_with_their_types(executed_small):
    told = [run_notebooks.kinds(cell) for cell in code_cells(executed_small[1])]
    html = "text/html+text/plain"
    assert told == [["stdout"], [f"display_data {html}"], ["stdout"], [f"execute_result {html}"],
                    ["execute_result text/plain"]]  # fmt: skip


def without(outputs):
    return outputs.clear()


def as_error(outputs):
    outputs[:] = [new_output("error", ename="NameError", evalue="x", traceback=[])]


def as_picture(outputs):
    outputs[-1].data["image/png"] = outputs[-1].data.pop("text/html")


def with_more(outputs):
    outputs.append(new_output("stream", name="stderr", text="a warning"))


@pytest.mark.parametrize("change", [without, as_error, as_picture, with_more])
def test_kept_output_of_another_kind_is_reported_with_its_cell(executed_small, change):
    kept = deepcopy(executed_small[1])
    assert run_notebooks.disagreements(kept, executed_small[1]) == []
    change(kept.cells[4].outputs)
    (line,) = run_notebooks.disagreements(kept, executed_small[1])
    assert line.startswith("cell 4: ")
    assert line.endswith("the code gives execute_result text/html+text/plain")


def test_other_values_of_the_same_kind_are_no_disagreement(executed_small):
    kept = deepcopy(executed_small[1])
    kept.cells[1].outputs = [new_output("stream", name="stdout", text=text) for text in ("b\n", "c\n")]
    kept.cells[4].outputs[0].data["text/html"] = "elsewhere"
    assert run_notebooks.disagreements(kept, executed_small[1]) == []


def test_failing_cell_is_named_with_its_error(tmp_path):
    nbformat.write(small_notebook("x = 1", "x / 0"), tmp_path / "failing.ipynb")
    with pytest.raises(RuntimeError, match=r"failing\.ipynb, cell 2, failed:\nx / 0\n(?s:.*)ZeroDivisionError"):
        run_notebooks.execute(tmp_path / "failing.ipynb", None)


def test_notebooks_are_chosen_by_parts_of_their_names():
    assert [path.stem for path in run_notebooks.chosen(["01"])] == ["01_quickstart"]
    assert run_notebooks.chosen([]) == NOTEBOOKS
    with pytest.raises(SystemExit, match="no notebook is called 'nothing'"):
        run_notebooks.chosen(["nothing"])
