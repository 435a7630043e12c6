"""What the commands share: the config and its overrides, and errors told in a sentence instead of a traceback."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from rgcn_jax.errors import InputError, printable
from rgcn_jax.runtime import processes
from rgcn_jax.runtime.malloc import keep_freed_memory
from rgcn_jax.runtime.preemption import Stopped


def path_argument(text: str) -> Path:
    """A path from a command line. Raises ArgumentTypeError, which argparse prints, where no file can be called so."""
    if len(os.fsencode(text)) > 4000 or any(len(os.fsencode(name)) > 255 for name in text.split("/")):
        raise argparse.ArgumentTypeError(f"{printable(text[:100])}... is too long for a path")
    return Path(text)


def run_command(command: Callable[[Sequence[str]], object]) -> None:
    """Calls ``command`` with the arguments. What it is told by an exception is one sentence on stderr and a status: 2
    for an ``InputError``, ``processes.AGAIN`` for ``Stopped``, 130 for an interrupt.

    So is the loss of another one of several processes, with ``processes.LOST``; or with ``AGAIN`` where this one was
    told to go as well, and had not come to it. After any error one of several ends at once (``processes.leave``).

    The process keeps the memory that it frees (``runtime/malloc.py``).
    """
    keep_freed_memory()
    try:
        command(sys.argv[1:])
    except InputError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        processes.leave(2)
    except Stopped as stopped:  # all processes have agreed upon it
        print(printable(str(stopped)), file=sys.stderr)
        sys.exit(processes.AGAIN)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        processes.leave(130)
    except SystemExit as end:
        if end.code not in (None, 0, processes.AGAIN):  # these ends all processes have agreed upon
            processes.leave(end.code if isinstance(end.code, int) else 1)
        raise
    except Exception as error:
        if processes.last_words is None:
            raise
        if processes.is_loss(error):
            print(f"error: {printable(processes.loss(error))}", file=sys.stderr)
            processes.leave(processes.AGAIN if processes.told_to_go else processes.LOST)
        traceback.print_exc()
        processes.leave(1)
