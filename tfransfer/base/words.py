"""The built-in pretrained text base: static word vectors, weighted by frequency, beside hashed pieces of words.

Sources: the vectors are GloVe's (J. Pennington et al., EMNLP 2014) beside a sentence encoder's for each word alone, as
Model2Vec distils them (`tools/make_words.py`); the mean that gives frequent words little weight is that of S. Arora et
al., "A Simple but Tough-to-Beat Baseline for Sentence Embeddings", ICLR 2017, with the logarithm of the rank as weight;
the pieces are P. Bojanowski et al.'s, "Enriching Word Vectors with Subword Information", TACL 2017.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.records import WORD_COUNT, WORD_FEATURES, WORD_PIECES, WORDS
from tfransfer.base.text_layer import TextLayer, sums

ASSET = Path(__file__).parent.parent / "assets" / "words.npz"
_PIECE_LENGTHS = (3, 4, 5)
# Words are found by a 62-bit hash: that two of 32,000 words share one has a probability of 1 in 10 billion.
_FINGERPRINTS = 1 << 62


@keras.saving.register_keras_serializable(package="tfransfer")
class WordVectors(TextLayer):
    """Texts to the sum of their words' vectors, scaled to a root mean square of 1; zeros for a text without words.

    The vector of a word is its row of the table, times its weight, plus the mean of the vectors of its pieces, of which
    one is the whole word. The table is fixed; the pieces start at zero and hold what a task teaches.

    Args:
        words: Number of words in the table.
        features: Width of a vector.
        pieces: Number of vectors for pieces; pieces with the same hash share one.
        **options: As for keras.layers.Layer.
    """

    def __init__(
        self, words: int = WORD_COUNT, features: int = WORD_FEATURES, pieces: int = WORD_PIECES, **options: Any
    ) -> None:
        super().__init__(**options)
        self.words, self.features, self.piece_count = words, features, pieces

    def build(self, input_shape: Any) -> None:
        """Create the tables, all zeros."""
        zeros = {"initializer": "zeros"}
        fixed = {"trainable": False, "autocast": False, **zeros}
        self.fingerprints = self.add_weight(shape=(self.words,), dtype="int64", name="fingerprints", **fixed)
        self.importance = self.add_weight(shape=(self.words,), name="importance", **fixed)
        self.vectors = self.add_weight(shape=(self.words, self.features), name="vectors", **fixed)
        self.pieces = self.add_weight(shape=(self.piece_count, self.features), name="pieces", **zeros)
        super().build(input_shape)

    def call(self, texts: tf.Tensor) -> tf.Tensor:
        """Strings, shape (batch,), to float32, shape (batch, features)."""
        words = words_of(texts)
        different, places = tf.unique(words.flat_values)  # most words of a batch occur more than once
        summed = sums(tf.gather(self._vectors_of(different), places), words)
        square = tf.reduce_mean(tf.square(summed), axis=1, keepdims=True)
        return summed * tf.math.rsqrt(tf.maximum(square, 1e-12))

    def _vectors_of(self, words: tf.Tensor) -> tf.Tensor:
        """Strings, shape (n,), to vectors, shape (n, features)."""
        hashed = fingerprints_of(words)
        rows = tf.minimum(tf.searchsorted(tf.convert_to_tensor(self.fingerprints), hashed), self.words - 1)
        known = tf.cast(tf.gather(self.fingerprints, rows) == hashed, self.compute_dtype)
        weights = known * tf.cast(tf.gather(self.importance, rows), self.compute_dtype)
        own = tf.gather(tf.convert_to_tensor(self.vectors), rows) * weights[:, tf.newaxis]
        pieces = tf.strings.to_hash_bucket_fast(pieces_of(words), self.piece_count)
        spelled = tf.gather(tf.convert_to_tensor(self.pieces), pieces.flat_values)
        return own + tf.math.segment_mean(spelled, pieces.value_rowids())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        sizes = {"words": self.words, "features": self.features, "pieces": self.piece_count}
        return super().get_config() | sizes


def words_of(texts: tf.Tensor) -> tf.RaggedTensor:
    """The words, numbers and signs of texts in lower case: "Don't!" is "do", "n't", "!".

    Args:
        texts: Strings, shape (batch,), in UTF-8.

    Returns:
        Strings, shape (batch, None).
    """
    text = tf.strings.lower(texts, encoding="utf-8")
    text = tf.strings.regex_replace(text, "[\u2018\u2019]", "'")
    text = tf.strings.regex_replace(text, r"(n't|'s|'re|'ve|'ll|'d|'m)\b", r" \1 ")
    return tf.strings.split(tf.strings.regex_replace(text, r"([^\pL\pM\pN\s'])", r" \1 "))


def pieces_of(words: tf.Tensor) -> tf.RaggedTensor:
    """Each word with `<` and `>` marking its ends, and its character 3- to 5-grams: strings, (n,) to (n, None)."""
    marked = tf.strings.join(["<", words, ">"])
    grams = tf.strings.ngrams(tf.strings.unicode_split(marked, "UTF-8"), _PIECE_LENGTHS, separator="")
    return tf.concat([tf.RaggedTensor.from_tensor(marked[:, tf.newaxis]), grams], axis=1)


def fingerprints_of(words: Any) -> tf.Tensor:
    """Hashes of words, int64 in [0, 2^62)."""
    return tf.strings.to_hash_bucket_fast(words, _FINGERPRINTS)


def read_words() -> list[str]:
    """The words of the table by frequency."""
    with np.load(ASSET, allow_pickle=False) as archive:
        return bytes(archive["words"]).decode().split("\n")


def read_vectors() -> np.ndarray:
    """The vectors of these words, float32 (words, features)."""
    with np.load(ASSET, allow_pickle=False) as archive:
        vectors: np.ndarray = archive["vectors"].astype(np.float32) * archive["steps"]
    return vectors


def known_share(texts: Sequence[str]) -> float:
    """The share of the words of texts that are in the table, in [0, 1]; 1 if there are no words."""
    words = words_of(tf.constant(texts)).flat_values.numpy()
    table = {word.encode() for word in read_words()}
    counted = [word for word in words if word.decode().isalnum()]
    return sum(word in table for word in counted) / len(counted) if counted else 1.0


def word_model() -> keras.Model:
    """The base: strings (batch,) to float32 (batch, WORD_FEATURES)."""
    texts = keras.Input((), dtype="string", name="text")
    layer = WordVectors(name="words")
    model = keras.Model(texts, layer(texts), name=WORDS)
    words, vectors = read_words(), read_vectors()
    hashed = fingerprints_of(words).numpy()
    order = np.argsort(hashed)
    weights = np.log(np.arange(len(words)) + 2.0)
    layer.fingerprints.assign(hashed[order])
    layer.importance.assign((weights / weights.mean())[order])
    layer.vectors.assign(vectors[order])
    return model
