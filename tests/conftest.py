"""What every test may ask for: real data where there is some, and small folders of coloured pictures."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
COLOURS = ((150, 10, 0), (10, 150, 20), (0, 20, 150), (150, 140, 0))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real pictures and weights; tests that need it are skipped where it is absent."""
    given = Path(os.environ.get("TFRANSFER_TEST_DATA", "../shared/data"))
    folder = (ROOT / given).resolve()
    if not folder.is_dir():
        pytest.skip(f"real test data is not at {folder}; name its folder with TFRANSFER_TEST_DATA")
    return folder


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
