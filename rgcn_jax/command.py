"""Command-line interface of all commands: argument parser, error messages and exit statuses."""

import argparse
import difflib
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from rgcn_jax.errors import InputError, printable
from rgcn_jax.runtime import processes
from rgcn_jax.runtime.cores import limit_threads
from rgcn_jax.runtime.malloc import retain_freed_memory
from rgcn_jax.runtime.output import robust_output
from rgcn_jax.runtime.preemption import Stopped

CONFIG_FIELD = ("--config.", "--noconfig.")
"""Prefixes of arguments that set a config field. Field names keep their underscores."""


_BROKEN_PIPE = 141
"""Exit status after a broken pipe: what a shell reports for a program killed by SIGPIPE."""


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help formatter that adds the default of each flag whose help does not state it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        plain = action.default is False or action.default in (None, "", []) or "default" in (action.help or "")
        return action.help if plain else super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Keep the line breaks of text that has any, such as the table of config fields."""
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """The argument parser of all commands: kebab-case flags, never abbreviated.

    ``--frames_per_clip`` is read as ``--frames-per-clip``. An unknown flag is an error that lists similar ones. A usage
    error raises ``InputError`` instead of printing and exiting; ``--help`` prints and exits.

    Args:
      prog: how the command was called, for the usage line, such as "rgcn-jax train".
      description: what the command does.
      epilog: text below the list of flags.
      config_fields: whether to accept ``--config.field=value`` arguments; ``parse_known_args`` returns them.
    """

    def __init__(self, prog: str, description: str, epilog: str | None = None, config_fields: bool = False):
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=_Help, allow_abbrev=False)
        self._config_fields = config_fields

    def flag(self, name: str, help: str, **options: Any) -> None:
        """Add a flag; ``options`` as for ``add_argument``."""
        self.add_argument(name, help=help, **options)

    def switch(self, name: str, help: str) -> None:
        """Add a flag without a value: True where given, else False."""
        self.add_argument(name, help=help, action="store_true")

    def path(self, name: str, metavar: str, help: str, **options: Any) -> None:
        """Add a flag that takes a path; ``metavar`` is shown in the help, such as "DIR" or "FILE.csv"."""
        self.add_argument(name, help=help, metavar=metavar, type=path_argument, **options)

    def whole(self, name: str, help: str, least: int = 1, most: int | None = None, **options: Any) -> None:
        """Add a flag that takes a whole number from ``least`` to ``most``."""
        self.add_argument(name, help=help, metavar="N", type=whole_number(least, most), **options)

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride] (argparse has overloads)
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse the arguments as argparse does, after normalising them; return those that set config fields unparsed.

        Raises:
          InputError: a flag is unknown, or its value is invalid.
        """
        return super().parse_known_args(self._normalised(sys.argv[1:] if args is None else args), namespace)

    def error(self, message: str) -> NoReturn:
        """Raise ``InputError`` with the message of argparse."""
        raise InputError(f"{message}; see {self.prog} --help.")

    def _normalised(self, arguments: Sequence[str]) -> list[str]:
        normalised: list[str] = []
        field_before = False  # whether this argument may be the value of a field, such as -inf
        for argument in arguments:
            if argument == "--":
                return [*normalised, *arguments[len(normalised) :]]
            field = self._config_fields and argument.startswith(CONFIG_FIELD)
            is_flag = argument.startswith("--") or (
                argument[:1] == "-" and argument[1:2].isalpha() and not field_before
            )
            normalised.append(self._known_flag(argument) if is_flag and not field else argument)
            field_before = field and "=" not in argument
        return normalised

    def _known_flag(self, argument: str) -> str:
        """The argument with its flag in kebab case. Raises ``InputError`` for an unknown flag."""
        name, equals, value = argument.partition("=")
        flag = name.replace("_", "-")
        if flag in self._option_string_actions:
            return flag + equals + value
        near = difflib.get_close_matches(flag.lower(), [f for f in self._option_string_actions if f.startswith("--")])
        if near:
            raise InputError(f"unknown flag {name}: did you mean {', '.join(near)}?")
        if self._config_fields:
            raise InputError(f"unknown flag {name}: config fields are set by --config.field=value.")
        raise InputError(f"unknown flag {name}: {self.prog} --help lists all flags.")


