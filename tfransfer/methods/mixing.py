"""Mixup after the frozen part: blend each example of a batch and its targets with its neighbour.

Source: V. Verma et al., "Manifold Mixup: Better Representations by Interpolating Hidden States", ICML 2019, applied at
the output of the frozen part, so that it works the same on cached features. If nothing is frozen, it is the mixup of
pixels of H. Zhang et al., ICLR 2018.
"""

import keras
import numpy as np
import tensorflow as tf

_SHARES = 4096


class Mixing:
    """Blends batches, as a function of the state of its generator.

    Args:
        alpha: Both parameters of the Beta distribution of the mixing shares; above 0.
    """

    def __init__(self, alpha: float) -> None:
        # Drawn from a table, because accelerators have no sampler of the Beta distribution.
        self._shares = np.random.default_rng(0).beta(alpha, alpha, _SHARES).astype(np.float32)
        self._generator = keras.random.SeedGenerator(0)

    @property
    def state(self) -> keras.Variable:
        """The generator's state: (seed, counter); the counter increases with each batch."""
        return self._generator.state

    def __call__(
        self, features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Blend a batch.

        Args:
            features: float32, shape (batch, ...).
            targets: float32, shape (batch, classes).
            weights: float32, shape (batch,).

        Returns:
            The same shapes and dtypes.
        """
        indices = keras.random.randint((tf.shape(targets)[0],), 0, _SHARES, seed=self._generator)
        shares = tf.gather(tf.constant(self._shares), indices)

        def blend(values: tf.Tensor) -> tf.Tensor:
            share = tf.cast(tf.reshape(shares, [-1] + [1] * (values.shape.rank - 1)), values.dtype)
            return share * values + (1 - share) * tf.roll(values, 1, axis=0)

        return blend(features), blend(targets), blend(weights)
