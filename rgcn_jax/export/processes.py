"""Runs a script of ``runtimes/`` in a separate process, which imports a runtime but not this package."""

import os
import subprocess
import sys
from pathlib import Path

from rgcn_jax.errors import InputError

SCRIPTS = Path(__file__).parent / "runtimes"


def run_script(name: str, *arguments: object) -> None:
    """Run a script on the CPU, since this process uses the other devices.

    Raises:
      InputError: it failed; the message has the last line of its output.
    """
    kept = dict(os.environ)
    if "savedmodel" in name:
        kept.pop("XLA_FLAGS", None)  # flags of this JAX, which TensorFlow may not know
    changes = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    done = subprocess.run(command, env=kept | changes, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
        raise InputError(f"nothing was exported: {name} failed ({lines[-1].strip()}).")
