import re
import shutil
from collections import Counter

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from rgcn_jax.data.datasets import mars
from rgcn_jax.errors import InputError

TRAIN = [(1, 3, 1, 1), (4, 5, 1, 2), (6, 9, 7, 3)]
TEST = [(1, 2, -1, 1), (3, 4, 0, 2), (5, 7, 2, 1), (8, 8, 2, 2), (9, 10, 4, 1), (11, 14, 4, 6)]
QUERY = [3, 5]


def _names(rows):
    counter = Counter()
    names = []
    for first, last, person, camera in rows:
        counter[person] += 1
        name = "00-1" if person == -1 else f"{person:04d}"
        names += [f"{name}C{camera}T{counter[person]:04d}F{i:03d}.jpg" for i in range(1, last - first + 2)]
    return names


def _write(root, train=TRAIN, test=TEST, query=QUERY, images=True):
    info = root / "info"
    info.mkdir(parents=True)
    for part, rows in (("train", train), ("test", test)):
        names = _names(rows)
        (info / f"{part}_name.txt").write_text("".join(name + "\n" for name in names))
        savemat(info / f"tracks_{part}_info.mat", {f"track_{part}_info": np.array(rows, np.int32).reshape(-1, 4)})
        for name in names if images else ():
            folder = root / f"bbox_{part}" / name[:4]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    savemat(info / "query_IDX.mat", {"query_IDX": np.array([query], np.uint16)})
    return root


@pytest.fixture
def root(tmp_path):
    return _write(tmp_path / "MARS")


def _fails(root, *fragments, **arguments):
    with pytest.raises(InputError) as caught:
        mars.load(root, **arguments)
    for fragment in fragments:
        assert str(fragment) in str(caught.value)


def test_small_set_by_hand(root):
    split = mars.load(root)
    assert split.name == "mars"
    assert split.root == root
    assert split.frame_size == (256, 128)
    assert [(t.person_id, t.camera_id, len(t.frames)) for t in split.train] == [(1, 1, 3), (1, 2, 2), (7, 3, 4)]
    assert split.train[1].frames == ("bbox_train/0001/0001C2T0002F001.jpg", "bbox_train/0001/0001C2T0002F002.jpg")
    assert split.train_person_ids == (1, 7)
    assert [(t.person_id, t.camera_id) for t in split.query] == [(2, 1), (4, 1)]
    assert [(t.person_id, t.camera_id) for t in split.gallery] == [(2, 1), (4, 1), (0, 2), (2, 2), (4, 6)]
    assert [t.frames for t in split.junk] == [
        ("bbox_test/00-1/00-1C1T0001F001.jpg", "bbox_test/00-1/00-1C1T0001F002.jpg")
    ]
    without = mars.load(str(root), gallery_includes_query=False)
    assert without.gallery == split.gallery[2:]
    assert (without.train, without.query, without.junk) == (split.train, split.query, split.junk)
    assert type(split.train[0].person_id) is int


@pytest.mark.real_data
def test_small_real_set_agrees_with_its_frame_names(real_data):
    root = real_data / "vtest_mars"
    split = mars.load(root)
    assert (len(split.train), len(split.query), len(split.gallery), len(split.junk)) == (20, 14, 28, 0)
    groups = {}
    for path in sorted(p.relative_to(root).as_posix() for p in root.glob("bbox_*/*/*.jpg")):
        found = re.fullmatch(r"(bbox_\w+)/(\d+)/\d{4}C(\d)T(\d{4})F\d{3}\.jpg", path)
        assert found is not None, path
        folder, person, camera, track = found.groups()
        groups.setdefault((folder, int(person), int(camera), track), []).append(path)
    for folder, tracklets in (("bbox_train", split.train), ("bbox_test", split.gallery)):
        expected = {(key[1], key[2], tuple(frames)) for key, frames in groups.items() if key[0] == folder}
        assert {(t.person_id, t.camera_id, t.frames) for t in tracklets} == expected
    assert {t.camera_id for t in split.query} == {1}


