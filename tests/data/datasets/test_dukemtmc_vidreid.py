import warnings

import pytest

from rgcn_jax.data.datasets import dukemtmc_vidreid
from rgcn_jax.errors import InputError

FILES = [
    "train/0001/0001/0001_C6_F0002_X30823.jpg",  # begins at F0002
    "train/0001/0001/0001_C6_F0003_X30835.jpg",
    "train/0001/0001/0001_C6_F0010_X30847.jpg",
    "train/0001/0002/0001C5F0001X00100.jpg",  # the older form
    "train/0001/0002/0001C5F0002X00112.jpg",
    "query/0007/0003/0007_C1_F0001_X1000.jpg",
    "gallery/0007/0003/0007_C1_F0001_X1000.jpg",  # the query once more
    "gallery/0007/0004/0007_C2_F0001_X2000.jpg",
    "gallery/7140/0005/7140_C2_F0044_D200413.jpg",
]


def make(root, files=FILES):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def fails(root, *fragments):
    with pytest.raises(InputError) as caught:
        dukemtmc_vidreid.load(root)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_by_hand_both_forms_of_names_and_a_late_beginning(tmp_path):
    split = dukemtmc_vidreid.load(str(make(tmp_path)))
    assert [(t.person_id, t.camera_id, t.frames) for t in split.train] == [
        (1, 6, tuple(FILES[:3])),
        (1, 5, tuple(FILES[3:5])),
    ]
    assert split.frame_size is None
    assert not split.junk


def test_a_query_is_in_the_gallery_once_and_a_distractor_has_id_0(tmp_path):
    split = dukemtmc_vidreid.load(make(tmp_path))
    assert [(t.person_id, t.camera_id, t.frames) for t in split.gallery] == [
        (7, 1, (FILES[5],)),
        (7, 2, (FILES[7],)),
        (0, 2, (FILES[8],)),
    ]
    assert split.query == split.gallery[:1]


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("train/0001/0001/0001_C6_X30823.jpg", "0001_C6_X30823.jpg is no frame name like 0001_C6_F0099_X30823.jpg"),
        ("train/0001/0001/0001_C0_F0009_X1.jpg", "0001_C0_F0009_X1.jpg is no frame name"),
        ("train/0001/0001/0002_C6_F0009_X1.jpg", "is a frame of person 0002 in the folder of person 0001"),
        ("train/0001/0001/0001_C5_F0009_X1.jpg", "train/0001/0001 mixes cameras"),
        ("train/0001/0001/0001_C6_F0009_D1.jpg", "mixes cameras, or distractors (D) with others (X)"),
        ("train/0001/0001/0001C6F0002X30823.jpg", "holds frame 2 twice: 0001C6F0002X30823.jpg and 0001_C6_F0002_X30"),
        ("train/0002/0001/0002_C1_F0001_D1.jpg", "train/0002/0001 is a distractor (D), which only the gallery may"),
        ("query/0008/0001/0008_C1_F0001_D1.jpg", "query/0008/0001 is a distractor"),
        ("gallery/0000/0001/0000_C1_F0001_X1.jpg", "is of person 0, which stands for distractors, but is not marked D"),
        ("gallery/0009/0001/0009_C1_F0001_X1.txt", "gallery/0009/0001 holds 0009_C1_F0001_X1.txt, which is no frame"),
    ],
)
def test_a_frame_that_does_not_belong_is_named(tmp_path, file, problem):
    fails(make(tmp_path, [*FILES, file]), problem)


def test_empty_folders_are_named(tmp_path):
    make(tmp_path)
    (tmp_path / "train/0002").mkdir()
    (tmp_path / "train/0003/0001").mkdir(parents=True)
    fails(tmp_path, "train/0002 holds no folder of a tracklet; train/0003/0001 holds no frame. Unpack it again")


def test_published_counts_are_compared_and_a_mismatch_is_explained(tmp_path):
    """The tree of a data set of the published size but for frames: one each."""
    files = [f"train/{p:04}/0001/{p:04}_C1_F0001_X1.jpg" for p in range(1, 703)]
    files += ["query/0703/0001/0703_C1_F0001_X1.jpg", "gallery/0703/0002/0703_C2_F0001_X1.jpg"]
    make(tmp_path, files)
    with pytest.warns(UserWarning, match="not DukeMTMC-VideoReID as published") as caught:
        dukemtmc_vidreid.load(tmp_path)
    assert str(caught[0].message) == (
        "This is not DukeMTMC-VideoReID as published (training tracklets: expected 2,196, found 702; training frames: "
        "expected 369,656, found 702; queries: expected 702, found 1; gallery tracklets: expected 2,636, found 1; "
        "gallery frames: expected 445,764, found 1): scores on it cannot stand beside published ones."
    )


def test_a_small_set_is_taken_as_it_is(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dukemtmc_vidreid.load(make(tmp_path))
