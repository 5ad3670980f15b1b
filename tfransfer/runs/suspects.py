"""Labels that are probably wrong: those that a cross-validated probe confidently disagrees with.

Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"):
each example is judged by a probe that has not seen it; a class is believed where its probability is above the mean that
examples labelled so get. What is believed to be of another class is suspect; the lower the probability of its own
label, the higher it ranks.
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
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

_FOLDS = 5
# Found on flower_photos with 5% wrong labels: 128 components lose nothing and take a tenth of the time.
_COMPONENTS, _STRENGTH = 128, 0.01
_TEXT_STRENGTH, _WORDS = 3.0, 50_000
_ITERATIONS = 300
_FEWEST = 3


@dataclass(frozen=True)
class Suspects:
    """Every example's label, judged.

    Attributes:
        ranking: Positions, most suspect first, int64, shape (n,).
        given: Probability of the label that each has, out of fold, float32, shape (n,).
        likely: The likeliest other class of each, int64, shape (n,).
        likely_probability: Its probability, float32, shape (n,).
        believed: Whether confident learning believes in that other class, bool, shape (n,).
    """

    ranking: np.ndarray
    given: np.ndarray
    likely: np.ndarray
    likely_probability: np.ndarray
    believed: np.ndarray


def judge(features: Any, labels: np.ndarray, together: Sequence[str] | None = None, seed: int = 0) -> Suspects | None:
    """Judge labels by a probe on features.

    Args:
        features: From `condensed` or `text_features`: shape (n, d), dense or sparse.
        labels: int64, shape (n,).
        together: Of each example, the name of what must be in one fold with it (its copies); None lets each alone.
        seed: Of the folds.

    Returns:
        None where there are too few examples of two classes to say anything.
    """
    counts = np.bincount(labels)
    classes = np.flatnonzero(counts)
    kept = np.flatnonzero(counts[labels] >= _FEWEST)
    if len(np.unique(labels[kept])) < 2:
        return None
    folds = fold_of_each(labels, together or [str(i) for i in range(len(labels))], seed)
    probabilities = np.zeros((len(labels), classes.max() + 1))
    # Threads of BLAS that wait for each other made this fifty times slower on a busy machine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a ranking needs no last digit
        for fold in range(_FOLDS):
            learn, ask = kept[folds[kept] != fold], np.flatnonzero(folds == fold)
            if len(ask) and len(np.unique(labels[learn])) > 1:
                probe = LogisticRegression(C=_strength(features), max_iter=_ITERATIONS)
                probe.fit(features[learn], labels[learn])
                probabilities[np.ix_(ask, probe.classes_)] = probe.predict_proba(features[ask])
    return _ranked(probabilities, labels, classes)


def _strength(features: Any) -> float:
    return _STRENGTH if isinstance(features, np.ndarray) else _TEXT_STRENGTH


def fold_of_each(labels: np.ndarray, together: Sequence[str], seed: int) -> np.ndarray:
    """A fold for each example, stratified, copies in one fold: int64, shape (n,)."""
    first: dict[str, int] = {}
    for position, name in enumerate(together):
        first.setdefault(name, position)
    chosen = np.array(sorted(first.values()))
    folds = np.zeros(len(labels), np.int64)
    smallest = np.bincount(labels[chosen])
    cut = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    strata = np.where(smallest[labels[chosen]] >= _FOLDS, labels[chosen], -1)
    if len(chosen) < _FOLDS or min(np.unique(strata, return_counts=True)[1]) < _FOLDS:
        folds[chosen] = np.random.default_rng(seed).permutation(len(chosen)) % _FOLDS
    else:
        for number, (_, part) in enumerate(cut.split(chosen, strata)):
            folds[chosen[part]] = number
    return folds[[first[name] for name in together]]


def _ranked(probabilities: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> Suspects:
    everyone = np.arange(len(labels))
    given = probabilities[everyone, labels].copy()
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in classes:
        thresholds[label] = given[labels == label].mean()
    others = probabilities.copy()
    others[everyone, labels] = -1
    likely = others.argmax(axis=1)
    best = others[everyone, likely]
    believed = (best >= thresholds[likely]) & (best > given)
    ranking = np.lexsort((everyone, given))
    return Suspects(ranking, given.astype(np.float32), likely, best.astype(np.float32), believed)


def condensed(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Features on one scale, cut to their first principal components.

    Args:
        features: float32, shape (n, d).
        seed: Of the randomized decomposition.

    Returns:
        float32, shape (n, at most 128).
    """
    deviation = np.maximum(features.std(axis=0), 1e-6)
    scaled = (features - features.mean(axis=0)) / deviation
    components = min(_COMPONENTS, *scaled.shape)
    with threadpool_limits(1):
        made: np.ndarray = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(scaled)
    return made.astype(np.float32)


def text_features(texts: Sequence[str]) -> Any:
    """Words and pairs of words, weighted by how rare they are (tf-idf): sparse float64, shape (n, words)."""
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, max_features=_WORDS, token_pattern=r"(?u)\b\w+\b"
    )
    return vectorizer.fit_transform(texts)
