"""The command ``rgcn-jax evaluate``, also ``python -m rgcn_jax.evaluate``: evaluate a run's checkpoint again, and save
its features.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rgcn_jax.command import Parser, path_argument, run_command
from rgcn_jax.config_io import CONFIG_FILE, load_config_json, override, typed
from rgcn_jax.errors import InputError


def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax evaluate") -> None:
    """Parses the command line, restores a checkpoint, evaluates it and prints the rows of every protocol.

    Raises:
      InputError: an argument is invalid, or the run, its checkpoint or its data cannot be read.
    """
    known, overrides = _parse(arguments, prog)
    workdir = known.workdir
    config = typed(override(load_config_json(workdir / CONFIG_FILE), overrides))

    from rgcn_jax import parallel  # after the arguments: these import JAX, which takes seconds
    from rgcn_jax.evaluation.scorer import save_features
    from rgcn_jax.runtime.compilation_cache import keep_compiled
    from rgcn_jax.training.restore import restore

    parallel.start_processes()
    if known.features and parallel.is_first():
        _check_writable(known.features)
    if note := keep_compiled(workdir, config.compilation_cache):
        print(note)
    run, state = restore(config, workdir, known.checkpoint)
    evaluation = run.scorer.evaluate(state.variables, int(state.step))
    print(f"{known.checkpoint} checkpoint, step {evaluation.step}\n{evaluation.table()}")
    if known.features:
        train = None
        if known.with_train:
            train = run.data.split.train, run.scorer.embed(state.variables, run.data.split.train)
        if parallel.is_first():
            save_features(known.features, evaluation, train)
        count = len(evaluation.tracklets) + (len(train[0]) if train else 0)
        print(f"features of {count} tracklets: {known.features}")


def _parse(arguments: Sequence[str] | None, prog: str) -> tuple[Namespace, list[str]]:
    """The flags, and the arguments that set fields of the config."""
    parser = Parser(
        prog,
        "Evaluate a checkpoint of a run under every protocol.",
        epilog="Fields of the run's config can be changed, such as --config.evaluation.distance=normalized. The best "
        "checkpoint is the one with the highest mAP on the test set, as is usual in the field; the latest has no such "
        "advantage.",
        config_fields=True,
    )
    parser.add_argument("--workdir", required=True, type=path_argument, metavar="DIR", help="folder of the run")
    parser.add_argument("--checkpoint", choices=("latest", "best"), default="latest", help="which checkpoint")
    parser.add_argument(
        "--features",
        type=path_argument,
        metavar="FILE.npz",
        help="also save features, ids and cameras of all test tracklets",
    )
    parser.add_argument(
        "--with-train", action="store_true", help="and of the training tracklets, so that data.features can be the file"
    )
    known, overrides = parser.parse_known_args(arguments)
    if known.features and known.features.suffix != ".npz":
        raise InputError(f"--features={known.features}: the file's name must end in .npz.")
    if known.with_train and not known.features:
        raise InputError("--with-train is for --features=FILE.npz only: give both.")
    return known, overrides


def _check_writable(path: Path) -> None:
    """Raises ``InputError`` where no file can be written at ``path``, before anything is computed for it."""
    if not path.parent.is_dir():
        raise InputError(f"--features={path}: there is no folder {path.parent}, make it first.")
    there = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise InputError(f"--features={path} cannot be written ({error.strerror}): choose another file.") from error
    if not there:
        path.unlink()


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.evaluate")
