"""Training pictures, varied: each change is a function of a seed, so that any picture can be made again."""

import math

import tensorflow as tf

from tfransfer.data.pictures import to_uint8
from tfransfer.recipe import Augmentation


def augment(pixels: tf.Tensor, seed: tf.Tensor, settings: Augmentation) -> tf.Tensor:
    """Vary one picture: mirror, rotate, zoom, stretch, shift, brightness and contrast.

    Args:
        pixels: uint8, shape (size, size, 3).
        seed: int32 or int64, shape (2,).
        settings: How much.

    Returns:
        uint8, shape (size, size, 3).
    """
    draws = tf.random.stateless_uniform((8,), seed, -1.0, 1.0)
    varied = tf.cast(pixels, tf.float32)
    mirrored = draws[5] < 0
    if settings.rotate or settings.zoom or settings.shift:
        varied = _warp(varied, draws[:5], mirrored, settings)
    elif settings.flip:
        varied = tf.cond(mirrored, lambda: varied[:, ::-1], lambda: varied)
    if settings.contrast:
        mean = tf.reduce_mean(varied)
        varied = (varied - mean) * (1.0 + settings.contrast * draws[6]) + mean
    if settings.brightness:
        varied += 255.0 * settings.brightness * draws[7]
    return tf.ensure_shape(to_uint8(varied), pixels.shape)


def _warp(pixels: tf.Tensor, draws: tf.Tensor, mirrored: tf.Tensor, settings: Augmentation) -> tf.Tensor:
    """One affine transform, mirroring included, bilinear, the outside filled by reflection."""
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
