"""The built-in data: scikit-learn's 1,797 handwritten digits, written as a folder of pictures like any other.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
(CC BY 4.0); 8 x 8 pixels with 17 shades of grey.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from tfransfer.data.sources.kinds import DIGITS
from tfransfer.system.cache_home import REMEDY, cache_home
from tfransfer.system.files import whole

_BRIGHTEST = 16


def digits_folder() -> Path:
    """Where the pictures are, or would be written."""
    return cache_home() / "data" / DIGITS


def write_digits() -> Path:
    """Write the pictures, whole or not at all, unless they are there.

    Returns:
        A folder with a folder of PNG files for each of the classes "0" to "9".

    Raises:
        WriteError: The cache folder cannot be written to.
    """
    folder = digits_folder()
    if folder.is_dir():
        return folder
    from sklearn.datasets import load_digits  # here, because it takes a second

    found = load_digits()
    with whole(folder, REMEDY) as partial:
        for number, (pixels, label) in enumerate(zip(found.images, found.target, strict=True)):
            place = partial / str(label)
            place.mkdir(parents=True, exist_ok=True)
            shades = np.rint(pixels * (255 / _BRIGHTEST)).astype(np.uint8)
            Image.fromarray(shades).save(place / f"{number:04}.png")
    return folder
