"""Find labels that are probably wrong: those that a cross-validated probe confidently disagrees with.

Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"):
each example is judged by a probe that was not trained on it. An example is suspect if the probability of another class
is above the mean probability of that class among the examples labelled with it. Suspects are ranked by the probability
of their own label, lowest first.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tfransfer.methods.probing import FOLDS, fold_of_each, standardized

# Measured on flower_photos with 5% wrong labels: 128 components lose nothing and take a tenth of the time.
_COMPONENTS, _STRENGTH = 128, 0.01
_TEXT_STRENGTH, _WORDS = 3.0, 50_000
_ITERATIONS = 300
_FEWEST = 3


@dataclass(frozen=True)
class Suspects:
    """The judgement of every example's label.

    Attributes:
        ranking: Positions, most suspect first, int64, shape (n,).
        given: Out-of-fold probability of each example's label, float32, shape (n,).
        likely: The likeliest other class of each example, int64, shape (n,).
        likely_probability: The probability of that class, float32, shape (n,).
        believed: Whether confident learning flags the label as wrong, bool, shape (n,).
    """

    ranking: np.ndarray
    given: np.ndarray
    likely: np.ndarray
    likely_probability: np.ndarray
    believed: np.ndarray


def judge(features: Any, labels: np.ndarray, together: Sequence[str] | None = None, seed: int = 0) -> Suspects | None:
    """Judge labels with a probe on features.

    Args:
        features: From `condensed` or `text_features`: shape (n, d), dense or sparse.
        labels: int64, shape (n,).
        together: A group name for each example; a group (copies) stays in one fold. None for no groups.
        seed: Of the folds.

    Returns:
        The judgement; None if fewer than two classes have enough examples.
    """
    counts = np.bincount(labels)
    classes = np.flatnonzero(counts)
    usable = np.flatnonzero(counts[labels] >= _FEWEST)
    if len(np.unique(labels[usable])) < 2:
        return None
    folds = fold_of_each(labels, together or [str(i) for i in range(len(labels))], seed)
    probabilities = np.zeros((len(labels), classes.max() + 1))
    # BLAS threads waiting for each other made this fifty times slower on a busy machine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a ranking needs no exact solution
        for fold in range(FOLDS):
            train, held_out = usable[folds[usable] != fold], np.flatnonzero(folds == fold)
            if len(held_out) and len(np.unique(labels[train])) > 1:
                probe = LogisticRegression(C=_strength(features), max_iter=_ITERATIONS)
                probe.fit(features[train], labels[train])
                probabilities[np.ix_(held_out, probe.classes_)] = probe.predict_proba(features[held_out])
    return _ranked(probabilities, labels, classes)


def _strength(features: Any) -> float:
    return _STRENGTH if isinstance(features, np.ndarray) else _TEXT_STRENGTH


def _ranked(probabilities: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> Suspects:
    positions = np.arange(len(labels))
    given = probabilities[positions, labels].copy()
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in classes:
        thresholds[label] = given[labels == label].mean()
    others = probabilities.copy()
    others[positions, labels] = -1
    likely = others.argmax(axis=1)
    best = others[positions, likely]
    believed = (best >= thresholds[likely]) & (best > given)
    ranking = np.lexsort((positions, given))
    return Suspects(ranking, given.astype(np.float32), likely, best.astype(np.float32), believed)


def condensed(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Standardized features, reduced to their first principal components.

    Args:
        features: float32, shape (n, d).
        seed: Of the randomized decomposition.

    Returns:
        float32, shape (n, at most 128).
    """
    scaled = standardized(features)
    components = min(_COMPONENTS, *scaled.shape)
    with threadpool_limits(1):
        reduced: np.ndarray = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(scaled)
    return reduced.astype(np.float32)


def text_features(texts: Sequence[str]) -> Any:
    """Tf-idf of words and pairs of words: sparse float64, shape (n, words)."""
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, max_features=_WORDS, token_pattern=r"(?u)\b\w+\b"
    )
    return vectorizer.fit_transform(texts)
