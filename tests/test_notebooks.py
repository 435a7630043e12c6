"""Every notebook runs from top to bottom as Colab opens it: an empty folder, and nothing of this project installed.

In the suite with few steps and persons; whole, as they are stored, with ``RGCN_JAX_WHOLE_NOTEBOOKS=1``.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests import environments
from tests.environments import REPOSITORY

WHOLE = bool(os.environ.get("RGCN_JAX_WHOLE_NOTEBOOKS"))
QUICK = {
    "quickstart": "steps, persons = 3, dict(train_identities=24, test_identities=9)",
    "method": "steps = 3",
    "your_data": "steps, groups = 3, 1",
    "your_model": "steps, seeds, encoders = 3, '0:0', ['RGCN', encoders[-1]]\n"
    "train_identities, test_identities = 12, 6",
    "mars": "steps, persons = 3, 6",
}
"""What is appended to the parameters of each notebook, in the order in which a reader meets them."""
NAMES = tuple(QUICK)


def read(name):
    return nbformat.read(REPOSITORY / "notebooks" / f"{name}.ipynb", as_version=4)


def tagged(notebook, tag):
    (cell,) = [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]
    return cell


def printed(notebook):
    return "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))


def images(notebook):
    data = [o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", [])]
    return sum("image/png" in d or "image/jpeg" in d for d in data)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment with the dependencies only. What the first notebook installs is there for the others."""
    return tmp_path_factory.mktemp("environment")


@pytest.fixture(scope="module")
def run(environment, tmp_path_factory):
    """Runs a notebook; all in one folder, empty before the first, whose trained model others use."""
    python = environments.make(environment / "environment")
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
    folder = environment / "jupyter" / "kernels" / "colab"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({**spec, "display_name": "as on Colab"}))
    repository = environments.repository(tmp_path_factory.mktemp("repository"))
    content = tmp_path_factory.mktemp("content")

    def execute(name):
        notebook = read(name)
        parameters = tagged(notebook, "parameters")
        parameters.source += f"\nREPOSITORY = {str(repository)!r}\n{'' if WHOLE else QUICK[name]}"
        client = NotebookClient(
            notebook, timeout=900, kernel_name="colab", resources={"metadata": {"path": str(content)}}
        )
        client.execute(env=environments.environment())
        assert "on cpu" in tagged(notebook, "setup").outputs[0].text
        return notebook, content

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(environment / "jupyter"))
        yield execute


