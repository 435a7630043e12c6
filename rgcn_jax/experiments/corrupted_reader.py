"""Readers that corrupt the clips of another reader, or replace its keypoints."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from rgcn_jax.data.clips.reader import KeypointSource, Reader, planned_keypoints
from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.experiments.corruptions import Disturbance, disturbed_keypoints, occluded_frames
from rgcn_jax.types import Batch, Tracklet


def shortened(tracklet: Tracklet, disturbance: Disturbance) -> Tracklet:
    """The tracklet with the remaining frames only."""
    return replace(tracklet, frames=tuple(tracklet.frames[i] for i in disturbance.positions.tolist()))


class CorruptedReader:
    """A ``Reader`` for plans of ``shortened`` tracklets.

    Args:
      read: reader of the whole tracklets; the plans must not augment.
      disturbances: corruption of each tracklet.
      aspect: width of a crop over its height.
    """

    def __init__(self, read: Reader, disturbances: Mapping[Tracklet, Disturbance], aspect: float):
        self._read, self._aspect, self._disturbances = read, aspect, disturbances
        self._whole = {shortened(tracklet, found): tracklet for tracklet, found in disturbances.items()}

    def __call__(self, plans: Iterable[BatchPlan]) -> Generator[Batch, None, None]:
        """Yield the corrupted batches of the plans, in order."""
        kept: deque[BatchPlan] = deque()
        for batch in self._read(_keeping(map(self._whole_plan, plans), kept)):
            yield self._disturbed(kept.popleft(), batch)

    def _whole_plan(self, plan: BatchPlan) -> BatchPlan:
        """Map the frames of a plan to indices in the whole tracklets."""
        tracklets = tuple(self._whole[tracklet] for tracklet in plan.tracklets)
        rows = [self._disturbances[t].positions[row] for t, row in zip(tracklets, plan.frames, strict=True)]
        return plan._replace(tracklets=tracklets, frames=np.stack(rows).astype(np.int32))

    def _disturbed(self, plan: BatchPlan, batch: Batch) -> Batch:
        found = [self._disturbances[tracklet] for tracklet in plan.tracklets]
        clips = zip(batch["keypoints"], found, plan.frames, strict=True)
        keypoints = np.stack([disturbed_keypoints(np.asarray(k), d, row, self._aspect) for k, d, row in clips])
        frames = batch["frames"]
        if frames.ndim == 5 and any(d.box.any() for d in found):
            frames = np.stack([occluded_frames(np.asarray(f), d.box) for f, d in zip(frames, found, strict=True)])
        return {**batch, "frames": frames, "keypoints": keypoints}


class OtherKeypoints:
    """A ``Reader`` with keypoints of another source, such as a second detector."""

    def __init__(self, read: Reader, source: KeypointSource):
        self._read, self._source = read, source

    def __call__(self, plans: Iterable[BatchPlan]) -> Generator[Batch, None, None]:
        """Yield the batches of the plans with the other keypoints."""
        kept: deque[BatchPlan] = deque()
        for batch in self._read(_keeping(plans, kept)):
            yield {**batch, "keypoints": planned_keypoints(kept.popleft(), self._source)}


def _keeping(plans: Iterable[BatchPlan], kept: deque[BatchPlan]) -> Iterator[BatchPlan]:
    """Append each plan to ``kept`` before the reader, which may prefetch in its own thread, receives it."""
    for plan in plans:
        kept.append(plan)
        yield plan
