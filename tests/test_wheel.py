"""The wheel: what is in it, and that it trains where nothing but it and its dependencies is installed."""

import json
import re
import tarfile
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from rgcn_jax import __version__
from tests import environments, mars_folder
from tests.environments import REPOSITORY

TINY = (
    *mars_folder.TINY,
    "--config.num_steps=2",
    "--config.data.walkers.train_identities=4",
    "--config.data.walkers.test_identities=4",
    "--config.data.walkers.group_size=2",
    "--config.data.walkers.cameras=2",
    "--config.data.walkers.min_frames=3",
    "--config.data.walkers.max_frames=5",
)
MINE = """
from configs.common import STEPS
from rgcn_jax.config import default_config
from rgcn_jax.config_io import packaged_config


def get_config():
    c = packaged_config("walkers")
    assert set(c) == set(default_config())
    c.num_steps = STEPS
    return c
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return environments.build("wheel", REPOSITORY, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Of an environment in which the wheel is installed."""
    python = environments.make(tmp_path_factory.mktemp("environment"))
    environments.run(python, "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=wheel.parent)
    return python


@pytest.fixture
def folder(tmp_path):
    """A user's own, with a package called ``configs``."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("")
    (tmp_path / "configs" / "common.py").write_text("STEPS = 3\n")
    (tmp_path / "configs" / "mine.py").write_text(MINE)
    return tmp_path


def test_what_is_in_it(wheel):
    names = set(environments.contents(wheel))
    assert {name.split("/")[0] for name in names} == {"rgcn_jax", f"rgcn_jax-{__version__}.dist-info"}
    configs = {file.name for file in (REPOSITORY / "configs").glob("*.py")}
    assert "mars.py" in configs
    shipped = {f"rgcn_jax/shipped/walkers-gait/{n}" for n in ("config.json", "model.safetensors", "README.md")}
    assert shipped <= names
    assert {f"rgcn_jax/configs/{name}" for name in configs} | {"rgcn_jax/py.typed"} <= names


def test_the_sdist_builds_the_same_wheel(wheel, tmp_path):
    with tarfile.open(environments.build("sdist", REPOSITORY, tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    again = environments.build("wheel", tmp_path / f"rgcn_jax-{__version__}", tmp_path)
    assert environments.contents(again) == environments.contents(wheel)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["configs/mine.py", "walkers"])
def test_it_trains_beside_a_package_of_ones_own_called_configs(config, python, folder):
    changes = [argument for argument in TINY if config == "walkers" or "num_steps" not in argument]
    command = (python.with_name("rgcn-jax"), "train", f"--config={config}", *changes)
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(python.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    done = environments.run(*command, cwd=folder, **cache)
    assert "fused" in done.stdout
    (results,) = folder.glob("runs/*/results.json")
    assert results.parent.name == {"walkers": "walkers", "configs/mine.py": "mine"}[config]
    assert json.loads(results.read_text())["step"] == {"walkers": 2, "configs/mine.py": 3}[config]


def test_the_checkout_is_not_what_runs(python, tmp_path):
    code = "import rgcn_jax, importlib.util as u; print(rgcn_jax.__file__); print(u.find_spec('configs'))"
    file, configs = environments.run(python, "-c", code, cwd=tmp_path).stdout.splitlines()
    assert file.startswith(str(python.parents[1]))
    assert configs == "None"
    program = python.with_name("rgcn-jax")
    assert environments.run(program, "--version", cwd=tmp_path).stdout == f"rgcn_jax {__version__}\n"
    assert "usage: rgcn-jax train " in environments.run(program, "train", "--help", cwd=tmp_path).stdout


def test_no_address_is_named_before_there_is_one():
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    address = pyproject["tool"]["rgcn_jax"]["repository"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation.get("repository-code", "") == address
    assert pyproject["project"].get("urls", {}).get("Repository", "") == address
    for notebook in (REPOSITORY / "notebooks").glob("*.ipynb"):
        assert re.findall(r'^REPOSITORY = \\?"(.*?)\\?"', "\n".join(_lines(notebook)), re.MULTILINE) == [address]
    badges = re.findall(r"\bbadge\b|colab\.research", (REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert address or not badges


def _lines(notebook):
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        yield from "".join(cell["source"]).splitlines()


def test_the_tested_versions_are_within_the_bounds():
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").split()
    tested = {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in (p.partition("==") for p in lines)}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for needed in map(
        Requirement, [*project["dependencies"], *(r for x in ("data", "test", "docs") for r in extras[x])]
    ):
        if needed.name != "rgcn_jax" and (needed.marker is None or needed.marker.evaluate()):
            assert needed.specifier.contains(tested[re.sub(r"[-_.]+", "-", needed.name).lower()]), needed
