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
from rgcn_jax.runtime.output import steady_output
from rgcn_jax.runtime.preemption import Stopped

CONFIG_FIELD = ("--config.", "--noconfig.")
"""How arguments that set a field of the config begin. Field names keep their underscores."""


_READER_GONE = 141
"""Exit status where nobody reads the output any more: that of a program killed by SIGPIPE in a shell."""


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Prints the default of every flag that has one and does not describe it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        plain = action.default is None or action.default is False or "default" in (action.help or "")
        return action.help if plain else super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Text that has lines keeps them: the table of the config's fields."""
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """The argument parser of all commands: kebab-case flags, never abbreviated.

    ``--frames_per_clip`` is read as ``--frames-per-clip``. An unknown flag is an error that names similar ones, and
    every usage error is an ``InputError`` of one line: nothing is printed, the process does not exit (``--help`` does).

    Args:
      prog: how the command was called, for the usage line, such as "rgcn-jax train".
      description: what the command does.
      epilog: what to print below the flags.
      config_fields: whether ``--config.field=value`` arguments may follow; ``parse_known_args`` returns them.
    """

    def __init__(self, prog: str, description: str, epilog: str | None = None, config_fields: bool = False):
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=_Help, allow_abbrev=False)
        self._config_fields = config_fields

    def flag(self, name: str, help: str, **options: Any) -> None:
        """A flag; ``options`` as for ``add_argument``."""
        self.add_argument(name, help=help, **options)

    def switch(self, name: str, help: str) -> None:
        """A flag without a value: False, or True where it is given."""
        self.add_argument(name, help=help, action="store_true")

    def path(self, name: str, metavar: str, help: str, **options: Any) -> None:
        """A flag that takes a path, of which ``metavar`` shows the kind, such as "DIR" or "FILE.csv"."""
        self.add_argument(name, help=help, metavar=metavar, type=path_argument, **options)

    def whole(self, name: str, help: str, least: int = 1, most: int | None = None, **options: Any) -> None:
        """A flag that takes a whole number from ``least`` to ``most``."""
        self.add_argument(name, help=help, metavar="N", type=whole_number(least, most), **options)

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride] (argparse has overloads)
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse's, of normalised arguments. What is not a flag of the command is returned unparsed.

        Raises:
          InputError: a flag is unknown, or its value is invalid.
        """
        return super().parse_known_args(self._normalised(sys.argv[1:] if args is None else args), namespace)

    def error(self, message: str) -> NoReturn:
        """Raises ``InputError`` with the message of argparse."""
        raise InputError(f"{message}; see {self.prog} --help.")

    def _normalised(self, arguments: Sequence[str]) -> list[str]:
        normalised: list[str] = []
        field_before = False  # the argument may be the value of a field, such as -inf
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
        """The argument with its flag in kebab case; raises ``InputError`` where there is no such flag."""
        name, equals, value = argument.partition("=")
        flag = name.replace("_", "-")
        if flag in self._option_string_actions:
            return flag + equals + value
        near = difflib.get_close_matches(flag.lower(), [f for f in self._option_string_actions if f.startswith("--")])
        if near:
            raise InputError(f"unknown flag {name}: near ones are {', '.join(near)}.")
        if self._config_fields:
            raise InputError(f"unknown flag {name}: fields of the config are set by --config.field=value.")
        raise InputError(f"unknown flag {name}: {self.prog} --help lists all flags.")


def path_argument(text: str) -> Path:
    """A path from a command line; ``~`` is the home folder, which a shell leaves as it is behind ``=``.

    Raises ArgumentTypeError, which argparse reports, for an empty or overlong one.
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found nothing")
    if len(os.fsencode(text)) > 4000 or any(len(os.fsencode(name)) > 255 for name in text.split("/")):
        raise argparse.ArgumentTypeError(f"{printable(text[:100])}... is too long for a path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # there is no such user
        raise argparse.ArgumentTypeError(f"{printable(text)}: the home folder behind ~ is not known") from error


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """The ``type`` of a flag that takes a whole number from ``least`` to ``most``, or of any size above ``least``."""
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
    """The last line of a command: where its result lies, and what to type next.

    Args:
      result: what was made and where, such as "results: runs/mars/results.json".
      words: of the next command, which a shell reads as they are, whatever is in a path.
      then: in place of ``words``, what to do next where that is no command, such as "open report.html in a browser".

    Example::

        >>> last_line("features: my own.npz", "rgcn-jax", "evaluate", "--features=my own.npz")
        "features: my own.npz; next: rgcn-jax evaluate '--features=my own.npz'"
    """
    return printable(f"{result}; next: {shlex.join(map(str, words)) if words else then}")


def _discard_output() -> None:
    """Discards what is still to be printed at the end of the process."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Terminated(KeyboardInterrupt):
    """The command received SIGTERM or SIGHUP. A ``KeyboardInterrupt``, so that no handler of errors swallows it.

    Attributes:
      status: exit status, 128 + the signal's number.
    """

    def __init__(self, number: int, message: str):
        super().__init__(f"received {signal.Signals(number).name}: {message}")
        self.status = 128 + number


class _Unwind:
    """Handler of a signal: raises ``Terminated``, and from then on ignores all that it handles."""

    def __init__(self, message: str):
        self.message = message
        self.before: dict[int, Any] = {}

    def __call__(self, number: int, _: object) -> None:
        for other in self.before:  # a second signal must not cut off the clean-up
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(number, self.message)


@contextmanager
def _on_signal(message: str) -> Iterator[None]:
    """SIGTERM and SIGHUP leave this block by ``Terminated``. Those that are handled by others, or ignored, stay so."""
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
    """Ctrl-C in this block is reported as "interrupted: ``message``", SIGTERM and SIGHUP as "received SIGTERM: ...":
    each leaves the block by an exception, so that temporary files are removed. Also a decorator of a command.

    Signals that others handle, or that are ignored, stay so.
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
    """Calls ``command`` with the arguments and ends the process with its exit status; returns where that is 0.

    What ``command`` returns is the status, None is 0. An exception becomes one message on stderr and a status: 2 for an
    ``InputError``, ``processes.AGAIN`` for ``Stopped``, 130 for an interrupt, 128 + its number for SIGTERM and SIGHUP,
    141 where the reader of the output has exited. In a job of several processes the status after the exit of a peer is
    ``processes.PEER_EXITED``, or ``AGAIN`` if this process has received a signal; after any error it ends at once
    (``processes.leave``).

    The process retains freed memory (``runtime/malloc.py``), and no output that cannot be written ends it
    (``runtime/output.py``).

    Args:
      command: called with the arguments, and ``prog=prog`` if there is one.
      arguments: of the command line; None: those of this process.
      prog: how the command was called, for its usage line.
    """
    limit_threads()
    retain_freed_memory()
    with steady_output():
        _call(command, arguments, prog)


def _call(command: Callable[..., object], arguments: Sequence[str] | None, prog: str | None) -> None:
    try:
        with _on_signal("ended before it was done."):  # temporary files and folders are removed on the way out
            given = sys.argv[1:] if arguments is None else arguments
            status = command(given, **({} if prog is None else {"prog": prog}))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has exited, as in "| head"
        _discard_output()
        processes.leave(_READER_GONE)
    except InputError as error:
        line = printable(str(error)).replace("\n", "\\n")  # a name with a line feed must not begin a line of its own
        print(f"error: {line}", file=sys.stderr)
        processes.leave(2)
    except Stopped as stopped:  # all processes have agreed upon it
        print(printable(str(stopped)), file=sys.stderr)
        sys.exit(processes.AGAIN)
    except KeyboardInterrupt as interrupt:
        print(printable(str(interrupt)) or "interrupted", file=sys.stderr)
        processes.leave(interrupt.status if isinstance(interrupt, Terminated) else 130)
    except SystemExit as end:
        if end.code not in (None, 0, processes.AGAIN):  # these ends all processes have agreed upon
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
