import pytest

from rgcn_jax.config import DataConfig
from rgcn_jax.data.datasets import custom
from rgcn_jax.data.load import open_data
from rgcn_jax.errors import InputError

FRAMES = [
    "train/10/1/a/2.jpg",
    "train/10/1/a/10.jpg",
    "train/9/02/b/x.png",
    "query/12/1/a/1.jpeg",
    "gallery/12/2/a/1.JPG",
    "gallery/0/1/a/1.jpg",
    "gallery/-1/1/a/1.jpg",
]


def make(root, frames=FRAMES):
    for frame in frames:
        (root / frame).parent.mkdir(parents=True, exist_ok=True)
        (root / frame).touch()
    return root


def fails(root, *fragments):
    with pytest.raises(InputError) as caught:
        custom.load(root)
    for fragment in fragments:
        assert str(fragment) in str(caught.value)


def test_by_hand_numbers_are_sorted_as_numbers(tmp_path):
    split = custom.load(make(tmp_path))
    assert [(t.person_id, t.camera_id, t.frames) for t in split.train] == [
        (9, 2, (FRAMES[2],)),
        (10, 1, (FRAMES[0], FRAMES[1])),
    ]
    assert [(t.person_id, t.camera_id) for t in split.query] == [(12, 1)]
    assert [(t.person_id, t.camera_id) for t in split.gallery] == [(0, 1), (12, 2)]
    assert [t.frames for t in split.junk] == [(FRAMES[6],)]


def test_a_part_may_be_absent_but_not_for_training(tmp_path):
    make(tmp_path, FRAMES[4:])
    split = custom.load(tmp_path)
    assert (len(split.train), len(split.query), len(split.gallery)) == (0, 0, 2)
    with pytest.raises(InputError, match="no tracklets for train and query"):
        open_data(DataConfig("folder", str(tmp_path)), (8, 4), with_pose=False)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ("train/anna/1/a/1.jpg", "train/anna is no person: expected a whole number. Rename the folders"),
        ("train/11/cam1/a/1.jpg", "train/11/cam1 is no camera: expected a whole number"),
        ("train/11/0/a/1.jpg", "train/11/0 is camera 0, but cameras count from 1"),
        ("train/010/1/a/1.jpg", "train/010 and train/10 are the same person, number 10"),
        ("train/10/01/a/1.jpg", "train/10/01 and train/10/1 are the same camera, number 1"),
        ("train/0/1/a/1.jpg", "train/0 is person 0, which stands for distractors and may be in the gallery only"),
        ("query/-1/1/a/1.jpg", "query/-1 is person -1, which stands for junk"),
        ("gallery/-2/1/a/1.jpg", "gallery/-2 is no person"),
        ("train/11/1/1.jpg", "train/11/1 holds no folder of a tracklet"),
        ("train/11/1/a/b/1.jpg", "train/11/1/a holds b, which is no frame"),
        ("train/11/1/a/1.gif", "train/11/1/a holds 1.gif, which is no frame (.jpg, .jpeg, .png)"),
    ],
)
def test_what_does_not_belong_is_named(tmp_path, frame, problem):
    fails(make(tmp_path, [*FRAMES, frame]), problem)


def test_none_of_the_parts_is_told_with_what_is_there(tmp_path):
    (tmp_path / "querry").mkdir()
    fails(tmp_path, f"{tmp_path} has no folder train and no folder query and no folder gallery", "(it holds querry)")


def test_people_who_are_trained_and_tested_on_are_told_of(tmp_path):
    make(tmp_path, [*FRAMES, "gallery/10/1/a/1.jpg"])
    with pytest.warns(UserWarning, match="1 persons in .*train .*person 10"):
        custom.load(tmp_path)
