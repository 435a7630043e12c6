"""User files: only regular files of limited size are opened, and one module of the package opens them."""

import ast
import os
import socket
from pathlib import Path

import pytest

from rgcn_jax.runtime.user_files import file_hash, open_file, read_file, read_text

PACKAGE = Path(__file__).parents[2] / "rgcn_jax"


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_nobody_waits_for_what_is_no_file(kind, tmp_path):
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="it is a pipe, a socket or a device"):
        open_file(path)


def test_folders_missing_files_and_large_ones_are_errors(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path, 9)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", 9)
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, more than 4"):
        read_file(tmp_path / "file", 4)
    with pytest.raises(OSError, match="it has 5 bytes"):
        read_text(tmp_path / "file", 4)
    assert file_hash(tmp_path / "file") == "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"


def test_links_are_followed_unless_they_could_do_harm(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", 9) == b"1"
    with pytest.raises(OSError, match="symbolic link"):
        read_file(tmp_path / "link", 9, follow_links=False)


def opens(source):
    """Lines that read a file by any other way."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr="read_text" | "read_bytes", value=value)):
                module = value.id if isinstance(value, ast.Name) else ""
                found += [node.lineno] if module not in OTHER_MODULES else []
            case ast.Call(func=ast.Attribute(attr="open", value=value), args=args, keywords=keywords):
                module = value.id if isinstance(value, ast.Name) else ""
                modes = [a.value for a in (*args, *(k.value for k in keywords)) if isinstance(a, ast.Constant)]
                writes = any(isinstance(m, str) and (m[:1] in ("w", "a", "x") or "+" in m) for m in modes)
                found += [node.lineno] if module not in OTHER_MODULES and not writes else []
            case ast.Call(func=ast.Name(id="open"), args=args):
                modes = [a.value for a in args[1:] if isinstance(a, ast.Constant)]
                writes = any(isinstance(m, str) and (m[:1] in ("w", "a", "x") or "+" in m) for m in modes)
                found += [] if writes else [node.lineno]
    return found


OTHER_MODULES = {"os", "webbrowser", "Gallery"}
ALLOWED = {
    "models/weight_files.py": "models import nothing of runtime; the callers check that it is a file",
    "torch_files/reader.py": "the same",
    "runtime/user_files.py": "here",
    "runtime/files.py": "writes",
    "runtime/cores.py": "files of the kernel",
    "pose_detection/worker.py": "opens a model by its library",
    "data/datasets/images.py": "Pillow opens what this has opened",
    "gallery/server/queries.py": "opens a model by its library",
    "gallery/server/uploads.py": "members of an uploaded archive in memory",
    "gallery/server/videos.py": "a frame that the server has written",
    "export/runtimes/run.py": "runs without the package, on what the export has just written",
    "export/runtimes/write_savedmodel.py": "the same",
}


def sources():
    """Path in the package -> text."""
    return {str(p.relative_to(PACKAGE)): p.read_text(encoding="utf-8") for p in sorted(PACKAGE.rglob("*.py"))}


def test_every_file_that_is_read_is_opened_by_the_one_function():
    found = {name: lines for name, text in sources().items() if name not in ALLOWED and (lines := opens(text))}
    assert found == {}, "use rgcn_jax.runtime.user_files"
    assert opens((PACKAGE / "runtime/files.py").read_text(encoding="utf-8"))  # allowed, and seen


@pytest.mark.parametrize(
    "source", ["path.read_bytes()", "path.read_text()", "open(p)", "path.open('rb')", "open(p, 'rb')", "path.open()"]
)
def test_the_reading_of_the_source_finds_it(source):
    assert opens(source)


LIBRARIES = {"memmap", "safe_open", "load_file", "VideoCapture", "ZipFile", "File", "imread", "InferenceSession"}
"""What opens a file by its name in a library, without a word on what kind of file it is."""

LOOKED_AT_BEFORE = {
    "gallery/server/app.py": "a class of its own of that name",
    "gallery/server/uploads.py": "archives in memory",
    "models/weight_files.py": "the callers check that it is a file",
    "torch_files/reader.py": "the same",
    "pose_detection/rtmpose.py": "the command checks that it is a file",
    "pose_detection/worker.py": "the same",
    "export/runtimes/run.py": "runs without the package, on what the export has just written",
    "walkers/write.py": "writes",
}


def unseen(source):
    """The libraries that a source lets open a file by its name, unless it looks at the file."""
    calls = [n.func for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)]
    names = {getattr(call, "attr", getattr(call, "id", "")) for call in calls}
    return set() if names & {"open_file", "is_file"} else names & LIBRARIES


def test_a_library_opens_no_file_that_was_not_looked_at():
    found = {name: bad for name, text in sources().items() if name not in LOOKED_AT_BEFORE and (bad := unseen(text))}
    assert found == {}, "open it by open_file first"
    assert unseen("cv2.VideoCapture(path)") == {"VideoCapture"}
