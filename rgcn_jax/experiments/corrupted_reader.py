"""Readers that corrupt the clips of another reader, or replace its keypoints."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from rgcn_jax.data.clips.reader import KeypointSource, Reader, planned_keypoints
from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.experiments.corruptions import Disturbance, disturbed_keypoints, occluded_frames
from rgcn_jax.types import Batch, Tracklet


def shortened(tracklet: Tracklet, disturbance: Disturbance) -> Tracklet:
    """The tracklet with the remaining frames only."""
    return replace(tracklet, frames=tuple(tracklet.frames[i] for i in disturbance.positions.tolist()))


def corrupted_reader(read: Reader, disturbances: Mapping[Tracklet, Disturbance], aspect: float) -> Reader:
    """A ``Reader`` for plans of ``shortened`` tracklets.

    ``read``: reader of the whole tracklets; the plans must not augment. ``aspect``: width of a crop over its height.
    """
    whole = {shortened(tracklet, found): tracklet for tracklet, found in disturbances.items()}

    def whole_plan(plan: BatchPlan) -> BatchPlan:
        tracklets = tuple(whole[tracklet] for tracklet in plan.tracklets)
        rows = [disturbances[t].positions[row] for t, row in zip(tracklets, plan.frames, strict=True)]
        return plan._replace(tracklets=tracklets, frames=np.stack(rows).astype(np.int32))

    def disturbed(plan: BatchPlan, batch: Batch) -> Batch:
        found = [disturbances[tracklet] for tracklet in plan.tracklets]
        clips = zip(batch["keypoints"], found, plan.frames, strict=True)
        keypoints = np.stack([disturbed_keypoints(np.asarray(k), d, row, aspect) for k, d, row in clips])
        frames = batch["frames"]
        if frames.ndim == 5 and any(d.box.any() for d in found):
            frames = np.stack([occluded_frames(np.asarray(f), d.box) for f, d in zip(frames, found, strict=True)])
        return {**batch, "frames": frames, "keypoints": keypoints}

    return lambda plans: _changed(read, map(whole_plan, plans), disturbed)


def other_keypoints_reader(read: Reader, source: KeypointSource) -> Reader:
    """A ``Reader`` with keypoints of another source, such as a second detector."""

    def changed(plan: BatchPlan, batch: Batch) -> Batch:
        return {**batch, "keypoints": planned_keypoints(plan, source)}

    return lambda plans: _changed(read, plans, changed)


def _changed(
    read: Reader, plans: Iterable[BatchPlan], change: Callable[[BatchPlan, Batch], Batch]
) -> Generator[Batch, None, None]:
    """Yield the batches of the plans, in order, each changed according to its plan."""
    kept: deque[BatchPlan] = deque()

    def keeping() -> Iterator[BatchPlan]:
        for plan in plans:
            kept.append(plan)  # before the reader, which may prefetch in its own thread, receives it
            yield plan

    for batch in read(keeping()):
        yield change(kept.popleft(), batch)
