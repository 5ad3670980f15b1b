"""Arrays of another range than [0, 255] are refused with how they are scaled back."""

import numpy as np
import pytest

from tfransfer.data.inputs import read_inputs
from tfransfer.data.sources.arrays import open_arrays
from tfransfer.errors import DataError

CASES = [
    (np.linspace(0, 1, 48), "Multiply by 255"),
    (np.linspace(-1, 1, 48), r"add 1 and multiply by 127\.5"),
    (np.linspace(0, 65535, 48).astype(np.uint16), "Divide by 257 if its pixels have 16 bits"),
    (np.linspace(0, 4095, 48).astype(np.uint16), "scale its own maximum to 255"),
    (np.linspace(0, 1e6, 48), "Scale its own maximum to 255"),
    (np.linspace(-2.1, 2.6, 48), "standardized"),
    (np.full(48, np.nan), "not a number"),
]


@pytest.mark.parametrize(("values", "message"), CASES)
def test_the_remedy_is_that_of_the_range(values, message):
    picture = values.reshape(4, 4, 3)
    with pytest.raises(DataError, match=message) as refused:
        list(read_inputs(picture, 8))
    assert message.startswith("Mult") or "Multiply by 255" not in str(refused.value)
    with pytest.raises(DataError, match=message):
        open_arrays([picture, picture], [0, 1])
