"""Small reusable SavedModels, as TF-Hub publishes them, written here because the tests have no network."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

SIZE = 8
WORDS = ("good", "bad", "film", "book")


class _Pictures(tf.Module):
    """Three blocks of convolution and BatchNorm: pictures in [0, 1] to 6 features."""

    def __init__(self, trainable=True):
        super().__init__()
        chance = np.random.default_rng(0)
        self.blocks = []
        for scope, channels, filters in (
            ("stem", 3, 4),
            ("block_1_conv", 4, 4),
            ("block_2_conv", 4, 4),
            ("Conv_1", 4, 6),
        ):
            values = {
                "kernel": chance.normal(0, 0.5, (3, 3, channels, filters)),
                "gamma": chance.uniform(0.5, 1.5, filters),
                "beta": chance.uniform(0, 0.2, filters),
                "moving_mean": np.zeros(filters),
                "moving_variance": np.ones(filters),
            }
            self.blocks.append({part: self._variable(scope, part, value) for part, value in values.items()})
        self.all = [variable for block in self.blocks for variable in block.values()]
        self.trained = [v for v in self.all if "moving" not in v.name] if trainable else []
        kernel = self.blocks[-1]["kernel"]
        self.regularization_losses = [tf.function(lambda: 0.01 * tf.reduce_sum(kernel**2), input_signature=[])]

    @staticmethod
    def _variable(scope, part, value):
        name = f"{scope}/{part}" if part == "kernel" else f"{scope}_bn/{part}"
        return tf.Variable(value.astype("float32"), name=name, trainable="moving" not in part)

    @tf.function
    def __call__(self, inputs, training=False):
        x = inputs
        for block in self.blocks:
            x = tf.nn.conv2d(x, block["kernel"], 1, "SAME")
            mean, variance = block["moving_mean"], block["moving_variance"]
            if training:
                mean, variance = tf.nn.moments(x, [0, 1, 2])
                for moving, now in ((block["moving_mean"], mean), (block["moving_variance"], variance)):
                    moving.assign(moving * 0.9 + now * 0.1)
            x = tf.nn.relu(tf.nn.batch_normalization(x, mean, variance, block["beta"], block["gamma"], 1e-3))
        return tf.reduce_mean(x, [1, 2])


def _save(module, folder: Path, spec: tf.TensorSpec) -> Path:
    for training in (False, True):
        module.__call__.get_concrete_function(spec, training=training)
    tf.saved_model.save(module, str(folder))
    return folder


def write_pictures(folder: Path, trainable: bool = True, size: int | None = SIZE) -> Path:
    """Pictures (batch, size, size, 3) in [0, 1] to 6 features; block-numbered names, BatchNorm with statistics."""
    return _save(_reusable(_Pictures(trainable)), folder, tf.TensorSpec((None, size, size, 3), name="inputs"))


def bare():
    """An object that tf.saved_model.save takes, with nothing in it."""
    return tf.__internal__.tracking.AutoTrackable()


def _reusable(module):
    """A module with the lists that TF-Hub's format wants, which tf.Module has as properties that are not saved."""
    outer = bare()
    outer.variables, outer.trainable_variables = module.all, module.trained
    outer.regularization_losses = getattr(module, "regularization_losses", [])
    outer.inner = module
    outer.__call__ = module.__call__
    return outer


