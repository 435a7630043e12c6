"""Virtual environments that have this environment's dependencies but not this package: made without the network."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SOURCES = ("rgcn_jax", "configs", "pyproject.toml", "README.md", "LICENSE")
OURS = re.compile(r"_*(editable_impl_)?rgcn_jax\b|.*\.(pth|egg-link)$|__pycache__$")


def make(folder: Path) -> Path:
    """The Python of a new virtual environment. The dependencies are links in a folder beside it, pip among them."""
    venv.create(folder / "venv", symlinks=True)
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for path in map(Path, sys.path):
        if path.name not in ("site-packages", "dist-packages"):
            continue
        for found in path.iterdir():
            link = dependencies / found.name
            if not OURS.match(found.name) and not link.exists():
                link.symlink_to(found)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    return folder / "venv" / "bin" / "python"


def environment(**changes: str) -> dict[str, str]:
    """Of a process that sees neither the checkout nor the network; pip builds with the hatchling that is installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    return kept | {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | changes


def build(kind: str, source: Path, folder: Path) -> Path:
    """Builds the "wheel" or the "sdist" of a source tree by its build backend; returns the file."""
    code = f"import hatchling.build as b, sys; print(b.build_{kind}(sys.argv[1]))"
    done = run(sys.executable, "-c", code, folder, cwd=source)
    return folder / done.stdout.splitlines()[-1]


def repository(folder: Path) -> Path:
    """A Git repository with what an installation of the package needs, in its working state."""
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "test"]):
        run(*git, *command, cwd=folder)
    return folder


def run(*command: object, cwd: Path, **changes: str) -> subprocess.CompletedProcess:
    """A process that ends with status 0."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def contents(wheel: Path) -> dict[str, bytes]:
    """Name and content of each file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
