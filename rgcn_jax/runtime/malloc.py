"""Retain freed memory (glibc malloc) for the next array instead of returning it to the system.

Every clip that is decoded needs the same large arrays again, and so does every training step on a CPU. The C library
may return memory of this size as soon as it is freed; the system then hands it out anew page by page, each filled with
zeros. In some processes that took nearly half of the input pipeline's time (docs/input-pipeline.md), and of a small
training step a quarter (docs/performance.md).

Two things are set. Large arrays come from the heap, which is never trimmed, instead of from mappings of their own. And
all threads share one heap: those of the other threads hold arrays of up to 64 MiB only, and a training step's, which
XLA allocates as one, would be mapped and returned all the same. On a machine of many cores, where threads would wait
for each other, each keeps its own heap.
"""

import ctypes
import os
from collections.abc import Mapping

from rgcn_jax.runtime.cores import usable_cores

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8

FEW_CORES = 8
"""On so many cores or fewer all threads share one heap."""


def retain_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Configures glibc malloc to retain freed memory: the process keeps the most that it needed at once, and up to as
    much again where a small array lies in the place of a large one.

    Call it before other threads start, since each chooses its heap once. Settings of the environment for the same go
    first (variables ``MALLOC_...``, and ``GLIBC_TUNABLES`` with ``mmap_max``, ``mmap_threshold``, ``trim_threshold`` or
    ``arena_max`` in it).

    Returns:
      Whether anything was set; False where the C library is not glibc.
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    if any(name in tunables for name in ("mmap_max", "mmap_threshold", "trim_threshold", "arena_max")):
        return False
    if any(name.startswith("MALLOC_") for name in environment):
        return False
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError: Windows has no library of the whole process
        return False
    if not hasattr(library, "gnu_get_libc_version"):  # what others call mallopt does something else
        return False
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1} | ({_ARENA_MAX: 1} if usable_cores() <= FEW_CORES else {})
    return all([library.mallopt(setting, value) for setting, value in settings.items()])
