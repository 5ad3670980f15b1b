"""Say what is wrong with arrays whose pixels are not in [0, 255], and how they are scaled back."""

import math

from tfransfer.errors import DataError

_BYTE, _SHORT = 255, 65535


def pixel_range_error(low: float, high: float) -> DataError:
    """The error for an array of pixels, with what to do by its range.

    Args:
        low: Its lowest value.
        high: Its highest value.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        remedy = "Replace what is not a number, or leave these pictures out."
    elif low >= 0 and high <= 1:
        remedy = "Multiply by 255 if it was scaled to [0, 1]."
    elif low >= -1 and high <= 1:
        remedy = "If it was scaled to [-1, 1], add 1 and multiply by 127.5."
    elif low >= 0 and high <= _SHORT:
        remedy = f"Divide by {_SHORT // _BYTE} if its pixels have 16 bits; otherwise scale its own maximum to 255."
    elif low < 0:
        remedy = "If it was standardized, multiply by the standard deviation and add the mean; give pixels as they are."
    else:
        remedy = "Scale its own maximum to 255."
    return DataError(f"pixels are expected in [0, 255]; this array holds {low:g} to {high:g}. {remedy}")
