"""Validation of an export: run in its own runtime on 16 tracklets, it must agree with the original model."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.clips.memory import MemoryReader
from rgcn_jax.embedder import Embedder
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.embed import Cutting
from rgcn_jax.export.formats import FORMATS, run_script
from rgcn_jax.export.function import ExportedFunction
from rgcn_jax.runtime.npz import write_arrays
from rgcn_jax.tracklet_arrays import TrackletArrays
from rgcn_jax.types import Embeddings
from rgcn_jax.walkers import WalkersSpec, generate
from rgcn_jax.walkers.spec import MAX_FRAMES

TRACKLETS, BATCH_SIZES = 16, (12, 4)
TOLERANCE = 1e-4
"""Maximum distance of a feature from the model's, relative to its length."""


class Reference(NamedTuple):
    """A clip of each tracklet, and the model's outputs: input and output name -> array."""

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


def reference(embedder: Embedder, function: ExportedFunction) -> Reference:
    """Clips of synthetic walkers, some padded, and their features from the embedder's model in full precision."""
    arrays = _tracklets(embedder)
    cutting = Cutting("even", embedder.config.frames_per_clip, TRACKLETS)
    with jax.default_matmul_precision("highest"):
        ((plan, found),) = embedder.extractor.clips(
            embedder.variables, MemoryReader(arrays.read), arrays.tracklets, cutting
        )
    features = _embeddings(*map(np.asarray, (found.appearance, found.pose)))
    batch = arrays.read(plan)
    given = {**batch, "features": batch["frames"]}
    row = "fused" if embedder.config.with_pose else "appearance"
    made = {"appearance": features.appearance, "pose": features.pose, "fused": embedder.features(features, row)}
    return Reference({n: given[n] for n in function.inputs}, {n: made[n] for n in function.outputs})


def check(embedder: Embedder, expected: Reference, name: str, folder: Path) -> dict[str, float]:
    """Run an export in a separate process, with two batch sizes; return the largest error of each output.

    The error of a feature is its distance from the expected one, relative to the length of the latter. ``fused`` is
    compared with the fusion of the export's own branches: standardising by a small deviation amplifies their rounding
    errors, which are already checked.

    Raises:
      InputError: the runtime fails, or an output differs by more than ``TOLERANCE``.
    """
    with tempfile.TemporaryDirectory(prefix="rgcn-jax-export-") as scratch:
        inputs, outputs = Path(scratch, "inputs.npz"), Path(scratch, "outputs.npz")
        write_arrays(inputs, expected.inputs)
        run_script(f"run.py {name}", folder / FORMATS[name].file, inputs, outputs, ",".join(map(str, BATCH_SIZES)))
        with np.load(outputs, allow_pickle=False) as file:
            found = dict(zip(expected.outputs, file.values(), strict=True))
    wanted = dict(expected.outputs)
    features = _embeddings(found["appearance"], found.get("pose", np.zeros((TRACKLETS, 0), np.float32)))
    wanted["fused"] = embedder.features(features, "fused" if "pose" in found else "appearance")
    errors = {output: _error(found[output], wanted[output]) for output in found}
    for output, error in errors.items():
        if not error <= TOLERANCE:  # also true for NaN
            raise InputError(
                f"nothing was exported: {output} of the {name} export differs from the model's by {error:.1e} of its "
                f"length, expected at most {TOLERANCE:g}."
            )
    return errors


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    distances = np.linalg.norm(found.astype(np.float64) - wanted, axis=1)
    lengths = np.linalg.norm(wanted.astype(np.float64), axis=1)
    return float((distances / np.where(lengths > 0, lengths, 1)).max())


def _embeddings(appearance: Float32[np.ndarray, "n d_a"], pose: Float32[np.ndarray, "n d_p"]) -> Embeddings:
    none = np.zeros(len(appearance), np.int32)
    return Embeddings(appearance, pose, none, none)


def _tracklets(embedder: Embedder) -> TrackletArrays:
    config = embedder.config
    length = config.frames_per_clip
    spec = WalkersSpec(
        train_identities=4,
        test_identities=4,
        group_size=2,
        cameras=2,
        tracklets_per_camera=1,
        min_frames=min(max(1, length // 2), MAX_FRAMES),
        max_frames=min(length + 2, MAX_FRAMES),
        distractors=0,
        junk=0,
    )
    walkers = generate(spec)
    split = walkers.split
    tracklets = list(dict.fromkeys([*split.train, *split.query, *split.gallery]))[:TRACKLETS]
    keypoints = [walkers.keypoints(t) for t in tracklets]
    if config.model.appearance == "precomputed":
        statistics, rng = embedder.statistics, np.random.default_rng(0)
        frames = [rng.normal(statistics.mean_a, statistics.std_a).astype(np.float32) for _ in tracklets]
    else:
        frames = [walkers.frames(t, *config.frame_size) for t in tracklets]
    return TrackletArrays(config, frames, keypoints)
