"""The cells of the notebook on several devices that run on a Colab TPU: without one, and on a stand-in for one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tfransfer.errors import SettingError, TransferError
from tfransfer.training.planning import choose_precision

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "05_several_devices.ipynb"

# A strategy of two logical CPUs in place of TensorFlow's for TPUs, with nothing to connect to.
STAND_IN = """
import sys
import tensorflow as tf

class LikeTPU(tf.distribute.MirroredStrategy):
    def __init__(self, resolver):
        super().__init__(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())

tf.distribute.cluster_resolver.TPUClusterResolver.connect = lambda name: None
tf.distribute.TPUStrategy = LikeTPU
import tfransfer as tr
"""
# Fewer digits and epochs than the notebook takes.
SMALLER = """
from sklearn.datasets import load_digits
digits = load_digits()
pictures = (digits.images[:200, ..., None] * 15).astype("uint8").repeat(3, axis=-1)
data = tr.load_data((pictures, digits.target[:200] % 3))
exact, quick = ({**settings, "head_epochs": 1, "fine_tune_epochs": 1} for settings in (exact, quick))
"""
TOLD = """
import json
keys = ("devices", "replicas", "precision", "batch_size")
json.dump([{key: run.manifest["plan"][key] for key in keys} for run in (two, half)], open(sys.argv[1], "w"))
"""


def cells():
    """The code cells up to the workers, with whether they are for a TPU too."""
    found = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    sources = [("".join(cell["source"]), "tpu" in cell["metadata"].get("tags", ())) for cell in found]
    return sources[1 : next(number for number, (source, _) in enumerate(sources) if "subprocess" in source)]


def cell_with(text):
    (source,) = [source for source, _ in cells() if text in source]
    return source


def chosen(tpu):
    """What the cell that looks for a TPU chooses."""
    names = {"tr": SimpleNamespace(choose_devices=tpu, TransferError=TransferError), "kind": "cpu"}
    exec(cell_with('choose_devices("tpu")'), names)
    return names["several"]


def test_where_there_is_no_tpu_the_cell_says_so_and_goes_on_with_two_devices(capsys):
    def choose(setting):
        if setting == "tpu":
            raise SettingError("no TPU can be reached.")
        return SimpleNamespace(name=f"what {setting} names")

    assert chosen(choose).name == "what cpu:0,1 names"
    assert "no TPU can be reached" in capsys.readouterr().out


def test_where_there_is_a_tpu_the_cell_takes_it(capsys):
    assert chosen(lambda setting: setting) == "tpu"
    assert capsys.readouterr().out == "tpu\n"


def test_all_that_trains_on_what_was_found_is_marked_as_of_the_tpu():
    marks = [marked for source, marked in cells() if "several" in source and "tr.train" in source]
    assert marks
    assert all(marks)


@pytest.mark.long
def test_the_cells_train_on_what_stands_in_for_a_tpu(tmp_path):
    """Both phases on two replicas, then the head in bfloat16."""
    marked = [source for source, tpu in cells() if tpu and "tr.train" in source]
    parts = [
        STAND_IN, cell_with("set_logical_device_configuration"), cell_with('choose_devices("tpu")'),
        cell_with("quick ="), SMALLER, *marked, TOLD,
    ]  # fmt: skip
    (tmp_path / "cells.py").write_text("\n".join(parts))
    ran = subprocess.run(
        [sys.executable, "cells.py", "told.json"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(NOTEBOOK.parent.parent)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    two, half = json.loads((tmp_path / "told.json").read_text())
    assert two["devices"] == half["devices"] == "a TPU of 2 cores"
    assert (two["replicas"], two["precision"], two["batch_size"]) == (2, "float32", 32)
    assert half["precision"] == "mixed_bfloat16"


def test_a_tpu_computes_in_bfloat16_where_no_precision_is_named():
    assert choose_precision("auto", SimpleNamespace(on_gpu=False, on_tpu=True)) == "mixed_bfloat16"
