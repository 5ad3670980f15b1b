"""What a sequence of token vectors gives: the class token, the mean of all tokens, or both side by side.

The base gives both, which are cached once; which of them the head takes is decided afterwards.
"""

from typing import Any, ClassVar

import keras

CLASS_TOKEN, MEAN, BOTH, AUTO = "class", "mean", "both", "auto"


@keras.saving.register_keras_serializable(package="tfransfer")
class TokenPooling(keras.layers.Layer):
    """Select from a class token and a mean of tokens side by side.

    Args:
        pooling: "class" takes the first half, "mean" the second, "both" all.
        **options: As for keras.layers.Layer.
    """

    # The mean first where two do equally well: it is the usual vector of a sentence.
    choices: ClassVar[tuple[str, ...]] = (MEAN, CLASS_TOKEN, BOTH)

    def __init__(self, pooling: str, **options: Any) -> None:
        super().__init__(**options)
        self.pooling = pooling

    def call(self, features: Any) -> Any:
        """Float (batch, 2 width) to float (batch, width), or (batch, 2 width) for both."""
        return selected(features, self.pooling)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, int]:
        """(batch, width) or (batch, 2 width)."""
        return (input_shape[0], input_shape[1] if self.pooling == BOTH else input_shape[1] // 2)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"pooling": self.pooling}


def selected(features: Any, pooling: str) -> Any:
    """The part of class token and mean side by side, (n, 2 width), that a pooling takes; an array or a tensor."""
    width = features.shape[-1] // 2
    return {CLASS_TOKEN: features[:, :width], MEAN: features[:, width:], BOTH: features}[pooling]
