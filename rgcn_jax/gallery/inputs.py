"""Input tracklets of the gallery's commands, from a features file or from a data set that is then embedded."""

from argparse import Namespace
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.data.datasets.listing import IMAGES, natural_order
from rgcn_jax.errors import InputError
from rgcn_jax.gallery.entry import Entry
from rgcn_jax.gallery.shown_keypoints import pack
from rgcn_jax.types import Batch, Embeddings, Tracklet

if TYPE_CHECKING:  # these import JAX, which takes seconds; arguments are parsed first
    from rgcn_jax.data.clips.reader import Data, Reader
    from rgcn_jax.embedder import Embedder

FRAMES = 8
"""Maximum number of evenly spaced frames that an entry keeps of its tracklet, for display."""


class Embedded(NamedTuple):
    """Features of one tracklet.

    ``quality`` is the mean fraction of keypoints detected, or None if unknown. ``keypoints`` are those of the entry's
    frames, packed (``shown_keypoints.py``).
    """

    position: int
    appearance: np.ndarray
    pose: np.ndarray
    quality: float | None
    keypoints: str = ""


@dataclass(frozen=True)
class Inputs:
    """Tracklets, the mask of queries, and their features: ``embed(positions)`` yields these in the given order."""

    entries: Sequence[Entry]
    is_query: np.ndarray
    embed: Callable[[Sequence[int]], Iterator[Embedded]]


def of_features(known: Namespace, embedder: "Embedder") -> Inputs:
    """Read the tracklets of ``--features``, with persons, cameras and roles of ``--labels``, and frames in ``--root``.

    Raises:
      InputError: a file cannot be read, or the features are from another model or other settings.
    """
    from rgcn_jax.evaluation.feature_set import read_features, with_labels

    features = read_features(known.features)
    if features.model != embedder.hash:
        raise InputError(
            f"{known.features} holds features of other weights than {known.model}: embed with this model, rgcn-jax "
            f"embed --model={known.model} --out=FILE.npz."
        )
    config, header = embedder.config, features.header.get("config") or {}
    now = {"image_height": config.image_height, "image_width": config.image_width}
    now |= {"frames_per_clip": config.frames_per_clip, "clips": config.evaluation.clips}
    for name, value in now.items():
        then = features.header.get("clips") if name == "clips" else header.get(name, value)
        if then != value:
            raise InputError(f"{known.features} was embedded with {name}={then!r}, the model now has {value!r}.")
    features = with_labels(features, known.labels) if known.labels else features
    root = str(known.root.resolve()) if known.root else ""
    columns = features.embeddings
    entries = [
        Entry(
            first,
            known.source or str(known.features.resolve()),
            int(person),
            int(camera) or known.camera or 0,
            num_frames=int(count),
            frames=_frames_beside(root, first, int(count)),
            root=root,
            data_set=str(features.header.get("data_set", "")),
        )
        for first, person, camera, count in zip(
            features.first_frames, columns.person_ids, columns.camera_ids, features.num_frames, strict=True
        )
    ]

    def embed(positions: Sequence[int]) -> Iterator[Embedded]:
        for i in positions:
            yield Embedded(i, columns.appearance[i], columns.pose[i], None)

    return Inputs(entries, features.roles.query, embed)


def of_data(embedder: "Embedder", source: str = "", camera: int = 0) -> Inputs:
    """Read the test tracklets of the data set in the model's config. ``camera`` replaces unknown camera ids.

    Raises:
      InputError: the data set cannot be read, or has no tracklets.
    """
    from rgcn_jax.evaluation.protocol import test_tracklets
    from rgcn_jax.training.run import open_process_data

    config = embedder.config
    data = open_process_data(config, required=())
    tracklets, roles = test_tracklets(data.split)
    if not tracklets:
        raise InputError(f"{data.split.root} has no tracklets in query or gallery.")
    on_disk = config.data.name != "walkers"
    root = str(data.split.root.resolve()) if on_disk else ""
    name = f"{data.split.name} {data.split.split_description}".strip()
    entries = [
        Entry(
            tracklet.frames[0],
            source or root or name,
            tracklet.person_id,
            tracklet.camera_id or camera,
            num_frames=len(tracklet.frames),
            frames=evenly(tracklet.frames) if on_disk else (),
            root=root,
            data_set=name,
        )
        for tracklet in tracklets
    ]

    def embed(positions: Sequence[int]) -> Iterator[Embedded]:
        return _embedded(embedder, data, [tracklets[i] for i in positions], positions)

    return Inputs(entries, roles.query, embed)


