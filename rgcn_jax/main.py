"""Train and evaluate: ``python -m rgcn_jax.main --config=configs/mars.py [--workdir=DIR] [--config.field=value]``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rgcn_jax.command import run_command
from rgcn_jax.config_io import load_config_file, override, typed
from rgcn_jax.runtime.preemption import Stopping
from rgcn_jax.runtime.time_accounting import Seconds


def main(arguments: Sequence[str]) -> None:
    """Parses the command line and trains; the work directory defaults to ``runs/<name of the config file>``. SIGTERM
    and SIGINT end it with a saved state (``runtime/preemption.py``).
    """
    seconds = Seconds()
    parser = argparse.ArgumentParser(
        prog="python -m rgcn_jax.main",
        description="Train a video re-identification model and score it; the same command again resumes.",
        epilog="Any field of the config can be set: --config.model.pose=LGCN (docs/config.md lists them).",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE", help="a file of configs/, such as configs/walkers.py"
    )
    parser.add_argument(
        "--workdir", metavar="DIR", help="where the run is kept (default: runs/<name of the config file>)"
    )
    known, overrides = parser.parse_known_args(arguments)
    config = typed(override(load_config_file(known.config), overrides), name=known.config)
    workdir = Path(known.workdir or Path("runs") / Path(known.config.split(":")[0]).stem)

    with Stopping() as stopping:
        from rgcn_jax import parallel  # after the arguments: these import JAX, which takes seconds
        from rgcn_jax.training.train import train

        parallel.start_processes()
        train(config, workdir, stopping=stopping, seconds=seconds)


if __name__ == "__main__":
    run_command(main)
