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
    """The folder of the pictures, whether or not it exists."""
    return cache_home() / "data" / DIGITS


def write_digits() -> Path:
    """Write the pictures, all or none, unless they exist.

    Returns:
        A folder with a subfolder of PNG files for each of the classes "0" to "9".

    Raises:
        WriteError: The cache folder cannot be written to.
    """
    folder = digits_folder()
    if folder.is_dir():
        return folder
    from sklearn.datasets import load_digits  # here, because it takes a second

    digits = load_digits()
    with whole(folder, REMEDY) as partial:
        for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            class_folder = partial / str(label)
            class_folder.mkdir(parents=True, exist_ok=True)
            shades = np.rint(pixels * (255 / _BRIGHTEST)).astype(np.uint8)
            Image.fromarray(shades).save(class_folder / f"{number:04}.png")
    return folder
