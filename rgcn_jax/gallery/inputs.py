"""Input tracklets of the gallery's commands, from a features file or from a data set that is then embedded."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rgcn_jax.data.datasets.listing import IMAGES, natural_order
from rgcn_jax.errors import InputError
from rgcn_jax.gallery.entry import Entry
from rgcn_jax.gallery.frame_images import pack

if TYPE_CHECKING:  # these import JAX, which takes seconds; arguments are parsed first
    from rgcn_jax.embedder import Embedder
    from rgcn_jax.evaluation.embed import TrackletFeature

FRAMES = 8
"""Maximum number of evenly spaced frames that an entry keeps of its tracklet, for display."""


@dataclass(frozen=True)
class Inputs:
    """Tracklets, and the mask of queries.

    ``embed(positions)`` yields the features of some tracklets in the given order, ``index`` being the position, and the
    fields of the entry that depend on its keypoints: "quality" and "keypoints".
    """

    entries: Sequence[Entry]
    is_query: np.ndarray
    embed: Callable[[Sequence[int]], Iterator[tuple["TrackletFeature", dict[str, Any]]]]


def of_features(known: Namespace, embedder: "Embedder") -> Inputs:
    """Read the tracklets of ``--features``, with persons, cameras and roles of ``--labels``, and frames in ``--root``.

    Raises:
      InputError: a file cannot be read, or the features are from another model or other settings.
    """
    from rgcn_jax.evaluation.embed import TrackletFeature
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

    def embed(positions: Sequence[int]) -> Iterator[tuple[TrackletFeature, dict[str, Any]]]:
        for i in positions:
            yield TrackletFeature(i, columns.appearance[i], columns.pose[i]), {}

    return Inputs(entries, features.roles.query, embed)


def of_data(embedder: "Embedder", source: str = "", camera: int = 0) -> Inputs:
    """Read the test tracklets of the data set in the model's config. ``camera`` replaces unknown camera ids.

    Raises:
      InputError: the data set cannot be read, or has no tracklets.
    """
    from rgcn_jax.evaluation.embed import Cutting, Readers, TrackletFeature
    from rgcn_jax.evaluation.protocol import test_tracklets
    from rgcn_jax.training.run import open_process_data

    config = embedder.config
    data = open_process_data(config, required=())
    readers = Readers(data.read, data.read_keypoints)
    cutting = Cutting(config.evaluation.clips, config.frames_per_clip, config.evaluation.clips_per_batch)
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

    def embed(positions: Sequence[int]) -> Iterator[tuple[TrackletFeature, dict[str, Any]]]:
        chosen = [tracklets[i] for i in positions]
        for feature in embedder.extractor.tracklets(embedder.variables, readers, chosen, cutting):
            i, seen = positions[feature.index], {}
            if data.keypoints is not None:
                keypoints = data.keypoints.of(tracklets[i])
                seen["quality"] = float((keypoints[..., 2] > 0).mean())
                if on_disk:
                    seen["keypoints"] = pack(keypoints[evenly_spaced(len(keypoints))])
            yield feature._replace(index=i), seen

    return Inputs(entries, roles.query, embed)


def evenly(frames: Sequence[str]) -> tuple[str, ...]:
    """Select at most ``FRAMES`` evenly spaced frames, including the first and last."""
    return tuple(frames[i] for i in evenly_spaced(len(frames)))


def evenly_spaced(count: int) -> list[int]:
    """Return at most ``FRAMES`` evenly spaced positions in a sequence, including the first and last."""
    return np.unique(np.linspace(0, count - 1, FRAMES).round().astype(int)).tolist()


def _frames_beside(root: str, first: str, count: int) -> tuple[str, ...]:
    """Select frames of a tracklet by its first frame and length; the first one only if its folder has other images."""
    folder = Path(root, first).parent
    if root and folder.is_dir():
        names = natural_order(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGES)
        if len(names) == count:
            parent = first.rpartition("/")[0]
            return evenly([f"{parent}/{name}" if parent else name for name in names])
    return (first,)
