"""The cache folder, for what can be computed again: `TFRANSFER_CACHE`, else the user's cache folder."""

import os
from pathlib import Path

import platformdirs

VARIABLE = "TFRANSFER_CACHE"
# Advice where it is not writable.
REMEDY = f"Set the variable {VARIABLE} to a writable folder."


def cache_home() -> Path:
    """The folder, which may not exist yet."""
    given = os.environ.get(VARIABLE)
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("tfransfer", appauthor=False))
