import json

import pytest

from rgcn_jax.data.datasets import prid2011
from rgcn_jax.errors import InputError
from tests.data.datasets import layouts

SHOTS = "prid_2011/multi_shot"
SPLIT = {"train": ["person_0003", "person_0001"], "test": ["person_0002", "person_0009"]}


def make(root, people=(1, 2, 3, 9), splits=(SPLIT,), strangers=(4,)):
    for camera, of_camera in (("cam_a", people), ("cam_b", (*people, *strangers))):
        for number in of_camera:
            folder = root / SHOTS / camera / f"person_{number:04}"
            folder.mkdir(parents=True)
            for frame in (9, 10):
                (folder / f"{frame:04}.png").touch()
    (root / "splits_prid2011.json").write_text(json.dumps(splits))
    return root


def fails(root, *fragments, split=1):
    with pytest.raises(InputError) as caught:
        prid2011.load(root, split)
    for fragment in fragments:
        assert str(fragment) in str(caught.value)


def test_by_hand_and_people_whom_no_split_names_are_not_used(tmp_path):
    split = prid2011.load(make(tmp_path))
    assert [(t.person_id, t.camera_id) for t in split.train] == [(1, 1), (1, 2), (3, 1), (3, 2)]
    assert [(t.person_id, t.camera_id) for t in split.query] == [(2, 1), (9, 1)]
    assert [(t.person_id, t.camera_id) for t in split.gallery] == [(2, 2), (9, 2)]
    assert split.gallery[0].frames == (f"{SHOTS}/cam_b/person_0002/0009.png", f"{SHOTS}/cam_b/person_0002/0010.png")
    assert split.split_description.startswith("split 1 of 1 (")


def test_all_ten_splits_of_walkers_are_those_that_were_written(tmp_path):
    root = layouts.make(tmp_path / "data", "prid2011")
    splits = json.loads((root / "splits_prid2011.json").read_text())
    assert len(splits) == 10
    for number, written in enumerate(splits, 1):
        split = prid2011.load(root, number)
        train, test = ({int(name[-4:]) for name in written[half]} for half in ("train", "test"))
        assert not train & test
        assert set(split.train_person_ids) == train
        assert {t.person_id for t in split.query} == {t.person_id for t in split.gallery} == test
    assert len({prid2011.load(root, n).split_description for n in range(1, 11)}) == 10
    fails(root, "PRID2011 has splits 1 to 10", "there is no split 11: set data.split to another", split=11)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[{", "is not JSON or is cut off"),
        ("[" * 100_000, "is not JSON or is cut off"),
        ("{}", "expected a list of splits like"),
        ("[]", "expected a list of splits like"),
        ('[{"train": ["person_0001"]}]', 'split 1 must be {"train": [...], "test": [...]} with persons in both lists'),
        ('[{"train": ["person_0001"], "test": []}]', "with persons in both lists"),
        ('[{"train": ["person_0001"], "test": ["../../etc"]}]', "names '../../etc': expected the name of a person f"),
        ('[{"train": ["person_0001"], "test": [2]}]', "names 2: expected the name of a person folder"),
        ('[{"train": ["person_0001"], "test": ["person_0000"]}]', "names 'person_0000'"),
        ('[{"train": ["person_0001"], "test": ["person_0001"]}]', "names a person twice"),
        (
            '[{"train": ["person_0001"], "test": ["person_0077"]}]',
            "cam_a has no such folder; split 1 names person_0077",
        ),
    ],
)
def test_wrong_splits_are_reported(tmp_path, text, problem):
    path = make(tmp_path) / "splits_prid2011.json"
    path.write_text(text)
    fails(tmp_path, problem)


def test_an_absent_file_of_splits_and_a_wrong_frame_are_reported(tmp_path):
    (make(tmp_path) / SHOTS / "cam_a/person_0002/first.png").touch()
    (tmp_path / SHOTS / "cam_a/person_0002/00010.png").touch()
    fails(tmp_path, "person_0002/first.png is no frame name like 0001.png", "person_0002 holds frame 10 twice")
    (tmp_path / "splits_prid2011.json").unlink()
    fails(tmp_path, f"cannot read {tmp_path / 'splits_prid2011.json'} (No such file", "It is a separate download")


def test_the_usual_counts_are_compared(tmp_path):
    names = [f"person_{number:04}" for number in range(1, 179)]
    splits = [{"train": names[:89], "test": names[89:]}] * 10
    make(tmp_path / "a", range(1, 179), splits, strangers=())
    assert len(prid2011.load(tmp_path / "a").train) == 178
    splits[0] = {"train": names[:90], "test": names[90:]}
    make(tmp_path / "b", range(1, 179), splits, strangers=())
    with pytest.warns(UserWarning, match="training identities.* 89, .* 90; test identities.* 89, .* 88"):
        prid2011.load(tmp_path / "b")
