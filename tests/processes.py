"""Jobs of several real processes on this machine, as a launcher starts them; none outlives its test."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def free_port():
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("", 0))
        return taken.getsockname()[1]


def environment(index, count, port, devices):
    """Of a process of a job. It compiles as the suite does and shares the suite's compiled programs."""
    reported = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": devices}
    if count > 1:
        reported |= {
            "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
            "JAX_NUM_PROCESSES": count,
            "JAX_PROCESS_ID": index,
        }
    return os.environ | {name: str(value) for name, value in reported.items()}


def job(commands, devices: int | Sequence[int] = 1, seconds=600):
    """Starts a process for each Python command line, waits for all of them, and returns how they ended; ``devices`` of
    each, or a number for each.
    """
    devices = [devices] * len(commands) if isinstance(devices, int) else devices
    port = free_port()
    started = [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env=environment(index, len(commands), port, devices[index]),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for index, arguments in enumerate(commands)
    ]
    try:
        texts = [process.communicate(timeout=seconds) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [Ended(process.returncode, *text) for process, text in zip(started, texts, strict=True)]


def module(name, *arguments):
    return ["-m", name, *map(str, arguments)]


def code(text):
    """A command that joins the job and runs some lines in which ``parallel`` and ``say`` (to stderr) are defined."""
    indented = "\n".join("    " + line for line in text.strip().splitlines())
    return [
        "-c",
        "import os, signal, sys, time\nimport jax\nfrom rgcn_jax import command, parallel\n"
        "from rgcn_jax.runtime import processes\nfrom rgcn_jax.errors import InputError\n"
        "def say(*what):\n    print(*what, file=sys.stderr, flush=True)\n"
        f"def work(arguments):\n{indented}\ncommand.run_command(work)",
    ]
