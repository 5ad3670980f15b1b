"""Defaults that depend on the size of the data and on the base: pure functions, like BiT's hyper-rule.

Kolesnikov et al., "Big Transfer (BiT)", ECCV 2020, choose a schedule from the number of examples alone.
"""

import math
from collections.abc import Sequence


def batch_size(training_images: int, replicas: int = 1) -> int:
    """Images per step over all devices: 32 for each, fewer if an epoch would have under ten steps.

    Args:
        training_images: Size of the training split, at least 1.
        replicas: Number of devices that share a step.

    Returns:
        A power of two between 4 and 32 for each device.
    """
    each = max(1, training_images / 10 / replicas)
    return replicas * max(4, min(32, 2 ** math.floor(math.log2(each))))


def head_learning_rate(batch: int) -> float:
    """Learning rate of the head phase: 1e-3, times the square root of batch / 32 above 32.

    The square-root rule has its source in `fine_tune_learning_rate`.
    """
    return 1e-3 * math.sqrt(max(1.0, batch / 32))


def head_epochs(training_images: int) -> int:
    """Epochs of the head phase: as many as show about 30,000 images, at least 5 and at most 20."""
    return max(5, min(20, round(30_000 / max(1, training_images))))


# Pretraining of a base: full, as on ImageNet; small, as that of the built-in base; vectors of words; that of an encoder
# of texts; or none.
FULL, SMALL, VECTORS, ENCODER, UNTRAINED = "full", "small", "vectors", "encoder", "untrained"
# With at least this many training images, more blocks of the small built-in base are unfrozen.
_FEW = 2_000
_RATES = {FULL: 1e-4, SMALL: 1e-3, VECTORS: 5e-4, ENCODER: 5e-5, UNTRAINED: 1e-2}


def fine_tune_epochs(training_images: int, pretraining: str = FULL) -> int:
    """Epochs of the fine-tune phase: as many as the head phase; more for few images and for the small built-in base.

    With few images an epoch has a dozen steps, and 20 epochs are too few to improve anything: on flower_photos with
    MobileNetV2, on validation (one seed), with 5 images per class 60 epochs reached 0.636, and 20 were rolled back to
    the head's 0.588; with 20 images per class 60 epochs reached 0.792, and 20 reached 0.744.

    The small built-in base has more to learn: see `unfrozen_blocks`. With 20 images per class, on validation (one
    seed), 80 epochs reached 0.914, 0.571 and 0.554 (0.533 when repeated) on digits, CIFAR-10 and flower_photos; 20
    epochs reached 0.849, 0.547 and 0.536, the last two below their heads. On the test split, the gain was large for
    digits and not measurable for photos (`benchmarks/transfer_gain.py`). With the 1,437 images of digits, 12 epochs are
    enough: over three seeds 0.994, 0.989 and 0.994 on the test split; 20 epochs reached 0.989 (one seed).
    """
    images = max(1, training_images)
    if pretraining == ENCODER:
        return max(3, min(20, round(2_000 / images)))
    if pretraining == SMALL and training_images < _FEW:
        return max(12, min(80, round(17_000 / images)))
    if pretraining == SMALL:
        return max(5, min(20, round(60_000 / images)))
    least = min(60, round(12_000 / images)) if pretraining == FULL else 0
    return max(head_epochs(training_images), least)


def fine_tune_patience(epochs: int, pretraining: str = FULL) -> int:
    """Epochs without improvement before the fine-tune phase stops: a quarter of all epochs, at least 5.

    With 5 images per class of flower_photos and MobileNetV2, a patience of 15 of 60 epochs reached 0.641 on validation,
    30 of 60 reached 0.636 (one seed). For the small built-in base it is half of all epochs, at least 10: at its high
    learning rate, validation accuracy fluctuates until the rate has decayed. In one run on flower_photos, no epoch was
    better than the seventh until the fifteenth, and the seventeenth was the best of 20.

    Args:
        epochs: Maximum number of epochs of the phase.
        pretraining: FULL, SMALL, VECTORS or UNTRAINED.
    """
    return max(10, epochs // 2) if pretraining == SMALL else max(5, epochs // 4)


def fine_tune_learning_rate(batch: int, pretraining: str = FULL) -> float:
    """Peak learning rate of the fine-tune phase: 1e-4 at a batch of 32, scaled with the square root of the batch.

    Ten times as much for the small built-in base, which has less pretraining to lose (see `unfrozen_blocks`), and a
    hundred times for the built-in text base, which has none. The square-root rule for Adam-like optimizers follows
    Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", NeurIPS 2022.
    """
    return _RATES[pretraining] * math.sqrt(batch / 32)


def unfrozen_blocks(blocks: int, pretraining: str = FULL, training_images: int = 1) -> int:
    """Number of blocks that the fine-tune phase unfreezes: the top sixth, rounded up.

    That is 3 of MobileNetV2's 17 and of ResNet50's 16, and the last of VGG16's 5. For the small built-in base it is the
    top half, or 0.7 of the blocks from 2,000 images on. On digits (one seed) its top 8 blocks at 1e-3 reached 0.994 on
    the test split, its top 3 at 1e-4 reached 0.949. On flower_photos, on the validation split (one seed, mixup 0.3, 8
    views except for the last): 8 blocks and 30 epochs 0.768; 12 blocks 0.786 in 20 epochs and 0.797 in 30; 14 blocks
    0.786 in 20, and 0.794 in 30 with 4 views. With 12 blocks and 20 epochs, half the learning rate reached 0.778, and
    mixup 0.1 or 4 views 0.786 again. Over three seeds these defaults reach 0.795 there, and 0.766 on the test split.
    """
    if pretraining in (VECTORS, ENCODER, UNTRAINED):
        return blocks
    if pretraining == SMALL:
        return blocks // 2 if training_images < _FEW else round(0.7 * blocks)
    return math.ceil(blocks / 6)


def views(training_images: int, pretraining: str = FULL) -> int:
    """Number of cached views of each training image: for about 6,000 images in all, at least 2 and at most 8.

    Each view costs a pass of the frozen part. On the 2,902 training photos of flower_photos (MobileNetV2, 10 + 10
    epochs, three seeds, label smoothing 0.1, no mixup) 2 views reached 0.919 on the test split and 4 views 0.918: there
    was no gain beyond two. Small datasets get more views because they cost little; that was not measured. The small
    built-in base gets at least 4, because more of it is trained, for longer, and a pass of it costs little; on
    flower_photos, 8 views reached no more than 4.
    """
    return max(4 if pretraining == SMALL else 2, min(8, round(6_000 / max(1, training_images))))


def sequence_length(lengths: Sequence[int], limit: int) -> int:
    """Tokens after which texts are cut: the 99th percentile of the training texts', in steps of 8, up to a limit.

    A step's time grows with the longest text that is read, not with the usual one.

    Args:
        lengths: Tokens of each training text.
        limit: What the encoder can read.
    """
    usual = sorted(lengths)[math.ceil(0.99 * len(lengths)) - 1]
    return min(limit, 8 * math.ceil(usual / 8))


def warmup_steps(steps: int, fraction: float) -> int:
    """Number of warm-up steps of a phase with `steps` steps: a fraction, but at least one unless the fraction is 0."""
    return min(steps, max(1, round(steps * fraction))) if fraction > 0 else 0
