"""Perceptual hashes: near pairs are those that comparing all with all finds, and a hash alone convinces nobody."""

import numpy as np

from tfransfer.data.health.prints import alike_pairs, near_pairs, picture_prints


def drawn(random, magnitudes):
    """Thumbnails whose low frequencies have one set of signs and these magnitudes: uint8, shape (n, 32, 32)."""
    signs = random.choice([-1, 1], (8, 8))
    places = (np.arange(32) + 0.5) / 32
    rows = np.cos(np.pi * np.arange(8)[:, None] * places)
    values = rows.T @ (signs * magnitudes) @ rows
    return np.rint(128 + 120 * values / np.abs(values).max(axis=(1, 2), keepdims=True)).astype(np.uint8)


def test_near_pairs_are_those_of_comparing_all_with_all():
    random = np.random.default_rng(0)
    prints = random.integers(0, 2**63, 600, dtype=np.uint64)
    for number in range(300):  # a copy of each of the first half, some bits turned
        bits = random.choice(63, number % 12, replace=False).astype(np.uint64)
        turned = np.bitwise_xor.reduce(np.uint64(1) << bits)
        prints[300 + number] = prints[number] ^ turned
    apart = np.bitwise_count(prints[:, None] ^ prints[None])
    wanted = {tuple(pair) for pair in np.argwhere(np.triu(apart <= 7, 1)).tolist()}
    found = {tuple(pair) for pair in near_pairs(prints, prints, 10).tolist()}
    assert len(wanted) >= 200
    assert wanted <= found
    assert all(apart[pair] <= 10 for pair in found)


def test_equal_prints_of_different_pictures_are_not_taken_for_one():
    random = np.random.default_rng(1)
    magnitudes = 0.1 + random.exponential(1, (2, 8, 8))
    thumbnails = drawn(random, magnitudes)
    prints = picture_prints(thumbnails)
    assert len(near_pairs(prints, prints, 10)) == 1, "they are candidates"
    assert len(alike_pairs(thumbnails)) == 0


def test_a_brighter_and_a_mirrored_picture_are_taken_for_one():
    random = np.random.default_rng(2)
    (one,) = drawn(random, random.exponential(1, (1, 8, 8)))
    other = np.clip(one * 0.8 + 20, 0, 255).astype(np.uint8)
    pairs = alike_pairs(np.stack([one, other, one[:, ::-1]]))
    assert {tuple(pair) for pair in pairs.tolist()} >= {(0, 1), (0, 2)}


def test_thousands_of_equal_pictures_hang_together_in_little_time_and_memory():
    from tfransfer.data.health.duplicates import clusters

    random = np.random.default_rng(3)
    same = np.repeat(drawn(random, random.exponential(1, (1, 8, 8))), 2000, axis=0)
    pairs = alike_pairs(same)
    assert len(pairs) < 2000 * 32 * 8
    assert [len(cluster) for cluster in clusters(2000, pairs)] == [2000]
