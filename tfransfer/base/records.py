"""One record per pretrained base: what is known without building it. Imports no TensorFlow."""

import difflib
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from tfransfer.errors import SettingError

Preprocessing = Literal["none", "tf", "torch", "caffe"]
# Image side in pixels if neither the user nor the base sets one; most ImageNet training uses it.
DEFAULT_SIZE = 224

_GOOGLE = "https://storage.googleapis.com/"
_TENSORFLOW = _GOOGLE + "tensorflow/keras-applications/"


@dataclass(frozen=True)
class Family:
    """Properties shared by one architecture family.

    Attributes:
        module: Module of `keras.applications` with the family's `preprocess_input`.
        preprocessing: How [0, 255] pixels are preprocessed: "tf" is [-1, 1], "torch" ImageNet's mean and deviation,
            "caffe" BGR minus ImageNet's mean, "none" means that the base rescales internally.
        smallest: Smallest side in pixels that Keras accepts.
        block: Regular expression for layer names, with the block's name as its group.
        weights_folder: URL that Keras downloads from.
        closing: Layers after the last block, which are unfrozen with it; empty if there are none.
        clean: Whether a single tensor crosses every block boundary.
        weights_sizes: Image sizes with weights of their own; empty if one file serves all sizes.
    """

    module: str
    preprocessing: Preprocessing
    smallest: int
    block: str
    weights_folder: str
    closing: str = ""
    _: KW_ONLY
    clean: bool = True
    weights_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Base:
    """One pretrained base.

    Attributes:
        name: The name that users pass.
        builder: Its function in `keras.applications`.
        family: Its architecture family.
        image_size: Default side of the input in pixels, as in its ImageNet training.
        features: Channels of its last feature map, which is the width of the pooled features.
        parameters: Number of weights without the classification top.
        weights_file: File name of Keras's ImageNet weights without the top.
        remote_file: File name on the server, if it differs.
        alpha: Width multiplier of its layers, if the builder takes one.
        built_in: Whether its weights come with tfransfer; `weights_file` is then one of its assets.
    """

    name: str
    builder: str
    family: Family
    image_size: int
    features: int
    parameters: int
    weights_file: str
    remote_file: str = ""
    alpha: float | None = None
    built_in: bool = False

    def weights_file_at(self, image_size: int) -> str:
        """Name of the weights file that Keras uses for an image size."""
        if image_size in self.family.weights_sizes:
            return self.weights_file.replace(f"_{self.image_size}_", f"_{image_size}_")
        return self.weights_file

    def weights_url_at(self, image_size: int) -> str:
        """URL that Keras downloads that file from."""
        return self.family.weights_folder + (self.remote_file or self.weights_file_at(image_size))


_CONVNEXT = Family(
    "convnext", "none", 32, r".*_(stage_\d+_block_\d+)_", _TENSORFLOW + "convnext/", "layer_normalization"
)
_DENSENET = Family("densenet", "torch", 32, r"(conv\d_block\d+)_", _TENSORFLOW + "densenet/", "bn, relu")
_EFFICIENTNET = Family(
    "efficientnet", "none", 32, r"(block\d+[^_]+)_", _GOOGLE + "keras-applications/", "top_conv, top_bn"
)
_EFFICIENTNET_V2 = Family(
    "efficientnet_v2", "none", 32, r"(block\d+[^_]+)_", _TENSORFLOW + "efficientnet_v2/", "top_conv, top_bn"
)
_INCEPTION_RESNET = Family(
    "inception_resnet_v2",
    "tf",
    75,
    r"(mixed_\d\w|block\d+_\d+)(?:_|$)",
    _TENSORFLOW + "inception_resnet_v2/",
    "conv_7b, conv_7b_bn",
)
_INCEPTION = Family("inception_v3", "tf", 75, r"(mixed\d+)$", _TENSORFLOW + "inception_v3/")
_MOBILENET = Family(
    "mobilenet", "tf", 32, r"conv_(?:pad_|dw_|pw_)(\d+)", _TENSORFLOW + "mobilenet/", weights_sizes=(128, 160, 192, 224)
)
_MOBILENET_V2 = Family(
    "mobilenet_v2",
    "tf",
    32,
    r"(expanded_conv|block_\d+)_",
    _TENSORFLOW + "mobilenet_v2/",
    "Conv_1, Conv_1_bn",
    weights_sizes=(96, 128, 160, 192, 224),
)
_MOBILENET_V3 = Family(
    "mobilenet_v3", "none", 32, r"(expanded_conv(?:_\d+)?)_", _TENSORFLOW + "mobilenet_v3/", "conv_1, conv_1_bn"
)
_NASNET = Family("nasnet", "tf", 32, r"(?:normal|reduction)_concat_(.+)$", _TENSORFLOW + "nasnet/", clean=False)
_RESNET = Family("resnet", "caffe", 32, r"(conv\d_block\d+)_", _TENSORFLOW + "resnet/")
_RESNET_V2 = Family("resnet_v2", "tf", 32, r"(conv\d_block\d+)_", _TENSORFLOW + "resnet/", "post_bn, post_relu")
_VGG16 = Family("vgg16", "caffe", 32, r"(block\d)_", _TENSORFLOW + "vgg16/")
_VGG19 = Family("vgg19", "caffe", 32, r"(block\d)_", _TENSORFLOW + "vgg19/")
_XCEPTION = Family("xception", "tf", 71, r"(block\d+)_", _TENSORFLOW + "xception/")

