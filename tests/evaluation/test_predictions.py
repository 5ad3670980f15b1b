"""What a model is asked, and how."""

import gc
import weakref

import numpy as np
from small_world import SIZE, tiny_model

from tfransfer.evaluation.predictions import inference, predict_inputs

PICTURES = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)


def test_answers_are_of_the_weights_that_the_model_has_now():
    model = tiny_model()
    predict_inputs(model, PICTURES)
    model.set_weights([weight + 0.5 for weight in model.get_weights()])
    expected = model(PICTURES.astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(predict_inputs(model, PICTURES, batch=2), expected, rtol=1e-5)


def test_asking_does_not_keep_a_model_alive():
    model = tiny_model()
    inference(model)(PICTURES)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
