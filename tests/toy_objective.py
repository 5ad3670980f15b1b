"""A toy objective with everything that an objective can have: a further stream and variables of its own."""

import keras
import numpy as np
import tensorflow as tf

from tfransfer.methods.objective import Objective


class Centred(Objective):
    """The supervised loss, and unlabeled examples' outputs drawn to a center that learns; counts these examples."""

    streams = examples = ("unlabeled",)

    def build(self, trained):
        self.trained = trained
        self.center = keras.Variable(np.zeros(trained.output_shape[1:], np.float32), name="center")
        self.seen = keras.Variable(0.0, trainable=False, aggregation="sum", name="seen")

    @property
    def variables(self):
        return [self.center, self.seen]

    def __call__(self, step):
        unlabeled = step.streams["unlabeled"]
        self.seen.value.assign_add(tf.cast(tf.shape(unlabeled)[0], tf.float32))
        distance = self.trained(unlabeled, training=True) - tf.nn.softmax(self.center.value)
        return self.loss(step.targets, step.outputs, step.weights, step.pieces) + tf.reduce_mean(distance**2)


def unlabeled(world):
    """From a phase and its batch size to a stream of noise pictures that follows from seed, phase, epoch and step."""
    size, share, examples = world.plan.image_size, world.devices.share, len(world.dataset.split("train"))

    def of(phase, batch):
        def stream(first_epoch, first_step):
            def pieces():
                for epoch in range(first_epoch, phase.epochs):
                    for step in range(first_step if epoch == first_epoch else 0, examples // batch):
                        random = np.random.default_rng([*phase.seed, epoch, step])
                        yield from share.of(random.integers(0, 256, (batch, size, size, 3)).astype(np.uint8))

            signature = tf.TensorSpec((share.piece(batch), size, size, 3), tf.uint8)
            return tf.data.Dataset.from_generator(pieces, output_signature=signature)

        return stream

    return of


def use(world):
    """Let a session minimize the toy objective; gives a list that the objectives of its phases are added to."""
    made = []

    def objective(phase, loss):
        made.append(Centred(loss))
        return made[-1]

    world.objectives, world.streams = objective, {"unlabeled": unlabeled(world)}
    return made
