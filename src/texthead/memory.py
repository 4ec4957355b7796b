"""What a process does with memory that it has freed."""

import ctypes
import sys

# Parameters of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory(most: int = 1 << 30) -> bool:
    """Whether memory that is freed stays with this process, up to `most` bytes, instead of going back to the system.

    The activations of a batch are freed and asked for again at every step; out of new pages that costs a tenth to a
    third of the time of a step on a CPU (LOG.md). Results and the peak of memory are the same. It is for programs,
    before they compute: a library does not decide this for its process. Without glibc it does nothing.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, most) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
