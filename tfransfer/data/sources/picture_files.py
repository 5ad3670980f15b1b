"""Which files in a folder are pictures, and which were left there by systems and programs."""

import os
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

_AVIF, _HEIF = {".avif", ".avifs"}, {".heic", ".heics", ".heif", ".heifs", ".hif"}
# Pillow reads AVIF from 11.3 on, if it was built with it; HEIC needs the extra `heif`. Looked up without importing
# either, because the command line's help must not wait for them.
READS_AVIF = find_spec("PIL._avif") is not None
READS_HEIF = find_spec("pillow_heif") is not None
PICTURE_SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", *(_AVIF if READS_AVIF else ()),
    *(_HEIF if READS_HEIF else ()),
}  # fmt: skip
READABLE = "JPEG, PNG, GIF, BMP, WebP, TIFF" + (", AVIF" if READS_AVIF else "") + (", HEIC" if READS_HEIF else "")
# Common image formats that are not supported: these files are reported, other files are ignored.
OTHER_SUFFIXES = {
    ".jxl", ".jp2", ".j2k", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".dng", ".svg", ".psd", ".exr",
    *_AVIF, *_HEIF,
} - PICTURE_SUFFIXES  # fmt: skip
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


def is_unread(name: str) -> bool:
    """Whether a file is a picture in a format that cannot be read here, by its name."""
    return os.path.splitext(name)[1].lower() in OTHER_SUFFIXES


def why_unread(suffix: str) -> str:
    """What to do about pictures in a format that is not read here: one sentence without its full stop.

    Args:
        suffix: Of the format, in lower case, such as ".heic".
    """
    remedy = f"convert it to one of {READABLE}"
    if suffix in _HEIF and not READS_HEIF:
        remedy = 'install the extra heif (pip install "tfransfer[heif]"), or convert it to JPEG or PNG'
    elif suffix in _AVIF and not READS_AVIF:
        remedy = "install Pillow 11.3 or newer (pip install --upgrade pillow), or convert it to JPEG or PNG"
    return f"{suffix} is not read here; {remedy}"


def format_of(start: bytes) -> str:
    """The suffix of the format that a file's first 64 bytes show, of those that may be unread here; else "".

    Phones and programs name HEIC and AVIF files .jpg.
    """
    if start[4:8] == b"ftyp":
        brands = [start[at : at + 4] for at in range(8, len(start), 4)]
        if any(brand.startswith(b"avi") for brand in brands):
            return ".avif"
        return ".heic" if any(brand[:3] in (b"hei", b"hev", b"mif", b"msf") for brand in brands) else ""
    is_jxl = start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL "))
    return ".jxl" if is_jxl else ".tif" if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")) else ""


def unread_counts(names: Iterable[str]) -> str:
    """How many of these files are pictures in formats that are not read here, and what to do; "" if there are none."""
    counts = Counter(os.path.splitext(name)[1].lower() for name in names if is_unread(name))
    return "; ".join(
        f"{n} {suffix} {'file' if n == 1 else 'files'}: {why_unread(suffix)}" for suffix, n in sorted(counts.items())
    )


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


def pictures_below(folder: Path) -> int:
    """How many pictures there are in and below a folder, whatever they are there for."""
    return sum(is_picture(name) for _, _, names in os.walk(folder) for name in names)