def path_argument(text: str) -> Path:
    """Parse a path argument; a leading ``~`` is expanded, which a shell does not do behind ``=``.

    Raises ArgumentTypeError for an empty or overlong path, or an unknown home folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found an empty string")
    if len(os.fsencode(text)) > 4000 or any(len(os.fsencode(name)) > 255 for name in text.split("/")):
        raise argparse.ArgumentTypeError(f"{printable(text[:100])}... is too long for a path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # no such user
        raise argparse.ArgumentTypeError(f"{printable(text)}: cannot expand ~ to a home folder") from error


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """The argparse ``type`` of a whole number from ``least`` to ``most`` (None: no upper bound)."""
    expected = f"a whole number of {least} or more" if most is None else f"a whole number from {least} to {most:,}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text[:100]!r}")
        return number

    return parse


def last_line(result: str, *words: object, then: str = "") -> str:
    """The last line that a command prints: where its result is, and the next command to run.

    Args:
      result: what was written and where, such as "results: runs/mars/results.json".
      words: the next command, word by word; each is quoted for the shell.
      then: the next step as free text, instead of ``words``, such as "open report.html in a browser".

    Example::

        >>> last_line("features: my own.npz", "rgcn-jax", "evaluate", "--features=my own.npz")
        "features: my own.npz; next: rgcn-jax evaluate '--features=my own.npz'"
    """
    return printable(f"{result}; next: {shlex.join(map(str, words)) if words else then}")


def _discard_output() -> None:
    """Discard output that is still buffered."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Terminated(KeyboardInterrupt):
    """Raised when the command receives SIGTERM or SIGHUP. A ``KeyboardInterrupt``, so ``except Exception`` does not
    catch it.

    Attributes:
      status: exit status, 128 + signal number.
    """

    def __init__(self, number: int, message: str):
        super().__init__(f"received {signal.Signals(number).name}: {message}")
        self.status = 128 + number


class _Unwind:
    """Signal handler that raises ``Terminated`` and ignores further signals."""

    def __init__(self, message: str):
        self.message = message
        self.before: dict[int, Any] = {}

    def __call__(self, number: int, _: object) -> None:
        for other in self.before:  # a second signal must not interrupt the clean-up
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(number, self.message)


@contextmanager
def _on_signal(message: str) -> Iterator[None]:
    """SIGTERM and SIGHUP raise ``Terminated`` in this block, unless they are ignored or have another handler."""
    handler = _Unwind(message)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            now = signal.getsignal(number)
            if now is signal.SIG_DFL or isinstance(now, _Unwind):
                handler.before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in handler.before.items():
            signal.signal(number, before)


@contextmanager
def on_interrupt(message: str) -> Iterator[None]:
    """Report Ctrl-C in this block as "interrupted: ``message``", and SIGTERM and SIGHUP as "received SIGTERM: ...".

    Each raises an exception, so temporary files are removed. Signals that are ignored or have another handler are left
    alone. Also usable as a decorator.
    """
    with _on_signal(message):
        try:
            yield
        except KeyboardInterrupt as interrupt:
            if type(interrupt) is not KeyboardInterrupt or interrupt.args:
                raise
            raise KeyboardInterrupt(f"interrupted: {message}") from interrupt


def run_command(
    command: Callable[..., object], arguments: Sequence[str] | None = None, prog: str | None = None
) -> None:
    """Call ``command`` and exit with its status; return if the status is 0.

    The return value of ``command`` is the status (None: 0). An exception is printed as one message on stderr and mapped
    to a status: 2 for ``InputError``, ``processes.AGAIN`` for ``Stopped``, 130 for Ctrl-C, 128 + signal number for
    SIGTERM and SIGHUP, 141 for a broken pipe. In a job of several processes the status after the exit of a peer is
    ``processes.PEER_EXITED``, or ``AGAIN`` if this process has received a signal; after an error it exits immediately
    (``processes.leave``).

    Also makes malloc retain freed memory (``runtime/malloc.py``) and makes failed writes to the terminal harmless
    (``runtime/output.py``).

    Args:
      command: called with the arguments, and with ``prog=prog`` if it is not None.
      arguments: command line; None: ``sys.argv[1:]``.
      prog: how the command was called, for its usage line.
    """
    limit_threads()
    retain_freed_memory()
    with robust_output():
        _call(command, arguments, prog)


def _call(command: Callable[..., object], arguments: Sequence[str] | None, prog: str | None) -> None:
    try:
        with _on_signal("ended before it was done."):  # remove temporary files and folders
            given = sys.argv[1:] if arguments is None else arguments
            status = command(given, **({} if prog is None else {"prog": prog}))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has exited, as in "| head"
        _discard_output()
        processes.leave(_BROKEN_PIPE)
    except InputError as error:
        line = printable(str(error)).replace("\n", "\\n")  # a name with a line feed must not begin a line of its own
        print(f"error: {line}", file=sys.stderr)
        processes.leave(2)
    except Stopped as stopped:  # all processes agreed to stop
        print(printable(str(stopped)), file=sys.stderr)
        sys.exit(processes.AGAIN)
    except KeyboardInterrupt as interrupt:
        print(printable(str(interrupt)) or "interrupted", file=sys.stderr)
        processes.leave(interrupt.status if isinstance(interrupt, Terminated) else 130)
    except SystemExit as end:
        if end.code not in (None, 0, processes.AGAIN):  # all processes agreed on these statuses
            processes.leave(end.code if isinstance(end.code, int) else 1)
        raise
    except Exception as error:
        if not processes.joined:
            raise
        if processes.is_peer_exit(error):
            print(f"error: {printable(processes.peer_exit(error))}", file=sys.stderr)
            processes.leave(processes.AGAIN if processes.signal_received else processes.PEER_EXITED)
        traceback.print_exc()
        processes.leave(1)
    else:
        if isinstance(status, int) and status:
            processes.leave(status)
