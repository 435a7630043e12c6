"""Checkpointing with Orbax: the latest checkpoints to resume from, and the best one by the headline metric.

A checkpoint holds the whole ``TrainState`` (parameters, statistics, optimiser, step, key) and a JSON record with hashes
of all leaves. Saves are asynchronous; if one is killed, the previous checkpoint stays intact. A checkpoint with a
checksum mismatch is reported and quarantined, and the previous one is used. In a job of several processes all call
these methods, and the first one moves and removes files.
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
from rgcn_jax.runtime.checksum import content_hash, differences, host_leaves, json_hash, not_finite, structure
from rgcn_jax.runtime.orbax_logging import suppress_orbax_logging
from rgcn_jax.training.state import TrainState, variables_hash

KINDS = ("latest", "best")


class DamagedError(InputError):
    """Raised for a damaged checkpoint."""


class Checkpoints:
    """The folder ``<workdir>/checkpoints``: ``latest/<step>`` (two are kept), ``best/<step>`` (one is kept), and
    ``quarantine/`` for damaged ones. Raises InputError if it cannot be created.
    """

    def __init__(self, workdir: Path):
        suppress_orbax_logging()
        self._folder = workdir.resolve() / "checkpoints"
        with as_input_error(f"{self._folder} cannot be created"):
            self._managers = {kind: self._open(kind, keep) for kind, keep in zip(KINDS, (2, 1), strict=True)}

    def _open(self, kind: str, keep: int) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self._folder / kind,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                create=True,
                # Processes synchronise by this name, and both managers may save at the same step.
                multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=kind),
            ),
            item_handlers={"state": ocp.StandardCheckpointHandler(), "record": ocp.JsonCheckpointHandler()},
        )

    def latest_step(self, kind: str = "latest") -> int | None:
        """Step of the newest checkpoint of a kind; None if there is none."""
        return self._managers[kind].latest_step()

    def save(self, kind: str, state: TrainState, record: Mapping[str, Any]) -> None:
        """Save the state with a JSON record, at most once per step; returns before the files are written.

        Raises InputError if the state contains NaN or Inf, or this or the previous asynchronous save failed.
        """
        leaves = host_leaves(state)
        step = int(leaves["step"])
        if self._managers[kind].latest_step() == step:
            return
        if bad := not_finite(leaves):
            raise InputError(
                f"training diverged: after step {step} {', '.join(bad[:3])} contain NaN or Inf, so the state is not "
                "saved. Lower optimizer.learning_rate and train in another --workdir."
            )
        signed = {
            "record": dict(record),
            "state": content_hash(leaves),
            "variables": variables_hash(leaves),
            "structure": json_hash(structure(state)),
        }
        signed["seal"] = json_hash(signed)
        with self._written():
            self._managers[kind].save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(signed))
            )

    def wait(self) -> None:
        """Wait for saves in progress. Raises InputError if one failed."""
        with self._written():
            for manager in self._managers.values():
                manager.wait_until_finished()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # from the file system or TensorStore, by way of Orbax
            if processes.is_peer_exit(error):
                raise
            kept = self.latest_step()
            raise InputError(
                f"a checkpoint cannot be written below {self._folder} ({_description(error)}); "
                + ("there is none yet" if kept is None else f"the last good one is of step {kept}")
                + ": free disk space or fix the permissions, then rerun the same command to resume."
            ) from error

    def newest_intact(self, kind: str, target: TrainState) -> tuple[TrainState, dict[str, Any], list[str]] | None:
        """Restore the newest intact checkpoint of a kind; None if there is none.

        Returns it with its record and a message for each newer, damaged one, which is moved to
        ``checkpoints/quarantine``.

        Raises:
          InputError: all are damaged (they are not moved), or one is of another model.
        """
        damaged: dict[int, DamagedError] = {}
        for step in sorted(self._managers[kind].all_steps(), reverse=True):
            state, record, error = target, {}, None
            try:
                state, record = self._read(kind, step, target)
            except DamagedError as found:
                error = found
            if parallel.in_any(error is not None):
                damaged[step] = error or DamagedError(f"the checkpoint {kind}/{step} is damaged in another process.")
                continue
            return state, record, [f"{error} Moved to {self.quarantine(kind, s)}." for s, error in damaged.items()]
        if damaged:
            raise DamagedError(
                f"all checkpoints are damaged: {' '.join(str(error) for error in damaged.values())} Restore one from a "
                f"copy; or, to start over, move {self._folder} away or choose another --workdir."
            )
        return None

    def quarantine(self, kind: str, step: int) -> Path:
        """Move a checkpoint to ``quarantine/<kind>-<step>-<n>`` and return the new path."""
        folder = self._folder / "quarantine"
        folder.mkdir(exist_ok=True)
        number = 1
        while (there := folder / f"{kind}-{step}-{number}").exists():
            number += 1
        if parallel.is_first():
            (self._folder / kind / str(step)).rename(there)
        parallel.in_any(False)  # barrier: no process continues before it is moved
        self._managers[kind].reload()
        return there

    def remove_unfinished(self) -> list[str]:
        """Remove unfinished saves of killed runs; return their names. The work directory must be locked."""
        found = sorted(
            p for kind in KINDS for p in (self._folder / kind).iterdir() if ".orbax-checkpoint-tmp" in p.name
        )
        if parallel.is_first():
            for path in found:
                shutil.rmtree(path, ignore_errors=True)
        parallel.in_any(False)
        return [str(path.relative_to(self._folder.parent)) for path in found]

    def _read(self, kind: str, step: int, target: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """State and record of a checkpoint."""
        path, manager = self._folder / kind / str(step), self._managers[kind]
        try:
            signed = manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            seal = signed.pop("seal")
        except Exception as error:  # any failure to read it
            raise DamagedError(f"the checkpoint {path} is damaged: its record cannot be read.") from error
        if seal != json_hash(signed):
            raise DamagedError(f"the checkpoint {path} is damaged: checksum mismatch of its record.")
        if signed["structure"] != json_hash(structure(target)):
            raise self._another_model(kind, step, target)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
        try:
            state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))["state"]
        except Exception as error:  # any failure to read it
            if processes.is_peer_exit(error):
                raise
            raise DamagedError(f"the checkpoint {path} is damaged: {_description(error)}.") from error
        if content_hash(host_leaves(state)) != signed["state"]:
            raise DamagedError(f"the checkpoint {path} is damaged: checksum mismatch.")
        return state, signed["record"]

    def _another_model(self, kind: str, step: int, target: TrainState) -> InputError:
        """The error for an intact checkpoint whose structure differs from that of ``target``."""
        try:
            stored = self._managers[kind].item_metadata(step)["state"]
            names = differences(_arrays(stored), _arrays(target))
            differing = listed(names, separator="; ") or "the optimiser state differs"
        except Exception as error:  # the structures differ; only the description fails
            differing = _description(error)
        return InputError(
            f"the checkpoint {self._folder / kind / str(step)} is of another model ({differing}): use the config that "
            "it was trained with, or another --workdir."
        )

    def close(self) -> None:
        """Wait for saves in progress and close. Raises InputError if one failed."""
        try:
            self.wait()
        finally:
            for manager in self._managers.values():
                with self._written():
                    manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and processes.is_peer_exit(error):  # a save would wait for the exited peers
            return
        try:
            self.close()
        except InputError:
            if error is None:  # otherwise the original error is reported
                raise


def _description(error: Exception) -> str:
    """Type and text of an error; the end of a long text, where TensorStore states the cause."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 200 else '... ' + text[-200:]}"


def _arrays(state: Any) -> dict[str, str]:
    tree = getattr(state, "tree", state)
    return structure({n: tree[n] if isinstance(tree, Mapping) else getattr(tree, n) for n in ("params", "batch_stats")})
