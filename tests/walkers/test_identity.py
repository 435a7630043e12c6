"""Do the data carry identity, and only where they should? Simple statistics in NumPy, no network."""

import numpy as np
import pytest

from rgcn_jax.walkers import WalkersSpec, generate


def describe(keypoints):
    """Mean and deviation of every keypoint about the hips in torso lengths, and how it moves with the feet."""
    places = np.where(keypoints[..., 2:] > 0, keypoints[..., :2] * [1.0, 2.0], np.nan).astype(np.float64)
    places -= places[:, [8, 11]].mean(axis=1, keepdims=True)
    places /= np.nanmedian(np.linalg.norm(places[:, 1], axis=-1))
    mean, deviation = np.nanmean(places, axis=0), np.nanstd(places, axis=0)
    feet = places[:, 13, :1] - places[:, 10, :1]
    with_feet = np.nanmean((places - mean) * (feet - np.nanmean(feet))[:, None], axis=0)
    return np.nan_to_num(np.concatenate([mean, deviation, with_feet]).ravel())


def discriminant(features, labels, dimensions):
    """Linear discriminant analysis: mean and the projection that whitens the scatter within classes."""
    mean = features.mean(axis=0)
    classes = np.unique(labels)
    centres = np.stack([features[labels == c].mean(axis=0) for c in classes])
    within = features - centres[np.searchsorted(classes, labels)]
    scatter = within.T @ within / (len(features) - len(classes))
    scatter += 0.01 * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    whiten = np.linalg.cholesky(np.linalg.inv(scatter))
    _, _, axes = np.linalg.svd((centres - mean) @ whiten, full_matrices=False)
    return mean, whiten @ axes[:dimensions].T


def rank1(features, persons, cameras, queries):
    """Share of queries whose nearest tracklet, in another camera or of another person, is of the same person."""
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    hits = 0
    for q in queries:
        distance = np.linalg.norm(features - features[q], axis=1)
        distance[(persons == persons[q]) & (cameras == cameras[q])] = np.inf
        hits += persons[distance.argmin()] == persons[q]
    return hits / len(queries)


def columns(tracklets):
    return np.array([t.person_id for t in tracklets]), np.array([t.camera_id for t in tracklets])


@pytest.fixture(scope="module")
def trained():
    """Test features of the pose discriminant that was fitted on the training people, and the data."""
    walkers = generate(WalkersSpec(train_identities=90, test_identities=30, seed=2))
    split = walkers.split
    train = np.stack([describe(walkers.keypoints(t)) for t in split.train])
    gallery = np.stack([describe(walkers.keypoints(t)) for t in split.gallery])
    mean, projection = discriminant(train, columns(split.train)[0], 40)
    return walkers, (gallery - mean) @ projection


@pytest.mark.slow
def test_pose_tells_who_it_is_across_cameras(trained):
    walkers, features = trained
    gallery = walkers.split.gallery
    persons, cameras = columns(gallery)
    queries = [gallery.index(t) for t in walkers.split.query]
    assert rank1(features, persons, cameras, queries) > 0.75
    shuffled = np.random.default_rng(0).permutation(persons)
    assert rank1(features, shuffled, cameras, queries) < 0.12


def test_pose_tells_look_alikes_apart(trained):
    walkers, features = trained
    gallery = walkers.split.gallery
    persons, cameras = columns(gallery)
    group = {person: g for g, members in enumerate(walkers.look_alikes) for person in members}
    hits = []
    for t in walkers.split.query:
        q = gallery.index(t)
        mates = [i for i, p in enumerate(persons) if group.get(p) == group[t.person_id] and cameras[i] != t.camera_id]
        nearest = min(mates, key=lambda i: np.linalg.norm(features[i] - features[q]))
        hits.append(persons[nearest] == t.person_id)
    assert np.mean(hits) > 0.8  # chance is a third


@pytest.mark.slow
def test_colour_finds_the_outfit_and_not_the_person(trained):
    walkers, _ = trained
    gallery = [t for t in walkers.split.gallery if t.person_id > 0]
    persons, cameras = columns(gallery)
    group = {person: g for g, members in enumerate(walkers.look_alikes) for person in members}
    groups = np.array([group[p] for p in persons])
    # How often each of eight levels of red, green and blue occurs in the middle of the crop.
    middles = [walkers.frames(t, 64, 32)[:, 6:58, 8:24] for t in gallery]
    counts = np.stack([[np.bincount(m[..., c].ravel() // 32, minlength=8) for c in range(3)] for m in middles])
    colours = np.sqrt(counts / counts.sum(axis=2, keepdims=True)).reshape(len(gallery), -1)
    right_outfit = right_person = 0
    queries = [gallery.index(t) for t in walkers.split.query]
    for q in queries:
        distance = np.linalg.norm(colours - colours[q], axis=1)
        distance[cameras == cameras[q]] = np.inf
        nearest = distance.argmin()
        right_outfit += groups[nearest] == groups[q]
        right_person += persons[nearest] == persons[q]
    assert right_outfit / len(queries) > 0.85
    assert right_person / len(queries) < 0.5  # a third by chance


def test_nothing_else_tells_who_it_is():
    """People of one body, gait and outfit: what is left (seeds, places, noise) must be worth no more than chance."""
    spec = WalkersSpec(
        train_identities=24, test_identities=48, group_size=24, variation=0.0, session_noise=0.0, distractors=0, seed=5
    )
    walkers = generate(spec)
    plain = [t for t in walkers.split.gallery if walkers.people[t.person_id].posture == "none"]
    outfits = {walkers.outfits[t.person_id] for t in plain}
    same = [t for t in plain if walkers.outfits[t.person_id] == max(outfits, key=lambda o: o.top)]
    persons, cameras = columns(same)
    count = len(set(persons))
    assert count >= 8
    pose = np.stack([describe(walkers.keypoints(t)) for t in same])
    pixels = np.stack([walkers.frames(t, 32, 16).mean(axis=0).ravel() for t in same])
    pixels -= pixels.mean(axis=0)
    for features in (pose - pose.mean(axis=0), pixels):
        assert rank1(features, persons, cameras, range(len(same))) < 3 / count
