"""Retain freed memory (glibc malloc) for the next array instead of returning it to the system.

Decoding clips, and training on a CPU, allocate the same large arrays repeatedly. glibc may return such memory on free,
and the system then maps it again page by page, filled with zeros. In some processes this took nearly half of the input
pipeline's time (docs/input-pipeline.md), and a quarter of a small training step (docs/performance.md).

Two settings are changed. Large arrays are allocated from the heap, which is never trimmed, instead of by mmap. And all
threads share one heap: those of other threads are limited to 64 MiB, but XLA allocates a training step's memory as one
block, which would still be mapped and returned. On machines with many cores, where threads would contend for the heap,
each keeps its own.
"""

import ctypes
import os
from collections.abc import Mapping

from rgcn_jax.runtime.cores import usable_cores

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8

FEW_CORES = 8
"""Maximum number of cores for which all threads share one heap."""


def retain_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Configure glibc malloc to retain freed memory; return whether anything was set, False for another C library.

    The process keeps its peak memory, and up to as much again due to fragmentation. Call it before other threads start,
    since each chooses its heap once. Existing settings in the environment take precedence (``MALLOC_...``, and
    ``GLIBC_TUNABLES`` with ``mmap_max``, ``mmap_threshold``, ``trim_threshold`` or ``arena_max``).
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    if any(name in tunables for name in ("mmap_max", "mmap_threshold", "trim_threshold", "arena_max")):
        return False
    if any(name.startswith("MALLOC_") for name in environment):
        return False
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError: on Windows
        return False
    if not hasattr(library, "gnu_get_libc_version"):  # another library's mallopt differs
        return False
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1} | ({_ARENA_MAX: 1} if usable_cores() <= FEW_CORES else {})
    return all([library.mallopt(setting, value) for setting, value in settings.items()])
