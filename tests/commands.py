"""Commands called in this process, as ``python -m`` would call them."""

from rgcn_jax.command import run_command


def status(main, arguments, prog=None):
    """The exit status of a command; what it prints is printed."""
    try:
        run_command(main, [str(argument) for argument in arguments], prog)
    except SystemExit as end:
        return end.code or 0
    return 0
