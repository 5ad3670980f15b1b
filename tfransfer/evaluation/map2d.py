"""A two-dimensional map of a base's features, with similar examples close together."""

import numpy as np
from threadpoolctl import threadpool_limits

# t-SNE takes about a second for this many examples on two cores, and its time grows faster than their number.
LIMIT = 600
_COMPONENTS, _FEWEST = 40, 12
TSNE, PCA = "t-SNE", "PCA"


def flat_map(features: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """Project features to two dimensions.

    Source: L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 9 (2008), on principal components. For
    fewer than 12 or more than 600 examples, the first two principal components are used alone.

    Args:
        features: Shape (n, width), n at least 3.
        seed: Of t-SNE.

    Returns:
        float32 (n, 2), each column in [0, 1], and the method: "t-SNE" or "PCA".
    """
    from sklearn.decomposition import PCA as Components  # here, because it takes a second to load

    values, method = np.nan_to_num(features.astype(np.float32)), PCA
    # On a busy machine, so small a problem takes much longer with several threads.
    with threadpool_limits(1), np.errstate(all="ignore"):  # equal features have no variance to share
        flat = Components(min(_COMPONENTS, *values.shape), random_state=seed).fit_transform(values)
        if _FEWEST <= len(values) <= LIMIT and flat.shape[1] > 1 and np.ptp(flat) > 0:
            flat, method = _tsne(flat, seed), TSNE
    flat = np.pad(flat[:, :2], ((0, 0), (0, max(0, 2 - flat.shape[1]))))
    low, spread = flat.min(axis=0), np.ptp(flat, axis=0)
    return ((flat - low) / np.where(spread > 0, spread, 1)).astype(np.float32), method


def _tsne(values: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE as Neighbours  # here, because it takes a second to load

    perplexity = min(30.0, (len(values) - 1) / 3)
    return Neighbours(2, perplexity=perplexity, init="pca", max_iter=500, random_state=seed).fit_transform(values)
