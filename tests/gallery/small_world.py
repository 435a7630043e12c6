"""A tiny model and a gallery of walkers in two cameras, with their crops, for the tests of the page.

    python -m tests.gallery.small_world FOLDER

writes the model alone.
"""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import jax

import rgcn_jax
from rgcn_jax import parallel
from rgcn_jax.config_io import override, packaged_config, typed
from rgcn_jax.evaluation.scorer import model_from_config
from rgcn_jax.gallery import Entry, Gallery
from rgcn_jax.gallery.frame_images import pack
from rgcn_jax.models.build import initialise
from rgcn_jax.runtime.checksum import host_leaves
from rgcn_jax.saved_model import SavedModel, save_model
from rgcn_jax.training.state import variables_hash
from rgcn_jax.walkers import generate
from tests import mars_folder

HEIGHT, WIDTH = 64, 32
SPEC = replace(
    mars_folder.SPEC, test_identities=6, cameras=4, tracklets_per_camera=1, distractors=0, junk=0, max_frames=6, seed=3
)
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def write_model(folder, *changes):
    config = typed(override(packaged_config("mars_mini"), [*mars_folder.TINY, *changes]))
    model = model_from_config(config, 0, parallel.make_mesh(1))
    variables = jax.device_get(initialise(model, 0, config.frames_per_clip, *config.frame_size))
    folder.mkdir()
    save_model(folder, SavedModel(folder, config, 0, variables, variables_hash(host_leaves(variables))))
    return folder


def make(folder):
    """Entries 1 to 12, persons by camera 1, then by camera 2; names that a page must escape."""
    model = write_model(folder / "model", "--config.evaluation.distance=normalized")
    embedder = rgcn_jax.load(model)
    walkers = generate(SPEC)
    tracklets = [t for camera in (1, 2) for t in walkers.split.gallery if t.camera_id == camera]
    frames = [walkers.frames(t, HEIGHT, WIDTH) for t in tracklets]
    keypoints = [walkers.keypoints(t) for t in tracklets]
    gallery = Gallery.open(folder / "people", embedder)
    entries = []
    for i, (t, shown, points) in enumerate(zip(tracklets, frames, keypoints, strict=True)):
        place = folder / "people" / "crops" / "walk" / str(t.person_id) / str(t.camera_id) / "0001"
        place.mkdir(parents=True)
        for number, frame in enumerate(shown):
            cv2.imwrite(str(place / f"{number}.jpg"), frame[..., ::-1])
        names = tuple(f"{t.person_id}/{t.camera_id}/0001/{number}.jpg" for number in range(len(shown)))
        start = 1.7640e9 + 60 * i
        entries.append(
            Entry(
                f"{EVIL}{i}",
                "=cmd()",
                t.person_id,
                t.camera_id,
                start,
                start + len(shown) / 10,
                num_frames=len(shown),
                frames=names,
                root="crops/walk",
                keypoints=pack(points),
            )
        )
    gallery.add(embedder(frames, keypoints), entries)
    return SimpleNamespace(
        folder=folder,
        people=folder / "people",
        model=model,
        embedder=embedder,
        gallery=gallery,
        frames=frames,
        keypoints=keypoints,
        entries=entries,
    )


if __name__ == "__main__":
    write_model(Path(sys.argv[1]), "--config.evaluation.distance=normalized")
