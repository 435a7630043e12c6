import json
import re
from collections import Counter

import h5py
import numpy as np
import pytest
from scipy.io import loadmat

from rgcn_jax.errors import InputError
from rgcn_jax.skeleton import to_14
from rgcn_jax.walkers import WalkersSpec, generate
from rgcn_jax.walkers.layouts import LAYOUTS, dukemtmc_vidreid, ilids_vid, prid2011
from rgcn_jax.walkers.write import openpose_people, write
from tests.frames import read_image

SIZE = (64, 32)
GRAMMAR = {
    "mars": r"bbox_(train|test)/(\d{4}|00-1)/\2C[1-6]T\d{4}F\d{3}\.jpg",
    "dukemtmc_vidreid": r"(train|query|gallery)/(\d{4})/\d{4}/\2_C[1-8]_F\d{4}_[XD]\d+\.jpg",
    "ilids_vid": r"i-LIDS-VID/sequences/(cam[12])/(person\d{3})/\1_\2_\d{5}\.png",
    "prid2011": r"prid_2011/multi_shot/cam_[ab]/person_\d{4}/\d{4}\.png",
    "ls_vid": r"tracklet_(train|test)/(\d{4})/\2_\d+_0[1-3]_\d{6}\.jpg",
    "ccvid": r"session[12]/\d{3}_\d\d/\d{5}\.jpg",
    "mevid": r"bbox_(train|test)/(\d{4})/\2O\d{3}C\d{3}T\d{3}F\d{5}\.jpg",
    "folder": r"(train|query|gallery)/-?\d+/[1-3]/\d+/\d+\.jpg",
}


@pytest.fixture(scope="module", params=sorted(LAYOUTS))
def written(request, small, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param) / "data"
    images = write(small, root, request.param, *SIZE)
    return request.param, root, images


def _relative(root, pattern):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob(pattern))


def test_names_have_the_grammar_of_the_layout_and_every_image_has_its_keypoints(written):
    layout, root, count = written
    images = _relative(root, "*.jpg") + _relative(root, "*.png")
    assert len(images) == count > 0
    assert all(re.fullmatch(GRAMMAR[layout], name) for name in images)
    keypoints = {f"openpose/{name[:-4]}_keypoints.json" for name in images}
    assert keypoints == set(_relative(root, "openpose/**/*.json"))
    others = {"mars": 5, "ilids_vid": 1, "prid2011": 1, "ls_vid": 3, "ccvid": 3, "mevid": 5}.get(layout, 0)
    assert sum(path.is_file() for path in root.rglob("*")) == 2 * count + others


def test_images_and_keypoints_are_those_of_the_walkers(written, small):
    layout, root, _ = written
    for tracklet, names in LAYOUTS[layout](small).files[::7]:
        crops, keypoints = small.frames(tracklet, *SIZE), small.keypoints(tracklet)
        for name, crop, expected in zip(names, crops, keypoints, strict=True):
            image = read_image(root / name)
            assert image.shape == (64, 32, 3)
            # JPEG loses a little; PNG nothing.
            assert np.abs(image.astype(int) - crop).mean() < (8 if name.endswith("jpg") else 1e-9)
            people = json.loads((root / f"openpose/{name[:-4]}_keypoints.json").read_text())["people"]
            if not people:
                assert not expected.any()
                continue
            body = np.array(people[0]["pose_keypoints_2d"], np.float64).reshape(25, 3)
            np.testing.assert_allclose(to_14(body, "openpose_body25"), expected * (32, 64, 1), atol=1e-3)


