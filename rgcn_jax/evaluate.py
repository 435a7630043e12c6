"""``python -m rgcn_jax.evaluate --workdir=RUN``: score a run's checkpoint again, and save its features."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rgcn_jax import parallel
from rgcn_jax.command import run_command
from rgcn_jax.config import Config
from rgcn_jax.config_io import CONFIG_FILE, load_config_json, override, typed
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.scorer import save_features
from rgcn_jax.runtime.compilation_cache import keep_compiled
from rgcn_jax.training.checkpoint import KINDS, Checkpoints
from rgcn_jax.training.run import Run, prepare
from rgcn_jax.training.state import TrainState


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, restores a checkpoint, scores it and prints the rows of every protocol."""
    parser = argparse.ArgumentParser(
        prog="python -m rgcn_jax.evaluate",
        description="Score a checkpoint of a run under every protocol.",
        epilog="Fields of the run's config can be changed, such as --config.evaluation.distance=normalized. The best "
        "checkpoint is the one with the highest mAP on the test set, as is usual in the field; the latest has no such "
        "advantage.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="the folder of a run of python -m rgcn_jax.main"
    )
    parser.add_argument("--checkpoint", choices=KINDS, default="latest", help="which checkpoint (default: latest)")
    parser.add_argument(
        "--features", metavar="FILE.npz", help="also save features, ids and cameras of all test tracklets"
    )
    parser.add_argument(
        "--with-train", action="store_true", help="and of the training tracklets, so that data.features can be the file"
    )
    known, overrides = parser.parse_known_args(arguments)
    workdir = Path(known.workdir)
    config = typed(override(load_config_json(workdir / CONFIG_FILE), overrides))
    parallel.start_processes()
    if known.features and not known.features.endswith(".npz"):
        raise InputError(f"--features={known.features}: the file's name must end in .npz.")
    if known.with_train and not known.features:
        raise InputError("--with-train has a meaning with --features=FILE.npz only: give both.")
    if known.features and parallel.is_first():
        _check_writable(Path(known.features))
    if told := keep_compiled(workdir, config.compilation_cache):
        print(told)
    run, state = restore(config, workdir, known.checkpoint)
    evaluation = run.scorer.evaluate(state.variables, int(state.step))
    print(f"{known.checkpoint} checkpoint, step {evaluation.step}\n{evaluation.table()}")
    if known.features:
        train = None
        if known.with_train:
            train = run.data.split.train, run.scorer.embed(state.variables, run.data.split.train)
        if parallel.is_first():
            save_features(Path(known.features), evaluation, train)
        count = len(evaluation.tracklets) + (len(train[0]) if train else 0)
        print(f"features of {count} tracklets: {known.features}")


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


def restore(config: Config, workdir: Path, kind: str) -> tuple[Run, TrainState]:
    """A run, and its newest checkpoint of a kind ("latest" or "best") in ``workdir``; nothing there is changed."""
    folder = workdir.resolve() / "checkpoints" / kind
    if not folder.is_dir():  # before the model is built; and opening it would make the folder
        raise InputError(f"no {kind!r} checkpoint in {folder}: train first, or point --workdir to a finished run.")
    run = prepare(config, restored=True)
    with Checkpoints(workdir) as checkpoints:
        return run, checkpoints.restore(kind, run.state)


if __name__ == "__main__":
    run_command(main)
