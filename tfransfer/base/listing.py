"""What bases there are, without building any."""

from dataclasses import dataclass

from tfransfer.base.records import BASES, NGRAM_BUCKETS, NGRAM_FEATURES, NGRAMS, Base
from tfransfer.base.weights import weights_here


@dataclass(frozen=True)
class Listed:
    """A row of `tfransfer bases`.

    Attributes:
        name: What users write.
        image_size: Default side of the input in pixels; 0 for a base that takes texts.
        smallest: Smallest side.
        features: Width of the pooled features.
        parameters: Weights without the top.
        weights_here: Whether its weights are on this machine.
        built_in: Whether they come with tfransfer.
    """

    name: str
    image_size: int
    smallest: int
    features: int
    parameters: int
    weights_here: bool
    built_in: bool


def bases() -> list[Listed]:
    """Every base of Keras Applications and the built-in ones, smallest first, that for texts last."""
    texts = Listed(NGRAMS, 0, 0, NGRAM_FEATURES, NGRAM_BUCKETS * NGRAM_FEATURES, True, True)
    return [*(_listed(base) for base in sorted(BASES.values(), key=lambda b: b.parameters)), texts]


def _listed(base: Base) -> Listed:
    here = weights_here(base) is not None
    return Listed(base.name, base.image_size, base.family.smallest, base.features, base.parameters, here, base.built_in)