def test_mars_lists_are_contiguous_and_name_the_right_files(small, tmp_path):
    write(small, tmp_path, "mars", *SIZE)
    info = tmp_path / "info"
    rows = {}
    for part, folder in (("train", "bbox_train"), ("test", "bbox_test")):
        names = (info / f"{part}_name.txt").read_text().split()
        assert len(names) == len(_relative(tmp_path / folder, "*.jpg")) == len(set(names))
        matrix = loadmat(info / f"tracks_{part}_info.mat")[f"track_{part}_info"]
        assert matrix.dtype == np.int32
        assert matrix[0, 0] == 1
        assert matrix[-1, 1] == len(names)
        np.testing.assert_array_equal(matrix[1:, 0], matrix[:-1, 1] + 1)
        assert (np.diff(matrix[:, 2]) >= 0).all()
        for first, last, person, camera in matrix.tolist():
            text = "00-1" if person == -1 else f"{person:04}"
            of_row = names[first - 1 : last]
            assert {name[:6] for name in of_row} == {f"{text}C{camera}"}
            assert len({name[:11] for name in of_row}) == 1
            assert [int(name[-7:-4]) for name in of_row] == list(range(1, len(of_row) + 1))
            assert all((tmp_path / folder / text / name).is_file() for name in of_row)
        rows[part] = matrix
    queries = loadmat(info / "query_IDX.mat")["query_IDX"]
    assert queries.dtype == np.uint16
    assert queries.shape == (1, 6 * 3)
    asked = Counter(map(tuple, rows["test"][queries[0] - 1, 2:].tolist()))
    assert asked == Counter((t.person_id, t.camera_id) for t in small.split.query)
    assert (rows["test"][:, 2] == -1).sum() == 3
    assert (rows["test"][:, 2] == 0).sum() == 4


def test_duke_has_one_query_a_person_and_marks_each_distractor(small):
    plan = dukemtmc_vidreid(small)
    assert len(plan.files) == len(small.split.train) + 6 + len(small.split.gallery)
    parts = Counter(names[0].split("/")[0] for _, names in plan.files)
    assert parts == {"train": 4 * 6, "query": 6, "gallery": 6 * 6 + 4}
    people = {part: {n[0].split("/")[1] for _, n in plan.files if n[0].startswith(part)} for part in parts}
    names = {part: {n for _, ns in plan.files for n in ns if n.startswith(part)} for part in parts}
    assert {f"gallery/{name.removeprefix('query/')}" for name in names["query"]} <= names["gallery"]
    assert people["train"].isdisjoint(people["query"] | people["gallery"])
    strangers = [names for tracklet, names in plan.files if tracklet.person_id == 0]
    assert len({names[0].split("/")[1] for names in strangers}) == 4
    assert all("_D" in name for names in strangers for name in names)
    assert not any("_D" in name for t, names in plan.files if t.person_id > 0 for name in names)


def test_a_few_duke_tracks_start_at_the_second_frame_and_all_are_gapless():
    plan = dukemtmc_vidreid(generate(WalkersSpec()))
    starts = []
    for _, names in plan.files:
        frames = [int(number) for name in names for number in re.findall(r"_F(\d{4})_", name)]
        assert len(frames) == len(names)
        assert frames == list(range(frames[0], frames[0] + len(names)))
        absolute = [int(number) for name in names for number in re.findall(r"_[XD](\d+)", name)[:1]]
        assert len(absolute) == len(names)
        assert set(np.diff(absolute)) == {12}
        starts.append(frames[0])
    assert set(starts) == {1, 2}
    assert 0.02 < np.mean(np.array(starts) == 2) < 0.09


def test_ilids_has_everybody_once_a_camera_gaps_in_the_numbers_and_ten_halvings(small, tmp_path):
    write(small, tmp_path, "ilids_vid", *SIZE)
    sequences = tmp_path / "i-LIDS-VID" / "sequences"
    folders = [sorted(p.name for p in (sequences / camera).iterdir()) for camera in ("cam1", "cam2")]
    assert folders[0] == folders[1]
    assert len(folders[0]) == 10
    numbers = [int(name[6:]) for name in folders[0]]
    assert numbers != list(range(numbers[0], numbers[0] + 10))
    for person in sequences.glob("cam?/person*"):
        frames = sorted(int(p.stem[-5:]) for p in person.iterdir())
        assert frames == list(range(frames[0], frames[0] + len(frames)))
    splits = loadmat(tmp_path / "train-test people splits" / "train_test_splits_ilidsvid.mat")["ls_set"]
    assert splits.shape == (10, 10)
    assert all(sorted(row) == list(range(1, 11)) for row in splits.tolist())
    assert len({tuple(row) for row in splits.tolist()}) > 1