@pytest.fixture(scope="module")
def published(real_data, tmp_path_factory):
    """The official split files with made-up frame names, and the rows."""
    root = tmp_path_factory.mktemp("published")
    shutil.copytree(real_data / "mars_info", root / "info", copy_function=shutil.copyfile)
    (root / "info").chmod(0o755)
    rows = {}
    for part in ("train", "test"):
        rows[part] = loadmat(root / "info" / f"tracks_{part}_info.mat")[f"track_{part}_info"].tolist()
        (root / "info" / f"{part}_name.txt").write_text("\n".join(_names(rows[part])) + "\n")
    return root, rows


@pytest.mark.slow
@pytest.mark.real_data
def test_published_counts(published):
    root, rows = published
    split = mars.load(root)
    assert len(split.train) == 8298
    assert len(split.train_person_ids) == 625
    assert sum(len(t.frames) for t in split.train) == 509_914
    assert len(split.query) == 1980
    assert len(split.gallery) == 11_310
    assert len(split.junk) == 870
    assert sum(t.person_id == 0 for t in split.gallery) == 3248
    assert not any(t.person_id == -1 for t in split.gallery)
    assert sum(len(t.frames) for t in (*split.gallery, *split.junk)) == 681_089
    without = mars.load(root, gallery_includes_query=False, check_files=False)
    assert len(without.gallery) == 9330
    assert not set(without.gallery) & set(without.query)
    assert [(len(t.frames), t.person_id, t.camera_id) for t in split.train] == [
        (last - first + 1, person, camera) for first, last, person, camera in rows["train"]
    ]


@pytest.mark.real_data
def test_a_large_set_with_other_counts_is_told_of(published, tmp_path):
    root, rows = published
    shutil.copytree(root / "info", tmp_path / "info")
    savemat(tmp_path / "info" / "tracks_train_info.mat", {"track_train_info": np.array(rows["train"][:-1], np.int32)})
    last = rows["train"][-1]
    names = (root / "info" / "train_name.txt").read_text().splitlines()[: last[0] - 1]
    (tmp_path / "info" / "train_name.txt").write_text("\n".join(names))
    with pytest.warns(UserWarning, match="training tracklets.* 8,298, .* 8,297"):
        mars.load(tmp_path, check_files=False)


def test_windows_line_ends_and_a_missing_last_one(root):
    path = root / "info" / "test_name.txt"
    path.write_bytes(path.read_bytes().rstrip().replace(b"\n", b"\r\n"))
    assert len(mars.load(root).gallery) == 5


def test_matrices_of_doubles_and_a_column_of_queries(root):
    savemat(root / "info" / "tracks_test_info.mat", {"track_test_info": np.array(TEST, np.float64)})
    savemat(root / "info" / "query_IDX.mat", {"query_IDX": np.array(QUERY, np.float64)[:, None]})
    assert [t.person_id for t in mars.load(root).query] == [2, 4]


def test_unused_names_are_told_of(root):
    with (root / "info" / "train_name.txt").open("a") as file:
        file.write("0009C1T0001F001.jpg\n")
    with pytest.warns(UserWarning, match="1 of the 10 .*train_name.txt"):
        mars.load(root)


def test_root_is_missing_or_another_folder(root, tmp_path):
    _fails(
        tmp_path / "nowhere", f"MARS not found: {tmp_path / 'nowhere'} does not exist; expected the folder that holds"
    )
    _fails(root / "info" / "train_name.txt", "train_name.txt is a file")
    reported = (
        f"{tmp_path} has no folder bbox_train and no folder bbox_test and no folder info",
        f"But {root} has all of it",
    )
    _fails(tmp_path, *reported, check_files=True)
    _fails(root / "bbox_test", f"But {root} has all of it: give that folder as the root")


