"""Leases of shards: several workers, on one machine or many, share the tracklets to add to a gallery.

A worker holds the lock of a shard's file while it embeds the shard. If the worker exits or dies, the kernel releases
the lock and another worker takes the shard. Tracklets embedded before are in the gallery already. On a shared file
system, locks must work across machines (NFS 4, Lustre with flock), as the gallery's own locks must.
"""

import hashlib
import random
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rgcn_jax.gallery.entry import Entry
from rgcn_jax.gallery.gallery import Gallery
from rgcn_jax.gallery.manifest import lock
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
    left = [range(start, min(start + size, len(entries))) for start in range(0, len(entries), size)]
    random.shuffle(left)  # reduces contention among workers that start together
    while left:
        held = [shard for shard in left if not _try(gallery, entries, folder / f"{shard.start:09}", shard, add)]
        if len(held) == len(left):
            time.sleep(WAIT_SECONDS)
        left = held
    shutil.rmtree(folder, ignore_errors=True)  # workers still waiting for a lease find all shards done


def _try(
    gallery: Gallery, entries: Sequence[Entry], lease: Path, shard: range, add: Callable[[Sequence[int]], None]
) -> bool:
    """Add the missing tracklets of a shard. Return False if another worker holds its lease."""

    def missing() -> list[int]:
        there = gallery.contains([entries[i] for i in shard])
        return [i for i, known in zip(shard, there, strict=True) if not known]

    if not missing():
        return True
    with ExitStack() as stack:
        with writing(lease):
            lease.parent.mkdir(parents=True, exist_ok=True)  # a worker that found all shards done may have removed it
            mine = stack.enter_context(lock(lease, wait=False))
        if mine and (todo := missing()):
            add(todo)
        return mine
