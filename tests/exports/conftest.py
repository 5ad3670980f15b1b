"""A run whose files were written, compared and measured."""

import shutil
from pathlib import Path

import pytest
from small_world import colour_folder

import tfransfer as tr

OLD_RUN = Path(__file__).parent.parent / "runs" / "old_run"


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory):
    """A run of an earlier version, with its data, and exported again to one format of each kind."""
    place = tmp_path_factory.mktemp("exported")
    data = colour_folder(place / "data", per_class=20, size=8, suffix=".bmp")  # as in tests/runs/old_run/make.py
    folder = Path(shutil.copytree(OLD_RUN / "finished", place / "colours"))
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("DATA", data.as_posix()), encoding="utf-8")
    run = tr.load_run(folder)
    run.export("savedmodel", "tflite", "tflite-int8")
    return run
