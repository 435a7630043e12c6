"""Who imports whom, read from the source of every module; all but the file reader imports without TensorFlow."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "rgcn_jax"
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(file):
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in FILES}


@cache
def imports(file):
    """Names of all modules that a file imports, also within functions; of ours down to the module."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in MODULES}
    return frozenset(found)


@cache
def imports_of_ours():
    """Name of each module -> those of ours that it imports, without the package's name. Not before a test asks for it:
    other processes of pytest import this file too.
    """
    return {
        name: {i.removeprefix("rgcn_jax.") for i in imports(file) if i.startswith("rgcn_jax.")}
        for name, file in MODULES.items()
    }


# From the top to the bottom: a module imports its own layer and those below it, never one above. A prefix stands for
# a module and everything in it; the longest one that fits decides.
LAYERS = [
    {
        "__main__",
        "main",
        "model_command",
        "evaluate",
        "evaluate_splits",
        "embed",
        "embedding_parts",
        "calibrate",
        "calibrate_fusion",
        "compare",
        "sweep",
        "robustness",
        "data.prepare",
        "data.features.__main__",
        "data.mot",
        "data.keypoints.__main__",
        "export.__main__",
        "report.__main__",
    }
    | {"walkers.__main__", "pose_detection"}
    | {f"gallery.{name}" for name in ("__main__", "add_command", "search_command", "serve_command", "inputs")}
    | {"gallery.server", "gallery.video"},
    {"experiments", "report"},
    {"export", "gallery"},
    {"embedder", "tracklet_arrays", "saved_model", "calibration"},
    {"training"},
    {"evaluation"},
    {"data", "models"},
    {"config", "config_sections", "config_rules", "config_io", "config_help"},
    {"walkers"},
    {"command", "runtime", "parallel"},
    {"skeleton", "losses", "types", "errors", "fields", "torch_files", "shipped"},
]
LEVEL = {prefix: len(LAYERS) - i for i, layer in enumerate(LAYERS) for prefix in layer}
# Beyond the layers: modules -> what they must not import.
SEPARATE = {
    "models": {"data", "config", "config_io", "walkers", "runtime", "parallel", "command"},
    "data": {"models", "parallel"},
    "losses": {"skeleton", "types"},
    "runtime": {"parallel", "command"},
    "pose_detection": {"models", "training", "evaluation", "parallel", "config", "config_io"},
    **{
        f"evaluation.{name}": {"data", "config", "config_io", "models", "walkers", "runtime", "parallel", "command"}
        for name in [file.stem for file in (PACKAGE / "evaluation").glob("*.py")]
        if name not in ("__init__", "embed", "scorer", "embed_step", "feature_set", "results", "attributes")
    },
}
# In data/, one way: each room imports those before it.
ROOMS = ["data.datasets", "data.features", "data.keypoints", "data.clips", "data.prepared", "data.load"]


