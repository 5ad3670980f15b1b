"""A layer that tokenizes texts for a KerasHub backbone with KerasHub's own tokenizer, in the graph."""

import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Texts that are tokenized at a time to count their tokens; tokens that mark a text's start and end.
_BATCH, _MARKS = 512, 2


@keras.saving.register_keras_serializable(package="tfransfer")
class PresetTokens(keras.layers.Layer):
    """Texts to tokens, by a preset's own preprocessing.

    A `.keras` file contains the vocabulary as an asset in KerasHub's format, and no program. A SavedModel needs
    `import tensorflow_text` before it is loaded, for the operations of KerasHub's tokenizers.
    """

    # The package to import before loading a SavedModel of this layer.
    operations_from = "tensorflow_text"

    def __init__(self, preprocessor: Any, outputs: tuple[str, ...], vocabulary: str = "", **options: Any) -> None:
        """Wrap a tokenizer.

        Args:
            preprocessor: A keras_hub TextClassifierPreprocessor, or its Keras serialization.
            outputs: Which of its outputs the backbone takes.
            vocabulary: Hash of the vocabulary, from a file; it makes models with other vocabularies differ.
            **options: As for keras.layers.Layer.
        """
        super().__init__(**options)
        if isinstance(preprocessor, dict):
            import keras_hub  # noqa: F401  an optional extra; importing it registers its classes with Keras

            preprocessor = keras.saving.deserialize_keras_object(preprocessor)
        self.preprocessor, self.outputs, self._vocabulary = preprocessor, tuple(outputs), vocabulary
        self.supports_jit = False  # XLA does not support strings
        # In eager mode KerasHub tokenizes with other libraries than in a graph, and results may differ.
        self._in_graph = tf.function(self._tokens, reduce_retracing=True)

    @property
    def sequence_length(self) -> int:
        """Tokens per text; longer texts are cut, shorter ones padded."""
        return int(self.preprocessor.sequence_length)

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of each text before it is cut, with those that mark its start and end: int64, shape (n,)."""
        count = tf.function(lambda part: self.preprocessor.tokenizer(part).row_lengths())
        parts = [count(tf.constant(texts[i : i + _BATCH])).numpy() for i in range(0, len(texts), _BATCH)]
        return np.concatenate(parts) + _MARKS

    def build(self, input_shape: Any) -> None:
        """Do nothing: the preprocessor is built on its first call, after a file's vocabulary has been read."""

    def call(self, texts: Any) -> dict[str, Any]:
        """Strings, shape (batch,), to int32 by name, each of shape (batch, sequence_length)."""
        return self._in_graph(tf.convert_to_tensor(texts))

    def _tokens(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = self.preprocessor(texts)
        shape = (texts.shape[0], self.sequence_length)
        return {name: tf.ensure_shape(tf.cast(tokens[name], tf.int32), shape) for name in self.outputs}

    def compute_output_spec(self, texts: Any) -> dict[str, keras.KerasTensor]:
        """Int32 by name, (batch, sequence_length)."""
        shape = (*texts.shape[:1], self.sequence_length)
        return {name: keras.KerasTensor(shape, "int32", name=name) for name in self.outputs}

    @property
    def resources(self) -> Any:
        """Tables and tokenizers with the vocabulary; a tf.Module with them as an attribute is saved with its tables."""
        return _tables(self.preprocessor.tokenizer)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        preprocessor = keras.saving.serialize_keras_object(self.preprocessor)
        vocabulary = self._vocabulary or _vocabulary_hash(self.preprocessor.tokenizer)
        return super().get_config() | {
            "preprocessor": preprocessor, "outputs": list(self.outputs), "vocabulary": vocabulary
        }  # fmt: skip


def token_parts(model: keras.Model) -> tuple[PresetTokens, keras.Model] | None:
    """The tokens of a frozen text base and the encoder behind them; None if it has no such parts.

    Args:
        model: From `base.taps.model_to`.
    """
    inner = model.layers[-1]
    layers = inner.layers if isinstance(inner, keras.Model) else []
    tokens = next((layer for layer in layers if isinstance(layer, PresetTokens)), None)
    return None if tokens is None else (tokens, layers[-1])


def _vocabulary_hash(tokenizer: Any) -> str:
    words = "\n".join(map(str, tokenizer.get_vocabulary()))
    return hashlib.blake2b(words.encode(), digest_size=16).hexdigest()


def _tables(tokenizer: Any) -> list[Any]:
    """TensorFlow tables and TF-Text tokenizers among a tokenizer's attributes and in its word cache."""
    cache = getattr(tokenizer, "cache", None)
    values = [*vars(tokenizer).values(), *(vars(cache).values() if cache is not None else ())]
    kinds = (tf.Module, tf.lookup.StaticHashTable, tf.lookup.experimental.MutableHashTable)
    return [value for value in values if isinstance(value, kinds)]
