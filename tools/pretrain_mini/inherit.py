"""A narrow network's first weights, cut out of the same architecture at full width: its most telling channels.

Channels are ranked by what they add to the next layer: the scale of their BatchNormalization times the norm of the
weights that read them, as in H. Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, and Z. Liu et al.,
"Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017. Channels that residual connections tie
together are chosen together.
"""

import keras
import numpy as np

_BLOCKS = ("expanded_conv", *(f"block_{number}" for number in range(1, 17)))


def inherit(teacher: keras.Model, student: keras.Model) -> None:
    """Give a MobileNetV2 the weights of a wider one, in place.

    Args:
        teacher: MobileNetV2 without its top, any alpha.
        student: The same with a smaller alpha.
    """
    stem = _best(_scale(teacher, "bn_Conv1") * _reads(teacher, "expanded_conv_depthwise"), _width(student, "bn_Conv1"))
    _cut(teacher, student, "Conv1", None, stem)
    _cut_norm(teacher, student, "bn_Conv1", stem)
    kept = stem
    for stage in _stages(teacher):
        size = _width(student, f"{stage[0]}_project_BN")
        made = _best(sum(_worth_of_output(teacher, block) for block in stage), size)
        for block in stage:
            inner = _expansion(teacher, student, block, kept)
            _cut(teacher, student, f"{block}_depthwise", inner, None)
            _cut_norm(teacher, student, f"{block}_depthwise_BN", inner)
            _cut(teacher, student, f"{block}_project", inner, made)
            _cut_norm(teacher, student, f"{block}_project_BN", made)
            kept = made
    features = np.arange(_width(student, "Conv_1_bn"))
    _cut(teacher, student, "Conv_1", kept, features)
    _cut_norm(teacher, student, "Conv_1_bn", features)


def _stages(model: keras.Model) -> list[list[str]]:
    """Blocks whose outputs are added to one another."""
    made: list[list[str]] = []
    for block in _BLOCKS:
        if any(layer.name == f"{block}_add" for layer in model.layers):
            made[-1].append(block)
        else:
            made.append([block])
    return made


def _expansion(teacher: keras.Model, student: keras.Model, block: str, kept: np.ndarray) -> np.ndarray:
    """The channels between a block's expansion and its projection; the first block has no expansion of its own."""
    if block == "expanded_conv":
        return kept
    size = _width(student, f"{block}_expand_BN")
    inner = _best(_scale(teacher, f"{block}_depthwise_BN") * _reads(teacher, f"{block}_project"), size)
    _cut(teacher, student, f"{block}_expand", kept, inner)
    _cut_norm(teacher, student, f"{block}_expand_BN", inner)
    return inner


def _worth_of_output(model: keras.Model, block: str) -> np.ndarray:
    number = _BLOCKS.index(block) + 1
    reader = f"{_BLOCKS[number]}_expand" if number < len(_BLOCKS) else "Conv_1"
    return _scale(model, f"{block}_project_BN") * _reads(model, reader)


def _scale(model: keras.Model, norm: str) -> np.ndarray:
    return np.abs(np.asarray(model.get_layer(norm).gamma))


def _reads(model: keras.Model, layer: str) -> np.ndarray:
    """Norm of the weights that read each input channel of a convolution."""
    return np.sqrt((np.asarray(model.get_layer(layer).kernel) ** 2).sum(axis=(0, 1, 3)))


def _width(model: keras.Model, norm: str) -> int:
    return int(model.get_layer(norm).gamma.shape[0])


def _best(worth: np.ndarray, count: int) -> np.ndarray:
    return np.sort(np.argsort(-worth, kind="stable")[:count])


def _cut(
    teacher: keras.Model, student: keras.Model, name: str, read: np.ndarray | None, made: np.ndarray | None
) -> None:
    kernel = np.asarray(teacher.get_layer(name).kernel)
    kernel = kernel if read is None else kernel[:, :, read]
    student.get_layer(name).kernel.assign(kernel if made is None else kernel[..., made])


def _cut_norm(teacher: keras.Model, student: keras.Model, name: str, kept: np.ndarray) -> None:
    old, new = teacher.get_layer(name), student.get_layer(name)
    for part in ("gamma", "beta", "moving_mean", "moving_variance"):
        getattr(new, part).assign(np.asarray(getattr(old, part))[kept])