def level(name):
    """Of the longest prefix of a module's name that is in a layer."""
    parts = name.split(".")
    found = [".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in LEVEL]
    assert found, f"{name} is in no layer"
    return LEVEL[found[0]]


def within(name, prefix):
    return name == prefix or name.startswith(prefix + ".")


# What decodes images, or writes what TensorFlow Datasets reads; the rest of the package imports these within functions,
# if at all. The value: what is missing where TensorFlow, or TensorFlow Datasets, is.
WITH_TENSORFLOW = {
    f"rgcn_jax.data.{name}": "InputError Reading a data set from disk needs TensorFlow"
    for name in ("clips.tensorflow_cpu", "clips.pixels", "clips.pipeline")
} | {
    "rgcn_jax.data.prepared.tfds_builders": "InputError Preparing data needs TensorFlow Datasets",
    "rgcn_jax.pose_detection.movenet": "InputError MoveNet needs TensorFlow",
}

LIBRARY = {  # for programs of others, and for the tables of configs/
    f"rgcn_jax.{name}"
    for name in (
        "data.prepared.tfds_builders",
        "embedder",
        "evaluation.analysis",
        "experiments.recipe",
    )
}


def part(name):
    return name.removeprefix("rgcn_jax.").split(".")[0]


def refused_imports(name, ours):
    """Of the imports of a module those that it must not have."""
    found = {i for i in ours if level(i) > level(name)}
    for prefix, others in SEPARATE.items():
        if within(name, prefix):
            found |= {i for i in ours for other in others if within(i, other)}
    for i, room in enumerate(ROOMS):
        if within(name, room):
            found |= {o for o in ours for later in ROOMS[i + 1 :] if within(o, later)}
    return found


def test_no_import_runs_upwards():
    modules = {n.removeprefix("rgcn_jax."): ours for n, ours in imports_of_ours().items() if n != "rgcn_jax"}
    assert {name: bad for name, ours in modules.items() if (bad := refused_imports(name, ours))} == {}
    assert refused_imports("losses", {"config"}) == {"config"}
    assert refused_imports("models.resnet", {"data.mot"}) == {"data.mot"}
    assert refused_imports("data.keypoints.table", {"data.clips.reader", "types"}) == {"data.clips.reader"}


def test_no_circle_of_imports():
    """None within functions either: modules that import none of the rest are taken away until none is left."""
    left = {
        name.removeprefix("rgcn_jax."): ours - {name.removeprefix("rgcn_jax.")}
        for name, ours in imports_of_ours().items()
    }
    while free := [name for name, ours in left.items() if not ours & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def test_only_load_chooses_between_walkers_and_folders():
    found = {
        name
        for name, ours in imports_of_ours().items()
        if part(name) == "data" and any(within(i, "walkers") for i in ours)
    }
    assert found == {"rgcn_jax.data.load"}


def test_tensorflow_is_imported_in_one_place_and_configs_in_none():
    tops = {name: {i.split(".")[0] for i in imports(file)} for name, file in MODULES.items()}
    runtimes = {"rgcn_jax.export.runtimes.run_savedmodel", "rgcn_jax.export.runtimes.write_savedmodel"}
    assert {name for name, found in tops.items() if "tensorflow" in found} == {
        "rgcn_jax.data.clips.tensorflow_cpu",
        *runtimes,  # scripts, each a process of its own
    }
    for name in MODULES:
        if within(name, "rgcn_jax.export.runtimes"):
            assert imports_of_ours()[name] == set(), f"{name} runs an export, and is to do so without this package"
    assert {name for name, found in tops.items() if "tensorflow_datasets" in found} == {
        "rgcn_jax.data.prepared.tfds_builders"
    }
    assert not any({"torch", "configs", "tests"} & found for found in tops.values())
    # Its reader refuses everything that is not a tensor's description.
    assert {name for name, found in tops.items() if "pickle" in found} == {"rgcn_jax.torch_files.pickles"}


def test_numpy_parts_do_without_jax():
    """Drawing, reading and sampling run in processes that should not wait for JAX."""
    for name, file in MODULES.items():
        if part(name) in ("walkers", "data", "types", "errors", "config"):
            assert not {"jax", "flax"} & {i.split(".")[0] for i in imports(file)}, name


def test_every_module_is_imported_by_another_or_is_a_command():
    used = {f"rgcn_jax.{i}" for ours in imports_of_ours().values() for i in ours}
    used |= {name for config in (REPOSITORY / "configs").rglob("*.py") for name in imports(config)}
    alone = {n for n, f in MODULES.items() if n not in used and f.name != "__init__.py"}
    for name in alone:
        if name in LIBRARY:
            continue
        assert "__main__" in MODULES[name].read_text(encoding="utf-8") or name.endswith("__main__"), f"{name} is dead"


def test_no_file_is_long():
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 300} == {}


@pytest.mark.slow
def test_everything_but_the_file_reader_imports_without_tensorflow_and_without_a_warning():
    others = [name for name in MODULES if name not in WITH_TENSORFLOW and not name.endswith("__main__")]
    code = f"""
import importlib, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets", "tensorboardX", "onnxruntime"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
for name in {others!r}:
    importlib.import_module(name)
for name in {sorted(WITH_TENSORFLOW)!r}:
    try:
        importlib.import_module(name)
    except ValueError as error:
        print(type(error).__name__, error)
"""
    filters = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    process = subprocess.run(
        [sys.executable, *filters, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    for (name, expected), reported in zip(sorted(WITH_TENSORFLOW.items()), process.stdout.splitlines(), strict=True):
        assert reported.startswith(expected), name
    assert process.stderr == ""
