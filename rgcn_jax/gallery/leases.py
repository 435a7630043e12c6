"""Leases of shards: several workers, on one machine or many, share the tracklets that are to be added to a gallery.

A worker holds the lock of a shard's file while it embeds it. The kernel releases the lock however the worker ends, so
that another takes the shard; what was embedded of it already is in the gallery. On a shared file system its locks must
work across machines (NFS 4, Lustre with flock), as those of the gallery itself.
"""

import fcntl
import hashlib
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rgcn_jax.gallery.entry import Entry
from rgcn_jax.gallery.gallery import Gallery
from rgcn_jax.runtime.files import refuse_links, writing

LEASES_FOLDER = ".leases"
WAIT_SECONDS = 1.0
"""Between two looks at shards that others hold."""


def share(gallery: Gallery, entries: Sequence[Entry], size: int, add: Callable[[Sequence[int]], None]) -> None:
    """Adds tracklets together with other workers that were given the same ones; returns when all are in the gallery.

    Args:
      gallery: an embedded one.
      entries: all tracklets, the same for every worker.
      size: of a shard.
      add: embeds and adds some of them.

    Raises:
      InputError: the folder cannot be written, and what ``add`` raises.
    """
    names = hashlib.sha256("\n".join(f"{entry.source}\0{entry.tracklet}" for entry in entries).encode()).hexdigest()
    folder = gallery.folder / LEASES_FOLDER / f"{names[:16]}-{size}"
    refuse_links(gallery.folder, (LEASES_FOLDER,))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    left = list(range(0, len(entries), size))
    random.shuffle(left)  # workers that start together meet less often
    while left:
        held = [start for start in left if not _try(gallery, entries, folder, start, size, add)]
        if len(held) == len(left):
            time.sleep(WAIT_SECONDS)
        left = held
    shutil.rmtree(folder, ignore_errors=True)  # who still wants a lease finds that all is there


def _try(
    gallery: Gallery,
    entries: Sequence[Entry],
    folder: Path,
    start: int,
    size: int,
    add: Callable[[Sequence[int]], None],
) -> bool:
    """Whether a shard is in the gallery, possibly by this worker; False where another worker holds it."""
    shard = range(start, min(start + size, len(entries)))

    def missing() -> list[int]:
        there = gallery.contains([entries[i] for i in shard])
        return [i for i, known in zip(shard, there, strict=True) if not known]

    if not missing():
        return True
    with _lease(folder / f"{start:09}") as mine:
        if mine and (todo := missing()):
            add(todo)
        return mine


@contextmanager
def _lease(path: Path) -> Iterator[bool]:
    """Whether the lease of a shard is this worker's."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)  # a worker that found all there may have removed it
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
