"""Runs of every task with real, small models, and a service."""

import pytest
from manifests import manifest_of
from serving_world import CLASSES, SIZE, picture_model, serving, text_model

from tfransfer.runs.manifest import DataRecord, write_manifest
from tfransfer.runs.run import load_run


@pytest.fixture(scope="package")
def make_run(tmp_path_factory):
    """Makes a run's folder without a training: what `load_run` needs, and a model that tells pictures apart."""

    def make(name, task="single-label", kind="image", classes=CLASSES, **manifest):
        folder = tmp_path_factory.mktemp("runs") / name
        folder.mkdir()
        if kind == "text":
            model = text_model(len(classes))
        elif task == "regression":
            model = picture_model(1, None, "values")
        else:
            model = picture_model(len(classes), "softmax" if task == "single-label" else "sigmoid", "probabilities")
        model.save(folder / "model.keras")
        data = DataRecord(root="nowhere", kind=kind)
        write_manifest(folder, manifest_of(classes, image_size=SIZE, task=task, data=data, **manifest))
        return load_run(folder)

    return make


@pytest.fixture(scope="package")
def run(make_run):
    """Single-label, on pictures; its folder's name does not fit into an address as it is."""
    return make_run("my colours")


@pytest.fixture(scope="module")
def client(run):
    with serving(run) as made:
        yield made
