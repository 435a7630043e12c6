"""A gallery of somebody else's, requests and uploads: read, or refused by an ``InputError``, and nothing else."""

import json
import zipfile
import zlib
from typing import Any

import numpy as np

from rgcn_jax.gallery import Gallery, Where
from rgcn_jax.gallery import audit as audit_log
from rgcn_jax.gallery.entry import EVERYTHING
from rgcn_jax.gallery.flags import time_text
from rgcn_jax.gallery.manifest import MANIFEST
from rgcn_jax.gallery.milvus import MilvusStore
from rgcn_jax.gallery.server.requests import box_of, conditions, marks_of, search_request
from rgcn_jax.gallery.server.uploads import File, read_crops, read_keypoints
from tests.fuzzing import (
    damaged_files_test,
    refused_or_read,
    spoilt_arrays,
    spoilt_bytes,
    spoilt_json,
    spoilt_lines,
    spoilt_value,
)
from tests.gallery import models


def spoilt_manifest(content, rng):
    """With the checksum of what it says: whoever hands over a gallery can write one."""
    found = spoilt_value(json.loads(content), rng)
    if isinstance(found, dict):
        found.pop("checksum", None)
        found["checksum"] = zlib.crc32(json.dumps(found, sort_keys=True).encode())
    return json.dumps(found).encode()


def gallery(folder):
    model = models.model()
    found = models.embeddings(6)
    Gallery.open(folder / "people", model).add(found, models.entries(found))

    def read():
        opened = Gallery.open(folder / "people", model)
        opened.check()
        for _, entry in opened.entries(EVERYTHING):
            time_text(entry.start)
        opened.search(found, 2)
        before = opened.count()
        opened.add(models.take(found, [0]), [models.entries(found, "new")[0]])
        opened.remove(Where(sources=["new"]))
        assert Gallery.open(folder / "people", model).count() == before

    return folder / "people" / MANIFEST, read


def segment(folder):
    _, read = gallery(folder)
    return folder / "people" / "00000001.entries", read


def log(folder):
    for found in ([1, 2], [3]):
        audit_log.record(folder, {"action": "search", "query": {"entry": 1}, "found": found})

    def read():
        audit_log.record(folder, {"action": "search", "query": {"upload": "a"}, "found": [2]})
        audit_log.forget(folder, [2])

    return folder / "audit.jsonl", read


class OneRow:
    """A client of Milvus that has one row of text."""

    def __init__(self, file):
        self.file = file

    def query(self, *_, **__):
        return [{"id": -3, "text": self.file.read_bytes().decode("utf-8", "replace")}]


def milvus(folder):
    binding = {"model": "a", "settings": {}, "widths": [6, 4]}
    about = {"format": "rgcn_jax gallery", "version": 1, "index": "FLAT", "binding": binding, "last": 4}
    (folder / "row").write_text(json.dumps(about))
    store: Any = object.__new__(MilvusStore)
    store._client, store._names = OneRow(folder / "row"), ("a", "b")

    def read():
        generation, last = store._last()
        assert generation == 3
        assert 0 <= last < 2**62
        assert sum(store._about["binding"]["widths"]) < 2**31

    return folder / "row", read


def request(folder):
    asked = {"query": {"entry": 3}, "by": [1.0, 0.5], "k": 5, "cameras": [1], "not_cameras": [2], "after": "2026-11-30"}
    content = {"search": asked, "marks": {"3": "right"}, "box": [1, 2, 30, 40], "where": {"before": "2026-11-30T09:00"}}
    (folder / "request").write_text(json.dumps(content))

    def read():
        try:
            found = json.loads((folder / "request").read_bytes())
        except (ValueError, RecursionError):  # which the page refuses itself
            return
        found = found if isinstance(found, dict) else {}
        for parse in (
            lambda: search_request(found.get("search")),
            lambda: marks_of(found.get("marks")),
            lambda: box_of(found.get("box"), 64, 64),
            lambda: conditions(found.get("where")),
        ):
            with refused_or_read():
                parse()

    return folder / "request", read


def upload(folder):
    import cv2

    with zipfile.ZipFile(folder / "crops.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.writestr(f"a/{number}.png", cv2.imencode(".png", np.full((8, 4, 3), 90, np.uint8))[1].tobytes())
    return folder / "crops.zip", lambda: read_crops([File("crops.zip", (folder / "crops.zip").open("rb"))])


def upload_keypoints(folder):
    np.savez(folder / "k.npz", keypoints=np.ones((2, 14, 3), np.float32))
    return folder / "k.npz", lambda: read_keypoints(File("k.npz", (folder / "k.npz").open("rb")), 2)


READERS = {
    "manifest of a gallery": (gallery, spoilt_manifest),
    "segment of a gallery": (segment, spoilt_bytes),
    "audit log": (log, spoilt_lines),
    "gallery in Milvus": (milvus, spoilt_json),
    "requests to the page": (request, spoilt_json),
    "uploaded archive": (upload, spoilt_bytes),
    "uploaded keypoints": (upload_keypoints, spoilt_arrays),
}

test_a_damaged_file_is_read_or_refused = damaged_files_test(READERS)
