import sys

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from rgcn_jax.data.datasets import ls_vid
from rgcn_jax.errors import InputError

TRAIN = ["tracklet_train/0001/0001_1 1", "tracklet_train/0001/0001_12 1", "tracklet_train/0002/0002_1 2"]
TEST = ["tracklet_test/0003/0003_1 3", "tracklet_test/0003/0003_2 3", "tracklet_test/0004/0004_1_02 4"]
FRAMES = [
    *(f"tracklet_train/0001/0001_1_03_{f}.jpg" for f in (9, 10)),
    *(f"tracklet_train/0001/0001_12_04_{f}.jpg" for f in (1, 2, 3)),
    "tracklet_train/0002/0002_1_15_1.jpg",
    "tracklet_test/0003/0003_1_01_1.jpg",
    "tracklet_test/0003/0003_2_02_1.jpg",
    "tracklet_test/0004/0004_1_02_1.jpg",
]


def make(root, train=TRAIN, test=TEST, frames=FRAMES, query=((1.0,), (3.0,)), lists="list_sequence", info="test/data"):
    for frame in frames:
        (root / frame).parent.mkdir(parents=True, exist_ok=True)
        (root / frame).touch()
    (root / lists).mkdir(parents=True)
    (root / info).mkdir(parents=True)
    for part, lines in (("train", train), ("test", test)):
        (root / lists / f"list_seq_{part}.txt").write_text("".join(f"{line}\n" for line in lines))
    with h5py.File(root / info / "info_test.mat", "w", userblock_size=512) as file:
        file["query"] = np.array(query)
    return root


def fails(root, *fragments):
    with pytest.raises(InputError) as caught:
        ls_vid.load(root)
    for fragment in fragments:
        assert str(fragment) in str(caught.value)


@pytest.mark.parametrize("lists", ["list_sequence", "info/list_sequence"])
def test_by_hand_a_prefix_ends_where_a_field_ends(tmp_path, lists):
    make(tmp_path, lists=lists, info="info/data" if lists.startswith("info") else "test/data")
    split = ls_vid.load(tmp_path)
    assert [(t.person_id, t.camera_id, t.frames) for t in split.train] == [
        (1, 3, tuple(FRAMES[:2])),
        (1, 4, tuple(FRAMES[2:5])),
        (2, 15, (FRAMES[5],)),
    ]
    assert [(t.person_id, t.camera_id) for t in split.query] == [(3, 1), (4, 2)]
    assert [(t.person_id, t.camera_id) for t in split.gallery] == [(3, 2)]
    whole = ls_vid.load(tmp_path, gallery_includes_query=True)
    assert [(t.person_id, t.camera_id) for t in whole.gallery] == [(3, 1), (4, 2), (3, 2)]


def test_prefixes_may_end_in_a_line_or_a_slash(tmp_path):
    train = ["tracklet_train/0001/0001_1_ 1", "tracklet_train/0001/0001_12_ 1", "tracklet_train/0002/  2"]
    split = ls_vid.load(make(tmp_path, train=train))
    assert [t.frames for t in split.train] == [tuple(FRAMES[:2]), tuple(FRAMES[2:5]), (FRAMES[5],)]


def test_queries_as_a_row_or_in_the_old_form_of_matlab(tmp_path):
    expected = ls_vid.load(make(tmp_path / "a")).query
    assert [t.frames for t in ls_vid.load(make(tmp_path / "b", query=((1.0, 3.0),))).query] == [
        t.frames for t in expected
    ]
    savemat(tmp_path / "a/test/data/info_test.mat", {"query": np.array([[1, 3]], np.uint16)})
    assert ls_vid.load(tmp_path / "a").query == expected


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("tracklet_test/../../secret/0005_1 5", 'leads out of its folder by ".." or "."'),
        ("/tracklet_test/0005/0005_1 5", "is no relative path with forward slashes"),
        ("tracklet_test\\0005\\0005_1 5", "is no relative path with forward slashes"),
        ("C:/tracklet_test/0005 5", "is no relative path with forward slashes"),
        ("tracklet_test//0005 5", "is no relative path with forward slashes"),
        ("tracklet_train/0005/0005_1 5", "does not lie in tracklet_test: expected a path below tracklet_test"),
        ("tracklet_test/0005/0005_1", "must be the beginning of a path, a blank and a person id of 1 or more"),
        ("tracklet_test/0005/0005_1 -1", "a person id of 1 or more"),
        ("tracklet_test/0005/0005_1 0", "a person id of 1 or more"),
        ("tracklet_test/0003/0003_1 3", "names a tracklet a second time"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, problem):
    make(tmp_path, test=[*TEST, "", line])
    fails(tmp_path, f"{tmp_path / 'list_sequence/list_seq_test.txt'}: line 5 ({line!r})", problem)


