"""Mixup behind the frozen part: each example of a batch is blended with its neighbour, and so are their targets.

Source: V. Verma et al., "Manifold Mixup: Better Representations by Interpolating Hidden States", ICML 2019, at the one
layer where the frozen part ends, so that kept features can be blended as freshly computed ones are. Where nothing is
frozen it is the mixup of pixels of H. Zhang et al., ICLR 2018.
"""

import keras
import numpy as np
import tensorflow as tf

_SHARES = 4096


class Mixing:
    """Blends batches; what it does next follows from the state of its generator.

    Args:
        alpha: Both parameters of the Beta distribution that the shares are drawn from; above 0.
    """

    def __init__(self, alpha: float) -> None:
        # Drawn from a table, because accelerators have no sampler of the Beta distribution.
        self._shares = np.random.default_rng(0).beta(alpha, alpha, _SHARES).astype(np.float32)
        self._generator = keras.random.SeedGenerator(0)

    @property
    def state(self) -> keras.Variable:
        """The generator's state: (seed, counter), counted once a batch."""
        return self._generator.state

    def __call__(
        self, features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Blend.

        Args:
            features: float32, shape (batch, ...).
            targets: float32, shape (batch, classes).
            weights: float32, shape (batch,).

        Returns:
            The same shapes and dtypes.
        """
        chosen = keras.random.randint((tf.shape(targets)[0],), 0, _SHARES, seed=self._generator)
        shares = tf.gather(tf.constant(self._shares), chosen)

        def blend(values: tf.Tensor) -> tf.Tensor:
            own = tf.cast(tf.reshape(shares, [-1] + [1] * (values.shape.rank - 1)), values.dtype)
            return own * values + (1 - own) * tf.roll(values, 1, axis=0)

        return blend(features), blend(targets), blend(weights)
