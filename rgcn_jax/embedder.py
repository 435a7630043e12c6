"""The embedder: a trained model as a function from the frames and keypoints of a tracklet to its features.

    embedder = rgcn_jax.load("runs/mars")
    a, b = embedder([frames_a, frames_b], [keypoints_a, keypoints_b])
    embedder.distance(a, b)

Frames and keypoints are arrays in memory; no data set is needed. ``rgcn-jax embed`` embeds a data set on disk.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import jax
import numpy as np
from jaxtyping import Float, Float32, Int32

from rgcn_jax import parallel
from rgcn_jax.calibration import Calibration, read_calibration
from rgcn_jax.config import Config
from rgcn_jax.data.clips.memory import MemoryReader
from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import ROWS, FeatureStatistics, fuse
from rgcn_jax.evaluation.embed import Cutting, Extractor, Readers, to_embeddings
from rgcn_jax.evaluation.embed_step import ClipFeatures
from rgcn_jax.evaluation.scorer import statistics_of
from rgcn_jax.models.pose_stream import PoseStream
from rgcn_jax.saved_model import SavedModel, open_model
from rgcn_jax.tracklet_arrays import TrackletArrays
from rgcn_jax.types import UNKNOWN_ID, Embeddings, Tracklet


class Attention(NamedTuple):
    """Attention weights of a tracklet that was cut into C clips."""

    node: Float32[np.ndarray, "c 14"] | None
    """Over the keypoints, eq. 10; None if the readout has none."""
    time: Float32[np.ndarray, "c t"] | None
    """Over the frames of a clip, eq. 13; None if the readout has none."""
    frames: Int32[np.ndarray, "c t"]
    """Index in the tracklet of each frame of each clip; -1 for padding."""


class Embedding(NamedTuple):
    """Features of one tracklet, means over its clips."""

    appearance: Float32[np.ndarray, "d_a"]
    """f_a."""
    pose: Float32[np.ndarray, "d_p"]
    """f_p; empty without a pose branch."""
    fused: Float32[np.ndarray, "d"]
    """Both branches, scaled such that Euclidean distances are those of the fused row."""
    attention: Attention


class Embedder:
    """A model ready to embed tracklets, made by ``load``.

    Attributes:
      config: config of the run that trained the model.
      step: training step of its weights.
      hash: SHA-256 of the weights; features of different hashes must not be compared.
      statistics: mean and standard deviation of every feature over the training set.
      calibration: thresholds that ``rgcn-jax calibrate`` wrote to the model's folder, or None.
    """

    def __init__(self, saved: SavedModel, num_devices: int = 0):
        self.config: Config = saved.config
        self.step, self.hash, self.path = saved.step, saved.hash, saved.path
        self.mesh = parallel.make_mesh(num_devices)
        self.model = saved.build(self.mesh)
        self.variables: dict[str, Any] = parallel.replicate(saved.variables, self.mesh)
        self.statistics: FeatureStatistics = statistics_of(saved.variables["batch_stats"])
        self.calibration: Calibration | None = read_calibration(saved.path)
        self.extractor = Extractor(self.model, self.mesh, self.model.dtype)

    @overload
    def __call__(self, frames: np.ndarray, keypoints: np.ndarray | None = None) -> Embedding: ...

    @overload
    def __call__(self, frames: None, keypoints: np.ndarray) -> Embedding: ...

    @overload
    def __call__(
        self, frames: list[np.ndarray] | None, keypoints: list[np.ndarray] | None = None
    ) -> list[Embedding]: ...

    def __call__(self, frames: Any, keypoints: Any = None) -> Embedding | list[Embedding]:
        """Embed one tracklet, or each of a list of tracklets of any lengths.

        A tracklet is cut into clips by the model's ``evaluation.clips`` and its frames are resized. Clips of all
        tracklets share batches, padded to a power of two to limit the number of compiled shapes.

        Args:
          frames: RGB, uint8 [T, H, W, 3]; f_a, float [D], for a model with precomputed appearance features.
          keypoints: float [T, 14, 3]: x and y in normalised coordinates of the crop, in [0, 1], and confidence; (0, 0,
            0) where not detected. Required only by a model with a pose branch.

        Raises:
          InputError: an array has the wrong shape or type, coordinates are not normalised, or keypoints are missing.
        """
        single = isinstance(frames, np.ndarray) or isinstance(keypoints, np.ndarray)
        all_frames: Any = [frames] if single else frames
        all_keypoints: Any = [keypoints] if single and keypoints is not None else keypoints
        inputs = TrackletArrays(self.config, all_frames, all_keypoints)
        if not inputs.tracklets:
            return []
        found = self._embed(inputs)
        return found[0] if single else found

    def _embed(self, inputs: TrackletArrays) -> list[Embedding]:
        cutting = self._cutting(inputs.tracklets)
        attention: dict[str, list[jax.Array]] = {}
        plans: list[BatchPlan] = []

        def note(plan: BatchPlan, features: ClipFeatures) -> None:
            plans.append(plan)
            for name, weights in features.attention.items():
                attention.setdefault(name, []).append(weights)

        readers = Readers(MemoryReader(inputs.read), MemoryReader(inputs.read_keypoints))
        found = self.extractor.tracklets(self.variables, readers, inputs.tracklets, cutting, on_batch=note)
        features = to_embeddings(inputs.tracklets, list(found))
        index = np.concatenate([plan.index for plan in plans])
        frames = _concatenate_padded([np.where(plan.frame_mask, plan.frames, -1) for plan in plans], -1)
        weights = {name: _concatenate_padded(jax.device_get(parts), 0) for name, parts in attention.items()}
        fused = self.features(features, "fused" if features.pose.shape[1] else "appearance")
        return [
            Embedding(
                features.appearance[i],
                features.pose[i],
                fused[i],
                Attention(
                    weights["node"][rows] if "node" in weights else None,
                    weights["time"][rows] if "time" in weights else None,
                    frames[rows],
                ),
            )
            for i, rows in ((i, np.flatnonzero(index == i)) for i in range(len(inputs.tracklets)))
        ]

    def _cutting(self, tracklets: Sequence[Tracklet]) -> Cutting:
        """Batches of the smallest power of two times the device count that holds all clips, or ``clips_per_batch``."""
        settings = self.config.evaluation
        clips = Cutting(settings.clips, self.config.frames_per_clip, 1).num_clips(tracklets)
        size = self.mesh.size
        while size < min(clips, settings.clips_per_batch):
            size *= 2
        return Cutting(settings.clips, self.config.frames_per_clip, size)

    def features(self, embeddings: Embeddings, row: str = "fused") -> Float32[np.ndarray, "n d"]:
        """One feature per tracklet, whose Euclidean distances are those of a row ("appearance", "pose" or "fused")."""
        settings = self.config.evaluation
        return fuse(embeddings, row, settings.distance, settings.pose_weight, self.statistics)

    @overload
    def distance(self, a: Embedding, b: Embedding, row: str = "fused") -> float: ...

    @overload
    def distance(
        self, a: Sequence[Embedding], b: Sequence[Embedding], row: str = "fused"
    ) -> Float[np.ndarray, "a b"]: ...

    def distance(self, a: Any, b: Any, row: str = "fused") -> Any:
        """The model's distance between two embeddings, or between all pairs of two lists.

        Args:
          a: one embedding, or a list of A.
          b: one embedding, or a list of B.
          row: "fused", "appearance" or "pose".

        Raises:
          InputError: the row is unknown, or is "pose" and the model has no pose branch.
        """
        if row not in ROWS:
            raise InputError(f"unknown row {row!r}: expected one of {', '.join(ROWS)}.")
        both = [[x] if isinstance(x, Embedding) else list(x) for x in (a, b)]
        left, right = (self._row(x, row).astype(np.float64) for x in both)
        distances = np.linalg.norm(left[:, None] - right[None], axis=-1)
        return float(distances[0, 0]) if isinstance(a, Embedding) and isinstance(b, Embedding) else distances

    def _row(self, embeddings: Sequence[Embedding], row: str) -> np.ndarray:
        if row == "fused":
            return np.stack([e.fused for e in embeddings])
        if row == "pose" and not self.config.with_pose:
            raise InputError(f"the model {self.path} has no pose branch: expected the row appearance or fused.")
        none = np.full(len(embeddings), UNKNOWN_ID, np.int32)
        columns = np.stack([e.appearance for e in embeddings]), np.stack([e.pose for e in embeddings])
        return self.features(Embeddings(*columns, none, none), row)

    def stream(self, torso: float | None = None) -> PoseStream:
        """A frame-by-frame embedder of one person's poses (``models/pose_stream.py``), for RGCN and LGCN.

        Args:
          torso: scale of a "centred" pose input in crop heights, from ``clip_torso``; None: estimated as frames arrive.

        Raises:
          InputError: the pose encoder or readout does not support streaming.
        """
        try:
            return PoseStream(self.model, jax.device_get(self.variables), torso)
        except ValueError as error:
            raise InputError(f"the model {self.path} cannot embed frame by frame: {error}") from error

    def same_person(self, a: Embedding, b: Embedding, fpr: float = 1e-3) -> bool:
        """Whether two tracklets are classified as the same person at a calibrated false positive rate.

        ``fpr``: fraction of impostor pairs that are accepted, as measured by ``rgcn-jax calibrate``. Raises InputError
        if the model was not calibrated, or not with its present settings or at this rate.
        """
        if self.calibration is None:
            raise InputError(
                f"the model {self.path} has no thresholds: run rgcn-jax calibrate --model={self.path} "
                "--dataset=NAME --root=DIR."
            )
        threshold = self.calibration.threshold(self.hash, self.config.evaluation, "fused", fpr)
        return self.distance(a, b) <= threshold


def _concatenate_padded(parts: Sequence[np.ndarray], filler: int) -> np.ndarray:
    """Concatenate the rows of all parts, padded to the longest."""
    longest = max(part.shape[1] for part in parts)
    padded = [np.pad(part, ((0, 0), (0, longest - part.shape[1])), constant_values=filler) for part in parts]
    return np.concatenate(padded)


def load(
    path: str | Path, checkpoint: str = "latest", *, allow_imports: Collection[str] = (), num_devices: int = 0
) -> Embedder:
    """Load the model of a run, of a model folder written by ``rgcn-jax export``, or of the package.

    ``path`` may be "walkers-gait", a pose encoder trained on synthetic pedestrians that embeds anyone's keypoints
    (docs/gait.md). Arguments and errors as for ``saved_model.open_model``; ``num_devices``: number of devices to use;
    0: all.
    """
    return Embedder(open_model(path, checkpoint, allow_imports=allow_imports), num_devices)
