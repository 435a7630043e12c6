"""Precomputed appearance features, one row per tracklet, as input instead of frames.

The ``.npz`` file has ``first_frames`` [N], the path of each tracklet's first frame relative to the data set's root, and
``appearance`` [N, D]. ``rgcn-jax evaluate --model=RUN --save-features=FILE.npz --with-train`` writes it; other arrays
are ignored. Needs neither TensorFlow nor images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.clips.reader import KeypointSource, planned_batch, planned_keypoints
from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.runtime.npz import read_arrays
from rgcn_jax.types import Batch, Tracklet


@dataclass(frozen=True)
class FeatureTable:
    """f_a of a set of tracklets; ``rows``: path of the first frame -> row."""

    values: Float32[np.ndarray, "n d"]
    rows: dict[str, int]

    def of(self, tracklets: Sequence[Tracklet]) -> Float32[np.ndarray, "b d"]:
        """Rows of the tracklets. Raises KeyError if the table was loaded for others."""
        return self.values[[self.rows[t.frames[0]] for t in tracklets]]

    def covers(self, tracklets: Sequence[Tracklet]) -> bool:
        """Whether the table has a row for each of the tracklets."""
        return all(t.frames[0] in self.rows for t in tracklets)


def load(path: Path, tracklets: Sequence[Tracklet], optional: Sequence[Tracklet] = ()) -> FeatureTable:
    """Read the features of these tracklets, and of the optional ones if the file has all of them.

    Raises:
      InputError: the file is missing, damaged or of another format, a tracklet has no row or two, or a value is not
        finite.
    """
    with as_input_error(
        f"the appearance features {path} cannot be read",
        "set data.features to an .npz file with first_frames [N] and appearance [N, D]",
        MALFORMED,
    ):
        found, there = read_arrays(path, ("first_frames", "appearance"))
    if len(found) < 2:
        names = ", ".join(there) or "nothing"
        raise InputError(f"{path}: expected the arrays first_frames [N] and appearance [N, D], found {names}.")
    frames, values = found["first_frames"], found["appearance"]
    shaped = values.ndim == 2 and values.shape[1] > 0 and frames.shape == values.shape[:1]
    if not shaped or frames.dtype.kind != "U" or values.dtype.kind != "f":
        raise InputError(
            f"{path}: expected first_frames [N], text, and appearance [N, D], floats; found first_frames "
            f"{list(frames.shape)} of {frames.dtype} and appearance {list(values.shape)} of {values.dtype}."
        )
    place = {name: i for i, name in enumerate(frames.tolist())}
    if len(place) < len(frames):
        raise InputError(f"{path}: {len(frames) - len(place)} first frames occur twice: write each tracklet once.")
    if all(t.frames[0] in place for t in optional):
        tracklets = [*tracklets, *optional]
    wanted = list(dict.fromkeys(t.frames[0] for t in tracklets))
    absent = [name for name in wanted if name not in place]
    if absent:
        raise InputError(
            f"{path} has no features for {len(absent):,} of the {len(wanted):,} tracklets, such as that of "
            f"{absent[0]}, while the file has names like {frames[0] if len(frames) else '(none)'}: add them (those of "
            "the training set too: rgcn-jax evaluate --model=RUN --save-features=FILE.npz --with-train)."
        )
    chosen = values[[place[name] for name in wanted]].astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(chosen).all(axis=1))
    if len(bad):
        raise InputError(
            f"{path}: the features of {len(bad):,} tracklets are not finite, such as that of {wanted[bad[0]]}."
        )
    return FeatureTable(chosen, {name: i for i, name in enumerate(wanted)})


def read_features(plan: BatchPlan, table: FeatureTable, keypoints: KeypointSource) -> Batch:
    """Read the batch of a plan with f_a [B, D] instead of frames.

    Keypoints are cropped and flipped as planned; the features, which are of whole tracklets, are not.
    """
    return planned_batch(plan, table.of(plan.tracklets), planned_keypoints(plan, keypoints))
