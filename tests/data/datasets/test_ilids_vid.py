import hashlib
import json

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from rgcn_jax.data.datasets import ilids_vid
from rgcn_jax.errors import InputError
from tests.data.datasets import layouts

SPLITS = "train-test people splits/train_test_splits_ilidsvid.mat"
SEQUENCES = "i-LIDS-VID/sequences"


def make(root, people=(2, 5, 6, 10), splits=((4, 1, 3, 2), (1, 2, 3, 4))):
    """Frames 9, 10 and 100 of each person; ``splits`` are positions in ``people``."""
    for camera in ("cam1", "cam2"):
        for number in people:
            person = f"person{number:03}"
            folder = root / SEQUENCES / camera / person
            folder.mkdir(parents=True)
            for frame in (9, 10, 100):
                (folder / f"{camera}_{person}_{frame:05}.png").touch()
    (root / SPLITS).parent.mkdir(exist_ok=True)
    savemat(root / SPLITS, {"ls_set": np.array(splits, np.uint16)})
    return root


def fails(root, *fragments, split=1):
    with pytest.raises(InputError) as caught:
        ilids_vid.load(root, split)
    for fragment in fragments:
        assert str(fragment) in str(caught.value)


def test_by_hand_positions_are_not_person_numbers_and_the_first_half_is_tested_on(tmp_path):
    split = ilids_vid.load(make(tmp_path))
    assert [(t.person_id, t.camera_id) for t in split.train] == [(5, 1), (5, 2), (6, 1), (6, 2)]
    assert [(t.person_id, t.camera_id) for t in split.query] == [(2, 1), (10, 1)]
    assert [(t.person_id, t.camera_id) for t in split.gallery] == [(2, 2), (10, 2)]
    assert split.query[1].frames == tuple(
        f"{SEQUENCES}/cam1/person010/cam1_person010_{frame:05}.png" for frame in (9, 10, 100)
    )
    assert ilids_vid.load(tmp_path, 2).train_person_ids == (6, 10)


def test_a_split_has_a_hash_of_its_people_alone(tmp_path):
    text = json.dumps({"test": ["person002", "person010"], "train": ["person005", "person006"]}, separators=(",", ":"))
    expected = f"split 1 of 2 ({hashlib.sha256(text.encode()).hexdigest()[:8]})"
    assert ilids_vid.load(make(tmp_path / "a")).split_description == expected
    reordered = make(tmp_path / "b", splits=((1, 4, 2, 3), (1, 2, 3, 4)))
    assert ilids_vid.load(reordered).split_description == expected
    other = make(tmp_path / "c", splits=((1, 3, 2, 4), (1, 2, 3, 4)))
    assert ilids_vid.load(other).split_description != expected


def test_all_ten_splits_of_walkers_are_those_that_were_written(tmp_path):
    root = layouts.make(tmp_path / "data", "ilids_vid")
    rows = loadmat(root / SPLITS)["ls_set"]
    assert rows.shape == (10, 8)
    people = sorted({person_id for _, person_id in layouts.plan("ilids_vid").values()})
    seen = set()
    for number, row in enumerate(rows.tolist(), 1):
        split = ilids_vid.load(root, number)
        test, train = ({people[i - 1] for i in half} for half in (row[:4], row[4:]))
        assert not test & train
        assert set(split.train_person_ids) == train
        assert {t.person_id for t in split.query} == {t.person_id for t in split.gallery} == test
        assert len(split.train) == 8
        assert split.split_description.startswith(f"split {number} of 10 (")
        seen.add(split.split_description.rpartition("(")[2])
    assert len(seen) == len({frozenset(row[:4]) for row in rows.tolist()}) > 1
    fails(root, "iLIDS-VID has splits 1 to 10, there is no split 11: set data.split to another", split=11)
    fails(root, "there is no split 0", split=0)