def test_lists_that_are_empty_absent_or_no_text_are_reported(tmp_path):
    path = make(tmp_path) / "list_sequence" / "list_seq_train.txt"
    path.write_text("\n")
    fails(tmp_path, f"{path} names no tracklet")
    path.write_bytes(b"tracklet_train/\xff 1\n")
    fails(tmp_path, f"{path} is no text in UTF-8 (invalid start byte at byte 15)")
    path.unlink()
    fails(tmp_path, f"cannot read {path} (No such file or directory)")
    path.parent.rename(tmp_path / "lists")
    fails(tmp_path, "has no folder list_sequence and no folder info/list_sequence", "give a renamed folder its name")


@pytest.mark.parametrize(
    ("frame", "line", "problem"),
    [
        (
            None,
            "tracklet_train/0009/0009_1 9",
            "tracklet_train/0009 is missing; tracklet_train/0009/0009_1 is listed, ",
        ),
        (None, "tracklet_train/0001/0001_2 1", "tracklet_train/0001/0001_2 is listed, but has no frames"),
        ("tracklet_train/0001/0001_12_05_9.jpg", None, "0001_12 is a tracklet of several cameras, 4, 5"),
        (
            "tracklet_train/0001/0001_12_9.jpg",
            None,
            "0001_12_9.jpg has not four fields joined by _, of which the third",
        ),
        (
            "tracklet_train/0001/0001_12_xx_9.jpg",
            None,
            "has not four fields joined by _, of which the third is the cam",
        ),
        (None, "tracklet_train/0001/0001 1", "is of two tracklets, 0001 and 0001_1"),
    ],
)
def test_tracklets_that_are_none_are_named(tmp_path, frame, line, problem):
    make(tmp_path, train=[*TRAIN, *filter(None, [line])], frames=[*FRAMES, *filter(None, [frame])])
    fails(tmp_path, problem)


def test_files_of_no_line_are_told_of(tmp_path):
    make(tmp_path, frames=[*FRAMES, "tracklet_test/0003/0003_7_01_1.jpg", "tracklet_test/0003/list.txt"])
    with pytest.warns(UserWarning, match="Files in tracklet_test .*list_seq_test.txt .*: 2"):
        ls_vid.load(tmp_path)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ((), "names no query"),
        ((0.0,), "row 0 of list_seq_test.txt, which has rows 1 to 3"),
        ((4.0,), "row 4 of list_seq_test.txt, which has rows 1 to 3"),
        ((1.0, 1.0), "row 1 of list_seq_test.txt is a query twice"),
    ],
)
def test_queries_that_are_none_are_reported(tmp_path, query, problem):
    make(tmp_path, query=np.reshape(query, (1, -1)))
    fails(tmp_path, tmp_path / "test/data/info_test.mat", problem)


def test_a_matlab_file_that_is_hostile_damaged_or_absent_is_reported(tmp_path):
    path = make(tmp_path) / "test/data/info_test.mat"
    whole = path.read_bytes()
    for broken in (whole[:600], whole[:-30]):
        path.write_bytes(broken)
        fails(tmp_path, path, "it may be cut off: download the data set again")
    path.unlink()
    fails(tmp_path, f"there is no file {path}")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["query"] = np.ones((1, 1))
    with h5py.File(path, "w") as file:
        file["query"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/query")
    fails(tmp_path, f"{path}: query must be a matrix of whole numbers")
    with h5py.File(path, "w") as file:  # a petabyte, of which nothing is stored
        file.create_dataset("query", (1, 10**15), np.float64, chunks=(1, 1024))
    fails(tmp_path, f"{path}: query must be a matrix of whole numbers")
    with h5py.File(path, "w") as file:
        file.create_group("query")
    fails(tmp_path, f"{path}: query must be a matrix of whole numbers")
    with h5py.File(path, "w") as file:
        file["other"] = np.ones((1, 1))
    fails(tmp_path, f"{path}: expected a matrix called query, found other")


def test_h5py_is_not_installed(tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    fails(tmp_path, "needs h5py, which is not installed: pip install 'rgcn_jax[data]'")


def test_published_counts_are_compared(tmp_path):
    train = [f"tracklet_train/0001/0001_{n} 1" for n in range(501)]
    frames = [f"tracklet_train/0001/0001_{n}_01_1.jpg" for n in range(501)]
    make(tmp_path, train=train, frames=[*frames, *FRAMES[6:]])
    with pytest.warns(UserWarning, match="training identities.* 842, .* 1; training tracklets"):
        ls_vid.load(tmp_path)
