"""Texts to what a KerasHub backbone takes, as a layer: KerasHub's own tokenizer, run in the graph."""

import hashlib
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfransfer")
class PresetTokens(keras.layers.Layer):
    """From texts to tokens, as a preset's own preprocessing makes them.

    A `.keras` file holds the vocabulary as KerasHub writes it, as an asset, and no program. A SavedModel needs
    `import tensorflow_text` before it is loaded, for the operations that KerasHub's tokenizers are made of.
    """

    # What a program must import before it loads a SavedModel of this layer.
    operations_from = "tensorflow_text"

    def __init__(self, preprocessor: Any, outputs: tuple[str, ...], vocabulary: str = "", **options: Any) -> None:
        """Hold a tokenizer.

        Args:
            preprocessor: A keras_hub TextClassifierPreprocessor, or what Keras serialized of one.
            outputs: Which of its outputs the backbone takes.
            vocabulary: A hash of it, from a file; it is only kept, so that another vocabulary is another base.
            **options: As for keras.layers.Layer.
        """
        super().__init__(**options)
        if isinstance(preprocessor, dict):
            import keras_hub  # noqa: F401  an optional extra; Keras finds its classes only when it is imported

            preprocessor = keras.saving.deserialize_keras_object(preprocessor)
        self.preprocessor, self.outputs, self._vocabulary = preprocessor, tuple(outputs), vocabulary
        self.supports_jit = False  # XLA knows no strings
        # In eager mode KerasHub tokenizes with other libraries than in a graph, which need not agree to the letter.
        self._in_graph = tf.function(self._tokens, reduce_retracing=True)

    @property
    def sequence_length(self) -> int:
        """Tokens per text; longer texts are cut, shorter ones padded."""
        return int(self.preprocessor.sequence_length)

    def build(self, input_shape: Any) -> None:
        """Nothing: the preprocessor is built when it is first called, by when a file's vocabulary has been read."""

    def call(self, texts: Any) -> dict[str, Any]:
        """Strings, shape (batch,), to int32 by name, each of shape (batch, sequence_length)."""
        return self._in_graph(tf.convert_to_tensor(texts))

    def _tokens(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        made = self.preprocessor(texts)
        shape = (texts.shape[0], self.sequence_length)
        return {name: tf.ensure_shape(tf.cast(made[name], tf.int32), shape) for name in self.outputs}

    def compute_output_spec(self, texts: Any) -> dict[str, keras.KerasTensor]:
        """Int32 by name, (batch, sequence_length)."""
        shape = (*texts.shape[:1], self.sequence_length)
        return {name: keras.KerasTensor(shape, "int32", name=name) for name in self.outputs}

    @property
    def resources(self) -> Any:
        """What holds the vocabulary: with it as attribute, a tf.Module is saved with its tables."""
        return _tables(self.preprocessor.tokenizer)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        preprocessor = keras.saving.serialize_keras_object(self.preprocessor)
        vocabulary = self._vocabulary or _vocabulary_hash(self.preprocessor.tokenizer)
        return super().get_config() | {
            "preprocessor": preprocessor, "outputs": list(self.outputs), "vocabulary": vocabulary
        }  # fmt: skip


def _vocabulary_hash(tokenizer: Any) -> str:
    words = "\n".join(map(str, tokenizer.get_vocabulary()))
    return hashlib.blake2b(words.encode(), digest_size=16).hexdigest()


def _tables(tokenizer: Any) -> list[Any]:
    """TensorFlow's tables and TF-Text's tokenizers among a tokenizer's attributes, and inside its cache of words."""
    cache = getattr(tokenizer, "cache", None)
    values = [*vars(tokenizer).values(), *(vars(cache).values() if cache is not None else ())]
    kinds = (tf.Module, tf.lookup.StaticHashTable, tf.lookup.experimental.MutableHashTable)
    return [value for value in values if isinstance(value, kinds)]
