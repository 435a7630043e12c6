"""The folder of finished chunks: what is damaged or of another run is not used, what was interrupted is finished."""

import json
import os

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.pose_detection.chunks import Chunks, fingerprint, write_chunk


def test_damaged_and_foreign_chunks_are_not_believed(tmp_path):
    settings = {"threshold": 0.2}
    chunks = Chunks(tmp_path / "k.npz", settings)
    rows = {"a": 0, "b": 1, "c": 2}
    values = np.ones((1, 14, 3), np.float32)
    write_chunk(chunks.folder, "1", ["a"], values, fingerprint(settings))
    write_chunk(chunks.folder, "2", ["b"], values, fingerprint({"threshold": 0.3}))
    write_chunk(chunks.folder, "3", ["unknown"], values, fingerprint(settings))
    write_chunk(chunks.folder, "4", ["c"], values, fingerprint(settings))
    whole = (chunks.folder / "4.npz").read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        (chunks.folder / "4.npz").write_bytes(whole[:cut])
        _, done, damaged = chunks.read(rows)
        assert done.tolist() == [True, False, False]
        assert "4.npz" in damaged
        assert not (chunks.folder / "4.npz").exists()
    with pytest.raises(InputError, match="another process is writing to"):
        Chunks(tmp_path / "k.npz", settings)
    chunks.close()
    Chunks(tmp_path / "k.npz", settings).close()


@pytest.mark.parametrize("left", [None, 0, 2])
def test_a_removal_that_was_interrupted_is_finished(tmp_path, left):
    """Killed with the store in its place and all, some or none of the parts removed."""
    settings = {"threshold": 0.2}
    out, folder = tmp_path / "k.npz", tmp_path / "k.npz.parts"
    (tmp_path / "k.npz.settings.json").write_text(json.dumps(settings))
    if left is not None:
        folder.mkdir()
        for part in range(left):
            (folder / f"{part}.npz").write_bytes(b"")
    out.write_bytes(b"the store")
    chunks = Chunks(out, settings)
    assert chunks.complete
    chunks.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k.npz", "k.npz.settings.json"]
    with pytest.raises(InputError, match=r"k.npz .* threshold 0.2, not 0.3"):
        Chunks(out, {"threshold": 0.3})
    assert out.read_bytes() == b"the store"
    out.unlink()
    chunks = Chunks(out, {"threshold": 0.3})  # removed by its user, it is made anew
    assert not chunks.complete
    chunks.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k.npz.parts"]


def test_a_full_disk_is_told_and_leaves_no_half_chunk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"1.npz .*\(No space left on device\)"):
        write_chunk(tmp_path, "1", ["a"], np.zeros((1, 14, 3), np.float32), "x")
    assert not list(tmp_path.iterdir())
