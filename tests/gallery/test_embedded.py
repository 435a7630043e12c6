"""The files of an embedded gallery: damage is found, nothing is left behind, and several may use them at a time."""

import json
import os
import zlib

import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.gallery import Entry, Gallery, Where, embedded
from rgcn_jax.gallery import __main__ as gallery_command
from tests.gallery.models import embeddings, entries, model, take

FOUND = embeddings(60)
ENTRIES = entries(FOUND)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Entries 1 to 50 in three segments."""
    monkeypatch.setattr(embedded, "SEGMENT_BYTES", 800)  # 20 entries
    gallery = Gallery.open(tmp_path / "gallery", model())
    for start in range(0, 50, 5):
        gallery.add(take(FOUND, slice(start, start + 5)), ENTRIES[start : start + 5])
    return tmp_path / "gallery"


def test_the_files_are_few(folder):
    assert sorted(p.name for p in folder.iterdir()) == [
        *(f"{i:08d}.{kind}" for i in (1, 2, 3) for kind in ("entries", "vectors")),
        "gallery.json",
        "lock",
    ]
    assert (folder / "00000003.vectors").stat().st_size == 10 * 4 * 10


@pytest.mark.parametrize("name", ["00000001.vectors", "00000002.entries", "00000003.vectors", "gallery.json"])
@pytest.mark.parametrize("how", ["flipped bit", "cut off", "missing"])
def test_damage_is_found(folder, name, how):
    file = folder / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(data if how == "flipped bit" else data[:-1])
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    expected = "no mani|holds" if (name, how) == ("gallery.json", "missing") else f"{name}.* (is|restore)"
    with pytest.raises(InputError, match=expected):
        Gallery.open(folder, model()).search(take(FOUND, [0]))
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_what_was_not_acknowledged_is_written_over(folder):
    with (folder / "00000003.vectors").open("ab") as vectors, (folder / "00000003.entries").open("ab") as texts:
        vectors.write(b"half a row")
        texts.write(b"RJG1half a record")
    (folder / "00000004.vectors").write_bytes(b"of a killed addition")
    (folder / ".gallery.json.1.part").write_bytes(b"{")
    gallery = Gallery.open(folder, model())
    assert gallery.count() == 50
    assert gallery.add(take(FOUND, slice(50, 60)), ENTRIES[50:]) == list(range(51, 61))
    again = Gallery.open(folder, model())
    assert [entry for _, entry in again.entries()] == ENTRIES
    assert again.search(take(FOUND, [55]), k=1)[0][0].distance == 0
    assert len(list(folder.iterdir())) == 8


def test_a_removed_entry_is_in_no_file(folder):
    gallery = Gallery.open(folder, model())
    row, name = gallery._store.vectors(Where(ids=[7]))[1].tobytes(), ENTRIES[6].tracklet.encode()

    def holds(what):
        return [p.name for p in folder.iterdir() if what in p.read_bytes()]

    assert holds(row)
    assert holds(name)
    gallery.remove(Where(ids=[7, 23]))
    assert holds(row) == holds(name) == []
    assert Gallery.open(folder, model()).count() == 48


def test_compaction_merges_small_segments(folder):
    gallery = Gallery.open(folder, model())
    gallery.remove(Where(ids=[*range(1, 16), *range(21, 36)]))
    assert len(list(folder.glob("*.vectors"))) == 3
    before = gallery.search(take(FOUND, [3, 40]), k=50)
    assert gallery.compact() == 1
    assert len(list(folder.glob("*.vectors"))) == 1
    assert Gallery.open(folder, model()).search(take(FOUND, [3, 40]), k=50) == before


def test_commands_without_a_model_print_counts(folder, capsys):
    for arguments, expected in (
        (["remove", "--id=7"], "removed 1 entry, "),
        (["remove", *(f"--id={i}" for i in range(8, 51))], "removed 43 entries, "),
        (["compact"], "6 entries in 1 segment;"),
        (["info"], "6 entries, all files are intact"),
        (["remove", *(f"--id={i}" for i in range(2, 7))], "has 1 entry left"),
        (["info"], "1 entry, all files are intact"),
    ):
        gallery_command.main([*arguments, f"--gallery={folder}"])
        assert expected in capsys.readouterr().out


def test_several_may_change_a_gallery(folder):
    one, other = Gallery.open(folder, model()), Gallery.open(folder, model())
    ids = one.add(take(FOUND, [50]), [ENTRIES[50]]) + other.add(take(FOUND, [51]), [ENTRIES[51]])
    assert ids == [51, 52]
    with pytest.raises(InputError, match="already"):
        one.add(take(FOUND, [51]), [ENTRIES[51]])
    other.remove(Where(ids=[1]))
    other.compact()
    assert one.count() == other.count() == 51
    assert [m.id for m in one.search(take(FOUND, [50, 51]), k=1)[1]] == [52]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        Gallery.open(tmp_path, model())
    with pytest.raises(InputError, match="no gallery in"):
        Gallery.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="expected a folder"):
        Gallery.open("milvus://localhost/people", model())


def test_a_later_version_is_refused(folder):
    manifest = json.loads((folder / "gallery.json").read_text())
    (folder / "gallery.json").write_text(json.dumps({**manifest, "version": 2}))
    with pytest.raises(InputError, match="version 2"):
        Gallery.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"segments": [["../../x", 5, 100]]},
        {"segments": [["00000001", "5", 100]]},
        {"segments": [[1, 5, 100]]},
        {"segments": None},
        {"binding": {"widths": [6, 4]}},
        {"binding": {"widths": ["6", 4], "model": "a", "settings": {}}},
        {"binding": []},
        {"next_id": -1},
    ],
)
def test_a_manifest_of_somebody_else_is_refused(folder, change):
    manifest = {**json.loads((folder / "gallery.json").read_text()), **change}
    del manifest["checksum"]
    checksum = zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
    (folder / "gallery.json").write_text(json.dumps({**manifest, "checksum": checksum}))
    with pytest.raises(InputError, match=r"gallery\.json is not"):
        Gallery.open(folder)


@pytest.mark.parametrize(
    "text", [b"[]", b'{"tracklet":1}', b'{"x":"y"}', b"{}", b"\xff", b"[" * 5000, b'{"tracklet":"']
)
def test_an_entry_that_is_none_is_refused(tmp_path, text):
    gallery = Gallery.open(tmp_path, model())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Entry, "to_json", lambda entry: text)
        gallery.add(take(FOUND, [0]), ENTRIES[:1])
    with pytest.raises(InputError, match="not written by this program"):
        list(Gallery.open(tmp_path).entries())


def test_a_full_disk_adds_nothing(folder, monkeypatch):
    gallery = Gallery.open(folder, model())

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="No space left"):
            gallery.add(take(FOUND, slice(50, 60)), ENTRIES[50:])
    assert Gallery.open(folder, model()).count() == gallery.count() == 50
    assert gallery.add(take(FOUND, slice(50, 60)), ENTRIES[50:])[0] == 51
    assert Gallery.open(folder, model()).count() == 60
