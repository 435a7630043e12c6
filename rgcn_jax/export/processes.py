"""Runs a script of ``runtimes/`` in a process of its own, which imports a runtime but not this package."""

import os
import subprocess
import sys
from pathlib import Path

from rgcn_jax.errors import InputError

SCRIPTS = Path(__file__).parent / "runtimes"


def run_script(name: str, *arguments: object) -> None:
    """Runs a script on the CPU: the devices are this process's.

    Raises:
      InputError: it failed; with the last line that it printed.
    """
    kept = dict(os.environ)
    if "savedmodel" in name:
        kept.pop("XLA_FLAGS", None)  # this JAX's, of which TensorFlow need not know all
    changes = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    done = subprocess.run(command, env=kept | changes, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
        raise InputError(f"nothing was exported: {name} failed ({lines[-1].strip()}).")
