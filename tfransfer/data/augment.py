"""Augmentation of training pictures, as a function of a seed, so that any picture can be reproduced."""

import math

import tensorflow as tf

from tfransfer.data.pictures import to_uint8
from tfransfer.recipe import Augmentation


def augment(pixels: tf.Tensor, seed: tf.Tensor, settings: Augmentation) -> tf.Tensor:
    """Augment one picture: mirror, rotate, zoom, stretch, shift, brightness and contrast.

    Args:
        pixels: uint8, shape (size, size, 3).
        seed: int32 or int64, shape (2,).
        settings: The strength of each change.

    Returns:
        uint8, shape (size, size, 3).
    """
    draws = tf.random.stateless_uniform((8,), seed, -1.0, 1.0)
    augmented = tf.cast(pixels, tf.float32)
    mirrored = draws[5] < 0
    if settings.rotate or settings.zoom or settings.shift:
        augmented = _warp(augmented, draws[:5], mirrored, settings)
    elif settings.flip:
        augmented = tf.cond(mirrored, lambda: augmented[:, ::-1], lambda: augmented)
    if settings.contrast:
        mean = tf.reduce_mean(augmented)
        augmented = (augmented - mean) * (1.0 + settings.contrast * draws[6]) + mean
    if settings.brightness:
        augmented += 255.0 * settings.brightness * draws[7]
    return tf.ensure_shape(to_uint8(augmented), pixels.shape)


def _warp(pixels: tf.Tensor, draws: tf.Tensor, mirrored: tf.Tensor, settings: Augmentation) -> tf.Tensor:
    """Apply one affine transform, mirroring included: bilinear, outside pixels filled by reflection."""
    size = float(pixels.shape[0])
    angle = draws[0] * settings.rotate * math.pi / 180
    # The logarithms of scale and aspect are drawn, so that enlarging is as likely as shrinking.
    scale = tf.exp(draws[1] * math.log1p(settings.zoom))
    aspect = tf.exp(draws[2] * math.log1p(settings.zoom / 2))
    shift = draws[3:5] * settings.shift * size
    cosine, sine = tf.cos(angle), tf.sin(angle)
    a, b = cosine / (scale * aspect), -sine / scale
    c, d = sine / scale, cosine * aspect / scale
    if settings.flip:
        a, c = tf.where(mirrored, -a, a), tf.where(mirrored, -c, c)
    centre = (size - 1) / 2
    x = centre - a * centre - b * centre + shift[0]
    y = centre - c * centre - d * centre + shift[1]
    transform = tf.stack([a, b, x, c, d, y, 0.0, 0.0])[tf.newaxis]
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[tf.newaxis],
        transforms=transform,
        output_shape=tf.shape(pixels)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    return warped[0]