def write_by_tf_keras(folder: Path) -> Path:
    """The same kind of module, as Keras 2 (tf_keras) saves a model."""
    import tf_keras

    model = tf_keras.Sequential(
        [
            tf_keras.layers.Input((SIZE, SIZE, 3)),
            tf_keras.layers.Conv2D(4, 3, name="block1_conv", kernel_regularizer=tf_keras.regularizers.L2(0.1)),
            tf_keras.layers.BatchNormalization(name="block1_bn"),
            tf_keras.layers.Conv2D(5, 3, name="block2_conv"),
            tf_keras.layers.Dropout(0.5),
            tf_keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.save(str(folder), save_format="tf")
    return folder


def write_texts_by_tf_keras(folder: Path) -> Path:
    """Texts (batch,) to the mean of their words' vectors, by Keras 2's TextVectorization, whose table is a resource."""
    import tf_keras

    words = tf_keras.layers.TextVectorization(vocabulary=list(WORDS))
    model = tf_keras.Sequential(
        [
            tf_keras.layers.Input((), dtype=tf.string),
            words,
            tf_keras.layers.Embedding(words.vocabulary_size(), 5, mask_zero=True, name="embedding"),
            tf_keras.layers.GlobalAveragePooling1D(),
        ]
    )
    model.save(str(folder), save_format="tf")
    return folder


class _Network(tf.Module):
    def __init__(self, model, in_half):
        super().__init__()
        self.model, self.in_half = model, in_half
        self.all, self.trained = [], []
        for layer in model.layers:
            for weight in layer.weights:
                # Published modules name variables by layer, Keras 3 calls them all "kernel".
                variable = tf.Variable(weight.value, name=f"{layer.name}/{weight.name}", trainable=weight.trainable)
                weight._value = variable
                self.all.append(variable)
                self.trained += [variable] if weight.trainable else []

    @tf.function
    def __call__(self, inputs, training=False):
        return self.model(inputs * 2 - 1 if self.in_half else inputs, training=training)


def write_network(model: keras.Model, folder: Path, rescale: bool = True) -> Path:
    """A Keras 3 model as TF-Hub would publish it; its weights belong to the module afterwards.

    Args:
        model: From pictures to features.
        folder: To write.
        rescale: Whether the module takes [0, 1] where the model takes [-1, 1].
    """
    spec = tf.TensorSpec((None, *model.input_shape[1:]), name="inputs")
    return _save(_reusable(_Network(model, rescale)), folder, spec)


def write_mobilenet_by_tf_keras(model: keras.Model, folder: Path) -> Path:
    """A pooled MobileNetV2 of Keras 3 as a module that takes [0, 1], as Keras 2 (tf_keras) saves it."""
    import tf_keras

    shape = model.input_shape[1:]
    network = tf_keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=shape, pooling="avg")
    network.set_weights(model.get_weights())
    start = tf_keras.Input(shape)
    published = tf_keras.Model(start, network(tf_keras.layers.Rescaling(2.0, offset=-1.0)(start)))
    published.save(str(folder), save_format="tf")
    return folder


class _Texts(tf.Module):
    def __init__(self, vocabulary: Path, values):
        super().__init__()
        self.table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            1,
        )
        self.embedding = tf.Variable(values, name="embedding/table")
        self.all = self.trained = [self.embedding]

    @tf.function
    def __call__(self, texts, training=False):
        words = tf.strings.split(texts)
        vectors = tf.gather(self.embedding, self.table.lookup(words.flat_values))
        return {"default": tf.math.segment_mean(vectors, words.value_rowids())}


def write_texts(folder: Path, words=WORDS, values=None) -> Path:
    """Texts (batch,) to the mean of their words' vectors, which a vocabulary file numbers.

    Args:
        folder: To write.
        words: The vocabulary.
        values: The vectors, float32 (words + 1, n), the last one for unknown words; None draws 5-vectors.
    """
    if values is None:
        values = np.random.default_rng(0).normal(size=(len(words) + 1, 5)).astype("float32")
    vocabulary = folder.parent / f"{folder.name}_vocabulary.txt"
    vocabulary.write_text("\n".join(words) + "\n")
    return _save(_reusable(_Texts(vocabulary, values)), folder, tf.TensorSpec((None,), tf.string, name="texts"))


def write_signatures(folder: Path, **signatures) -> Path:
    """A SavedModel that cannot be called and has a signature only: pictures to 6 features.

    Args:
        folder: To write.
        **signatures: From name to output's key; one, "default" with the output "default", where none is given.
    """
    pictures, outer = _Pictures(), tf.Module()
    outer.inner = pictures.all
    spec = tf.TensorSpec((None, SIZE, SIZE, 3), name="images")

    def signature(key):
        return tf.function(lambda images: {key: pictures(images)}, input_signature=[spec])

    named = {name: signature(key) for name, key in (signatures or {"default": "default"}).items()}
    tf.saved_model.save(outer, str(folder), signatures=named)
    return folder
