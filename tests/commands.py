"""Commands, called in this process as ``python -m`` would call them, or as a process of their own."""

import subprocess
import sys
from pathlib import Path

from rgcn_jax.command import run_command

REPOSITORY = Path(__file__).parents[1]


def module(name, *arguments):
    """``python -m name``, as a process."""
    command = [sys.executable, "-m", name, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def status(main, arguments, prog=None):
    """The exit status of a command; what it prints is printed."""
    try:
        run_command(main, [str(argument) for argument in arguments], prog)
    except SystemExit as end:
        return end.code or 0
    return 0


def fails(main, arguments, capsys):
    """The line that a command ends with: on stderr, status 2, nothing else."""
    assert status(main, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error