def test_a_folder_is_missing(root):
    (root / "info").rename(root / "elsewhere")
    _fails(root, "has no folder info", "a separate download", root / "info")
    (root / "elsewhere").rename(root / "info")
    shutil.rmtree(root / "bbox_test")
    _fails(root, f"{root} has no folder bbox_test.", "unpack what is missing")
    shutil.rmtree(root / "bbox_train")
    assert mars.load(root).train, "the split files alone can be studied"
    _fails(root, "has no folder bbox_train and no folder bbox_test", check_files=True)


@pytest.mark.parametrize("name", ["train_name.txt", "test_name.txt"])
def test_a_name_file_is_missing(root, name):
    (root / "info" / name).unlink()
    _fails(root, f"cannot read {root / 'info' / name} (No such file or directory)", "comes with the info folder")


@pytest.mark.parametrize("name", ["tracks_train_info.mat", "tracks_test_info.mat", "query_IDX.mat"])
def test_a_matlab_file_is_missing_or_damaged(root, name):
    path = root / "info" / name
    whole = path.read_bytes()
    for broken in (b"", b"not a matrix", whole[:100], whole[:150], whole[: len(whole) - 20]):
        path.write_bytes(broken)
        _fails(root, path, "download the info folder again")
    savemat(path, {"other": np.zeros((3, 4))})
    _fails(root, f"{path}: expected a matrix called", "found other")
    path.unlink()
    _fails(root, f"there is no file {path}")


def test_a_matrix_has_a_wrong_shape_or_kind(root):
    path = root / "info" / "tracks_train_info.mat"
    for shape in ((3, 3), (0, 4)):
        savemat(path, {"track_train_info": np.ones(shape, np.int32)})
        _fails(root, path, "must have 4 columns (first line, last line, person, camera)", f"found shape {shape}")
    for matrix in (np.full((3, 4), 1.5), np.full((3, 4), np.nan), np.array([["a"]]), np.ones((2, 2, 2))):
        savemat(path, {"track_train_info": matrix})
        _fails(root, f"{path}: track_train_info must be a matrix of whole numbers")


@pytest.mark.parametrize("row", [(0, 3, 1, 1), (1, 10, 1, 1), (3, 1, 1, 1)])
def test_a_row_does_not_lie_in_the_name_file(root, row):
    savemat(root / "info" / "tracks_train_info.mat", {"track_train_info": np.array([row])})
    _fails(root, f"row 1 (lines {row[0]} to {row[1]} of train_name.txt", "does not lie within the 9 lines")


@pytest.mark.parametrize(
    ("rows", "fragments"),
    [
        ([(1, 4, 1, 1)], ["row 1 (lines 1 to 4", "mixes cameras: line 4 is 0001C2T0002F001.jpg"]),
        (
            [(1, 3, 1, 1), (4, 6, 1, 2)],
            ["row 2 (lines 4 to 6", "a tracklet that mixes persons: line 6 is 0007C3T0001F001"],
        ),
        ([(1, 3, 1, 1), (4, 5, 2, 2)], ["row 2", "person 2, camera 2", "mixes persons: line 4 is 0001C2T0002F001.jpg"]),
        ([(1, 3, 1, 1), (3, 5, 1, 1)], ["row 2 (lines 3 to 5", "shares lines with the row of lines 1 to 3"]),
    ],
)
def test_a_row_is_not_one_tracklet(root, rows, fragments):
    savemat(root / "info" / "tracks_train_info.mat", {"track_train_info": np.array(rows)})
    _fails(root, "tracks_train_info.mat", *fragments)


def test_a_row_joins_two_tracklets_of_one_camera(tmp_path):
    root = _write(tmp_path / "set", train=[(1, 2, 1, 1), (3, 4, 1, 1)])
    savemat(root / "info" / "tracks_train_info.mat", {"track_train_info": np.array([(1, 4, 1, 1)])})
    _fails(root, "mixes tracklets: line 3 is 0001C1T0002F001.jpg")


