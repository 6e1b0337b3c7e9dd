"""Memory that stays with the process: a training asks for blocks of the same sizes in every step."""

import ctypes
import os
import platform

# Parameters of glibc's mallopt(3), and values: what is smaller than the largest comes from the heap, not from mmap; the
# heap shrinks only when so much is free at its end; it grows by so much at a time.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _TOP_PAD = -1, -3, -2
_LARGEST, _GROWTH = 2**31 - 1, 2**26


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next step.

    Its own choice is to give blocks of some megabytes back at once, and to have them mapped and cleared anew, page
    by page, when the next layer asks: 5 to 15 % of a step on a CPU. In return the process never shrinks again.
    Where another C library is at work, or `MALLOC_...` variables of the environment choose, nothing is done.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    libc = ctypes.CDLL(None)
    for parameter, value in (_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _GROWTH):
        libc.mallopt(parameter, value)
