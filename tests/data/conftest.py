"""Pictures, files and examples for the tests of the data package."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from tfransfer.data.dataset import Dataset
from tfransfer.data.health import audit
from tfransfer.data.index import Example


@pytest.fixture(scope="session")
def photo():
    """A smooth picture without any symmetry: uint8, shape (60, 80, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def encode():
    """From a Pillow picture or an array to the bytes of a file."""

    def encoded(picture, format, **options) -> bytes:
        picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        stream = io.BytesIO()
        picture.save(stream, format, **options)
        return stream.getvalue()

    return encoded


@pytest.fixture
def dataset_of(tmp_path):
    """Writes encoded pictures to files and indexes them as one class: `dataset_of({"a.jpg": b"..."})`."""

    def make(files: dict[str, bytes]) -> Dataset:
        examples = []
        for name, encoded in files.items():
            (tmp_path / name).write_bytes(encoded)
            facts = audit.examine(tmp_path, name)
            assert isinstance(facts, audit.FileFacts), facts
            examples.append(
                Example(
                    name,
                    0,
                    facts.content,
                    "train",
                    facts.orientation,
                    reader=facts.reader,
                    width=facts.width,
                    height=facts.height,
                )
            )
        return Dataset(tmp_path, ("a", "b"), tuple(examples))

    return make


@pytest.fixture(scope="session")
def fakes():
    """Examples without files: `fakes(label, count)`; the contents of different labels or prefixes differ."""

    def make(label: int, count: int, prefix: str = "", **fields) -> list[Example]:
        names = [f"{prefix}{label}/{number:05}.jpg" for number in range(count)]
        return [Example(n, label, hashlib.blake2b(n.encode(), digest_size=16).hexdigest(), **fields) for n in names]

    return make