def test_a_folder_too_few_would_shift_all_splits_and_is_refused(tmp_path):
    make(tmp_path)
    person = tmp_path / SEQUENCES / "cam1" / "person005"
    person.rename(tmp_path / "person005")
    fails(tmp_path, "cam2 has a folder person005, i-LIDS-VID/sequences/cam1 has none", "as they were distributed")
    (tmp_path / SEQUENCES / "cam2" / "person005").rename(tmp_path / "person005b")
    fails(tmp_path, tmp_path / SPLITS, "ls_set splits 4 persons, but there are 3 person folders")


def test_a_folder_renamed_in_both_cameras_is_refused(tmp_path):
    make(tmp_path)
    for camera in ("cam1", "cam2"):
        (tmp_path / SEQUENCES / camera / "person005").rename(tmp_path / SEQUENCES / camera / "person999")
    fails(tmp_path, "cam1/person999/cam1_person005_00009.png is no frame name like cam1_person999_00317.png; ")


@pytest.mark.parametrize("name", ["cam2_person002_00001.png", "cam1_person002_x.png", "cam1_person002_000100.png"])
def test_a_frame_that_does_not_belong_is_named(tmp_path, name):
    (make(tmp_path) / SEQUENCES / "cam1" / "person002" / name).touch()
    fails(tmp_path, "cam1/person002")


def test_a_folder_that_is_no_person_is_named(tmp_path):
    make(tmp_path, people=(0, 2))
    fails(tmp_path, "cam1/person000 is no folder of a person like person001")
    (tmp_path / SEQUENCES / "cam1" / "person2").mkdir()
    (tmp_path / SEQUENCES / "cam2" / "person2").mkdir()
    fails(tmp_path, "cam1/person2 is no folder of a person")


@pytest.mark.parametrize(
    ("splits", "problem"),
    [
        (((1, 2, 3, 3),), "must be the numbers 1 to 4 in some order, which row 1 is not"),
        (((1, 2, 3, 4), (0, 1, 2, 3)), "which row 2 is not"),
        (((1, 2, 3, 5),), "which row 1 is not"),
        (((1, 2, 3),), "ls_set splits 3 persons, but there are 4 person folders"),
        (((1.5, 2, 3, 4),), "ls_set must be a matrix of whole numbers: download the archive again"),
    ],
)
def test_a_wrong_file_of_splits_is_reported(tmp_path, splits, problem):
    make(tmp_path)
    savemat(tmp_path / SPLITS, {"ls_set": np.array(splits)})
    fails(tmp_path, tmp_path / SPLITS, problem)


def test_an_absent_or_damaged_file_of_splits_is_reported(tmp_path):
    path = make(tmp_path) / SPLITS
    whole = path.read_bytes()
    for broken in (b"", whole[:100], whole[:-20]):
        path.write_bytes(broken)
        fails(tmp_path, path, "it may be cut off: download the archive again")
    path.unlink()
    fails(tmp_path, f"iLIDS-VID is incomplete: there is no file {path}; it comes with the archive")
    path.parent.rmdir()
    fails(tmp_path, f"{tmp_path} has no folder train-test people splits")


def test_published_counts_are_compared(tmp_path):
    people = tuple(range(1, 203))
    make(tmp_path, people, (people,))
    with pytest.warns(UserWarning, match=r"iLIDS-VID .*training identities.* 150, .* 101; .*splits"):
        ilids_vid.load(tmp_path)


def test_the_published_tree_is_taken_without_a_word(tmp_path):
    """300 people with gaps in their numbers and ten splits."""
    people = tuple(n for n in range(1, 320) if n % 16)
    assert len(people) == 300
    rng = np.random.default_rng(0)
    make(tmp_path, people, [rng.permutation(300) + 1 for _ in range(10)])
    split = ilids_vid.load(tmp_path, 10)
    assert (len(split.train), len(split.query), len(split.gallery)) == (300, 150, 150)