def test_frames_are_not_in_temporal_order(root):
    path = root / "info" / "test_name.txt"
    names = path.read_text().splitlines()
    names[12], names[11] = names[11], names[12]
    path.write_text("\n".join(names))
    _fails(root, "row 6", "is not in temporal order: 0004C6T0002F003.jpg is followed by 0004C6T0002F002.jpg")
    names[12] = names[11]
    path.write_text("\n".join(names))
    _fails(root, "row 6", "0004C6T0002F003.jpg is followed by 0004C6T0002F003.jpg")


@pytest.mark.parametrize("name", ["0001C1T0001F001", "", "0001C1T0001F001.png", "00-2C1T0001F001.jpg", "\xff" * 19])
def test_a_name_is_not_one(root, name):
    path = root / "info" / "train_name.txt"
    names = path.read_text().splitlines()
    names[4] = name
    names[6] = "worse"
    path.write_text("\n".join(names), encoding="latin-1")
    _fails(root, f"{path}: line 5 must be a frame name like 0065C1T0002F016.jpg")


@pytest.mark.parametrize("person", [-1, 0])
def test_junk_cannot_be_trained_on(tmp_path, person):
    root = _write(tmp_path / "set", train=[(1, 2, 1, 1), (3, 4, person, 1)])
    _fails(root, f"row 2 has person id {person}, but a training tracklet must have a positive one")


def test_a_camera_zero(tmp_path):
    _fails(_write(tmp_path / "set", train=[(1, 2, 1, 0)]), "row 1", "cameras count from 1")


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ([3, 7], "a query is row 7 of tracks_test_info.mat, which has rows 1 to 6"),
        ([0, 3], "a query is row 0 of tracks_test_info.mat, which has rows 1 to 6"),
        ([3, 1], "a query is row 1 of tracks_test_info.mat, which is junk (person id -1)"),
        ([2], "a query is row 2 of tracks_test_info.mat, which is a distractor (person id 0)"),
        ([3, 3], "row 3 of tracks_test_info.mat is a query twice"),
        ([], "names no query"),
    ],
)
def test_a_query_cannot_be_one(tmp_path, query, problem):
    root = _write(tmp_path / "set", query=query)
    _fails(root, root / "info" / "query_IDX.mat", problem)


def test_absent_frames_are_counted_before_anything_is_read(root):
    (root / "bbox_test" / "0004" / "0004C6T0002F002.jpg").unlink()
    _fails(root, "1 of the 14 frames", root / "bbox_test" / "0004" / "0004C6T0002F002.jpg", "unpack bbox_test again")
    shutil.rmtree(root / "bbox_test" / "0002")
    _fails(root, "5 of the 14 frames", root / "bbox_test" / "0002" / "0002C1T0001F001.jpg")
    assert len(mars.load(root, check_files=False).query) == 2


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".JPEG"])
def test_frames_with_another_suffix_of_jpeg_are_read(root, suffix):
    listed = mars.load(root)
    for file in root.rglob("*.jpg"):
        file.rename(file.with_suffix(suffix))
    found = mars.load(root)
    frames = [f.replace(".jpg", suffix) for t in listed.train for f in t.frames]
    assert [f for t in found.train for f in t.frames] == frames
    assert found.query[0] in found.gallery


def test_the_likely_cause_of_absent_frames_is_named(root):
    file = root / mars.load(root).train[0].frames[0]
    file.rename(file.with_suffix(".png"))
    _fails(root, "absent", file.with_suffix(".png").name, "another suffix")
    file.with_suffix(".png").rename(file)
    (root / "bbox_train").rename(root / "x")
    (root / "bbox_train").mkdir()
    (root / "x").rename(root / "bbox_train/bbox_train")
    _fails(root, "one folder deeper", "bbox_train/bbox_train")


def test_links_to_the_parts_of_a_data_set(root, tmp_path):
    expected = mars.load(root)
    (tmp_path / "linked").mkdir()
    for part in ("bbox_train", "bbox_test", "info"):
        (tmp_path / "linked" / part).symlink_to(root / part)
    _fails(tmp_path / "linked", "--follow-links")
    assert mars.load(tmp_path / "linked", follow_links=True).train == expected.train
