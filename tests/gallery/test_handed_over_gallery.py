"""A gallery of somebody else's, and a full disk: nothing outside of it is written, read for ever or lost."""

import json
import os
import resource

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.gallery import Entry, Gallery, Where, audit
from rgcn_jax.gallery.crops import erase_crops
from rgcn_jax.gallery.entry import to_columns
from rgcn_jax.gallery.leases import share
from rgcn_jax.gallery.segment import Segment
from tests.faults.test_disk import full_after
from tests.gallery import models


@pytest.fixture
def folder(tmp_path):
    found = models.embeddings(6)
    Gallery.open(tmp_path / "people", models.model()).add(found, models.entries(found))
    return tmp_path / "people"


def add_more(folder):
    found = models.embeddings(3, 1)
    Gallery.open(folder, models.model()).add(found, models.entries(found, "more"))


@pytest.mark.parametrize(
    "name", ["00000001.vectors", "00000001.entries", "lock", "00000002.vectors", "00000002.entries"]
)
def test_nothing_is_written_through_a_link(name, folder, tmp_path):
    """A link in place of a file that the gallery has, or of one that it is going to have."""
    precious = tmp_path / "precious"
    if (folder / name).exists():
        (folder / name).rename(precious)
    else:
        precious.write_bytes(b"precious")
    before = precious.read_bytes()
    (folder / name).symlink_to(precious)
    if name.startswith("00000002"):  # left there, as of a killed process: it is removed, not followed
        add_more(folder)
        Gallery.open(folder, models.model()).remove(Where(sources=["more"]))
    else:
        with pytest.raises(InputError, match="link|levels of symbolic"):
            add_more(folder)
    assert precious.read_bytes() == before


@pytest.mark.parametrize("kind", ["vectors", "entries"])
def test_a_new_segment_is_not_written_through_a_link_that_appears_meanwhile(kind, tmp_path):
    found = models.embeddings(2)
    columns, texts = to_columns(models.entries(found), 1, np.zeros((2, 2)))
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / f"00000009.{kind}").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic"):
        Segment(tmp_path, "00000009", 10).append(columns, texts, np.concatenate(found[:2], axis=1))
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_leases_and_crops_are_no_links_either(folder, tmp_path):
    other = tmp_path / "other"
    (other / "1" / "1" / "0001").mkdir(parents=True)
    (folder / ".leases").symlink_to(other)
    (folder / "crops").symlink_to(other)
    gallery = Gallery.open(folder, models.model())
    entry = Entry("t", root="crops", frames=("1/1/0001/a.jpg",))
    with pytest.raises(InputError, match=r"\.leases is a symbolic link"):
        share(gallery, [entry], 1, lambda _: None)
    with pytest.raises(InputError, match="crops is a symbolic link"):
        erase_crops(folder, entry)
    assert sorted(path.name for path in other.rglob("*")) == ["0001", "1", "1"]


@pytest.mark.parametrize("name", ["00000001.vectors", "00000001.entries"])
def test_nobody_waits_for_a_pipe(name, folder):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InputError, match=f"{name} (cannot be read|is damaged)"):
        Gallery.open(folder, models.model()).check()


def test_the_manifest_does_not_decide_how_much_memory_is_taken(folder):
    import zlib

    file = folder / "gallery.json"
    manifest = json.loads(file.read_text())
    manifest["segments"][0][2] = 2**45
    del manifest["checksum"]
    manifest["checksum"] = zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
    file.write_text(json.dumps(manifest))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="is damaged"):
        Gallery.open(folder, models.model())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_log_that_was_cut_off_by_a_full_disk_goes_on_and_can_forget(tmp_path):
    for i in (1, 2):
        audit.record(tmp_path, {"action": "search", "query": {"entry": i}, "found": [i, 3]})
    file = tmp_path / "audit.jsonl"
    whole = file.read_bytes()
    with full_after(len(whole) + 20), pytest.raises(InputError, match="cannot be written"):
        audit.record(tmp_path, {"action": "search", "query": {"entry": 4}, "found": [3]})
    assert len(file.read_bytes()) == len(whole) + 20
    assert audit.forget(tmp_path, [3]) == 3
    audit.record(tmp_path, {"action": "search", "query": {"entry": 5}, "found": [6]})
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["found"] for line in lines] == [[1], [2], [6]]
    assert file.stat().st_mode & 0o777 == 0o600
    with full_after(len(file.read_bytes()) + 20), pytest.raises(InputError):
        audit.record(tmp_path, {"action": "search", "query": {"entry": 4}, "found": [3]})
    audit.record(tmp_path, {"action": "search", "query": {"entry": 7}, "found": []})  # behind no half line
    assert [json.loads(line)["query"]["entry"] for line in file.read_text().splitlines()] == [1, 2, 5, 7]


def test_a_log_without_lines_is_not_read_into_memory(tmp_path):
    with (tmp_path / "audit.jsonl").open("wb") as file:
        file.truncate(2**36)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="line 1 of .* is no record"):
        audit.forget(tmp_path, [3])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_pipe_in_place_of_the_log_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "audit.jsonl")
    with pytest.raises(InputError, match=r"audit\.jsonl cannot be written"):
        audit.record(tmp_path, {"action": "search"})


def test_a_full_disk_leaves_the_gallery_as_it_was(folder):
    ids = Gallery.open(folder, models.model()).count()
    size = max(path.stat().st_size for path in folder.iterdir())
    with full_after(size + 50), pytest.raises(InputError, match="cannot be written"):
        add_more(folder)
    gallery = Gallery.open(folder, models.model())
    gallery.check()
    assert gallery.count() == ids
    add_more(folder)
    assert Gallery.open(folder, models.model()).count() == ids + 3
    assert np.isfinite(gallery.search(models.embeddings(1), 1)[0][0].distance)
