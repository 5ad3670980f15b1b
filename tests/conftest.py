"""What every test may ask for: real data where there is some, and small folders of coloured pictures."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfransfer.cli import main

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores run already: more threads in each of them only wait for one another.
    for threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(threads, "1")
ROOT = Path(__file__).parent.parent
COLOURS = ((150, 10, 0), (10, 150, 20), (0, 20, 150), (150, 140, 0))


# What takes a minute or more, begun early so that no process is left alone with it at the end.
LONG_FILES = ("test_hub_base", "test_devices", "test_objectives", "test_every_task", "test_end_to_end")


def pytest_collection_modifyitems(items):
    """Layering comes first, then files with laws, then the longest ones; each file's tests run in one process."""
    with_laws = {item.path for item in items if item.get_closest_marker("law")}
    items.sort(key=lambda item: (
        item.path.name != "test_layering.py", item.path not in with_laws, item.path.stem not in LONG_FILES
    ))  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing is read from, or left in, the cache of whoever runs the tests."""
    os.environ["TFRANSFER_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch) -> Path:
    """A cache of this test's own, not made yet."""
    monkeypatch.setenv("TFRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real pictures and weights; tests that need it are skipped where it is absent."""
    given = Path(os.environ.get("TFRANSFER_TEST_DATA", "../shared/data"))
    folder = (ROOT / given).resolve()
    if not folder.is_dir():
        pytest.skip(f"real test data is not at {folder}; name its folder with TFRANSFER_TEST_DATA")
    return folder


def _real_file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        pytest.skip(f"{name} is not among the real test data in {folder}")
    return folder / name


@pytest.fixture(scope="session")
def flower_photos(test_data) -> Path:
    """Zip file of 3,670 photos in 5 classes."""
    return _real_file(test_data, "flower_photos_256.zip")


@pytest.fixture(scope="session")
def mobilenet_v2_weights(test_data) -> Path:
    """ImageNet weights of MobileNetV2 without its top."""
    return _real_file(test_data, "mobilenet_v2_1.0_224_no_top.weights.h5")


@pytest.fixture
def solid_folder(tmp_path):
    """Makes a folder with one folder of solid-colour pictures per class; no two files are equal.

    `solid_folder("data", {"red": 5, "blue": 5})` gives its path; files are called 000.png and so on.
    """

    def make(name: str, counts: dict[str, int], size: int = 12, suffix: str = ".png") -> Path:
        root = tmp_path / name
        for label, count in enumerate(counts.values()):
            folder = root / list(counts)[label]
            folder.mkdir(parents=True)
            for number in range(count):
                # Each file differs, also after JPEG's rounding: twenty shades, then another size.
                colour = tuple(np.add(COLOURS[label % len(COLOURS)], 5 * (number % 20)).tolist())
                Image.new("RGB", (size, size + number // 20), colour).save(folder / f"{number:03}{suffix}")
        return root

    return make


@pytest.fixture(scope="module")
def colour_photos(tmp_path_factory) -> Path:
    """A folder of noisy pictures of three colours, one colour per class."""
    from small_world import colour_folder  # here, because it imports TensorFlow, which the command line does without

    return colour_folder(tmp_path_factory.mktemp("colours") / "data")


@pytest.fixture(scope="module")
def dataset(colour_photos):
    """The Dataset of `colour_photos`."""
    from tfransfer.data.loading import load_data  # here, because it imports TensorFlow

    return load_data(colour_photos)


@pytest.fixture(scope="session")
def lite_run(tmp_path_factory):
    """The folder of a run of an earlier version, with a LiteRT file in it."""
    from tfransfer.exports.formats import FORMATS  # here, because these import TensorFlow
    from tfransfer.runs.run import load_run

    place = tmp_path_factory.mktemp("lite") / "colours"
    run = load_run(shutil.copytree(ROOT / "tests" / "runs" / "old_run" / "finished", place))
    FORMATS["tflite"].write(run.model, run.classes, place / "model.tflite", None)
    return place


@pytest.fixture
def command(monkeypatch, capfd):
    """Calls the command line in this process: its exit code, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["tfransfer", *map(str, arguments)])
        code = 0
        try:
            main.main()
        except SystemExit as stopped:
            code = stopped.code
        said = capfd.readouterr()
        return code, said.out, said.err

    return call