_KERNELS = "_weights_tf_dim_ordering_tf_kernels_notop.h5"

_TABLE: tuple[Base, ...] = (
    Base("convnext_base", "ConvNeXtBase", _CONVNEXT, 224, 1024, 87_566_464, "convnext_base_notop.h5"),
    Base("convnext_large", "ConvNeXtLarge", _CONVNEXT, 224, 1536, 196_230_336, "convnext_large_notop.h5"),
    Base("convnext_small", "ConvNeXtSmall", _CONVNEXT, 224, 768, 49_454_688, "convnext_small_notop.h5"),
    Base("convnext_tiny", "ConvNeXtTiny", _CONVNEXT, 224, 768, 27_820_128, "convnext_tiny_notop.h5"),
    Base("convnext_xlarge", "ConvNeXtXLarge", _CONVNEXT, 224, 2048, 348_147_968, "convnext_xlarge_notop.h5"),
    Base("densenet121", "DenseNet121", _DENSENET, 224, 1024, 7_037_504, "densenet121" + _KERNELS),
    Base("densenet169", "DenseNet169", _DENSENET, 224, 1664, 12_642_880, "densenet169" + _KERNELS),
    Base("densenet201", "DenseNet201", _DENSENET, 224, 1920, 18_321_984, "densenet201" + _KERNELS),
    Base("efficientnet_b0", "EfficientNetB0", _EFFICIENTNET, 224, 1280, 4_049_571, "efficientnetb0_notop.h5"),
    Base("efficientnet_b1", "EfficientNetB1", _EFFICIENTNET, 240, 1280, 6_575_239, "efficientnetb1_notop.h5"),
    Base("efficientnet_b2", "EfficientNetB2", _EFFICIENTNET, 260, 1408, 7_768_569, "efficientnetb2_notop.h5"),
    Base("efficientnet_b3", "EfficientNetB3", _EFFICIENTNET, 300, 1536, 10_783_535, "efficientnetb3_notop.h5"),
    Base("efficientnet_b4", "EfficientNetB4", _EFFICIENTNET, 380, 1792, 17_673_823, "efficientnetb4_notop.h5"),
    Base("efficientnet_b5", "EfficientNetB5", _EFFICIENTNET, 456, 2048, 28_513_527, "efficientnetb5_notop.h5"),
    Base("efficientnet_b6", "EfficientNetB6", _EFFICIENTNET, 528, 2304, 40_960_143, "efficientnetb6_notop.h5"),
    Base("efficientnet_b7", "EfficientNetB7", _EFFICIENTNET, 600, 2560, 64_097_687, "efficientnetb7_notop.h5"),
    Base(
        "efficientnet_v2_b0", "EfficientNetV2B0", _EFFICIENTNET_V2, 224, 1280, 5_919_312, "efficientnetv2-b0_notop.h5"
    ),
    Base(
        "efficientnet_v2_b1", "EfficientNetV2B1", _EFFICIENTNET_V2, 240, 1280, 6_931_124, "efficientnetv2-b1_notop.h5"
    ),
    Base(
        "efficientnet_v2_b2", "EfficientNetV2B2", _EFFICIENTNET_V2, 260, 1408, 8_769_374, "efficientnetv2-b2_notop.h5"
    ),
    Base(
        "efficientnet_v2_b3", "EfficientNetV2B3", _EFFICIENTNET_V2, 300, 1536, 12_930_622, "efficientnetv2-b3_notop.h5"
    ),
    Base("efficientnet_v2_l", "EfficientNetV2L", _EFFICIENTNET_V2, 480, 1280, 117_746_848, "efficientnetv2-l_notop.h5"),
    Base("efficientnet_v2_m", "EfficientNetV2M", _EFFICIENTNET_V2, 480, 1280, 53_150_388, "efficientnetv2-m_notop.h5"),
    Base("efficientnet_v2_s", "EfficientNetV2S", _EFFICIENTNET_V2, 384, 1280, 20_331_360, "efficientnetv2-s_notop.h5"),
    Base(
        "inception_resnet_v2",
        "InceptionResNetV2",
        _INCEPTION_RESNET,
        299,
        1536,
        54_336_736,
        "inception_resnet_v2" + _KERNELS,
    ),
    Base("inception_v3", "InceptionV3", _INCEPTION, 299, 2048, 21_802_784, "inception_v3" + _KERNELS),
    Base("mini", "MobileNetV2", _MOBILENET_V2, 96, 1280, 410_208, "mini.npz", alpha=0.35, built_in=True),
    Base("mobilenet", "MobileNet", _MOBILENET, 224, 1024, 3_228_864, "mobilenet_1_0_224_tf_no_top.h5"),
    Base(
        "mobilenet_v2",
        "MobileNetV2",
        _MOBILENET_V2,
        224,
        1280,
        2_257_984,
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
    Base(
        "mobilenet_v3_large",
        "MobileNetV3Large",
        _MOBILENET_V3,
        224,
        960,
        2_996_352,
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
    ),
    Base(
        "mobilenet_v3_small",
        "MobileNetV3Small",
        _MOBILENET_V3,
        224,
        576,
        939_120,
        "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    ),
    Base(
        "nasnet_large",
        "NASNetLarge",
        _NASNET,
        331,
        4032,
        84_916_818,
        "nasnet_large_no_top.h5",
        "NASNet-large-no-top.h5",
    ),
    Base(
        "nasnet_mobile",
        "NASNetMobile",
        _NASNET,
        224,
        1056,
        4_269_716,
        "nasnet_mobile_no_top.h5",
        "NASNet-mobile-no-top.h5",
    ),
    Base("resnet101", "ResNet101", _RESNET, 224, 2048, 42_658_176, "resnet101" + _KERNELS),
    Base("resnet101_v2", "ResNet101V2", _RESNET_V2, 224, 2048, 42_626_560, "resnet101v2" + _KERNELS),
    Base("resnet152", "ResNet152", _RESNET, 224, 2048, 58_370_944, "resnet152" + _KERNELS),
    Base("resnet152_v2", "ResNet152V2", _RESNET_V2, 224, 2048, 58_331_648, "resnet152v2" + _KERNELS),
    Base("resnet50", "ResNet50", _RESNET, 224, 2048, 23_587_712, "resnet50" + _KERNELS),
    Base("resnet50_v2", "ResNet50V2", _RESNET_V2, 224, 2048, 23_564_800, "resnet50v2" + _KERNELS),
    Base("vgg16", "VGG16", _VGG16, 224, 512, 14_714_688, "vgg16" + _KERNELS),
    Base("vgg19", "VGG19", _VGG19, 224, 512, 20_024_384, "vgg19" + _KERNELS),
    Base("xception", "Xception", _XCEPTION, 299, 2048, 20_861_480, "xception" + _KERNELS),
)

DEFAULT, BUILT_IN = "mobilenet_v2", "mini"
# The built-in text bases, which are not part of Keras Applications; see `words` and `ngrams`.
WORDS, WORD_COUNT, WORD_FEATURES, WORD_PIECES = "words", 32_000, 114, 1 << 14
NGRAMS, NGRAM_BUCKETS, NGRAM_FEATURES = "ngrams", 1 << 16, 64
TEXT_BASES = (WORDS, NGRAMS)
BASES: dict[str, Base] = {base.name: base for base in _TABLE}


def require_size(base: Base, image_size: int) -> None:
    """Check that a base accepts an image size.

    Raises:
        SettingError: It is below the base's smallest.
    """
    if image_size < base.family.smallest:
        raise SettingError(
            f"image size {image_size} is below the smallest that {base.name} takes, {base.family.smallest} pixels; "
            f"its default is {base.image_size}."
        )


def find_base(name: str) -> Base:
    """The record of a base.

    Raises:
        SettingError: No base has this name; the message suggests the closest one.
    """
    if name in BASES:
        return BASES[name]
    close = difflib.get_close_matches(name.lower().replace("-", "_"), [*BASES, *TEXT_BASES], n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else "`tfransfer bases` lists them."
    raise SettingError(f"unknown base {name!r}: {hint}")
