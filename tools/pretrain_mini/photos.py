"""Photos for pretraining: read once into one array, split, cut into the same crops for the student and the teacher."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_HELD_OUT_EVERY = 11
_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Photos:
    """Squares of pixels with labels.

    Attributes:
        pixels: uint8, shape (n, side, side, 3).
        labels: int64, shape (n,).
        classes: Names in the order of the labels.
        held_out: bool, shape (n,): every eleventh photo of a class, never trained on.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    held_out: np.ndarray

    def split(self, held_out: bool) -> np.ndarray:
        """Indices of the held-out or of the training photos."""
        return np.flatnonzero(self.held_out == held_out)


def read_photos(root: Path, work: Path, side: int) -> Photos:
    """Read a folder with one folder of photos per class; the squares are kept in `work`, so the next start is quick."""
    classes = tuple(sorted(path.name for path in root.iterdir() if path.is_dir()))
    if len(classes) < 2:
        raise SystemExit(f"{root} needs one folder of photos per class; {len(classes)} were found.")
    files, labels, held_out = [], [], []
    for label, name in enumerate(classes):
        found = sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in _SUFFIXES)
        files += found
        labels += [label] * len(found)
        held_out += [number % _HELD_OUT_EVERY == 0 for number in range(len(found))]
    kept = work / f"pixels-{side}-{len(files)}.npy"
    if not kept.exists():
        squares = np.empty((len(files), side, side, 3), np.uint8)
        with ThreadPoolExecutor() as pool:
            for number, square in enumerate(pool.map(lambda file: _square(file, side), files)):
                squares[number] = square
        made = kept.with_suffix(".partial.npy")
        np.save(made, squares)
        made.replace(kept)
    return Photos(np.load(kept, mmap_mode="r"), np.array(labels), classes, np.array(held_out))


def _square(file: Path, side: int) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0))


@dataclass(frozen=True)
class Crops:
    """View v of photo i is always the same crop: the teacher looks at it once, the student in every K-th epoch.

    Attributes:
        photos: What is cropped.
        views: K. View 0 is the whole photo.
        seed: Of the boxes.
        smallest: Least share of the area.
    """

    photos: Photos
    views: int
    seed: int
    smallest: float = 0.35

    def box(self, index: int, view: int) -> tuple[float, float, float, float]:
        """Left, upper, right, lower edge in pixels of the stored square."""
        side = self.photos.pixels.shape[1]
        if view == 0:
            return (0.0, 0.0, float(side), float(side))
        random = np.random.default_rng((self.seed, view, index))
        area = random.uniform(self.smallest, 1.0)
        ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        width, height = (min(1.0, np.sqrt(area * by)) * side for by in (ratio, 1 / ratio))
        left, upper = random.uniform(0, side - width), random.uniform(0, side - height)
        return (left, upper, left + width, upper + height)

    def batch(self, indices: np.ndarray, view: int, size: int) -> np.ndarray:
        """Crops scaled to a size: uint8, shape (n, size, size, 3)."""
        made = np.empty((len(indices), size, size, 3), np.uint8)
        for row, index in enumerate(indices):
            picture = Image.fromarray(self.photos.pixels[index])
            made[row] = picture.resize((size, size), Image.Resampling.BILINEAR, self.box(int(index), view))
        return made


def varied(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Flipped, and changed in contrast, brightness and tint by chance; from uint8 to float32 in about [-1, 1]."""
    values = pixels.astype(np.float32) / 127.5 - 1.0
    flipped = random.random(len(values)) < 0.5
    values[flipped] = values[flipped, :, ::-1]
    contrast = random.uniform(0.7, 1.3, (len(values), 1, 1, 1)).astype(np.float32)
    brightness = random.uniform(-0.2, 0.2, (len(values), 1, 1, 1)).astype(np.float32)
    tint = random.uniform(-0.08, 0.08, (len(values), 1, 1, 3)).astype(np.float32)
    return np.clip(values * contrast + brightness + tint, -1.0, 1.0)


def plain(pixels: np.ndarray) -> np.ndarray:
    """From uint8 to float32 in [-1, 1]."""
    return pixels.astype(np.float32) / 127.5 - 1.0
