"""Export formats: requirements, file name and writer of each, and the scripts that run in a separate process."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from jax import export

from rgcn_jax.errors import InputError
from rgcn_jax.export.function import ExportedFunction

SCRIPTS = Path(__file__).parent / "runtimes"

PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms that StableHLO and the SavedModel are lowered for, in one file."""


class Format(NamedTuple):
    """``file``: name in the folder. ``modules``: required Python modules. ``write``: writes the function to a path."""

    file: str
    modules: tuple[str, ...]
    write: Callable[[ExportedFunction, Path], None]


def lowered(function: ExportedFunction) -> export.Exported:
    """Lower the function by ``jax.export`` for all ``PLATFORMS``."""
    return export.export(jax.jit(function.call), platforms=PLATFORMS)(*function.inputs.values())


def write_stablehlo(function: ExportedFunction, path: Path) -> None:
    """Write StableHLO, serialised by ``jax.export``."""
    path.write_bytes(lowered(function).serialize())


def write_onnx(function: ExportedFunction, path: Path) -> None:
    """Write an ONNX model as a single file."""
    import onnx  # an optional dependency

    from rgcn_jax.export.onnx.convert import to_onnx

    jaxpr = jax.make_jaxpr(function.call)(*function.inputs.values())
    model = to_onnx(jaxpr, tuple(function.inputs), function.outputs, "rgcn_jax")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def write_savedmodel(function: ExportedFunction, path: Path) -> None:
    """Write a TensorFlow SavedModel that calls the StableHLO module, in a separate process.

    Raises:
      InputError: TensorFlow does not accept the module.
    """
    exported = lowered(function)
    convention = {
        "version": exported.calling_convention_version,
        "platforms": [platform.upper() for platform in exported.platforms],
        "used": list(exported.module_kept_var_idx),
        **function.signature(None),
    }
    with tempfile.TemporaryDirectory(prefix="rgcn-jax-export-") as folder:
        module, description = Path(folder, "module"), Path(folder, "convention.json")
        module.write_bytes(exported.mlir_module_serialized)
        description.write_text(json.dumps(convention), encoding="utf-8")
        run_script("write_savedmodel.py", module, description, path)


FORMATS: Mapping[str, Format] = {
    "stablehlo": Format("model.stablehlo", (), write_stablehlo),
    "onnx": Format("model.onnx", ("onnx", "onnxruntime"), write_onnx),
    "savedmodel": Format("savedmodel", ("tensorflow",), write_savedmodel),
}


def run_script(command: str, *arguments: object) -> None:
    """Run a script of ``runtimes/``, which imports a runtime but not this package, in a separate process on the CPU.

    ``command``: name of the script, and the format if it takes one.

    Raises:
      InputError: it failed; the message has the last line of its output.
    """
    script, *options = command.split()
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # unknown to other runtimes
    changes = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    whole = [sys.executable, str(SCRIPTS / script), *options, *map(str, arguments)]
    done = subprocess.run(whole, env=kept | changes, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
        raise InputError(f"nothing was exported: {command} failed ({lines[-1].strip()}).")


def parse_formats(names: Sequence[str]) -> list[str]:
    """The distinct formats besides the folder, which is always written.

    Raises:
      InputError: a name is unknown, or a converter or runtime is not installed.
    """
    known = ("folder", *FORMATS)
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--to={','.join(names)}: unknown format {unknown[0]!r}, expected one of {', '.join(known)}.")
    formats = [name for name in FORMATS if name in names]
    for name in formats:
        missing = [module for module in FORMATS[name].modules if importlib.util.find_spec(module) is None]
        if missing:
            raise InputError(
                f"--to={name} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
                'installed: pip install "rgcn_jax[export]".'
            )
    return formats
