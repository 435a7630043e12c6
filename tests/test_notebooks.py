"""Every notebook runs from top to bottom as Colab opens it: an empty folder, and nothing of this project installed."""

import json
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests import environments
from tests.environments import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def tagged(notebook, tag):
    (cell,) = [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]
    return cell


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with the project, to be cloned."""
    return environments.repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """The name of a Jupyter kernel in an environment with the dependencies only."""
    python = environments.make(tmp_path / "environment")
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
    folder = tmp_path / "jupyter" / "kernels" / "colab"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({**spec, "display_name": "as on Colab"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    return "colab"


def test_there_is_a_notebook():
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs(path, repository, kernel, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    parameters = tagged(notebook, "parameters")
    parameters.source += f"\nsteps, REPOSITORY = 3, {str(repository)!r}"
    (tmp_path / "content").mkdir()
    client = NotebookClient(
        notebook, timeout=300, kernel_name=kernel, resources={"metadata": {"path": str(tmp_path / "content")}}
    )
    client.execute(env=environments.environment())
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert "on cpu" in tagged(notebook, "setup").outputs[0].text
    assert "fused" in printed
    assert json.loads((tmp_path / "content/runs/notebook/results.json").read_text())["step"] == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_without_a_repository_the_set_up_says_what_to_set(path, tmp_path):
    python = environments.make(tmp_path / "environment")
    (tmp_path / "content").mkdir()
    notebook = nbformat.read(path, as_version=4)
    code = f"{tagged(notebook, 'parameters').source}\n{tagged(notebook, 'setup').source}"
    done = subprocess.run(
        [python, "-c", code],
        cwd=tmp_path / "content",
        env=environments.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: rgcn_jax is not installed: set REPOSITORY")
    assert list(Path(tmp_path / "content").iterdir()) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.parametrize(
    ("versions", "upgraded", "kept"),
    [
        ({"numpy": "2.1"}, [], []),
        ({"jax": "99.1", "jaxlib": "99.0", "numpy": "2.1"}, [], ["jax==99.1", "jaxlib==99.0"]),
        (
            {"jax": "99.1", "jaxlib": "99.0", "jax-cuda12-plugin": "98", "jax-cuda12-pjrt": "97", "jaxtyping": "0.3"},
            [],
            ["jax==99.1", "jaxlib==99.0", "jax-cuda12-plugin==98", "jax-cuda12-pjrt==97"],
        ),
        ({"jax": "0.4.30", "jaxlib": "0.4.30"}, ["jax[]"], []),
        ({"jax": "0.4.30", "jaxlib": "0.4.30", "jax-cuda12-plugin": "0.4.30"}, ["jax[cuda12]"], []),
        ({"jax": "0.4.30", "libtpu": "0.0.2"}, ["jax[tpu]"], []),
    ],
    ids=["no JAX", "CPU", "GPU", "old CPU", "old GPU", "old TPU"],
)
def test_the_set_up_keeps_the_accelerator(path, versions, upgraded, kept):
    """A JAX that is new enough is pinned with its plugins; an older one is upgraded together with them."""
    functions, _, _ = tagged(nbformat.read(path, as_version=4), "setup").source.partition("\nspec = ")
    namespace = {}
    exec(functions, namespace)
    more, fixed = namespace["requirements"](REPOSITORY, versions)
    assert [requirement.partition(">=")[0] for requirement in more] == upgraded
    assert fixed == kept


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_carries_no_output(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
