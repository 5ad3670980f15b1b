"""The head of a model is found in memory and in a file."""

import keras
import pytest
from small_world import tiny_base, tiny_model

from tfransfer.base.loading import load_model
from tfransfer.errors import RunError
from tfransfer.tasks.head import find_head, require_head
from tfransfer.tasks.regression import Regression
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.training.model import assemble


@pytest.mark.parametrize("task", [CLASSIFICATION, Regression(2.0, 7.0)], ids=lambda task: task.name)
def test_it_is_the_same_in_memory_and_in_the_file(task, tmp_path):
    model = assemble(tiny_base(), 3, 0.2, task, 0).model
    model.save(tmp_path / "model.keras")
    for one in (model, load_model(tmp_path / "model.keras")):
        head = find_head(one)
        assert head.features.shape == (None, 24)
        assert head.logits.kernel.shape == (24, 3)
        assert head.output.name == task.output
        assert head.output is one.layers[-1]


def test_a_model_of_another_make_has_none():
    assert find_head(tiny_model()) is None
    with pytest.raises(RunError, match="no Dense layer named 'logits'"):
        require_head(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="other")]))
