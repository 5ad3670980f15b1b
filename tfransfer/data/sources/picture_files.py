"""Which files in a folder are pictures, and which were left there by systems and programs."""

import os
from pathlib import Path

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"}
# Common image formats that are not supported: these files are reported, other files are ignored.
OTHER_SUFFIXES = {".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".raw", ".cr2", ".nef", ".dng", ".svg", ".psd"}
# In lower case; names that begin with "." are litter anyway. Some hold real pictures, such as the thumbnails that
# network drives make of every photo.
_LITTER = {
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__macosx", "network trash folder",
    "temporary items", "thevolumesettingsfolder", "$recycle.bin", "recycler", "recycled", "system volume information",
    "found.000", "lost+found", "lost.dir", "@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin", "@__thumb",
    "@recycle", "@recently-snapshot", "_vti_cnf", "_thumbs", "__pycache__", "node_modules", "_gsdata_",
}  # fmt: skip
_LITTER_ENDINGS = (".lrdata", ".cocatalog", ".photoslibrary", ".lrcat-data", ".dtrash")


def is_picture(name: str) -> bool:
    """Whether a file is a picture that can be read, by its name."""
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES


def is_litter(name: str) -> bool:
    """Whether a system or program left this file or folder behind."""
    return name.startswith(".") or name.lower() in _LITTER or name.lower().endswith(_LITTER_ENDINGS)


def holds_pictures(folder: Path) -> bool:
    """Whether there is a picture in or below a folder."""
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_litter(name)]
        if any(is_picture(name) and not is_litter(name) for name in files):
            return True
    return False


def litter_with_pictures(root: Path) -> dict[str, int]:
    """How many pictures lie in folders that a program left behind, by the folder's name; hidden ones do not count."""
    counts: dict[str, int] = {}
    for folder, folders, _ in os.walk(root):
        litter = [name for name in folders if is_litter(name)]
        folders[:] = [name for name in folders if name not in litter]
        for name in litter:
            found = sum(is_picture(file) for _, _, files in os.walk(Path(folder, name)) for file in files)
            if found and not name.startswith("."):
                counts[name] = counts.get(name, 0) + found
    return counts
