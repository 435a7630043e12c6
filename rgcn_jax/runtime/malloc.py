"""Retain freed memory (glibc malloc) for the next array instead of returning it to the system.

Every clip that is decoded needs the same large arrays again. The C library may give memory of this size back as soon as
it is freed; the system then hands it out anew page by page, each filled with zeros. In some processes that took nearly
half of the input pipeline's time, in others hardly any (docs/input-pipeline.md).
"""

import ctypes
import os
from collections.abc import Mapping

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def retain_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Configures glibc malloc to retain freed memory: the process keeps the most that it needed at once.

    Settings of the environment for the same go first (variables ``MALLOC_...``, and ``GLIBC_TUNABLES`` with
    ``mmap_max``, ``mmap_threshold`` or ``trim_threshold`` in it). Arrays of over 64 MiB that are made by another thread
    than the first, such as those of a training step on the CPU, are still returned; for these docs/performance.md names
    a setting that has to be there before the process starts.

    Returns:
      Whether anything was set; False where the C library is not glibc.
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    if any(name in tunables for name in ("mmap_max", "mmap_threshold", "trim_threshold")):
        return False
    if any(name.startswith("MALLOC_") for name in environment):
        return False
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError: Windows has no library of the whole process
        return False
    if not hasattr(library, "gnu_get_libc_version"):  # what others call mallopt does something else
        return False
    return all([library.mallopt(_MMAP_MAX, 0), library.mallopt(_TRIM_THRESHOLD, -1)])
