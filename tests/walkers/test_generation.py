import re
from collections import Counter

import numpy as np
import pytest

from rgcn_jax.types import DISTRACTOR_ID, JUNK_ID, Tracklet
from rgcn_jax.walkers import WalkersSpec, generate


def _all(walkers):
    return (*walkers.split.train, *walkers.split.gallery, *walkers.split.junk)


def test_the_counts_are_those_of_the_spec(small):
    spec, split = small.spec, small.split
    per_person = spec.cameras * spec.tracklets_per_camera
    assert len(split.train) == spec.train_identities * per_person
    assert len(split.query) == spec.test_identities * spec.cameras
    assert len(split.gallery) == spec.test_identities * per_person + spec.distractors
    assert len(split.junk) == spec.junk
    assert {t.person_id for t in split.junk} == {JUNK_ID}
    assert sum(t.person_id == DISTRACTOR_ID for t in split.gallery) == spec.distractors
    assert split.name == "walkers"


def test_training_and_test_share_no_person_and_no_outfit(small):
    train = {t.person_id for t in small.split.train}
    test = {t.person_id for t in small.split.gallery} - {DISTRACTOR_ID}
    assert train.isdisjoint(test)
    assert train | test == set(range(1, 11)) == set(small.people)
    assert {small.outfits[i] for i in train}.isdisjoint({small.outfits[i] for i in test})


def test_every_test_person_asks_once_in_each_camera_and_the_gallery_holds_the_queries(small):
    asked = Counter((t.person_id, t.camera_id) for t in small.split.query)
    assert set(asked.values()) == {1}
    assert len(asked) == 6 * 3
    assert set(small.split.query) <= set(small.split.gallery)
    assert DISTRACTOR_ID not in {t.person_id for t in small.split.query}


def test_look_alikes_share_the_outfit_but_neither_body_nor_gait(small):
    assert sorted(i for group in small.look_alikes for i in group) == sorted(small.people)
    for group in small.look_alikes:
        assert len(group) == small.spec.group_size
        first, *others = group
        for other in others:
            assert small.outfits[other] == small.outfits[first]
            assert np.all(small.people[other].parameters != small.people[first].parameters)
    assert len(set(small.outfits.values())) == len(small.look_alikes)


def test_frame_names_have_the_grammar_of_mars_and_agree_with_the_tracklet(small):
    for tracklet in _all(small):
        for number, name in enumerate(tracklet.frames, 1):
            found = re.fullmatch(r"bbox_(train|test)/(\d{4}|00-1)/(\2)C(\d)T(\d{4})F(\d{3})\.jpg", name)
            assert found, name
            person = JUNK_ID if found[2] == "00-1" else int(found[2])
            assert (person, int(found[4]), int(found[6])) == (tracklet.person_id, tracklet.camera_id, number)
    names = [name for tracklet in _all(small) for name in tracklet.frames]
    assert len(set(names)) == len(names)


def test_lengths_lie_within_the_limits_and_the_arrays_have_them(small):
    tracklets = list(_all(small))
    assert {len(t.frames) for t in tracklets} == {3, 4, 5, 6}
    for tracklet in tracklets:
        assert small.keypoints(tracklet).shape == (len(tracklet.frames), 14, 3)
    tracklet = tracklets[-1]
    assert small.frames(tracklet, 32, 16).shape == (len(tracklet.frames), 32, 16, 3)


def test_the_same_spec_gives_the_same_data_in_whatever_order_it_is_read(small):
    other = generate(small.spec)
    assert other.split == small.split
    chosen = [*small.split.train[:3], *small.split.query[:2], *small.split.junk[:1]]
    forward = [(small.keypoints(t), small.frames(t, 64, 32)) for t in chosen]
    # Backwards, frames first, at other sizes in between, and with new objects of the same value.
    for tracklet, (keypoints, frames) in reversed(list(zip(chosen, forward, strict=True))):
        copy = Tracklet(tracklet.frames, tracklet.person_id, tracklet.camera_id)
        other.frames(copy, 48, 24)
        np.testing.assert_array_equal(other.frames(copy, 64, 32), frames)
        np.testing.assert_array_equal(other.keypoints(copy), keypoints)


def test_another_seed_gives_other_people_in_other_crops(small):
    other = generate(WalkersSpec(train_identities=4, test_identities=6, group_size=2, cameras=3, seed=12))
    assert not any(np.array_equal(small.people[i].parameters, other.people[i].parameters) for i in small.people)
    a, b = small.frames(small.split.train[0], 64, 32)[0], other.frames(other.split.train[0], 64, 32)[0]
    assert np.abs(a.astype(int) - b).mean() > 5


def test_a_foreign_tracklet_and_an_empty_size_are_refused(small):
    stranger = Tracklet(("bbox_test/0099/0099C1T0001F001.jpg",), 99, 1)
    with pytest.raises(ValueError, match=r"0099C1T0001F001\.jpg.*seed 11"):
        small.keypoints(stranger)
    with pytest.raises(ValueError, match="are 0 x 32: expected positive"):
        small.frames(small.split.train[0], 0, 32)
