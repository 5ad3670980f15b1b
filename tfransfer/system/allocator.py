"""Let glibc keep the memory that TensorFlow frees between two operations.

glibc hands the large blocks of a training step back to the system and fetches them again, page by page, hundreds of
times a step. Growing its heaps in larger pieces avoids that, and fine-tune steps take less time. Other C libraries are
left alone.
"""

import ctypes
import sys

# mallopt's parameter for the bytes a heap grows beyond a request, and is not trimmed below (malloc.h).
_M_TOP_PAD = -2
_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Tell glibc to grow and keep its heaps in large pieces; False where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL("libc.so.6").mallopt(_M_TOP_PAD, _BYTES))
    except (OSError, AttributeError):  # another C library
        return False
