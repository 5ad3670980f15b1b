"""Build the built-in text bases."""

import keras

from tfransfer.base.blocks import Block
from tfransfer.base.build import BUILT_IN_WEIGHTS, RANDOM, BuiltBase
from tfransfer.base.ngrams import ngram_model
from tfransfer.base.records import NGRAMS, WORDS
from tfransfer.base.words import word_model
from tfransfer.hyperrules import UNTRAINED, VECTORS


def build_text_base(name: str, seed: int = 0) -> BuiltBase:
    """Build a text base that comes with tfransfer.

    Args:
        name: One of `records.TEXT_BASES`.
        seed: Seed of the vectors of `ngrams`, which are random until they are trained.
    """
    if name == WORDS:
        return _as_one_block(name, word_model(), BUILT_IN_WEIGHTS, VECTORS)
    return _as_one_block(NGRAMS, ngram_model(seed), RANDOM, UNTRAINED)


def _as_one_block(name: str, model: keras.Model, weights: str, pretraining: str) -> BuiltBase:
    layer = model.layers[-1]
    block = Block(layer.name, 1, 2, (layer,), layer.count_params(), None)
    return BuiltBase(name, model, "none", 0, (block,), weights, kind="text", pretraining=pretraining)
