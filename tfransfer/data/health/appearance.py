"""Thumbnails of all pictures in one pass, and findings about single pictures."""

import os
import statistics
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tfransfer.data import pictures
from tfransfer.data.dataset import Dataset
from tfransfer.data.health.findings import Finding
from tfransfer.data.index import Example
from tfransfer.display.progress import Progress, quiet

# Side of the thumbnails on which pictures are compared.
SIDE = 32
_PIECE = 16
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "PNG": {".png"},
    "GIF": {".gif"},
    "BMP": {".bmp"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "AVIF": {".avif", ".avifs"},
    "HEIF": {".heic", ".heics", ".heif", ".heifs", ".hif", ".avif"},
}
_PLAIN_MODES = ("RGB", "L", "P", "RGBA", "RGBX")
# Standard deviation of a thumbnail's pixels in [0, 255]. The flattest of 3,670 photos of flowers has 17.
_FLAT = 4.0
_TINY_SIDE, _HUGE_PIXELS, _LONG = 32, 24_000_000, 4.0
# Tiny and huge are relative to the other pictures: all of a dataset may be small.
_SMALLER, _LARGER = 0.5, 4.0


@dataclass(frozen=True, slots=True)
class Look:
    """Appearance of one picture.

    Attributes:
        format: Pillow's name of it.
        mode: Pillow's name of the colour mode; "transparent" if a part of the picture is.
        frames: Number of frames; more than 1 in an animation.
        deviation: Largest standard deviation of a colour channel of the thumbnail, in [0, 128].
        thumbnail: uint8, shape (32, 32), grey, upright.
    """

    format: str
    mode: str
    frames: int
    deviation: float
    thumbnail: np.ndarray


def look(path: Path, orientation: int = 1) -> Look | None:
    """Read the appearance of one picture that passed the audit; None if Pillow cannot read it (any more).

    Args:
        path: The file.
        orientation: Its EXIF orientation, applied to the thumbnail.
    """
    try:
        with Image.open(path) as picture:
            kind, mode, frames = picture.format or "?", picture.mode, getattr(picture, "n_frames", 1)
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))
            if _is_transparent(picture):
                mode = "transparent"
            small = Image.fromarray(pictures.as_rgb(picture)).resize((SIDE, SIDE), Image.Resampling.BOX)
    except Exception:  # noqa: BLE001  Pillow's decoders raise many kinds; the audit has reported the file already
        return None
    pixels = np.asarray(_upright(small, orientation))
    deviation = float(pixels.reshape(-1, 3).std(axis=0).max())
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    return Look(kind, mode, frames if kind != "MPO" else 1, deviation, grey)


def _is_transparent(picture: Image.Image) -> bool:
    if "A" in picture.getbands():
        return bool(picture.getchannel("A").getextrema()[0] < 255)  # type: ignore[operator]
    return "transparency" in picture.info and picture.mode == "P"


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    picture.getexif()[0x0112] = orientation
    return ImageOps.exif_transpose(picture)


def look_at_all(dataset: Dataset, progress: Progress = quiet) -> list[Look | None]:
    """Read every example's appearance, in order, on all cores; takes a kilobyte of memory per picture."""
    examples = dataset.examples
    pieces = [examples[i : i + _PIECE] for i in range(0, len(examples), _PIECE)]

    def of_piece(piece: Sequence[Example]) -> list[Look | None]:
        return [look(dataset.root / e.path, e.orientation) for e in piece]

    looks = []
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        warnings.simplefilter("ignore")  # the audit has dealt with what Pillow warns of
        with progress("looking at pictures", len(examples), "pictures") as advance:
            for appearance in chain.from_iterable(pool.map(of_piece, pieces)):
                looks.append(appearance)
                advance(1)
    return looks


def size_findings(dataset: Dataset) -> list[Finding]:
    """Findings from the headers' sizes: turned, tiny, huge and elongated pictures. No file is opened."""
    examples = [e for e in dataset.examples if e.width and e.height]
    if not examples:
        return []
    side = statistics.median(min(e.width, e.height) for e in examples)
    area = statistics.median(e.width * e.height for e in examples)
    return [finding for e in examples for finding in _of_size(e, side, area)]


def _of_size(example: Example, usual_side: float, usual_area: float) -> Iterator[Finding]:
    short, long = sorted((example.width, example.height))
    size, path = f"{example.width} x {example.height} pixels", (example.path,)
    if example.orientation != 1:
        yield Finding("turned", f"its EXIF orientation is {example.orientation}; it is turned upright when read", path)
    if short < _TINY_SIDE and short < _SMALLER * usual_side:
        yield Finding("tiny", f"{size}, where the usual shorter side is {usual_side:.0f}", path)
    if short * long > _HUGE_PIXELS and short * long > _LARGER * usual_area:
        yield Finding("huge", f"{size}, more than {_LARGER:.0f} times the usual", path)
    if long > _LONG * short:
        yield Finding("elongated", f"{size}: one side is {long / short:.1f} times the other", path)


def look_findings(dataset: Dataset, looks: Sequence[Look | None]) -> list[Finding]:
    """Findings about single pictures: wrong suffixes, odd colour modes, animations, near-uniform pictures."""
    pairs = zip(dataset.examples, looks, strict=True)
    return [finding for e, appearance in pairs if appearance is not None for finding in _of_look(e.path, appearance)]


def _of_look(path: str, appearance: Look) -> Iterator[Finding]:
    suffix = Path(path).suffix.lower()
    expected = _SUFFIXES.get(appearance.format)
    if expected and suffix and suffix not in expected:
        yield Finding("wrong-extension", f"called {suffix}, but it is {appearance.format}", (path,))
    if appearance.mode == "transparent":
        yield Finding("colour-mode", "parts of it are transparent; the colours under them are used", (path,))
    elif appearance.mode not in _PLAIN_MODES:
        yield Finding("colour-mode", f"its colour mode is {appearance.mode}; it is converted to 8-bit RGB", (path,))
    if appearance.frames > 1:
        yield Finding("animated", f"it has {appearance.frames} frames, of which the first is used", (path,))
    if appearance.deviation < _FLAT:
        yield Finding("near-uniform", f"its colours vary by only {appearance.deviation:.1f} of 255", (path,))


def is_distinctive(example: Example, appearance: Look | None) -> bool:
    """Whether a picture has enough detail to be compared with others."""
    return appearance is not None and appearance.deviation >= 2 * _FLAT and min(example.width, example.height) >= SIDE
