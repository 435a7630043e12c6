"""Leases of shards: several workers, on one machine or many, share the tracklets to add to a gallery.

A worker holds the lock of a shard's file while it embeds the shard. If the worker exits or dies, the kernel releases
the lock and another worker takes the shard. Tracklets embedded before are in the gallery already. On a shared file
system, locks must work across machines (NFS 4, Lustre with flock), as the gallery's own locks must.
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
"""Pause before retrying shards held by other workers."""


def share(gallery: Gallery, entries: Sequence[Entry], size: int, add: Callable[[Sequence[int]], None]) -> None:
    """Add tracklets jointly with other workers that have the same list. Returns when all are in the gallery.

    Args:
      gallery: an embedded gallery.
      entries: all tracklets, the same for every worker.
      size: tracklets per shard.
      add: function that embeds and adds the tracklets at the given positions.

    Raises:
      InputError: the folder cannot be written, or ``add`` raises it.
    """
    names = hashlib.sha256("\n".join(f"{entry.source}\0{entry.tracklet}" for entry in entries).encode()).hexdigest()
    folder = gallery.folder / LEASES_FOLDER / f"{names[:16]}-{size}"
    refuse_links(gallery.folder, (LEASES_FOLDER,))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    left = list(range(0, len(entries), size))
    random.shuffle(left)  # reduces contention among workers that start together
    while left:
        held = [start for start in left if not _try(gallery, entries, folder, start, size, add)]
        if len(held) == len(left):
            time.sleep(WAIT_SECONDS)
        left = held
    shutil.rmtree(folder, ignore_errors=True)  # workers still waiting for a lease find all shards done


def _try(
    gallery: Gallery,
    entries: Sequence[Entry],
    folder: Path,
    start: int,
    size: int,
    add: Callable[[Sequence[int]], None],
) -> bool:
    """Add the missing tracklets of a shard if no other worker holds it.

    Returns:
      Whether the shard is in the gallery; False if another worker holds it.
    """
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
    """Try to take the lease of a shard; yields whether this worker holds it."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)  # may have been removed by a worker that found all shards done
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