def test_ilids_splits_keep_look_alikes_together():
    walkers = generate(WalkersSpec(train_identities=4, test_identities=4, group_size=2))
    splits = next(iter(ilids_vid(walkers).matrices.values()))["ls_set"]
    person = {i: p for i, p in enumerate(sorted(walkers.people), 1)}
    for row in splits.tolist():
        halves = [{person[i] for i in row[:4]}, {person[i] for i in row[4:]}]
        assert all(set(group) <= halves[0] or set(group) <= halves[1] for group in walkers.look_alikes)


def test_ilids_needs_an_even_number_of_people():
    walkers = generate(WalkersSpec(train_identities=3, test_identities=6))
    with pytest.raises(InputError, match="even .*900.* 9"):
        ilids_vid(walkers)


def test_prid_has_people_in_one_camera_whom_no_split_names(small):
    plan = prid2011(small)
    people = {
        camera: {n[0].split("/")[3] for _, n in plan.files if f"/{camera}/" in n[0]} for camera in ("cam_a", "cam_b")
    }
    both = people["cam_a"] & people["cam_b"]
    assert len(both) == 10
    splits = json.loads(plan.texts["splits_prid2011.json"])
    assert len(splits) == 10
    assert all(len(s["train"]) == len(s["test"]) == 5 and {*s["train"], *s["test"]} == both for s in splits)
    strangers = [t for t in small.split.gallery if t.person_id == 0 and t.camera_id < 3]
    assert len(people["cam_a"] ^ people["cam_b"]) == len(strangers) > 0


def test_ls_vid_queries_are_in_the_form_of_matlab_7_3(small, tmp_path):
    write(small, tmp_path, "ls_vid", *SIZE)
    file = tmp_path / "test" / "data" / "info_test.mat"
    assert file.read_bytes().startswith(b"MATLAB 7.3 MAT-file ")
    with h5py.File(file) as contents:
        query = contents["query"]
        assert isinstance(query, h5py.Dataset)
        queries = query[()]
    lines = (tmp_path / "list_sequence" / "list_seq_test.txt").read_text().splitlines()
    asked = Counter(int(lines[int(row) - 1].split()[1]) for row in queries.ravel())
    assert asked == Counter(t.person_id for t in small.split.query)


def test_openpose_by_hand():
    keypoints = np.zeros((14, 3), np.float32)
    keypoints[0] = 0.5, 0.1, 0.9  # nose
    keypoints[8], keypoints[11] = (0.25, 0.5, 0.8), (0.75, 0.5, 0.6)  # hips
    keypoints[13] = 0.5, 1.0, 0.5  # left ankle
    found = openpose_people(keypoints, 200, 100)
    body = np.array(found["people"][0]["pose_keypoints_2d"]).reshape(25, 3)
    expected = np.zeros((25, 3))
    expected[0], expected[9], expected[12] = (50, 20, 0.9), (25, 100, 0.8), (75, 100, 0.6)
    expected[8] = 50, 100, 0.6  # MidHip, as sure as the worse hip
    expected[14] = 50, 200, 0.5
    np.testing.assert_allclose(body, expected, atol=1e-4)


def test_openpose_has_no_middle_of_one_hip_and_nobody_without_keypoints():
    keypoints = np.zeros((14, 3), np.float32)
    assert openpose_people(keypoints, 200, 100)["people"] == []
    keypoints[8] = 0.25, 0.5, 0.8
    body = openpose_people(keypoints, 200, 100)["people"][0]["pose_keypoints_2d"]
    assert body[24:27] == [0, 0, 0]
    assert body[27:30] == pytest.approx([25, 100, 0.8], abs=1e-4)


def test_a_folder_with_something_in_it_is_left_alone(small, tmp_path):
    (tmp_path / "precious.txt").write_text("keep")
    with pytest.raises(InputError, match=r"is not empty.*choose a new folder"):
        write(small, tmp_path, "mars", *SIZE)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_a_file_in_the_place_of_the_folder_and_an_unknown_layout_are_reported(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file cannot be written .*File exists"):
        write(small, tmp_path / "file", "mars", *SIZE)
    with pytest.raises(ValueError, match="unknown layout 'market'"):
        write(small, tmp_path / "new", "market", *SIZE)
