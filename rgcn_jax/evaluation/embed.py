"""Feature extraction: from tracklets to batches of clips, through the model, to the mean feature of each tracklet."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, Int32

from rgcn_jax import parallel
from rgcn_jax.data.clips.reader import Reader
from rgcn_jax.data.clips.sampling import BatchPlan, evaluation_plans, num_evaluation_batches, whole_plans
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.embed_step import ClipFeatures, EmbedStep, make_embed_step
from rgcn_jax.models.two_branch import TwoBranch
from rgcn_jax.types import Embeddings, Tracklet


@dataclass(frozen=True)
class Cutting:
    """Division of tracklets into clips and of clips into batches (``sampling.evaluation_plans``)."""

    clips: str
    frames_per_clip: int
    clips_per_batch: int

    def plans(self, tracklets: Sequence[Tracklet]) -> Iterator[BatchPlan]:
        """Yield batches that contain every clip of every tracklet once, in order."""
        return evaluation_plans(tracklets, **vars(self))

    def whole_plans(self, tracklets: Sequence[Tracklet]) -> Iterator[BatchPlan]:
        """Yield batches in which every tracklet is one clip of all its frames, in order."""
        return whole_plans(tracklets, frames_per_clip=self.frames_per_clip, clips_per_batch=self.clips_per_batch)

    def num_clips(self, tracklets: Sequence[Tracklet]) -> int:
        """The number of clips of the tracklets."""
        return num_evaluation_batches(tracklets, **vars(replace(self, clips_per_batch=1)))


class TrackletFeature(NamedTuple):
    """Mean feature of a tracklet over its clips, float32."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]  # hides tuple.index intentionally
    appearance: Float32[np.ndarray, "d_a"]
    pose: Float32[np.ndarray, "d_p"]


class Readers(NamedTuple):
    """Readers of batches: with the input of the appearance model, and with keypoints only (None: not available)."""

    clips: Reader
    keypoints: Reader | None = None


