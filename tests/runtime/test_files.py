"""Atomic writing: complete or as before, whatever ends the write; nothing temporary is left."""

import ast
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.runtime import files
from rgcn_jax.runtime.npz import read_arrays, write_arrays


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_text_is_replaced_and_an_error_names_the_file(tmp_path):
    file = tmp_path / "a.json"
    files.write_text(file, "first ä\n")
    files.write_text(file, "second\n")
    assert file.read_bytes() == b"second\n"
    assert names(tmp_path) == ["a.json"]
    with pytest.raises(InputError, match=r"nowhere/a.json .*\(No such file or directory\)"):
        files.write_text(tmp_path / "nowhere" / "a.json", "x")


def test_an_error_within_leaves_what_was_there(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"before")
    with suppress(KeyError), files.atomic_file(file) as handle:
        handle.write(b"half")
        assert file.read_bytes() == b"before"
        raise KeyError
    with files.atomic_path(file) as part:
        part.write_bytes(b"given up")
        part.unlink()
    with suppress(KeyError), files.atomic_folder(tmp_path / "folder") as folder:
        (folder / "half").write_bytes(b"")
        raise KeyError
    assert names(tmp_path) == ["a"]
    assert file.read_bytes() == b"before"
    with files.atomic_folder(tmp_path / "folder") as folder:
        (folder / "whole").write_bytes(b"")
        assert names(tmp_path) == [folder.name, "a"]
    assert names(tmp_path / "folder") == ["whole"]


def test_a_file_that_cannot_be_flushed_is_not_renamed(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    files.write_text(tmp_path / "a", "before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"a .*\(No space left on device\)"):
        files.write_text(tmp_path / "a", "after")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "before"


def test_what_a_killed_process_left_is_found_and_removed(tmp_path):
    code = (
        "import os, pathlib, signal, sys; from rgcn_jax.runtime.files import atomic_file\n"
        "with atomic_file(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    (tmp_path / "a.npz").write_bytes(b"before")
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.npz")], check=False)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "a.npz").read_bytes() == b"before"
    (tmp_path / ".a.npz.b.7.part").write_bytes(b"")  # of another file
    (tmp_path / ".hidden.part").write_bytes(b"")  # of another program
    (left,) = files.find_unfinished(tmp_path, "a.npz")
    assert left.read_bytes() == b"half"
    assert len(files.find_unfinished(tmp_path)) == 2
    files.remove_unfinished(tmp_path)
    assert names(tmp_path) == [".hidden.part", "a.npz"]
    assert files.find_unfinished(tmp_path / "nowhere") == []


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_back(tmp_path, compressed):
    arrays = {"x": np.arange(6).reshape(2, 3), "names": np.array(["a", "ä"])}
    write_arrays(tmp_path / "a.npz", arrays, compressed)
    found, there = read_arrays(tmp_path / "a.npz")
    assert there == ["x", "names"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert names(tmp_path) == ["a.npz"]


PACKAGE = Path(__file__).parents[2] / "rgcn_jax"
IN_A_FOLDER = "in a folder that gets its name when it is complete, or is marked incomplete until then"
TEMPORARY = "uploads, in a folder that ends with the server or the request"
APPENDS = "appends; readers know torn tails"
WRITES = {
    "data/datasets/mat5.py": "into memory",
    "data/keypoints/openpose.py": IN_A_FOLDER,
    "data/mot.py": IN_A_FOLDER,
    "data/prepared/writer.py": "a lock, and into a file of the one writer",
    "evaluation/feature_set.py": "an empty file: whether it can be written",
    "experiments/sweep.py": APPENDS,
    "export/formats.py": IN_A_FOLDER,
    "export/runtimes/run.py": IN_A_FOLDER,
    "export/write.py": IN_A_FOLDER,
    "gallery/server/uploads.py": TEMPORARY,
    "gallery/server/video_worker.py": TEMPORARY,
    "gallery/server/videos.py": TEMPORARY,
    "runtime/files.py": "here",
    "training/tensorboard.py": APPENDS,
    "walkers/__main__.py": "into a file of the one writer",
    "walkers/write.py": IN_A_FOLDER,
}


def writes(source):
    """Lines that write a file by any other way than ``rgcn_jax.runtime.files``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        owner = getattr(getattr(node.func, "value", None), "id", "")
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        texts = [a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)]
        to_write = any(isinstance(t, str) and t and set(t) <= set("wax+bt") and set(t) & set("wax+") for t in texts)
        to_nowhere = any(ast.unparse(argument) == "os.devnull" for argument in node.args)
        if (
            name in ("imwrite", "tofile", "savez", "savez_compressed")
            or (name == "save" and owner == "np")
            or (name in ("write_text", "write_bytes") and isinstance(node.func, ast.Attribute))
            or (name == "open" and to_write and not to_nowhere)
        ):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_file_is_written_by_the_one_writer(file):
    if str(file.relative_to(PACKAGE)) not in WRITES:
        assert not writes(file.read_text(encoding="utf-8")), "use rgcn_jax.runtime.files"


@pytest.mark.parametrize(
    "source",
    ["path.write_text(x)", "p.write_bytes(x)", "open(p, 'w')", "p.open('ab')", "np.savez(p, a=x)", "cv2.imwrite(p, x)"],
)
def test_the_reading_of_the_source_finds_what_writes(source):
    assert writes(source) == [1]
    assert not writes("open(os.devnull, 'w'), path.open(), atomic_file(path, 'w'), open(p, 'rb')")
