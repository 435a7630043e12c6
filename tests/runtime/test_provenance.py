"""Where a result comes from: the fingerprint against one made by hand, git against git, nothing of the user."""

import getpass
import hashlib
import json
import shutil
import socket
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from rgcn_jax.runtime import provenance
from rgcn_jax.types import Split, Tracklet

A = Tracklet(("a/1.jpg", "a/2.jpg"), 1, 1)
B = Tracklet(("b/1.jpg",), 1, 2)
C = Tracklet(("c/1.jpg",), 2, 1)
SPLIT = Split("small", Path("/some/where"), train=(A, C), query=(B,), gallery=(B, C))


def test_the_fingerprint_is_the_hash_of_the_sorted_names():
    text = "gallery\t1\t2\tb/1.jpg\ngallery\t2\t1\tc/1.jpg\nquery\t1\t2\tb/1.jpg\n"
    text += "train\t1\t1\ta/1.jpg\ta/2.jpg\ntrain\t2\t1\tc/1.jpg\n"
    found = provenance.fingerprint(SPLIT)
    assert found["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert found["train"] == {"people": 2, "tracklets": 2, "frames": 3}
    assert found["query"] == {"people": 1, "tracklets": 1, "frames": 1}
    assert found["gallery"] == {"people": 2, "tracklets": 2, "frames": 2}
    assert found["junk"] == {"people": 0, "tracklets": 0, "frames": 0}
    assert found["name"] == "small"


def test_the_fingerprint_knows_neither_order_nor_folder_but_every_name():
    digest = provenance.fingerprint(SPLIT)["sha256"]
    assert provenance.fingerprint(replace(SPLIT, root=Path("/else"), train=(C, A)))["sha256"] == digest
    for changed in (
        replace(SPLIT, train=(A,)),
        replace(SPLIT, train=(replace(A, frames=("a/1.jpg", "a/3.jpg")), C)),
        replace(SPLIT, train=(replace(A, person_id=3), C)),
        replace(SPLIT, train=(replace(A, camera_id=3), C)),
        replace(SPLIT, junk=(A,)),
        replace(SPLIT, train=(A, C, replace(A, frames=("\udce9.jpg",)))),  # a name that is no UTF-8
    ):
        assert provenance.fingerprint(changed)["sha256"] != digest


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_and_whether_the_source_differs_from_it(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert provenance.git_commit(tmp_path) is None
    git("init")
    assert provenance.git_commit(tmp_path) is None  # no commit yet
    (tmp_path / "file.py").write_text("1")
    git("add", "file.py")
    git("commit", "-m", "first")
    (tmp_path / "notes.txt").write_text("not tracked")
    assert provenance.git_commit(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "file.py").write_text("2")
    assert provenance.git_commit(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": True}
    (tmp_path / "venv").mkdir()
    assert provenance.git_commit(tmp_path / "venv") is None  # installed within some other project's checkout


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert provenance.git_commit(Path(provenance.__file__).parents[1]) is None


def test_tensorflow_is_named_where_it_was_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace(__version__="2.99"))
    assert provenance.versions()["tensorflow"] == "2.99"
    monkeypatch.delitem(sys.modules, "tensorflow")
    assert "tensorflow" not in provenance.versions()


def test_nothing_names_the_user_the_host_or_a_folder():
    text = json.dumps(provenance.provenance(SPLIT))
    for private in (socket.gethostname(), "/some/where", str(Path.cwd()), str(Path.home())):
        assert private not in text
    assert getpass.getuser() not in text.replace("root", "") or getpass.getuser() == "root"


def test_changes_of_the_config_are_noted_in_order(tmp_path):
    assert provenance.noted_changes(tmp_path) == []
    provenance.note_changes(tmp_path, 3, {})
    assert not list(tmp_path.iterdir())
    provenance.note_changes(tmp_path, 5, {"loss.margin": (0.3, 0.5)})
    provenance.note_changes(tmp_path, 9, {"loss.margin": (0.5, 0.4)})
    assert provenance.noted_changes(tmp_path) == [
        {"after_step": 5, "changes": {"loss.margin": [0.3, 0.5]}},
        {"after_step": 9, "changes": {"loss.margin": [0.5, 0.4]}},
    ]
