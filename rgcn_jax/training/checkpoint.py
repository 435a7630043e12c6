"""Checkpoints with Orbax: the latest ones to resume from, and the best one by the headline metric.

Each holds the whole ``TrainState`` (parameters, statistics, optimiser, step, key) and a small JSON record with hashes
of all of it. A save runs in the background; a killed save leaves the one before it intact. A checkpoint with a
checksum mismatch is never used: it is reported and quarantined, and the one before it is used. In a job of several
processes all call these methods, and only the first moves and removes files.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from rgcn_jax import parallel
from rgcn_jax.errors import InputError, as_input_error, listed
from rgcn_jax.runtime import processes
from rgcn_jax.runtime.checksum import content_hash, host_leaves, json_hash, not_finite, structure
from rgcn_jax.runtime.orbax_logging import suppress_orbax_logging
from rgcn_jax.training.state import TrainState, variables_hash

KINDS = ("latest", "best")


class DamagedError(InputError):
    """A checkpoint is damaged."""


class Checkpoints:
    """The folder ``<workdir>/checkpoints``: ``latest/<step>`` (two are kept), ``best/<step>`` (one is kept), and
    ``quarantine/``, for damaged ones.

    Raises:
      InputError: the folder cannot be made.
    """

    def __init__(self, workdir: Path):
        suppress_orbax_logging()
        self._folder = workdir.resolve() / "checkpoints"
        with as_input_error(f"{self._folder} cannot be made a folder"):
            self._managers = {kind: self._open(kind, keep) for kind, keep in zip(KINDS, (2, 1), strict=True)}

    def _open(self, kind: str, keep: int) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self._folder / kind,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                create=True,
                # Several processes wait for each other by name, and both managers may save at the same step.
                multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=kind),
            ),
            item_handlers={"state": ocp.StandardCheckpointHandler(), "record": ocp.JsonCheckpointHandler()},
        )

    def latest_step(self, kind: str = "latest") -> int | None:
        """The step of the newest checkpoint of a kind, None if there is none."""
        return self._managers[kind].latest_step()

    def save(self, kind: str, state: TrainState, record: Mapping[str, Any]) -> None:
        """Saves the state at its step with a JSON record, once a step; returns before the files are written.

        Raises:
          InputError: the state holds NaN or Inf; or this save, or the one before it, which ended in the background,
            could not be written.
        """
        leaves = host_leaves(state)
        step = int(leaves["step"])
        if self._managers[kind].latest_step() == step:
            return
        if bad := not_finite(leaves):
            raise InputError(
                f"training diverged: after step {step} {', '.join(bad[:3])} hold non-finite values; such a state "
                "is not saved. Lower optimizer.learning_rate and train in another --workdir."
            )
        sealed = {
            "record": dict(record),
            "state": content_hash(leaves),
            "variables": variables_hash(leaves),
            "structure": json_hash(structure(state)),
        }
        sealed["seal"] = json_hash(sealed)
        with self._written():
            self._managers[kind].save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(sealed))
            )

    def wait(self) -> None:
        """Returns when all saves under way are written. Raises InputError: one could not be."""
        with self._written():
            for manager in self._managers.values():
                manager.wait_until_finished()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax passes on errors of the file system and TensorStore
            if processes.is_peer_exit(error):
                raise
            kept = self.latest_step()
            raise InputError(
                f"a checkpoint cannot be written below {self._folder} ({_words(error)}); "
                + ("none is there yet" if kept is None else f"the last good one is of step {kept}")
                + ": make room or fix the permissions, then rerun the same command to resume."
            ) from error

    def restore(self, kind: str, target: TrainState) -> TrainState:
        """The newest checkpoint of a kind, in the shapes and on the devices of ``target``.

        Raises:
          DamagedError: it is damaged.
          InputError: there is none, or it holds another model; the message names what differs.
        """
        step = self.latest_step(kind)
        if step is None:
            raise InputError(
                f"no {kind!r} checkpoint in {self._folder / kind}: train first, or point --workdir to the folder of a "
                "finished run."
            )
        try:
            return self._read(kind, step, target)
        except DamagedError as error:
            raise DamagedError(
                f"{error} Use the other checkpoint, or rerun the command, which resumes from the one before."
            ) from error

    def newest_intact(self, kind: str, target: TrainState) -> tuple[TrainState, dict[str, Any], list[str]] | None:
        """The newest intact checkpoint of a kind, its record, and a sentence for each newer, damaged one, which is
        quarantined (moved to ``checkpoints/quarantine``, never deleted); None if there is none at all.

        Raises:
          InputError: there are some and each is damaged (they stay where they are), or one holds another model.
        """
        damaged: dict[int, DamagedError] = {}
        for step in sorted(self._managers[kind].all_steps(), reverse=True):
            state, record, error = target, {}, None
            try:
                state, record = self._read(kind, step, target), self._sealed(kind, step)["record"]
            except DamagedError as found:
                error = found
            if parallel.in_any(error is not None):
                damaged[step] = error or DamagedError(f"the checkpoint {kind}/{step} is damaged to another process.")
                continue
            return state, record, [f"{error} It is now {self.quarantine(kind, s)}." for s, error in damaged.items()]
        if damaged:
            raise DamagedError(
                f"all checkpoints are damaged: {' '.join(str(error) for error in damaged.values())} Copy one "
                f"back from elsewhere; or move {self._folder} away, or choose another --workdir, to start over."
            )
        return None

    def quarantine(self, kind: str, step: int) -> Path:
        """Moves a checkpoint to ``quarantine/<kind>-<step>-<n>``, which is returned."""
        folder = self._folder / "quarantine"
        folder.mkdir(exist_ok=True)
        number = 1
        while (there := folder / f"{kind}-{step}-{number}").exists():
            number += 1
        if parallel.is_first():
            (self._folder / kind / str(step)).rename(there)
        parallel.in_any(False)  # no process looks before it is moved
        self._managers[kind].reload()
        return there

    def remove_unfinished(self) -> list[str]:
        """Removes unfinished saves of killed runs; returns their names. The caller must hold the work directory."""
        found = sorted(
            p for kind in KINDS for p in (self._folder / kind).iterdir() if ".orbax-checkpoint-tmp" in p.name
        )
        if parallel.is_first():
            for path in found:
                shutil.rmtree(path, ignore_errors=True)
        parallel.in_any(False)
        return [str(path.relative_to(self._folder.parent)) for path in found]

    def _sealed(self, kind: str, step: int) -> dict[str, Any]:
        """The record of a checkpoint and the hashes beside it."""
        path = self._folder / kind / str(step)
        try:
            found = self._managers[kind].restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            seal = found.pop("seal")
        except Exception as error:  # whatever failed to read it
            raise DamagedError(f"the checkpoint {path} is damaged: its record cannot be read.") from error
        if seal != json_hash(found):
            raise DamagedError(f"the checkpoint {path} is damaged: checksum mismatch of its record.")
        return found

    def _read(self, kind: str, step: int, target: TrainState) -> TrainState:
        path, manager = self._folder / kind / str(step), self._managers[kind]
        sealed = self._sealed(kind, step)
        if sealed["structure"] != json_hash(structure(target)):
            raise self._another_model(kind, step, target)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
        try:
            state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))["state"]
        except Exception as error:  # whatever failed to read it
            if processes.is_peer_exit(error):
                raise
            raise DamagedError(f"the checkpoint {path} is damaged: {_words(error)}.") from error
        if content_hash(host_leaves(state)) != sealed["state"]:
            raise DamagedError(f"the checkpoint {path} is damaged: checksum mismatch.")
        return state

    def _another_model(self, kind: str, step: int, target: TrainState) -> InputError:
        """The error for an intact checkpoint whose state has another structure than ``target``."""
        try:
            stored = self._managers[kind].item_metadata(step)["state"]
            differing = _differences(_arrays(stored), _arrays(target)) or "its optimiser has another state"
        except Exception as error:  # the record shows that it is another one; only its description is missing
            differing = _words(error)
        return InputError(
            f"the checkpoint {self._folder / kind / str(step)} is of another model ({differing}): use the config it "
            "was trained with, or another --workdir."
        )

    def close(self) -> None:
        """Waits for saves under way. Raises InputError: one could not be written."""
        try:
            self.wait()
        finally:
            for manager in self._managers.values():
                with self._written():
                    manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and processes.is_peer_exit(error):  # a save would wait for the peers that exited
            return
        try:
            self.close()
        except InputError:
            if error is None:  # else the error that ended the run is reported, not its consequence
                raise


def _words(error: Exception) -> str:
    """The error's type and text; of a long text its end, where TensorStore has the cause."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 200 else '... ' + text[-200:]}"


def _differences(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """Missing and unexpected names, and those of another type or shape; empty where there are none."""
    other = [
        f"{name} is {found[name]}, in the model {expected[name]}"
        for name in sorted(expected.keys() & found.keys())
        if found[name] != expected[name]
    ]
    parts = {
        "it lacks ": sorted(expected.keys() - found.keys()),
        "the model has no ": sorted(found.keys() - expected.keys()),
        "": other,
    }
    return "; ".join(what + listed(names) for what, names in parts.items() if names)


def _arrays(state: Any) -> dict[str, str]:
    tree = getattr(state, "tree", state)
    return structure({n: tree[n] if isinstance(tree, Mapping) else getattr(tree, n) for n in ("params", "batch_stats")})
