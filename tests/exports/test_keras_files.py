"""A `.keras` file of any base loads and answers where tfransfer is not installed."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from tfransfer.base.build import build_base
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.training.model import assemble

STRANGER = """
import sys
sys.modules["tfransfer"] = None
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""
# One for each way of preprocessing, and those with layers that Keras Applications defines itself.
NAMES = [
    pytest.param("mobilenet", marks=pytest.mark.slow),
    pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
    *(
        pytest.param(n, marks=pytest.mark.long)
        for n in ("convnext_tiny", "densenet121", "efficientnet_b0", "inception_resnet_v2", "resnet50")
    ),
]


@pytest.mark.law
@pytest.mark.parametrize("name", NAMES)
def test_keras_file_needs_no_custom_objects(name, tmp_path):
    keras.backend.clear_session()
    size = 75 if name == "inception_resnet_v2" else 32
    model = assemble(build_base(name, size, "random"), 3, 0.2, CLASSIFICATION, 0).model
    pixels = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    np.save(tmp_path / "pixels.npy", pixels)
    model.save(tmp_path / "model.keras")
    words = [str(tmp_path / f) for f in ("model.keras", "pixels.npy", "answers.npy")]
    ran = subprocess.run([sys.executable, "-c", STRANGER, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), model(pixels, training=False), atol=1e-5)
