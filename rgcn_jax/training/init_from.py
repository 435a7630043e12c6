"""Transfer learning: the weights of another run as the beginning of this one (``model.init_from``)."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from rgcn_jax.errors import InputError
from rgcn_jax.training.weights import read_weights, saved_steps

_CLASSIFIER = "params/classifier/"


def init_from_run(
    variables: Mapping[str, Any], run: Path, say: Callable[[str], object]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and statistics of a run's best checkpoint, or of its latest where it has no best one, by their names.

    The classifier stays new, being of other identities. So does what the run does not have; what only the run has is
    left out. Both are listed.

    Args:
      variables: of the model, freshly initialised.
      run: work directory of the other run; nothing is changed in it.
      say: is called with the list.

    Returns:
      The variables, and where they come from: ``checkpoint`` ("best" or "latest"), ``step`` and ``sha256`` of the
      weights.

    Raises:
      InputError: the run has no checkpoint, a parameter has another shape there, or no parameter has the same name.
      DamagedError: the checkpoint is not what was saved.
    """
    kind = "best" if saved_steps(run, "best") else "latest"
    found = read_weights(run, kind)
    theirs: dict[str, Any] = _without_classifier(flatten_dict(found.variables, sep="/"))
    ours: dict[str, Any] = flatten_dict(dict(variables), sep="/")
    common = [name for name in ours if name in theirs]
    if not any(name.startswith("params/") for name in common):
        raise InputError(
            f"model.init_from is {run}, but no parameter of its model has a name of this one's: it is another model."
        )
    for name in common:
        if theirs[name].shape != ours[name].shape:
            raise InputError(
                f"model.init_from is {run}, but its {name} has shape {list(theirs[name].shape)}, in this model "
                f"{list(ours[name].shape)}: give the model the fields of that run's config.json."
            )
    new, left_out = ours.keys() - theirs.keys(), theirs.keys() - ours.keys()
    say(
        f"{len(common)} parameters and statistics from {run} ({kind} checkpoint, step {found.step}); new: "
        f"{_modules(new)}; left out: {_modules(left_out)}"
    )
    filled = ours | {name: jnp.asarray(theirs[name]) for name in common}
    origin = {"checkpoint": kind, "step": found.step, "sha256": found.hash}
    return unflatten_dict(filled, sep="/"), origin


def _without_classifier(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not name.startswith(_CLASSIFIER)}


def _modules(names: Iterable[str]) -> str:
    """The modules of parameters, and how many of each there are: "pose (4), readout (2)"; "nothing" without any."""
    groups = Counter("/".join(name.split("/")[1:-1][:2]) or name.split("/")[-1] for name in sorted(names))
    return ", ".join(f"{module} ({count})" for module, count in groups.items()) or "nothing"
