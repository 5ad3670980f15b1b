"""`tfransfer predict`: what is given is predicted, or named with what to do."""

from pathlib import Path

import pytest
from PIL import Image

OLD_RUN = Path(__file__).parent.parent / "runs" / "old_run" / "finished"


@pytest.fixture
def photos(tmp_path):
    """Two pictures that are read, and three that are not."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.tif"):
        Image.new("RGB", (8, 8), "red").save(folder / name)
    for name in ("c.jxl", "d.JXL", "e.svg"):
        (folder / name).write_bytes(b"anything")
    return folder


def test_pictures_of_a_folder_that_are_not_read_are_listed_and_counted(photos, command):
    code, said, _ = command("predict", OLD_RUN, photos)
    assert code == 0
    assert all(name in said for name in ("a.png", "b.tif", "c.jxl", "d.JXL", "e.svg"))
    assert "3 of 5 pictures cannot be read:" in said
    assert "2 pictures: .jxl is not read here; convert it to one of JPEG" in said
    assert "1 picture: .svg is not read here" in said
