"""Perceptual hashes of thumbnails, and pairs of near duplicates.

This takes two steps. The signs of the low frequencies of a thumbnail's cosine transform are a 63-bit print (pHash:
Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"); pictures whose prints differ in a
few bits, also after mirroring one, are candidates. Candidates whose thumbnails correlate are near duplicates: the same
photo saved, resized, re-coloured or slightly cropped again. On flower_photos every pair above 0.95 is a near duplicate,
and the highest correlation of different photos is 0.87.
"""

import numpy as np

from tfransfer.data.health.appearance import SIDE

_FREQUENCIES = 8
# Prints of near duplicates differ in 0 to 8 bits of 63 (flower_photos), of different photos in 32 or so.
_RADIUS = 10
_ALIKE = 0.95
_BANDS, _BAND_BITS = 4, 16
# A print with more neighbours than this does not tell pictures apart; the limit also bounds the time.
_MOST_NEIGHBOURS = 32


def alike_pairs(thumbnails: np.ndarray) -> np.ndarray:
    """Pairs of thumbnails that show the same picture, perhaps mirrored.

    Args:
        thumbnails: uint8, shape (n, 32, 32), grey.

    Returns:
        Positions, int64, shape (pairs, 2), the first smaller than the second.
    """
    prints = picture_prints(thumbnails)
    direct = near_pairs(prints, prints, _RADIUS)
    mirrored = near_pairs(prints, prints ^ _MIRROR, _RADIUS)
    verified = [
        _verified(thumbnails, direct, flip=False),
        _verified(thumbnails, mirrored, flip=True),
    ]
    return np.unique(np.concatenate(verified), axis=0)


def _verified(thumbnails: np.ndarray, pairs: np.ndarray, flip: bool, piece: int = 20_000) -> np.ndarray:
    """The candidates whose thumbnails correlate."""
    verified = [np.empty((0, 2), np.int64)]
    for start in range(0, len(pairs), piece):
        part = pairs[start : start + piece]
        one, other = _standardised(thumbnails[part[:, 0]]), _standardised(thumbnails[part[:, 1]])
        if flip:
            other = other[:, :, ::-1]
        verified.append(part[(one * other).mean(axis=(1, 2)) > _ALIKE])
    return np.concatenate(verified)


def _standardised(thumbnails: np.ndarray) -> np.ndarray:
    values = thumbnails.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    return values / np.maximum(values.std(axis=(1, 2), keepdims=True), 1e-6)


def _cosines() -> np.ndarray:
    """The first rows of the cosine transform, float32, shape (8, 32)."""
    places = (np.arange(SIDE) + 0.5) / SIDE
    return np.cos(np.pi * np.arange(_FREQUENCIES)[:, None] * places).astype(np.float32)


def _mirror() -> np.uint64:
    """The bits that change when a picture is mirrored: those of odd horizontal frequencies."""
    odd = np.zeros((_FREQUENCIES, _FREQUENCIES), bool)
    odd[:, 1::2] = True
    return np.uint64(np.packbits(odd.ravel()).view(">u8")[0])


_MIRROR = _mirror()


def picture_prints(thumbnails: np.ndarray) -> np.ndarray:
    """Perceptual hashes: uint64, shape (n,), of uint8 thumbnails, shape (n, 32, 32)."""
    rows = _cosines()
    prints = np.empty(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), 4096):
        values = rows @ thumbnails[start : start + 4096].astype(np.float32) @ rows.T
        bits = values.reshape(len(values), -1) > 0
        bits[:, 0] = False  # the mean is the brightness, not the content
        prints[start : start + 4096] = np.packbits(bits, axis=1).view(">u8").ravel()
    return prints


def near_pairs(prints: np.ndarray, others: np.ndarray, radius: int) -> np.ndarray:
    """Pairs of prints that differ in at most `radius` bits.

    Prints are divided into four bands; pairs with a band that differs in at most one bit are compared. This misses no
    pair up to 7 bits apart, and few up to 10.

    Args:
        prints: uint64, shape (n,).
        others: uint64, shape (n,): prints to compare with: the same ones, or those of the same pictures transformed.
        radius: Bits.

    Returns:
        Positions, int64, shape (pairs, 2), the first smaller than the second.
    """
    codes_per_band = [np.empty(0, np.int64)]
    count = len(prints)
    for band in range(_BANDS):
        shift = np.uint64(band * _BAND_BITS)
        mine, theirs = ((p >> shift).astype(np.uint16) for p in (prints, others))
        order = np.argsort(theirs, kind="stable")
        for mask in [0, *(1 << bit for bit in range(_BAND_BITS))]:
            one, other = _joined(mine ^ np.uint16(mask), theirs[order])
            other = order[other]
            near = (np.bitwise_count(prints[one] ^ others[other]) <= radius) & (one != other)
            low, high = np.minimum(one, other)[near], np.maximum(one, other)[near]
            codes_per_band.append(np.unique(low * count + high))
    codes = np.unique(np.concatenate(codes_per_band))
    return np.stack([codes // max(count, 1), codes % max(count, 1)], axis=1)


def _joined(keys: np.ndarray, ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of each key and of the equal ones in a sorted list, at most _MOST_NEIGHBOURS each."""
    begin = np.searchsorted(ordered, keys, "left")
    lengths = np.minimum(np.searchsorted(ordered, keys, "right") - begin, _MOST_NEIGHBOURS)
    one = np.repeat(np.arange(len(keys)), lengths)
    within = np.arange(len(one)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return one, np.repeat(begin, lengths) + within
