"""Memory that a process has freed is not asked of the system again, in processes of their own."""

import os
import platform
import subprocess
import sys

import pytest

# How many pages the system handed out for 20 arrays of 16 MiB, of which one lives at a time; after one more to start.
PAGES = """
import resource, sys
from rgcn_jax.runtime.malloc import retain_freed_memory
if sys.argv[1] == "keep":
    print(retain_freed_memory(), end=" ")
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(2**24)
before = faults()
for _ in range(20):
    bytearray(2**24)
print(faults() - before)
"""
CLEAN = {n: v for n, v in os.environ.items() if n != "GLIBC_TUNABLES" and not n.startswith("MALLOC_")}

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")


def reported(how, **environment):
    run = subprocess.run(
        [sys.executable, "-c", PAGES, how], env=CLEAN | environment, capture_output=True, text=True, check=True
    )
    return run.stdout.split()


def test_freed_arrays_are_used_again():
    kept, pages = reported("keep")
    assert kept == "True"
    assert int(pages) < 100
    # glibc keeps an array of up to 32 MiB once it has seen its size; a fixed threshold switches that off.
    (pages,) = reported("leave", MALLOC_MMAP_THRESHOLD_="131072")
    assert int(pages) > 5000


@pytest.mark.parametrize(
    "environment",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=1000"},
        {"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"},
    ],
)
def test_settings_of_the_environment_go_first(environment):
    assert reported("keep", **environment)[0] == "False"


IN_A_THREAD = """
import os, resource, threading
from rgcn_jax.runtime import malloc
malloc.FEW_CORES = {few}
assert malloc.retain_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    bytearray(2**27)
    before = faults()
    for _ in range(5):
        bytearray(2**27)
    print(faults() - before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(("few", "used_again"), [(2**20, True), (0, False)])
def test_arrays_of_another_thread_are_used_again_on_few_cores(few, used_again):
    """128 MiB at a time, more than the heap of a thread can hold."""
    run = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD.format(few=few)], env=CLEAN, capture_output=True, text=True, check=True
    )
    assert (int(run.stdout) < 100) == used_again


def test_huge_pages_are_no_such_setting():
    assert reported("keep", GLIBC_TUNABLES="glibc.malloc.hugetlb=1")[0] == "True"
