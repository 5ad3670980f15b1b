"""The built-in text base: pooled vectors of hashed word and character n-grams, not pretrained.

Source: A. Joulin et al., "Bag of Tricks for Efficient Text Classification", EACL 2017, with the character n-grams of
P. Bojanowski et al., "Enriching Word Vectors with Subword Information", TACL 2017. There are no weights to download:
the vectors start random and are learned from the user's texts in the fine-tune phase.
"""

from typing import Any

import keras
import tensorflow as tf

from tfransfer.base.records import NGRAM_BUCKETS, NGRAM_FEATURES, NGRAMS
from tfransfer.base.text_layer import TextLayer, sums

_WORDS, _CHARACTERS = (1, 2), (3, 4, 5)


@keras.saving.register_keras_serializable(package="tfransfer")
class NgramVectors(TextLayer):
    """Texts to the sum of their n-gram vectors, divided by the square root of their count.

    Args:
        buckets: Number of vectors; n-grams with the same hash share one.
        features: Width of a vector.
        seed: Seed of the initial vectors.
        **options: As for keras.layers.Layer.
    """

    def __init__(
        self, buckets: int = NGRAM_BUCKETS, features: int = NGRAM_FEATURES, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.buckets, self.features, self.seed = buckets, features, seed

    def build(self, input_shape: Any) -> None:
        """Create the vectors."""
        start = keras.initializers.RandomNormal(stddev=1.0, seed=self.seed)
        self.vectors = self.add_weight(shape=(self.buckets, self.features), initializer=start, name="vectors")
        super().build(input_shape)

    def call(self, texts: tf.Tensor) -> tf.Tensor:
        """Strings, shape (batch,), to float32, shape (batch, features)."""
        numbers = tf.strings.to_hash_bucket_fast(ngrams(texts), self.buckets)
        lengths = tf.maximum(numbers.row_lengths(), 1)  # an empty text has no n-grams
        summed = sums(tf.gather(tf.convert_to_tensor(self.vectors), numbers.values), numbers)
        return summed / tf.sqrt(tf.cast(lengths, summed.dtype))[:, tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"buckets": self.buckets, "features": self.features, "seed": self.seed}


def ngrams(texts: tf.Tensor) -> tf.RaggedTensor:
    """Words, pairs of adjacent words, and the character 3- to 5-grams of each word with `<` and `>` marking its ends.

    Args:
        texts: Strings, shape (batch,), in UTF-8.

    Returns:
        Strings, shape (batch, None).
    """
    lowered = tf.strings.lower(texts, encoding="utf-8")
    words = tf.strings.split(tf.strings.regex_replace(lowered, r"([^\pL\pN\s'])", r" \1 "))
    marked = tf.strings.unicode_split(tf.strings.join(["<", words.flat_values, ">"]), "UTF-8")
    pieces = tf.strings.ngrams(marked, _CHARACTERS, separator="")
    within = words.with_values(pieces).merge_dims(1, 2)
    return tf.concat([tf.strings.ngrams(words, _WORDS, separator=" "), within], axis=1)


def ngram_model(seed: int = 0) -> keras.Model:
    """The n-gram base: strings (batch,) to float32 (batch, NGRAM_FEATURES)."""
    texts = keras.Input((), dtype="string", name="text")
    return keras.Model(texts, NgramVectors(seed=seed, name="vectors")(texts), name=NGRAMS)
