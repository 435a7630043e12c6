"""The choice of the subject among several people in a crop, by hand and on real crops with bystanders."""

import numpy as np
import pytest

from rgcn_jax.data.keypoints.openpose import parse_openpose
from rgcn_jax.data.keypoints.subject import choose_subject, choose_subjects
from rgcn_jax.skeleton import to_14


def _line(x, confidence=0.5, height=200.0):
    person = np.zeros((14, 3))
    person[:, 0], person[:, 1], person[:, 2] = x, np.linspace(20, height, 14), confidence
    return person


def test_the_subject_is_in_the_middle():
    middle, side = _line(60.0), _line(15.0, confidence=0.9)
    # 14 x 0.5 x (1 - 4/64) = 6.56 against 14 x 0.9 x (1 - 49/64) = 2.95
    assert choose_subject(np.stack([side, middle]), 256, 128) == 1
    assert choose_subject(np.stack([middle, side]), 256, 128) == 0
    # 14 x 0.1 x 0.9375 = 1.31: so faint a person does not win by position alone
    assert choose_subject(np.stack([_line(60.0, 0.1), side]), 256, 128) == 1


def test_the_subject_counts_only_inside_of_the_crop():
    outside = _line(64.0, confidence=0.9)
    outside[2:, 1] = 300.0  # below the crop: 2 x 0.9 remain
    assert choose_subject(np.stack([outside, _line(64.0, confidence=0.3)]), 256, 128) == 1
    assert choose_subject(np.stack([_line(64.0), _line(64.0)]), 256, 128) == 0
    assert choose_subject(np.zeros((2, 14, 3)), 256, 128) == 0


@pytest.mark.real_data
def test_the_subject_of_real_crops_with_bystanders(real_data):
    several = 0
    for file in sorted((real_data / "vtest_mars" / "openpose").iterdir()):
        people = parse_openpose(file.read_bytes()).keypoints
        if len(people) > 1:
            several += 1
            # The subject is written first; here it is put last, so that a tie or the order cannot help.
            assert choose_subject(to_14(people[::-1], "openpose_body25"), 256, 128) == len(people) - 1, file.name
    assert several == 49


def test_the_subjects_of_many_frames_at_once_are_those_of_each():
    rng = np.random.default_rng(0)
    people = rng.uniform(0, 130, (60, 14, 3)) * [1, 2, 0.01]
    people[10] = people[40]  # equals: the first wins
    frame = rng.integers(0, 20, 60)
    frame[[10, 40]] = 3
    sizes = rng.integers(40, 260, (20, 2))
    chosen, found = choose_subjects(people, frame, sizes, 20)
    assert not found.all()
    for f in range(20):
        mine = np.flatnonzero(frame == f)
        assert found[f] == (len(mine) > 0)
        if len(mine):
            assert chosen[f] == mine[choose_subject(people[mine], *sizes[f].tolist())]
