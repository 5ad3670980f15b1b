"""Linear probes: heads on frozen features, which take a fraction of a second to fit, scored on held-out examples."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from tfransfer.tasks.task import Task

FOLDS = 5


def out_of_fold(
    task: Task, features: np.ndarray, targets: np.ndarray, together: Sequence[str], seed: int
) -> np.ndarray:
    """A linear head's outputs for examples, each from a head that was fitted without its fold.

    Args:
        task: Gives the head.
        features: Float, shape (n, d).
        targets: As training sees them, float32, shape (n, outputs).
        together: A group name for each example; a group (copies) stays in one fold.
        seed: Of the folds.

    Returns:
        float64, shape (n, outputs).
    """
    folds = fold_of_each(task.groups(targets), together, seed)
    scaled = standardized(features)
    outputs = np.zeros(targets.shape)
    # Threads of a BLAS that wait for one another make this many times slower on a busy machine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for fold in range(FOLDS):
            held_out = folds == fold
            if held_out.any():
                outputs[held_out] = task.linear_outputs(scaled[~held_out], targets[~held_out], scaled[held_out])
    return outputs


def fold_of_each(labels: np.ndarray, together: Sequence[str], seed: int) -> np.ndarray:
    """A stratified fold for each example, with copies in one fold: int64, shape (n,)."""
    first: dict[str, int] = {}
    for position, name in enumerate(together):
        first.setdefault(name, position)
    firsts = np.array(sorted(first.values()))
    folds = np.zeros(len(labels), np.int64)
    counts = np.bincount(labels[firsts])
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    strata = np.where(counts[labels[firsts]] >= FOLDS, labels[firsts], -1)
    if len(firsts) < FOLDS or min(np.unique(strata, return_counts=True)[1]) < FOLDS:
        folds[firsts] = np.random.default_rng(seed).permutation(len(firsts)) % FOLDS
    else:
        for number, (_, part) in enumerate(splitter.split(firsts, strata)):
            folds[firsts[part]] = number
    return folds[[first[name] for name in together]]


def standardized(features: np.ndarray) -> np.ndarray:
    """Features, shape (n, d), with mean 0 and standard deviation 1 in each column; constant columns become 0."""
    scaled: np.ndarray = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    return scaled