def _embedded(
    embedder: "Embedder", data: "Data", tracklets: Sequence[Tracklet], positions: Sequence[int]
) -> Iterator[Embedded]:
    from rgcn_jax.evaluation.embed import Cutting, tracklet_means

    config = embedder.config
    cutting = Cutting(config.evaluation.clips, config.frames_per_clip, config.evaluation.clips_per_batch)
    reader = _Measured(data.read, tracklets)
    clips = embedder.extractor.clips(embedder.variables, reader, tracklets, cutting)
    for feature in tracklet_means((plan.index, features) for plan, features in clips):
        i = feature.index
        quality = float(reader.detected[i] / reader.frames[i]) if config.with_pose else None
        yield Embedded(positions[i], feature.appearance, feature.pose, quality, reader.shown(i))


class _Measured:
    """``Reader`` that keeps the keypoints of the entries' frames and measures how many are detected.

    ``detected`` is the sum over frames of the fraction of keypoints detected, and ``frames`` the number of frames read.
    Both are indexed by tracklet.
    """

    def __init__(self, read: "Reader", tracklets: Sequence[Tracklet]):
        self._read = read
        self._lengths = [len(tracklet.frames) for tracklet in tracklets]
        self._keypoints: dict[int, np.ndarray] = {}
        self.detected, self.frames = np.zeros(len(tracklets)), np.zeros(len(tracklets))

    def __call__(self, plans: Iterable[BatchPlan]) -> Generator[Batch, None, None]:
        """Read the batches of the plans."""
        ahead: deque[BatchPlan] = deque()

        def noted() -> Iterator[BatchPlan]:
            for plan in plans:
                ahead.append(plan)
                yield plan

        for batch in self._read(noted()):
            plan, of_clip = ahead.popleft(), batch["index"] >= 0
            mask = batch["frame_mask"][of_clip]
            shares = (batch["keypoints"][of_clip, :, :, 2] > 0).mean(axis=2) * mask
            np.add.at(self.detected, batch["index"][of_clip], shares.sum(axis=1))
            np.add.at(self.frames, batch["index"][of_clip], mask.sum(axis=1))
            for clip in np.flatnonzero(of_clip).tolist():
                self._keep(int(plan.index[clip]), plan.frames[clip][plan.frame_mask[clip]], batch["keypoints"][clip])
            yield batch

    def shown(self, index: int) -> str:
        """Return the packed keypoints of an entry's frames; zeros for frames in no clip."""
        return pack(self._keypoints.pop(index))

    def _keep(self, index: int, positions: np.ndarray, keypoints: np.ndarray) -> None:
        named = evenly_spaced(self._lengths[index])
        kept = self._keypoints.setdefault(index, np.zeros((len(named), 14, 3), np.float32))
        _, of_clip, of_entry = np.intersect1d(positions, named, return_indices=True)
        kept[of_entry] = keypoints[of_clip]


def to_embeddings(found: Sequence[Embedded], entries: Sequence[Entry]) -> Embeddings:
    """Stack the features of some tracklets. ``entries`` contains those of all tracklets."""
    ids = [(entries[one.position].person_id, entries[one.position].camera_id) for one in found]
    return Embeddings(
        np.stack([one.appearance for one in found]),
        np.stack([one.pose for one in found]),
        *np.array(ids, np.int32).reshape(-1, 2).T,
    )


def evenly(frames: Sequence[str]) -> tuple[str, ...]:
    """Select at most ``FRAMES`` evenly spaced frames, including the first and last."""
    return tuple(frames[i] for i in evenly_spaced(len(frames)))


def evenly_spaced(count: int) -> list[int]:
    """Return at most ``FRAMES`` evenly spaced positions in a sequence, including the first and last."""
    return np.unique(np.linspace(0, count - 1, FRAMES).round().astype(int)).tolist()


def _frames_beside(root: str, first: str, count: int) -> tuple[str, ...]:
    """Select frames of a tracklet with a known first frame and length, if its folder has no other images.

    Otherwise return the first frame only.
    """
    folder = Path(root, first).parent
    if root and folder.is_dir():
        names = natural_order(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGES)
        if len(names) == count:
            parent = first.rpartition("/")[0]
            return evenly([f"{parent}/{name}" if parent else name for name in names])
    return (first,)
