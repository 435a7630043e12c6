"""Checkpoints with Orbax: the latest ones to resume from, and the best one by the headline metric.

Each holds the whole ``TrainState`` (parameters, statistics, optimiser, step, key) and a small JSON record. A save
runs in the background; a killed save leaves the one before it intact.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from rgcn_jax import processes
from rgcn_jax.state import TrainState
from rgcn_jax.types import InputError

KINDS = ("latest", "best")


class Checkpoints:
    """The folder ``<workdir>/checkpoints``: ``latest/<step>`` (two are kept) and ``best/<step>`` (one is kept)."""

    def __init__(self, workdir: Path):
        logging.set_verbosity(logging.WARNING)  # Orbax tells every detail of every save at INFO
        self._folder = workdir.resolve() / "checkpoints"
        self._managers = {
            kind: ocp.CheckpointManager(
                self._folder / kind,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=keep,
                    create=True,
                    # Several processes wait for each other by name, and both managers may save at the same step.
                    multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=kind),
                ),
                item_handlers={"state": ocp.StandardCheckpointHandler(), "record": ocp.JsonCheckpointHandler()},
            )
            for kind, keep in zip(KINDS, (2, 1), strict=True)
        }

    def latest_step(self, kind: str = "latest") -> int | None:
        """The step of the newest checkpoint of a kind, None if there is none."""
        return self._managers[kind].latest_step()

    def save(self, kind: str, state: TrainState, record: Mapping[str, Any]) -> None:
        """Saves the state at its step with a JSON record, once a step; returns before the files are written."""
        manager, step = self._managers[kind], int(state.step)
        if manager.latest_step() == step:
            return
        manager.save(
            step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(dict(record)))
        )

    def record(self, kind: str) -> dict[str, Any]:
        """The JSON record of the newest checkpoint of a kind; empty if there is none."""
        manager, step = self._managers[kind], self.latest_step(kind)
        if step is None:
            return {}
        return manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]

    def restore(self, kind: str, target: TrainState) -> TrainState:
        """The newest checkpoint of a kind, in the shapes and on the devices of ``target``.

        Raises:
          InputError: there is none, it cannot be read, or it holds another model; the message names what differs.
        """
        manager, step = self._managers[kind], self.latest_step(kind)
        if step is None:
            raise InputError(
                f"no {kind!r} checkpoint in {self._folder / kind}: train first, or point --workdir to the folder of a "
                "finished run."
            )
        path = self._folder / kind / str(step)
        try:
            stored = manager.item_metadata(step)["state"]
            _check_same_model(stored, target, path)
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
            return manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))["state"]
        except InputError:
            raise
        except Exception as error:  # Orbax tells of a damaged file by whatever failed to read it
            raise InputError(
                f"the checkpoint {path} cannot be read ({type(error).__name__}: {str(error)[:200]!r}): move this "
                "folder away to go on from the checkpoint before it."
            ) from error

    def close(self) -> None:
        """Waits for saves under way."""
        for manager in self._managers.values():
            manager.wait_until_finished()
            manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or not processes.is_loss(error):  # a save waits for the processes that are lost
            self.close()


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape of the leaves, for a tree of arrays or of Orbax metadata."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path): tuple(
            leaf.shape
        )
        for path, leaf in leaves
        if hasattr(leaf, "shape")
    }


def _check_same_model(stored: Any, target: TrainState, path: Path) -> None:
    """Compares the parameters' names and shapes; the optimiser's state follows from them."""
    found, expected = _shapes(_params_of(stored)), _shapes(target.params)
    differing = sorted(
        [f"{name}: the checkpoint has none" for name in expected.keys() - found.keys()]
        + [f"{name}: the model has none" for name in found.keys() - expected.keys()]
        + [
            f"{name}: the checkpoint has {found[name]}, the model {expected[name]}"
            for name in expected.keys() & found.keys()
            if found[name] != expected[name]
        ]
    )
    if differing:
        more = f"; and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(
            f"the checkpoint {path} is of another model ({'; '.join(differing[:3])}{more}): use the config it was "
            "trained with, or another --workdir."
        )


def _params_of(stored: Any) -> Any:
    tree = getattr(stored, "tree", stored)
    return tree["params"] if isinstance(tree, Mapping) else tree.params
