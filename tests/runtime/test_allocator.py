import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")

# Prints the number of pages that eight buffers, one after another, have taken from the system.
PROGRAM = """if True:
    import resource, sys
    from kerasseg.pipelines.runtime import allocator

    size, keep = int(sys.argv[1]), sys.argv[2]
    if keep:
        allocator.keep_freed(getattr(allocator, keep))
    for index in range(9):
        if index == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        bytes(b"1") * size
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_taken(size, keep):
    command = [sys.executable, "-c", PROGRAM, str(size), keep]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize(("keep", "size"), [("FILES", 2**23), ("ARRAYS", 2**26)])
def test_a_buffer_that_was_freed_is_the_next_one(keep, size):
    assert pages_taken(size, keep) < pages_taken(size, "") / 8


def test_larger_buffers_than_asked_for_go_back_to_the_system():
    size = 2**26
    assert pages_taken(size, "FILES") >= 8 * size // 2**21  # as few as that with huge pages
