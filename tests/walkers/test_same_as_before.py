"""Specs of earlier versions generate what they did, bit for bit."""

import hashlib

from rgcn_jax.walkers import WalkersSpec, generate

KEYPOINTS = "be2240cc1ac3272155a1e0e6fac3b746cba32c0631118b4f7f88c1184b963691"
FRAMES = "fa5c346124233d1158786268bc6b4cae2bcf7e3edcc651ffadd2f2352a0d3bd1"


def test_an_old_spec_generates_what_it_did():
    walkers = generate(
        WalkersSpec(
            train_identities=4,
            test_identities=2,
            group_size=2,
            cameras=8,
            tracklets_per_camera=1,
            distractors=2,
            junk=2,
            min_frames=3,
            max_frames=8,
            seed=7,
        )
    )
    split, keypoints, frames = walkers.split, hashlib.sha256(), hashlib.sha256()
    for tracklet in sorted({*split.train, *split.gallery, *split.junk}, key=lambda t: t.frames[0]):
        keypoints.update(walkers.keypoints(tracklet).tobytes())
        frames.update(walkers.frames(tracklet, 64, 32).tobytes())
    assert keypoints.hexdigest() == KEYPOINTS
    assert frames.hexdigest() == FRAMES
