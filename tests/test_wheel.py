"""What is in the wheel, and that it works where nothing else is."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing is left in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "tfransfer", source / "tfransfer", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(source)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode and "No matching distribution" in made.stderr:
        pytest.skip("setuptools cannot be had here: there is no package index")
    assert made.returncode == 0, made.stderr
    (file,) = out.glob("*.whl")
    return file


def test_wheel_is_small_and_has_what_is_needed(wheel):
    assert wheel.stat().st_size < 5_000_000
    names = zipfile.ZipFile(wheel).namelist()
    files = {
        "assets/mini.npz",
        "assets/mini.md",
        "assets/words.npz",
        "assets/words.md",
        "serving/page.html",
        "evaluation/report/report.html.j2",
    }
    files |= {"exports/bundle_files/load_model.py", "exports/bundle_files/Classifier.kt"}
    assert {f"tfransfer/{name}" for name in files} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "tools"))]


@pytest.mark.long
def test_wheel_trains_in_an_empty_environment(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    programs = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run([str(programs / "python"), "-m", "pip", "install", "-q", str(wheel)], check=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ran = subprocess.run(
        [str(programs / "tfransfer"), "train", "digits", "--head-epochs", "3", "--fine-tune-epochs", "1"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=environment | {"TFRANSFER_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "saved_models" / "digits" / "model.tflite").is_file()
