"""A scored run: its config and per-query scores, from ``results.json`` or a file in ``evaluations/``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from rgcn_jax.errors import MALFORMED, InputError, as_input_error, listed
from rgcn_jax.evaluation.results import RESULTS_FILE, queries_path
from rgcn_jax.runtime.npz import read_arrays
from rgcn_jax.runtime.user_files import read_text

REPETITION = ("seed", "data.split", "data.walkers.seed")
"""Fields in which repetitions of a configuration differ."""

PLACE = ("data.root", "data.keypoints", "data.features", "parallel.num_devices", "profile_steps", "compilation_cache")
"""Fields that describe where a run took place and do not affect its results."""


@dataclass(frozen=True)
class ScoredRun:
    """``scores``: "PROTOCOL/ROW/METRIC" -> per cent for each query, NaN without a match; the other arrays identify the
    queries.
    """

    path: Path
    protocol: str
    config: Mapping[str, Any]
    first_frames: tuple[str, ...]
    person_ids: Int32[np.ndarray, "q"]
    scores: Mapping[str, np.ndarray]

    @property
    def repetition(self) -> tuple[Any, ...]:
        """Values of the repetition fields."""
        return tuple(self.config.get(name) for name in REPETITION)

    @property
    def configuration(self) -> dict[str, Any]:
        """All fields that affect the results, except for the repetition fields."""
        return {name: value for name, value in self.config.items() if name not in (*REPETITION, *PLACE)}


def load_scored_run(path: Path) -> ScoredRun:
    """Read a run folder, or one of its ``evaluations/NAME.json``.

    Raises:
      InputError: results are missing or damaged, or lack per-query scores.
    """
    file = path / RESULTS_FILE if path.is_dir() else path
    try:
        results = json.loads(read_text(file))
        protocol, config = str(results["protocol"]), _flat(results["config"])
        if "fitted_pose_weight" in results:  # differs between runs, but is chosen by the same rule
            config["evaluation.pose_weight"] = "fitted on the training persons"
        if any(isinstance(config.get(name), list) for name in (*REPETITION, "data.name")):
            raise ValueError(f"one of {', '.join(REPETITION)} is a list")
    except FileNotFoundError as error:
        raise InputError(f"{path} has no {RESULTS_FILE}: expected the folder of a finished run.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__}: {error}): evaluate the run again.") from error
    scores_file = queries_path(file)
    with as_input_error(
        f"{file} lacks per-query scores, {scores_file.name}",
        f"rerun rgcn-jax evaluate --model={path}, and pass the file that it writes",
        MALFORMED,
    ):
        arrays, _ = read_arrays(scores_file)
        names, ids = arrays.pop("first_frames"), arrays.pop("person_ids")
        del arrays["camera_ids"]
        wrong = [name for name, array in arrays.items() if array.dtype.kind not in "fiu" or name.count("/") != 2]
        if wrong or ids.dtype.kind not in "iu" or names.dtype.kind != "U" or ids.ndim != 1:
            raise ValueError(f"{listed(wrong) or 'names or person ids'} have the wrong type")
        ids = ids.astype(np.int32)
    if any(array.shape != ids.shape for array in (names, *arrays.values())):
        raise InputError(f"{scores_file} is damaged: its arrays have different lengths.")
    return ScoredRun(path, protocol, config, tuple(names.tolist()), ids, arrays)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to dotted field name -> value."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        found |= _flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return found
