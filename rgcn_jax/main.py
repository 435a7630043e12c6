"""The command ``rgcn-jax train``, also ``python -m rgcn_jax.main``: train a model and evaluate it, or resume a run.

python -m rgcn_jax.main --config=configs/mars.py [--workdir=DIR] [--config.field=value]
"""

from collections.abc import Sequence
from pathlib import Path

from rgcn_jax.command import Parser, run_command
from rgcn_jax.config_help import listing
from rgcn_jax.config_io import load_config_file, override, typed
from rgcn_jax.runtime.preemption import Stopping
from rgcn_jax.runtime.time_accounting import Seconds


def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax train") -> None:
    """Parse the command line and train. On SIGTERM, SIGINT or SIGHUP the state is saved (``runtime/preemption.py``).

    Raises ``InputError`` for invalid arguments, configs and data, and ``Stopped`` after a signal, once the state is
    saved.
    """
    seconds = Seconds()
    parser = Parser(
        prog,
        "Train a video re-identification model and evaluate it. Rerun the same command to resume.",
        epilog=f"config fields and their defaults (docs/config.md):\n{listing()}",
        config_fields=True,
    )
    parser.flag(
        "--config",
        "a config file such as configs/mars.py, or the name of a packaged one such as mars",
        required=True,
        metavar="FILE",
    )
    parser.path("--workdir", "DIR", "folder of the run (default: runs/<name of the config>)")
    known, overrides = parser.parse_known_args(arguments)
    config = typed(override(load_config_file(known.config), overrides), name=known.config)
    workdir = known.workdir or (Path("runs") / Path(known.config.split(":")[0]).stem)

    with Stopping() as stopping:
        from rgcn_jax import parallel  # imported after parsing: JAX takes seconds
        from rgcn_jax.training.train import train

        parallel.start_processes()
        train(config, workdir, stopping=stopping, seconds=seconds)


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.main")
