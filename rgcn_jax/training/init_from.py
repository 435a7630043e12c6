"""Transfer learning: initialise a run with the weights of another one (``model.init_from``)."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.checksum import differences, structure
from rgcn_jax.training.weights import read_weights, saved_steps

_CLASSIFIER = "params/classifier/"


def init_from_run(
    variables: Mapping[str, Any], run: Path, say: Callable[[str], object]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copy parameters and statistics by name from the best checkpoint of a run, or from its latest if it has no best
    one.

    The classifier is not copied, since the identities differ. Parameters that only one of the models has are listed by
    ``say``. The run is not changed.

    Returns:
      The variables, and their origin: ``checkpoint`` ("best" or "latest"), ``step`` and ``sha256`` of the weights.

    Raises:
      InputError: the run has no checkpoint, shapes of parameters differ, or no parameter has the same name.
      DamagedError: the checkpoint is damaged.
    """
    kind = "best" if saved_steps(run, "best") else "latest"
    found = read_weights(run, kind)
    theirs: dict[str, Any] = flatten_dict(found.variables, sep="/")
    theirs = {name: value for name, value in theirs.items() if not name.startswith(_CLASSIFIER)}
    ours: dict[str, Any] = flatten_dict(dict(variables), sep="/")
    common = [name for name in ours if name in theirs]
    if not any(name.startswith("params/") for name in common):
        raise InputError(f"model.init_from is {run}, but its model has no parameter in common with this one.")
    if wrong := differences(structure({n: theirs[n] for n in common}), structure({n: ours[n] for n in common})):
        raise InputError(
            f"model.init_from is {run}, but {listed(wrong, separator='; ')}: set the model fields of that run's "
            "config.json."
        )
    new, left_out = ours.keys() - theirs.keys(), theirs.keys() - ours.keys()
    say(
        f"{len(common)} parameters and statistics from {run} ({kind} checkpoint, step {found.step}); new: "
        f"{_modules(new)}; not used: {_modules(left_out)}"
    )
    filled = ours | {name: jnp.asarray(theirs[name]) for name in common}
    origin = {"checkpoint": kind, "step": found.step, "sha256": found.hash}
    return unflatten_dict(filled, sep="/"), origin


def _modules(names: Iterable[str]) -> str:
    """Modules with their numbers of parameters: "pose (4), readout (2)"; "nothing" if empty."""
    groups = Counter("/".join(name.split("/")[1:-1][:2]) or name.split("/")[-1] for name in sorted(names))
    return ", ".join(f"{module} ({count})" for module, count in groups.items()) or "nothing"
