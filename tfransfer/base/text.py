"""Build the built-in text base."""

from tfransfer.base.blocks import Block
from tfransfer.base.build import RANDOM, BuiltBase
from tfransfer.base.ngrams import ngram_model
from tfransfer.base.records import NGRAMS
from tfransfer.hyperrules import UNTRAINED


def build_ngrams(seed: int = 0) -> BuiltBase:
    """Build the n-gram base; its vectors are random until they are trained.

    Args:
        seed: Seed of the vectors.
    """
    model = ngram_model(seed)
    vectors = model.layers[-1]
    block = Block("vectors", 1, 2, (vectors,), vectors.count_params(), None)
    return BuiltBase(NGRAMS, model, "none", 0, (block,), RANDOM, kind="text", pretraining=UNTRAINED)
