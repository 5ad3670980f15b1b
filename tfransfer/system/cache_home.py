"""Where what can be computed again is kept between runs: `TFRANSFER_CACHE`, else the user's cache folder."""

import os
from pathlib import Path

import platformdirs

VARIABLE = "TFRANSFER_CACHE"
# What to do where it cannot be written to.
REMEDY = f"Name another folder for the cache with the variable {VARIABLE}."


def cache_home() -> Path:
    """The folder, which may not exist yet."""
    given = os.environ.get(VARIABLE)
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("tfransfer", appauthor=False))
