"""Commands, called in this process as ``python -m`` would call them, or as a process of their own."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rgcn_jax.__main__ import dispatch
from rgcn_jax.command import Parser, run_command

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


class _Parsed(Exception):
    """Arguments that a command's parser has taken: nothing of the command has run."""


def parsed(main, arguments):
    """Flags, and arguments that set fields, as the command's own parser takes them; nothing runs."""
    parse = Parser.parse_known_args

    def only_parse(self, *given):
        found = parse(self, *given)
        if "command" in vars(found[0]):  # of the gallery, which has parsers of its own below
            return found
        raise _Parsed(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parser, "parse_known_args", only_parse)
        with pytest.raises(_Parsed) as end:
            main([str(argument) for argument in arguments], prog="rgcn-jax")
    return end.value.args[0]


def next_command(printed):
    """What the last line says to type next, as arguments of ``rgcn-jax``, which its parser takes; or as a sentence."""
    line = printed.rstrip("\n").rpartition("\n")[2]
    result, arrow, then = line.partition("; next: ")
    assert arrow, f"no next step in {line!r}"
    assert result
    if not then.startswith("rgcn-jax "):
        return then
    arguments = shlex.split(then)[1:]
    parsed(dispatch, arguments)
    return arguments
