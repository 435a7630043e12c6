"""Workers that share the tracklets of a gallery: four processes of which one is killed while it holds a shard."""

import signal
import subprocess
import sys
import time

import numpy as np

from rgcn_jax.gallery import Gallery, Where
from rgcn_jax.gallery.leases import LEASES_FOLDER, share
from tests.commands import REPOSITORY
from tests.gallery.models import embeddings, entries, model, take

COUNT, SIZE = 200, 5
WORKER = f"""
import sys, time
from tests.gallery.models import *
from rgcn_jax.gallery import Gallery
from rgcn_jax.gallery.leases import share
gallery, found = Gallery.open(sys.argv[1], model()), embeddings({COUNT})
known = entries(found)
def add(todo):
    print("at", todo[0], flush=True)
    time.sleep(float(sys.argv[2]))
    gallery.add(take(found, todo), [known[i] for i in todo])
share(gallery, known, {SIZE}, add)
print("all there", gallery.count(), flush=True)
"""


def worker(folder, seconds):
    command = [sys.executable, "-c", WORKER, str(folder), str(seconds)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_four_workers_share_the_tracklets_and_the_shard_of_a_killed_one_is_taken_over(tmp_path):
    folder = tmp_path / "people"
    Gallery.open(folder, model())
    slow = worker(folder, 1000)  # holds its first shard until it is killed
    assert slow.stdout is not None
    held = int(slow.stdout.readline().split()[1])
    others = [worker(folder, 0.01) for _ in range(3)]
    gallery = Gallery.open(folder, model())
    while gallery.count() < COUNT - SIZE:  # they add all but that, and wait for it
        assert all(other.poll() is None for other in others)
        time.sleep(0.05)
    assert not any(gallery.contains(entries(embeddings(COUNT))[held : held + SIZE]))
    assert all(other.poll() is None for other in others)
    slow.send_signal(signal.SIGKILL)
    for other in others:
        printed, errors = other.communicate(timeout=120)
        assert other.returncode == 0, errors
        assert f"all there {COUNT}" in printed
    slow.communicate()
    assert slow.returncode == -signal.SIGKILL
    found = embeddings(COUNT)
    assert sorted(entry.tracklet for _, entry in gallery.entries()) == [e.tracklet for e in entries(found)]
    alone = Gallery.open(tmp_path / "alone", model())
    alone.add(found, entries(found))
    rows = {entry.tracklet: i for i, (_, entry) in enumerate(gallery.entries())}
    order = [rows[entry.tracklet] for _, entry in alone.entries()]
    np.testing.assert_array_equal(gallery._store.vectors(Where())[1][order], alone._store.vectors(Where())[1])
    assert list((folder / LEASES_FOLDER).iterdir()) == []


def test_a_worker_that_comes_late_adds_nothing(tmp_path):
    gallery, found, calls = Gallery.open(tmp_path / "people", model()), embeddings(12), []
    known = entries(found)
    gallery.add(take(found, slice(3, 8)), known[3:8])

    def add(todo):
        calls.append(list(todo))
        gallery.add(take(found, todo), [known[i] for i in todo])

    share(gallery, known, 5, add)
    assert sorted(calls) == [[0, 1, 2], [8, 9], [10, 11]]
    share(gallery, known, 5, add)
    assert len(calls) == 3
