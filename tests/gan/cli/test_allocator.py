import platform
import subprocess
import sys

import pytest

FAULTS_OF_THE_SECOND_BLOCK = """
import ctypes, resource
from gan.cli.machine import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]
if {keep}:
    keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(2**26)
    libc.memset(block, 1, 2**26)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_freed_memory_is_used_again():
    """What is mapped anew costs a page fault every 4 KiB, or every 2 MiB where pages are huge: 16,384 or 32 here."""

    def faults(keep: bool) -> int:
        script = FAULTS_OF_THE_SECOND_BLOCK.format(keep=keep)
        return int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout)

    assert faults(keep=True) < 8 < 32 <= faults(keep=False)