def test_these_are_all():
    assert {path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")} == set(NAMES)


def test_all_begin_with_the_same_set_up():
    """Change it in one, then copy the cell into the others."""
    for name in NAMES:
        assert tagged(read(name), "setup").source == tagged(read("quickstart"), "setup").source, name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
class TestExecuted:
    @pytest.mark.slow
    def test_quickstart(self, run):
        notebook, content = run("quickstart")
        assert re.search(r"^fused +Rank-1 +[\d.]+", printed(notebook), re.MULTILINE)
        assert re.search(r"queries: right by pose only \d+, by appearance only \d+", printed(notebook))
        assert images(notebook) == 2
        results = json.loads((content / "runs/notebook/results.json").read_text())
        assert results["step"] == (450 if WHOLE else 3)

    @pytest.mark.slow
    def test_method(self, run):
        """The comparisons of loops and model are assertions of the notebook."""
        notebook, _ = run("method")
        assert printed(notebook).count("the loop and the model agree to") == 2
        assert images(notebook) == 4

    @pytest.mark.slow
    def test_your_data(self, run):
        notebook, content = run("your_data")
        found = dict(
            re.findall(r"^(appearance|pose|fused) +(\d+) of \d+ found first$", printed(notebook), re.MULTILINE)
        )
        assert set(found) == {"appearance", "pose", "fused"}
        if WHOLE:
            assert int(found["fused"]) > int(found["appearance"])
        assert images(notebook) == 1
        assert (content / "people" / "gallery.json").is_file()

    @pytest.mark.slow
    def test_your_model(self, run):
        notebook, content = run("your_model")
        for encoder in ("RGCN", "EveryFrameAlone"):
            assert f"| mine+{encoder} |" in printed(notebook)
        assert printed(notebook).count("$ rgcn-jax compare") == 2
        assert (content / "runs/mine/my_table.md").is_file()

    @pytest.mark.slow
    def test_mars(self, run):
        notebook, _ = run("mars")
        rows = re.findall(r"^(\w+), (appearance|pose|fused) +[\d.]+ +[\d.]+$", printed(notebook), re.MULTILINE)
        assert len(rows) == 3 * len({protocol for protocol, _ in rows}) == 12


def test_without_a_repository_the_set_up_says_what_to_set(tmp_path):
    python = environments.make(tmp_path / "environment")
    (tmp_path / "content").mkdir()
    notebook = read("quickstart")
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


@pytest.mark.parametrize(
    ("versions", "driver", "installed", "kept"),
    [
        ({"numpy": "2.1"}, 0, [], []),
        ({"numpy": "2.1"}, 580, ["jax[cuda13]"], []),
        ({"numpy": "2.1"}, 575, ["jax[cuda12]"], []),
        ({"jax": "99.1", "jaxlib": "99.0", "numpy": "2.1"}, 0, [], ["jax==99.1", "jaxlib==99.0"]),
        (
            {"jax": "99.1", "jaxlib": "99.0", "jax-cuda12-plugin": "98", "jax-cuda12-pjrt": "97", "jaxtyping": "0.3"},
            550,
            [],
            ["jax==99.1", "jaxlib==99.0", "jax-cuda12-plugin==98", "jax-cuda12-pjrt==97"],
        ),
        ({"jax": "0.4.30", "jaxlib": "0.4.30"}, 0, ["jax[]"], []),
        ({"jax": "0.4.30", "jaxlib": "0.4.30", "jax-cuda12-plugin": "0.4.30"}, 580, ["jax[cuda12]"], []),
        ({"jax": "0.4.30", "libtpu": "0.0.2"}, 0, ["jax[tpu]"], []),
    ],
    ids=["no JAX", "no JAX, GPU", "no JAX, older GPU", "CPU", "GPU", "old CPU", "old GPU", "old TPU"],
)
def test_the_set_up_keeps_the_accelerator(versions, driver, installed, kept):
    """A JAX that is new enough is pinned with its plugins; an older one is upgraded together with them."""
    functions, _, _ = tagged(read("quickstart"), "setup").source.partition("\nspec = ")
    namespace: dict[str, Any] = {"EXTRAS": []}
    exec(functions, namespace)
    more, fixed = namespace["requirements"](REPOSITORY, versions, driver)
    assert [requirement.partition(">=")[0] for requirement in more] == installed
    assert fixed == kept


@pytest.mark.parametrize(("there", "wanted"), [({}, "tensorflow-cpu"), ({"tensorflow": "2.19"}, "tensorflow")])
def test_the_set_up_does_not_put_a_second_tensorflow_beside_the_first(there, wanted):
    functions, _, _ = tagged(read("your_data"), "setup").source.partition("\nspec = ")
    namespace: dict[str, Any] = {"EXTRAS": ["data"]}
    exec(functions, namespace)
    more, _ = namespace["requirements"](REPOSITORY, {"jax": "99.1", **there})
    assert [
        name for name in (re.split("[<>=]", text)[0] for text in more) if name in ("tensorflow", "tensorflow-cpu")
    ] == [wanted]


@pytest.mark.parametrize("name", NAMES)
def test_it_carries_no_output_but_pictures_that_are_to_stay(name):
    for cell in read(name).cells:
        assert cell.get("execution_count") is None
        stays = name == "quickstart" and "keep_output" in cell.metadata.get("tags", [])
        for output in cell.get("outputs", []):
            assert stays
            assert set(output.data) == {"image/jpeg"}
            assert len(output.data["image/jpeg"]) < 300_000