class Extractor:
    """Extracts features of tracklets; compiles once per batch shape.

    With the clips "full", f_p is computed from all frames of a tracklet as one masked clip, which reads keypoints only,
    and f_a from the clips of "dense", so memory is bounded by a batch of clips.

    With several processes each reads the clips of its own devices. ``dtype``: data type of the frames passed to the
    model. ``step``: the compiled step, from ``make_embed_step``.
    """

    def __init__(self, model: TwoBranch, mesh: Mesh, dtype: Any):
        self._mesh, self._model = mesh, model
        self.step = make_embed_step(model, mesh, dtype)
        self._pose_step = make_embed_step(model.clone(appearance=None, num_identities=0), mesh, dtype)

    def clips(
        self, variables: Any, read: Reader, tracklets: Sequence[Tracklet], cutting: Cutting, skip: int = 0
    ) -> Iterator[tuple[BatchPlan, ClipFeatures]]:
        """Yield each batch plan after the first ``skip``, with its features, which may still be being computed."""
        return self._batches(self.step, variables, read, lambda: islice(cutting.plans(tracklets), skip, None))

    def _batches(
        self, step: EmbedStep, variables: Any, read: Reader, plans: Callable[[], Iterator[BatchPlan]]
    ) -> Iterator[tuple[BatchPlan, ClipFeatures]]:
        # With several processes each reads its own clips of a batch; the features are those of the global batch.
        with closing(read(plans())) as batches:
            for plan, batch in zip(plans(), batches, strict=True):
                yield plan, step(variables, parallel.shard(batch, self._mesh))

    def tracklets(
        self,
        variables: Any,
        readers: Readers,
        tracklets: Sequence[Tracklet],
        cutting: Cutting,
        done: int = 0,
        on_batch: Callable[[BatchPlan, ClipFeatures], object] = lambda *_: None,
    ) -> Iterator[TrackletFeature]:
        """Yield the features of the tracklets after the first ``done``, in order, from batches that do not depend on
        ``done``.

        ``on_batch`` is called after each batch that f_p is computed from (f_a, without a pose branch).
        """

        def means(clips: Iterable[tuple[BatchPlan, ClipFeatures]], called: bool) -> Iterator[TrackletFeature]:
            def counted() -> Iterator:
                for plan, features in clips:
                    yield np.where(plan.index < done, -1, plan.index), features
                    if called:
                        on_batch(plan, features)

            return tracklet_means(counted())

        whole = cutting.clips == "full" and self._model.pose is not None
        skip = cutting.num_clips(tracklets[:done]) // cutting.clips_per_batch
        clips = self.clips(variables, readers.clips, tracklets, cutting, skip)
        if not whole:
            yield from means(clips, True)
            return
        if readers.keypoints is None:
            raise InputError('evaluation.clips is "full", but this data set has no keypoint reader: choose "even".')

        def whole_plans() -> Iterator[BatchPlan]:
            return islice(cutting.whole_plans(tracklets), done // cutting.clips_per_batch, None)

        poses = means(self._batches(self._pose_step, variables, readers.keypoints, whole_plans), True)
        if self._model.appearance is None:
            yield from poses
            return
        for of_frames, of_keypoints in zip(means(clips, False), poses, strict=True):
            yield of_frames._replace(pose=of_keypoints.pose)


def tracklet_means(clips: Iterable[tuple[Int32[np.ndarray, "b"], ClipFeatures]]) -> Iterator[TrackletFeature]:
    """Yield the mean feature of each tracklet, in order, as soon as its last clip has been read.

    ``clips``: for each batch its ``index`` (tracklet of each clip, ascending; -1 for padding) and its features. Memory
    does not depend on the number of tracklets. A batch is summed while the next one is computed.
    """
    pending: tuple[int, np.ndarray, np.ndarray, int] | None = None
    end: Any = None
    for (index, features), _ in pairwise(chain(clips, [end])):  # delayed by one: work on the next one overlaps
        rows = np.flatnonzero(index >= 0)
        if not len(rows):
            continue
        ids, starts = np.unique(index[rows], return_index=True)
        counts = np.diff(starts, append=len(rows))
        a, p = (np.asarray(x, np.float64)[rows] for x in (features.appearance, features.pose))
        sums_a, sums_p = np.add.reduceat(a, starts), np.add.reduceat(p, starts)
        for i, sum_a, sum_p, count in zip(ids.tolist(), sums_a, sums_p, counts.tolist(), strict=True):
            if pending is not None and pending[0] == i:
                sum_a, sum_p, count = pending[1] + sum_a, pending[2] + sum_p, pending[3] + count
            elif pending is not None:
                yield _mean(*pending)
            pending = i, sum_a, sum_p, count
    if pending is not None:
        yield _mean(*pending)


def _mean(index: int, sum_a: np.ndarray, sum_p: np.ndarray, count: int) -> TrackletFeature:
    return TrackletFeature(index, (sum_a / count).astype(np.float32), (sum_p / count).astype(np.float32))


def to_embeddings(tracklets: Sequence[Tracklet], features: Sequence[TrackletFeature]) -> Embeddings:
    """Combine the features of all tracklets, in their order, with their ids.

    Raises:
      InputError: a feature is not finite.
      ValueError: the features are not those of these tracklets.
    """
    if [feature.index for feature in features] != list(range(len(tracklets))):
        raise ValueError(f"expected features of {len(tracklets)} tracklets in their order, found {len(features)}.")
    appearance = np.stack([feature.appearance for feature in features])
    pose = np.stack([feature.pose for feature in features])
    if not (np.isfinite(appearance).all() and np.isfinite(pose).all()):
        raise InputError(
            "the model returned a non-finite feature, so its parameters have diverged: lower the learning rate."
        )
    return Embeddings(
        appearance=appearance,
        pose=pose,
        person_ids=np.array([t.person_id for t in tracklets], np.int32),
        camera_ids=np.array([t.camera_id for t in tracklets], np.int32),
        clothes_ids=np.array([t.clothes_id for t in tracklets], np.int32),
    )
